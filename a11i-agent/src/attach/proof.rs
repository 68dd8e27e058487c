//! That a file is still the one that was analysed: asked before its probes go in, when they return, and every second.

use std::{io, sync::Arc};

use super::{
    ProbePlan,
    plan::{CodeBytes, code_at},
};
use crate::discovery::{
    deadline::DeadlineWorker,
    file::{ByteSource, FileId, OpenedFile},
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
    /// It is another file than the one that was analysed.
    Changed,
    /// It cannot be read now, or whoever has it does not answer.
    Unanswered,
}

impl Stamp {
    pub(super) fn of(file: &OpenedFile) -> Option<Self> {
        // What this kernel knows is what it maps.
        file.now().map(|now| Self::analysed(&now))
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
        let job = move |_: &_| Self::now(&again, &plans).map(|now| now == *proof);
        // Threads are counted by what may stop answering as a whole.
        let (is_same, _) = worker.run(file.id().dev, job).map_err(|_| Unproven::Unanswered)?;
        if is_same? { Ok(()) } else { Err(Unproven::Changed) }
    }

    fn now(file: &OpenedFile, plans: &[Arc<ProbePlan>]) -> Result<Self, Unproven> {
        let metadata = std::fs::metadata(file.attach_path()).map_err(|_| Unproven::Unanswered)?;
        let FileId { size, mtime, .. } = FileId::of(&metadata);
        Ok(Self { size, modified: mtime, code: code_now(file, plans)? })
    }
}

/// A disk or server that fails to give the code has not changed it.
fn code_now(source: &dyn ByteSource, plans: &[Arc<ProbePlan>]) -> Result<Vec<CodeBytes>, Unproven> {
    let code = plans.iter().flat_map(|plan| &plan.probes).map(|probe| code_at(source, probe.offset));
    let is_cut = |error: io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
    code.collect::<io::Result<_>>().map_err(|error| if is_cut(error) { Unproven::Changed } else { Unproven::Unanswered })
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

    /// A disk that fails.
    struct Failing(io::ErrorKind);

    impl ByteSource for Failing {
        fn len(&self) -> u64 {
            u64::MAX
        }

        fn read_exact_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn code_that_cannot_be_read_has_not_changed_and_code_that_was_cut_off_has() {
        let dir = TempDir::new("unread");
        let file = OpenedFile::open(&openssl_look_alike(&dir)).unwrap();
        let plans: Vec<_> =
            crate::attach::analyse(&file, file.id()).unwrap().plans.iter().map(|planned| Arc::clone(&planned.plan)).collect();
        assert_eq!(code_now(&file, &plans), Ok(plans[0].code.clone()));
        for failure in [io::ErrorKind::StaleNetworkFileHandle, io::ErrorKind::TimedOut, io::ErrorKind::Other] {
            assert_eq!(code_now(&Failing(failure), &plans), Err(Unproven::Unanswered), "{failure}");
        }
        assert_eq!(code_now(&Vec::new(), &plans), Err(Unproven::Changed));
    }
}
