//! That a file is still the one that was analysed: asked before its probes go in, when they return, and every second.

use std::{os::unix::fs::MetadataExt as _, sync::Arc};

use rustix::fs::{AtFlags, StatxFlags};

use super::ProbePlan;
use crate::discovery::file::{ByteSource as _, FileId, OpenedFile};

/// What must not have changed when links are made again later. The time of the inode's change is no part of it: it moves when a name of
/// the file is removed, as every update does to the version it replaces.
#[derive(PartialEq, Eq)]
pub(super) struct Proof {
    size: u64,
    modified: (i64, i64),
    code: Vec<[u8; CODE_BYTES]>,
}

/// What betrays that a file may have been written to, its inode's change included: asking costs a microsecond and waits for no server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

/// Bytes compared at each probe: more than the longest instruction.
const CODE_BYTES: usize = 16;

/// A time of the inode moved while the file was open. Its code is what was analysed if a second analysis of the same length and time of
/// writing finds the same: then only a name of it was made or removed.
pub(super) fn is_same_code(file: &OpenedFile, plans: &[Arc<ProbePlan>]) -> bool {
    let id = file.id();
    let Ok(now) = std::fs::metadata(file.attach_path()).map(|metadata| FileId::of(&metadata)) else { return false };
    (now.size, now.mtime) == (id.size, id.mtime)
        && super::analyse(file, id).is_ok_and(|again| plans.iter().all(|plan| again.plans.iter().any(|planned| planned.plan == *plan)))
}

impl Stamp {
    pub(super) fn of(file: &OpenedFile) -> Option<Self> {
        // What this kernel knows is what it maps: no server is asked.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let now = rustix::fs::statx(file, c"", flags, StatxFlags::BASIC_STATS).ok()?;
        Some(Self {
            size: now.stx_size,
            modified: (now.stx_mtime.tv_sec, now.stx_mtime.tv_nsec),
            changed: (now.stx_ctime.tv_sec, now.stx_ctime.tv_nsec),
        })
    }
}

impl Proof {
    /// None: it cannot be read any more.
    pub(super) fn of(file: &OpenedFile, plans: &[Arc<ProbePlan>]) -> Option<Self> {
        let metadata = std::fs::metadata(file.attach_path()).ok()?;
        let code = plans.iter().flat_map(|plan| &plan.probes).map(|probe| {
            let mut bytes = [0; CODE_BYTES];
            // A function at the very end of the file may be shorter.
            let left = file.len().checked_sub(probe.offset)?.min(CODE_BYTES as u64);
            file.read_exact_at(probe.offset, bytes.get_mut(..usize::try_from(left).ok()?)?).ok()?;
            Some(bytes)
        });
        Some(Self { size: metadata.size(), modified: (metadata.mtime(), metadata.mtime_nsec()), code: code.collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::testing::{TempDir, openssl_look_alike};

    #[test]
    fn a_file_whose_name_was_removed_is_still_as_it_was_analysed_and_a_rewritten_one_is_not() {
        let dir = TempDir::new("proof");
        let path = openssl_look_alike(&dir);
        let file = OpenedFile::open(&path).unwrap();
        let plans: Vec<_> =
            crate::attach::analyse(&file, file.id()).unwrap().plans.iter().map(|planned| Arc::clone(&planned.plan)).collect();
        let proof = Proof::of(&file, &plans).unwrap();
        std::fs::hard_link(&path, dir.path().join("other")).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!file.is_unchanged() && Proof::of(&file, &plans).unwrap() == proof);
        let offset = plans[0].probes[0].offset;
        let rewritten = std::fs::OpenOptions::new().write(true).open(dir.path().join("other")).unwrap();
        let before = rewritten.metadata().unwrap().modified().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&rewritten, &[0xcc], offset).unwrap();
        rewritten.set_modified(before).unwrap();
        assert!(Proof::of(&file, &plans).unwrap() != proof);
    }
}
