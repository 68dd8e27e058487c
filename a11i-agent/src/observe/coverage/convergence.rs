//! Several names of one kernel inode: overlay mounts show one file under many device numbers, and only a call that comes through two
//! attachments tells that they are one.
//!
//! It cannot be known beforehand: user space sees no inode below an overlay, and equal numbers and times are no proof (a snapshot of a file
//! system repeats them all for inodes that the kernel keeps apart). They are a condition, though: a function that jumps into one of the
//! same name in another file gives two hits of one call as well.

use std::collections::HashMap;

use crate::discovery::file::FileId;

/// Names that turned out to be others.
#[derive(Debug, Default)]
pub(super) struct Aliases(HashMap<FileId, FileId>);

impl Aliases {
    /// The file whose attachment serves this one.
    pub(super) fn resolve(&self, file: FileId) -> FileId {
        self.0.get(&file).copied().unwrap_or(file)
    }

    /// From now on `alias` is `kept`, and so is what was `alias` before.
    pub(super) fn merge(&mut self, alias: FileId, kept: FileId) {
        if alias == kept {
            return;
        }
        for target in self.0.values_mut().filter(|target| **target == alias) {
            *target = kept;
        }
        self.0.insert(alias, kept);
    }

    /// The kept file is gone, and its aliases with it.
    pub(super) fn forget(&mut self, kept: &FileId) {
        self.0.retain(|_, target| target != kept);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Whether two files can be one inode at all: seen through any mount, content and times are the inode's own.
pub(super) fn may_be_one(a: &FileId, b: &FileId) -> bool {
    (a.size, a.mtime, a.ctime) == (b.size, b.mtime, b.ctime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dev: u64) -> FileId {
        FileId { dev, ino: 2, size: 3, mtime: 4, ctime: 5 }
    }

    #[test]
    fn chains_of_aliases_end_at_one_file_in_any_order() {
        let mut aliases = Aliases::default();
        aliases.merge(file(2), file(1));
        aliases.merge(file(4), file(3));
        aliases.merge(file(3), file(1));
        for dev in 1..=4 {
            assert_eq!(aliases.resolve(file(dev)), file(1));
        }
        aliases.forget(&file(1));
        assert_eq!((aliases.resolve(file(4)), aliases.len()), (file(4), 0));
    }

    #[test]
    fn files_that_differ_in_size_or_time_are_not_one() {
        assert!(may_be_one(&file(1), &file(2)));
        assert!(!may_be_one(&file(1), &FileId { size: 4, ..file(2) }));
        assert!(!may_be_one(&file(1), &FileId { ctime: 6, ..file(2) }));
    }
}
