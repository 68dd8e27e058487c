//! That a file is still the one that was analysed: asked before its probes go in, when they return, and every second.

use std::sync::Arc;

use rustix::fs::{AtFlags, StatxFlags};

use super::{
    ProbePlan,
    plan::{CodeBytes, code_at},
};
use crate::discovery::{
    deadline::DeadlineWorker,
    file::{FileId, OpenedFile},
};

/// What must not have changed when links are made, now or again later. The time of the inode's change is no part of it: it moves when a name
/// of the file is made or removed, as every update does to the version it replaces.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Proof {
    size: u64,
    /// Nanoseconds since the Unix epoch.
    modified: i64,
    code: Vec<CodeBytes>,
}

/// What betrays that a file may have been written to, its inode's change included: asking costs a microsecond and waits for no server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    size: u64,
    modified: i64,
    changed: i64,
}

/// Why there is no proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unproven {
    /// It is another file than the one that was analysed, or is not there any more.
    Changed,
    /// Whoever has it does not answer.
    Unanswered,
}

impl Stamp {
    pub(super) fn of(file: &OpenedFile) -> Option<Self> {
        // What this kernel knows is what it maps: no server is asked.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let now = rustix::fs::statx(file, c"", flags, StatxFlags::BASIC_STATS).ok()?;
        let nanos = |seconds: i64, nanos: u32| seconds.saturating_mul(1_000_000_000).saturating_add(nanos.into());
        Some(Self {
            size: now.stx_size,
            modified: nanos(now.stx_mtime.tv_sec, now.stx_mtime.tv_nsec),
            changed: nanos(now.stx_ctime.tv_sec, now.stx_ctime.tv_nsec),
        })
    }

    /// As it was when it was opened for its analysis.
    pub(super) const fn analysed(file: &FileId) -> Self {
        Self { size: file.size, modified: file.mtime, changed: file.ctime }
    }
}

impl Proof {
    /// What the analysis saw. Nothing is read.
    pub(super) fn analysed(file: &FileId, plans: &[Arc<ProbePlan>]) -> Self {
        Self { size: file.size, modified: file.mtime, code: plans.iter().flat_map(|plan| &plan.code).copied().collect() }
    }

    /// Whether the file is still what the analysis saw. It is read where it can be given up: it may lie on a server that is gone.
    pub(super) fn holds(
        self: &Arc<Self>,
        worker: &mut DeadlineWorker,
        file: &OpenedFile,
        plans: &[Arc<ProbePlan>],
    ) -> Result<(), Unproven> {
        // Without a descriptor it cannot be asked now.
        let again = file.duplicate().map_err(|_| Unproven::Unanswered)?;
        let (proof, plans) = (Arc::clone(self), plans.to_vec());
        let job = move |_: &_| Self::now(&again, &plans).is_some_and(|now| now == *proof);
        // Threads are counted by what may stop answering as a whole.
        let (is_same, _) = worker.run(file.id().dev, job).map_err(|_| Unproven::Unanswered)?;
        if is_same { Ok(()) } else { Err(Unproven::Changed) }
    }

    /// None: it cannot be read any more.
    fn now(file: &OpenedFile, plans: &[Arc<ProbePlan>]) -> Option<Self> {
        let metadata = std::fs::metadata(file.attach_path()).ok()?;
        let code = plans.iter().flat_map(|plan| &plan.probes).map(|probe| code_at(file, probe.offset)).collect::<Option<_>>()?;
        let FileId { size, mtime, .. } = FileId::of(&metadata);
        Some(Self { size, modified: mtime, code })
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
        assert!(plans.iter().all(|plan| plan.code.len() == plan.probes.len() && plan.code.iter().all(|code| *code != [0; 16])));
        let proof = Arc::new(Proof::analysed(&file.id(), &plans));
        let mut worker = DeadlineWorker::default();
        let mut holds = || proof.holds(&mut worker, &file, &plans);
        assert_eq!(holds(), Ok(()));
        std::fs::hard_link(&path, dir.path().join("other")).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!file.is_unchanged() && Stamp::of(&file) != Some(Stamp::analysed(&file.id())));
        assert_eq!(holds(), Ok(()));
        // Code that was written after it was analysed and before its probes go in, and whose time was set back.
        let offset = plans[0].probes[0].offset;
        let rewritten = std::fs::OpenOptions::new().write(true).open(dir.path().join("other")).unwrap();
        let before = rewritten.metadata().unwrap().modified().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&rewritten, &[0xcc], offset).unwrap();
        rewritten.set_modified(before).unwrap();
        assert_eq!(holds(), Err(Unproven::Changed));
    }
}
