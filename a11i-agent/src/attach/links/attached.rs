//! What a file has: its plans, and the links that were made of them.

use std::{collections::BTreeMap, sync::Arc};

use a11i_common::identity::{AttachmentId, ProcessId};

use super::super::{
    AttachError, ProbePlan,
    proof::{Proof, Stamp, Unproven},
};
use crate::discovery::{deadline::DeadlineWorker, file::OpenedFile};

/// A file that was analysed.
pub(super) struct Attached<L> {
    /// Held open, so that links can be made again for the very file that was analysed.
    pub(super) file: OpenedFile,
    pub(super) proof: Arc<Proof>,
    /// When the proof held last.
    pub(super) seen: Option<Stamp>,
    pub(super) plans: Vec<Arc<ProbePlan>>,
    /// Those of them that cannot be probed, for anybody.
    pub(super) refused: Vec<RefusedPlan>,
    /// Those that nobody was told of yet.
    pub(super) untold: Vec<(Arc<ProbePlan>, AttachError)>,
    pub(super) everyone: Option<LinkSet<L>>,
    pub(super) processes: BTreeMap<ProcessId, LinkSet<L>>,
    /// Processes that the move that is under way could not reach.
    pub(super) failed: Vec<(ProcessId, AttachError)>,
}

/// A plan with an instruction that the kernel will not probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedPlan {
    pub plan: Arc<ProbePlan>,
    pub reason: String,
    pub remedy: &'static str,
}

/// Links for one scope, each plan under an id of its own.
pub(super) struct LinkSet<L> {
    pub(super) attachments: Vec<(AttachmentId, Arc<ProbePlan>)>,
    pub(super) links: Vec<(AttachmentId, &'static str, L)>,
    /// In which it was begun: see [`super::Links::begin_turn`].
    pub(super) turn: u64,
}

impl<L> Attached<L> {
    pub(super) fn of(file: OpenedFile, plans: Vec<Arc<ProbePlan>>) -> Self {
        let proof = Arc::new(Proof::analysed(&file.id(), &plans));
        let seen = Some(Stamp::analysed(&file.id()));
        Self {
            file,
            proof,
            seen,
            plans,
            refused: Vec::new(),
            untold: Vec::new(),
            everyone: None,
            processes: BTreeMap::new(),
            failed: Vec::new(),
        }
    }

    /// Plans that `set` has no links of, and can have.
    pub(super) fn missing(&self, set: &LinkSet<L>) -> Vec<Arc<ProbePlan>> {
        self.plans.iter().filter(|plan| !set.has(plan) && !self.is_refused(plan)).cloned().collect()
    }

    /// The process has not all links that it can have.
    pub(super) fn lacks(&self, process: ProcessId) -> bool {
        self.processes.get(&process).is_none_or(|set| !self.missing(set).is_empty())
    }

    pub(super) fn is_whole(&self) -> bool {
        self.sets().all(|set| self.missing(set).is_empty())
    }

    /// Probes of the plans of which anybody has links.
    pub(super) fn probes(&self) -> usize {
        self.plans.iter().filter(|plan| self.sets().any(|set| set.has(plan))).map(|plan| plan.probes.len()).sum()
    }

    /// These are not tried again.
    pub(super) fn refuse(&mut self, refused: Vec<(Arc<ProbePlan>, AttachError)>) {
        let said = |(plan, error): &(Arc<ProbePlan>, AttachError)| RefusedPlan {
            plan: Arc::clone(plan),
            reason: error.to_string(),
            remedy: error.remedy(),
        };
        self.refused.extend(refused.iter().map(said));
        self.untold.extend(refused);
    }

    /// The process's own links, if they are such.
    pub(super) fn take_process(&mut self, process: ProcessId, is_taken: impl Fn(&LinkSet<L>) -> bool) -> Option<LinkSet<L>> {
        self.processes.get(&process).filter(|set| is_taken(set))?;
        self.processes.remove(&process)
    }

    /// Takes out what belongs to these ids, for whomever it is.
    pub(super) fn take(&mut self, is_taken: impl Fn(&AttachmentId) -> bool) -> LinkSet<L> {
        let mut taken = LinkSet::default();
        for set in self.everyone.iter_mut().chain(self.processes.values_mut()) {
            taken.absorb(set.split_off(&is_taken));
        }
        taken
    }

