//! Functions that were found without names, until live calls prove them: what speaks for and against each, and when that is enough. Evidence and
//! time in, decisions out.
//!
//! Only what a library's function *cannot* have had speaks against it: no TLS record where one has to be, more bytes than were offered, memory
//! that is not there. A connection that stays idle or is no HTTP (a database's) says nothing. One call that fits is enough to keep the probes
//! for good: a right plan is never thrown away, a wrong one that nothing contradicts is harmless.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use a11i_common::{
    identity::{AttachmentId, BootTime},
    probation::ProbeEvidence,
    rustls::{RustlsLayout, RustlsSample},
};

use crate::{
    attach::{ProbePlan, infer_rustls_layout},
    call::CaptureMethod,
    observe::command::ProbationState,
};

/// So many calls have to contradict, and none may fit, …
const CONTRADICTIONS: u64 = 64;
/// … for so long after the first of them: a layout that is not the usual one is found within a second.
const CONTRADICTED_NANOS: u64 = 10 * 1_000_000_000;

/// Samples of one plan that are looked at together. The first records of two or three connections tell the layout.
const SAMPLES: usize = 16;

/// A program may hold two versions of a library whose layouts differ: changing over and over would serve neither.
const REPAIRS: u32 = 4;

/// Plans that are remembered, attached or not: as many as there are files at a time. The oldest without probes goes first.
const TRIALS: usize = crate::attach::links::MAX_FILES;

/// Code that is on trial, wherever it is attached.
#[derive(Debug)]
struct Trial {
    plan: Arc<ProbePlan>,
    state: ProbationState,
    contradictions: u64,
    /// When the first of them was read.
    contradicted: Option<BootTime>,
    layout: Option<RustlsLayout>,
    samples: VecDeque<RustlsSample>,
    repairs: u32,
}

/// Of an attachment, and what was read of it.
#[derive(Debug)]
struct Watched {
    trial: u64,
    last: ProbeEvidence,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Trials {
    by_number: HashMap<u64, Trial>,
    watched: HashMap<AttachmentId, Watched>,
    next: u64,
}

/// What the kernel half is to be told of an attachment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// It is new: evidence counts where it is on probation.
    Begin { id: AttachmentId, is_on_probation: bool, layout: Option<RustlsLayout> },
    /// It is no more.
    Forget(AttachmentId),
}

/// Found without names.
pub(super) const fn is_on_probation(plan: &ProbePlan) -> bool {
    match plan.method {
        CaptureMethod::Structure | CaptureMethod::Anchor | CaptureMethod::Signature => true,
        CaptureMethod::Symbol | CaptureMethod::Gopclntab | CaptureMethod::Socket => false,
    }
}

