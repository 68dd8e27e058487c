//! Several names of one kernel inode: overlay mounts show one file under many device numbers, and only a call that comes through two
//! attachments tells that they are one.
//!
//! It cannot be known beforehand: user space sees no inode below an overlay, and equal numbers and times are no proof (a snapshot of a file
//! system repeats them all for inodes that the kernel keeps apart). They are a condition, though: a function that jumps into one of the
//! same name in another file gives two hits of one call as well.

use std::collections::{HashMap, HashSet};

use a11i_common::identity::ProcessId;

use super::users::{Need, Used};
use crate::discovery::file::FileId;

/// Names that turned out to be others.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Aliases(HashMap<FileId, Alias>);

#[derive(PartialEq, Eq, Debug)]
struct Alias {
    kept: FileId,
    /// Who uses the file by this name.
    processes: HashSet<ProcessId>,
    namespaces: HashSet<u64>,
}

/// Names known at once. One that is forgotten is attached again when it is found, and recognised again by its first call.
const MAX_NAMES: usize = 8_192;

impl Aliases {
    /// The file whose attachment serves this one.
    pub(super) fn resolve(&self, file: FileId) -> FileId {
        self.0.get(&file).map_or(file, |alias| alias.kept)
    }

    /// Somebody uses the file, by a name that may be another's.
    pub(super) fn add(&mut self, file: FileId, need: Need) {
        let Some(alias) = self.0.get_mut(&file) else { return };
        match need {
            Need::Process(process) => alias.processes.insert(process),
            Need::Namespace(namespace) => alias.namespaces.insert(namespace),
        };
    }

    /// From now on `alias`, with these users, is `kept`, and so is what was `alias` before.
    pub(super) fn merge(&mut self, alias: FileId, kept: FileId, users: &Used) {
        if alias == kept {
            return;
        }
        for known in self.0.values_mut().filter(|known| known.kept == alias) {
            known.kept = kept;
        }
        if self.0.len() >= MAX_NAMES
            && let Some(other) = self.0.keys().next().copied()
        {
            self.0.remove(&other);
        }
        let (processes, namespaces) = (users.processes.keys().copied().collect(), users.standing.clone());
        self.0.insert(alias, Alias { kept, processes, namespaces });
    }

    /// Names that nobody uses any more: their containers are gone.
    pub(super) fn forget_unused(&mut self, files: &HashMap<FileId, Used>) {
        self.0.retain(|_, alias| {
            let Some(used) = files.get(&alias.kept) else { return false };
            alias.processes.retain(|process| used.processes.contains_key(process));
            alias.namespaces.retain(|namespace| used.standing.contains(namespace));
            !alias.processes.is_empty() || !alias.namespaces.is_empty()
        });
    }

    /// The kept file is gone, and its aliases with it.
    pub(super) fn forget(&mut self, kept: &FileId) {
        self.0.retain(|_, alias| alias.kept != *kept);
    }
}

/// Whether two files can be one inode at all: seen through any mount, content and times are the inode's own.
pub(super) fn may_be_one(a: &FileId, b: &FileId) -> bool {
    (a.size, a.mtime, a.ctime) == (b.size, b.mtime, b.ctime)
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::Pid;

    use super::*;

    fn file(dev: u64) -> FileId {
        FileId { dev, ino: 2, size: 3, mtime: 4, ctime: 5 }
    }

    #[test]
    fn chains_of_aliases_end_at_one_file_in_any_order() {
        let mut aliases = Aliases::default();
        aliases.merge(file(2), file(1), &Used::default());
        aliases.merge(file(4), file(3), &Used::default());
        aliases.merge(file(3), file(1), &Used::default());
        for dev in 1..=4 {
            assert_eq!(aliases.resolve(file(dev)), file(1));
        }
        aliases.forget(&file(1));
        assert_eq!((aliases.resolve(file(4)), aliases), (file(4), Aliases::default()));
    }

    #[test]
    fn a_name_is_forgotten_with_its_last_user_and_there_are_never_too_many() {
        let process = ProcessId { pid: Pid(7), start_ticks: 1 };
        let mut used = Used::default();
        used.add(Need::Process(process));
        let mut aliases = Aliases::default();
        aliases.merge(file(2), file(1), &used);
        aliases.merge(file(3), file(1), &Used::default());
        aliases.add(file(3), Need::Namespace(9));
        used.add(Need::Namespace(9));
        let mut files = HashMap::from([(file(1), used)]);
        aliases.forget_unused(&files);
        assert_eq!((aliases.resolve(file(2)), aliases.resolve(file(3))), (file(1), file(1)));
        files.get_mut(&file(1)).unwrap().standing.clear();
        aliases.forget_unused(&files);
        assert_eq!((aliases.resolve(file(2)), aliases.resolve(file(3))), (file(1), file(3)));
        for dev in 2..MAX_NAMES as u64 * 2 {
            aliases.merge(file(dev), file(1), &Used::default());
        }
        assert_eq!(aliases.0.len(), MAX_NAMES);
    }

    #[test]
    fn files_that_differ_in_size_or_time_are_not_one() {
        assert!(may_be_one(&file(1), &file(2)));
        assert!(!may_be_one(&file(1), &FileId { size: 4, ..file(2) }));
        assert!(!may_be_one(&file(1), &FileId { ctime: 6, ..file(2) }));
    }
}