    /// Plans of this code, whose links are gone. Given back is how many processes have none any more.
    pub(super) fn forget(&mut self, code: &ProbePlan) -> usize {
        self.plans.retain(|plan| !plan.is_same_code(code));
        self.refused.retain(|refused| !refused.plan.is_same_code(code));
        self.untold.retain(|(plan, _)| !plan.is_same_code(code));
        self.proof = Arc::new(Proof::analysed(&self.file.id(), &self.plans));
        self.everyone = self.everyone.take().filter(|set| !set.is_empty());
        let before = self.processes.len();
        self.processes.retain(|_, set| !set.is_empty());
        before.saturating_sub(self.processes.len())
    }

    fn is_refused(&self, plan: &Arc<ProbePlan>) -> bool {
        self.refused.iter().any(|refused| refused.plan == *plan)
    }

    fn sets(&self) -> impl Iterator<Item = &LinkSet<L>> {
        self.everyone.iter().chain(self.processes.values())
    }

    pub(super) fn proven(&self, reader: &mut DeadlineWorker) -> Result<(), AttachError> {
        self.proof.holds(reader, &self.file, &self.plans).map_err(|unproven| match unproven {
            Unproven::Changed => AttachError::Changed,
            Unproven::Unanswered => AttachError::Unanswered,
        })
    }

    /// A file that cannot be asked (its server has forgotten it, or does not answer) is as it was, for all we know.
    pub(super) fn has_changed(&mut self, reader: &mut DeadlineWorker) -> bool {
        let now = Stamp::of(&self.file);
        if now.is_none() || now == self.seen {
            return false;
        }
        match self.proof.holds(reader, &self.file, &self.plans) {
            Ok(()) => self.seen = now,
            Err(Unproven::Unanswered) => {} // asked again
            Err(Unproven::Changed) => return true,
        }
        false
    }
}

impl<L> Default for LinkSet<L> {
    fn default() -> Self {
        Self { attachments: Vec::new(), links: Vec::new(), turn: 0 }
    }
}

impl<L> LinkSet<L> {
    pub(super) fn is_empty(&self) -> bool {
        self.attachments.is_empty()
    }

    /// Of plans that are shared only the addresses are compared: there may be hundreds of sets.
    fn has(&self, plan: &Arc<ProbePlan>) -> bool {
        self.attachments.iter().any(|(_, of)| of == plan)
    }

    pub(super) fn absorb(&mut self, other: Self) {
        self.attachments.extend(other.attachments);
        self.links.extend(other.links);
    }

    /// Takes out what belongs to these ids.
    pub(super) fn split_off(&mut self, is_taken: impl Fn(&AttachmentId) -> bool) -> Self {
        Self {
            attachments: self.attachments.extract_if(.., |(id, _)| is_taken(id)).collect(),
            links: self.links.extract_if(.., |(id, ..)| is_taken(id)).collect(),
            turn: self.turn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::testing::{TempDir, openssl_look_alike};

    fn plans(file: &OpenedFile) -> Vec<Arc<ProbePlan>> {
        crate::attach::analyse(file, file.id()).unwrap().plans.iter().map(|planned| Arc::clone(&planned.plan)).collect()
    }

    #[test]
    fn a_file_that_nobody_uses_is_found_changed_when_it_is_rewritten_and_not_when_only_its_name_is() {
        let dir = TempDir::new("changed");
        let path = openssl_look_alike(&dir);
        let file = OpenedFile::open(&path).unwrap();
        let (mut reader, seen, plans) = (DeadlineWorker::default(), Stamp::of(&file), plans(&file));
        let mut attached = Attached::<()>::of(file, plans);
        assert!(seen.is_some() && attached.seen == seen && !attached.has_changed(&mut reader));
        std::fs::hard_link(&path, dir.path().join("other")).unwrap();
        assert!(!attached.has_changed(&mut reader) && attached.seen != seen);
        assert!(!attached.file.is_unchanged() && attached.proven(&mut reader).is_ok());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, [bytes.as_slice(), b"more"].concat()).unwrap();
        assert!(attached.has_changed(&mut reader));
        assert!(matches!(attached.proven(&mut reader), Err(AttachError::Changed)));
    }

    #[test]
    fn code_that_was_rewritten_between_its_analysis_and_its_probes_is_not_probed() {
        let dir = TempDir::new("rewritten");
        let path = openssl_look_alike(&dir);
        let file = OpenedFile::open(&path).unwrap();
        let plans = plans(&file);
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        let writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&writer, &[0xcc], plans[0].probes[0].offset).unwrap();
        writer.set_modified(before).unwrap();
        let attached = Attached::<()>::of(file, plans);
        assert!(matches!(attached.proven(&mut DeadlineWorker::default()), Err(AttachError::Changed)));
    }
}