impl Trials {
    /// All attachments there are.
    pub(super) fn follow<'p>(&mut self, attachments: impl Iterator<Item = (AttachmentId, &'p Arc<ProbePlan>)>) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut gone = std::mem::take(&mut self.watched);
        for (id, plan) in attachments.filter(|(_, plan)| is_on_probation(plan)) {
            if let Some(known) = gone.remove(&id) {
                self.watched.insert(id, known);
                continue;
            }
            let trial = self.trial_of(plan);
            self.watched.insert(id, Watched { trial, last: ProbeEvidence::default() });
            if let Some(trial) = self.by_number.get(&trial) {
                let is_on_probation = trial.state == ProbationState::OnProbation;
                changes.push(Change::Begin { id, is_on_probation, layout: trial.layout });
            }
        }
        changes.extend(gone.into_keys().map(Change::Forget));
        changes
    }

    fn trial_of(&mut self, plan: &Arc<ProbePlan>) -> u64 {
        if let Some((number, _)) = self.by_number.iter().find(|(_, trial)| trial.plan.is_same_code(plan)) {
            return *number;
        }
        if self.by_number.len() >= TRIALS {
            let in_use = |number: &u64| self.watched.values().any(|watched| watched.trial == *number);
            if let Some(oldest) = self.by_number.keys().filter(|number| !in_use(number)).min().copied() {
                self.by_number.remove(&oldest);
            }
        }
        self.next = self.next.wrapping_add(1);
        let trial = Trial {
            plan: Arc::clone(plan),
            state: ProbationState::OnProbation,
            contradictions: 0,
            contradicted: None,
            layout: None,
            samples: VecDeque::new(),
            repairs: 0,
        };
        self.by_number.insert(self.next, trial);
        self.next
    }

    fn of_attachment(&mut self, id: AttachmentId) -> Option<&mut Trial> {
        self.by_number.get_mut(&self.watched.get(&id)?.trial)
    }

    /// HTTP was read through it.
    pub(super) fn handle_http(&mut self, id: AttachmentId) {
        if let Some(trial) = self.of_attachment(id).filter(|trial| trial.state == ProbationState::OnProbation) {
            trial.state = ProbationState::Proven;
        }
    }

    /// What was counted since the last reading. Attachments that nothing has to be counted of any more, and plans that are wrong from now on.
    pub(super) fn handle_evidence(
        &mut self,
        read: impl Fn(AttachmentId) -> Option<ProbeEvidence>,
        now: BootTime,
    ) -> (Vec<AttachmentId>, Vec<Arc<ProbePlan>>) {
        let (mut proven, mut wrong) = (Vec::new(), Vec::new());
        for (id, watched) in &mut self.watched {
            let Some(trial) = self.by_number.get_mut(&watched.trial) else { continue };
            // Nothing to read: it was proven before.
            let Some(evidence) = read(*id) else { continue };
            let [written, received] = evidence.contradicting;
            let [was_written, was_received] = watched.last.contradicting;
            let more = written.saturating_sub(was_written).saturating_add(received.saturating_sub(was_received));
            watched.last = evidence;
            trial.contradictions = trial.contradictions.saturating_add(more);
            if trial.contradictions > 0 {
                trial.contradicted.get_or_insert(now);
            }
            if evidence.fitting != [0, 0] && trial.state == ProbationState::OnProbation {
                trial.state = ProbationState::Proven;
            }
            if trial.state == ProbationState::Proven {
                proven.push(*id);
            }
        }
        for trial in self.by_number.values_mut().filter(|trial| trial.state == ProbationState::OnProbation) {
            let is_over = trial.contradicted.is_some_and(|since| now.nanos_since(since) >= CONTRADICTED_NANOS);
            if is_over && trial.contradictions >= CONTRADICTIONS {
                trial.state = ProbationState::Disproven;
                wrong.push(Arc::clone(&trial.plan));
            }
        }
        (proven, wrong)
    }

    /// An argument that does not have the layout that is expected.
    pub(super) fn handle_sample(&mut self, id: AttachmentId, sample: RustlsSample) {
        if let Some(trial) = self.of_attachment(id) {
            if trial.samples.len() >= SAMPLES {
                trial.samples.pop_front();
            }
            trial.samples.push_back(sample);
        }
    }

    /// Attachments whose layout is found, and it.
    pub(super) fn repair(&mut self) -> Vec<(AttachmentId, RustlsLayout)> {
        let mut found = HashMap::new();
        for (number, trial) in self.by_number.iter_mut().filter(|(_, trial)| !trial.samples.is_empty() && trial.repairs < REPAIRS) {
            let layout = infer_rustls_layout(trial.samples.make_contiguous());
            if let Some(layout) = layout.filter(|layout| *layout != trial.layout.unwrap_or(RustlsLayout::USUAL)) {
                trial.layout = Some(layout);
                // They were of the layout, not of the function.
                (trial.contradictions, trial.contradicted) = (0, None);
                trial.repairs = trial.repairs.saturating_add(1);
                trial.samples.clear();
                found.insert(*number, layout);
            }
        }
        self.watched.iter().filter_map(|(id, watched)| Some((*id, *found.get(&watched.trial)?))).collect()
    }

    /// How far a plan's probation is.
    pub(super) fn state(&self, plan: &ProbePlan) -> ProbationState {
        if !is_on_probation(plan) {
            return ProbationState::NotNeeded;
        }
        self.by_number.values().find(|trial| trial.plan.is_same_code(plan)).map_or(ProbationState::OnProbation, |trial| trial.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attach::{Probe, ProbeKind, ProgramName},
        call::CaptureLibrary,
        discovery::file::FileId,
    };

    fn plan(offset: u64, method: CaptureMethod) -> Arc<ProbePlan> {
        let probe = Probe { program: ProgramName::TlsWrite, kind: ProbeKind::Entry, symbol: String::new(), offset };
        Arc::new(ProbePlan {
            file: FileId::default(),
            library: CaptureLibrary::BoringSsl,
            method,
            probes: vec![probe],
            code: vec![[7; 16]],
        })
    }

    fn said(fitting: u64, contradicting: u64) -> ProbeEvidence {
        ProbeEvidence { fitting: [fitting, 0], contradicting: [0, contradicting] }
    }

    const ONE: AttachmentId = AttachmentId(1);
    const TWO: AttachmentId = AttachmentId(2);
    const LATER: BootTime = BootTime(CONTRADICTED_NANOS);

    fn on_trial(plans: &[(AttachmentId, &Arc<ProbePlan>)]) -> Trials {
        let mut trials = Trials::default();
        trials.follow(plans.iter().copied());
        trials
    }

    #[test]
    fn what_is_only_contradicted_for_long_enough_is_wrong_for_good_wherever_its_code_is() {
        let (wrong, other) = (plan(1, CaptureMethod::Anchor), plan(2, CaptureMethod::Anchor));
        let mut trials = on_trial(&[(ONE, &wrong), (TWO, &other)]);
        let read = |n: u64| move |id: AttachmentId| Some(if id == ONE { said(0, n) } else { said(0, 0) });
        assert_eq!(trials.handle_evidence(read(1_000), BootTime(0)), (vec![], vec![]), "at once");
        assert_eq!(trials.handle_evidence(read(1_000), LATER).1, [Arc::clone(&wrong)]);
        assert_eq!(trials.handle_evidence(read(2_000), LATER.plus_nanos(1)).1, [], "once");
        let copy = ProbePlan { file: FileId { ino: 9, ..FileId::default() }, ..(*wrong).clone() };
        assert_eq!((trials.state(&copy), trials.state(&other)), (ProbationState::Disproven, ProbationState::OnProbation));
        assert_eq!(trials.follow(std::iter::empty()).len(), 2);
        assert_eq!(trials.state(&wrong), ProbationState::Disproven);
    }

    #[test]
    fn few_contradictions_are_none() {
        let plan = plan(1, CaptureMethod::Structure);
        let mut trials = on_trial(&[(ONE, &plan)]);
        for second in 0..1_000 {
            let (proven, wrong) = trials.handle_evidence(|_| Some(said(0, CONTRADICTIONS - 1)), BootTime(second * 1_000_000_000));
            assert!(proven.is_empty() && wrong.is_empty());
        }
    }

    #[test]
    fn one_call_that_fits_outweighs_all_that_contradict_and_so_does_http() {
        let plan = plan(1, CaptureMethod::Structure);
        let mut trials = on_trial(&[(ONE, &plan), (TWO, &plan)]);
        let read = |id: AttachmentId| Some(if id == ONE { said(1, 0) } else { said(0, 1_000) });
        for now in [BootTime(0), LATER, LATER.plus_nanos(1)] {
            assert!(trials.handle_evidence(read, now).1.is_empty());
        }
        assert_eq!(trials.state(&plan), ProbationState::Proven);

        let mut trials = on_trial(&[(ONE, &plan)]);
        trials.handle_http(ONE);
        trials.handle_evidence(|_| Some(said(0, 1_000)), BootTime(0));
        assert_eq!(trials.handle_evidence(|_| Some(said(0, 1_000)), LATER), (vec![ONE], vec![]));
    }

    #[test]
    fn silence_is_no_contradiction() {
        let plan = plan(1, CaptureMethod::Anchor);
        let mut trials = on_trial(&[(ONE, &plan)]);
        assert_eq!(trials.handle_evidence(|_| Some(said(0, 0)), BootTime(u64::MAX)), (vec![], vec![]));
        assert_eq!(trials.state(&plan), ProbationState::OnProbation);
    }

    #[test]
    fn functions_with_names_are_not_on_trial() {
        let plan = plan(1, CaptureMethod::Symbol);
        let mut trials = Trials::default();
        assert_eq!(trials.follow([(ONE, &plan)].into_iter()), []);
        assert_eq!(trials.state(&plan), ProbationState::NotNeeded);
    }

    /// `Finished` of TLS 1.3 behind a content type in front of the payload.
    fn sample() -> RustlsSample {
        let mut sample = RustlsSample { words: [0; 7], behind: [[0; 2]; 7], further: [0; 7], sequence: 0 };
        sample.words = [0x0005_0002, 0, 0x5555_0000_1000, 36, 0, 0, 0];
        sample.behind[2] = [u64::from_le_bytes([20, 0, 0, 32, 1, 2, 3, 4]), 0];
        sample
    }

    #[test]
    fn a_layout_is_found_once_and_told_of_every_attachment_of_the_code_also_of_later_ones() {
        let plan = plan(1, CaptureMethod::Structure);
        let mut trials = on_trial(&[(ONE, &plan), (TWO, &plan)]);
        assert_eq!(trials.repair(), []);
        trials.handle_sample(ONE, sample());
        let mut told = trials.repair();
        told.sort_by_key(|(id, _)| id.0);
        let [(ONE, layout), (TWO, same)] = *told.as_slice() else { panic!("{told:?}") };
        assert_eq!((layout, layout.content_type, layout.slices, layout.slice), (same, 0, 8, 16));
        assert_eq!(trials.repair(), []);
        let later = trials.follow([(AttachmentId(3), &plan)].into_iter());
        assert!(later.contains(&Change::Begin { id: AttachmentId(3), is_on_probation: true, layout: Some(layout) }), "{later:?}");
        assert_eq!(later.len(), 3);
    }
}
