//! Functions that were found without names, until live calls prove them: what speaks for and against each, and when that is enough. Evidence and
//! time in, decisions out.
//!
//! Only what a library's function *cannot* have had speaks against it: no TLS record where one has to be, more bytes than were offered, memory
//! that is not there. A connection that stays idle or is no HTTP (a database's) says nothing. One call that fits is enough to keep the probes
//! for good: a right plan is never thrown away, a wrong one that nothing contradicts is harmless. Writes and reads are different functions: what
//! proves one of them keeps both, and the other one is listened to until a call fits there as well.

use std::{
    collections::{HashMap, HashSet, VecDeque},
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
    outcome: Outcome,
    /// Of its writes and of its reads, by [`a11i_common::identity::Direction`].
    directions: [Testimony; 2],
    layout: Option<RustlsLayout>,
    samples: VecDeque<RustlsSample>,
    repairs: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Open,
    Proven,
    Disproven,
}

/// What calls of one direction say.
#[derive(Clone, Copy, Debug, Default)]
struct Testimony {
    fits: bool,
    contradictions: u64,
    /// When the first of them was read.
    contradicted: Option<BootTime>,
    /// Others fit, none of these does.
    is_not_understood: bool,
}

/// Of an attachment, and what was read of it.
#[derive(Debug)]
struct Watched {
    trial: u64,
    last: ProbeEvidence,
    /// The kernel half counts what its calls say.
    is_counted: bool,
    /// The layout that the kernel half knows of it.
    told: Option<RustlsLayout>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Trials {
    by_number: HashMap<u64, Trial>,
    watched: HashMap<AttachmentId, Watched>,
    /// Attachments for whose code there was no room.
    unwatched: HashSet<AttachmentId>,
    next: u64,
    most: usize,
}

impl Default for Trials {
    fn default() -> Self {
        Self { by_number: HashMap::new(), watched: HashMap::new(), unwatched: HashSet::new(), next: 0, most: TRIALS }
    }
}

/// What a second of evidence comes to.
#[derive(PartialEq, Debug, Default)]
pub(super) struct Verdicts {
    /// Nothing has to be counted of these any more.
    pub settled: Vec<AttachmentId>,
    /// Plans that are wrong from now on.
    pub wrong: Vec<Arc<ProbePlan>>,
    /// Plans of which calls of one direction fit, and so many of the other do not that they never will.
    pub half: Vec<Arc<ProbePlan>>,
}

/// What the kernel half is to be told of an attachment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// It is new, and evidence of it counts.
    Begin(AttachmentId),
    /// It is no more.
    Forget(AttachmentId),
    /// It is new, and too many others are on trial: it keeps its probes, whatever its calls are.
    Refused(AttachmentId),
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
        let mut gone: HashSet<AttachmentId> = self.watched.keys().copied().collect();
        let mut unwatched = HashSet::new();
        let mut new = Vec::new();
        for (id, plan) in attachments.filter(|(_, plan)| is_on_probation(plan)) {
            if !gone.remove(&id) && !self.watched.contains_key(&id) {
                new.push((id, plan));
            }
        }
        for id in &gone {
            self.watched.remove(id);
        }
        changes.extend(gone.into_iter().map(Change::Forget));
        for (id, plan) in new {
            let Some(number) = self.trial_of(plan) else {
                unwatched.insert(id);
                if !self.unwatched.contains(&id) {
                    changes.push(Change::Refused(id));
                }
                continue;
            };
            let is_counted = self.by_number.get(&number).is_some_and(|trial| !trial.is_settled());
            self.watched.insert(id, Watched { trial: number, last: ProbeEvidence::default(), is_counted, told: None });
            if is_counted {
                changes.push(Change::Begin(id));
            }
        }
        self.unwatched = unwatched;
        changes
    }

    /// None: all that are known are attached, and there is room for no other.
    fn trial_of(&mut self, plan: &Arc<ProbePlan>) -> Option<u64> {
        if let Some((number, _)) = self.by_number.iter().find(|(_, trial)| trial.plan.is_same_code(plan)) {
            return Some(*number);
        }
        if self.by_number.len() >= self.most {
            let in_use: HashSet<u64> = self.watched.values().map(|watched| watched.trial).collect();
            // What was found to be wrong would come back.
            let rank = |(number, trial): (&u64, &Trial)| (trial.outcome == Outcome::Disproven, *number);
            let (_, oldest) = self.by_number.iter().filter(|(number, _)| !in_use.contains(number)).map(rank).min()?;
            self.by_number.remove(&oldest);
        }
        self.next = self.next.wrapping_add(1);
        let trial = Trial {
            plan: Arc::clone(plan),
            outcome: Outcome::Open,
            directions: [Testimony::default(); 2],
            layout: None,
            samples: VecDeque::new(),
            repairs: 0,
        };
        self.by_number.insert(self.next, trial);
        Some(self.next)
    }

    fn of_attachment(&mut self, id: AttachmentId) -> Option<&mut Trial> {
        self.by_number.get_mut(&self.watched.get(&id)?.trial)
    }

    /// HTTP was read through it.
    pub(super) fn handle_http(&mut self, id: AttachmentId) {
        if let Some(trial) = self.of_attachment(id).filter(|trial| trial.outcome == Outcome::Open) {
            trial.outcome = Outcome::Proven;
        }
    }

    /// What was counted since the last reading.
    pub(super) fn handle_evidence(&mut self, read: impl Fn(AttachmentId) -> Option<ProbeEvidence>, now: BootTime) -> Verdicts {
        let mut verdicts = Verdicts::default();
        for (id, watched) in self.watched.iter_mut().filter(|(_, watched)| watched.is_counted) {
            let Some(trial) = self.by_number.get_mut(&watched.trial) else { continue };
            // There was no room for it.
            let Some(evidence) = read(*id) else { continue };
            let last = std::mem::replace(&mut watched.last, evidence);
            let contradicting = evidence.contradicting.into_iter().zip(last.contradicting);
            for ((of, fitting), (all, before)) in trial.directions.iter_mut().zip(evidence.fitting).zip(contradicting) {
                of.hear(fitting > 0, all.saturating_sub(before), now);
            }
            if trial.outcome == Outcome::Open && trial.directions.iter().any(|of| of.fits) {
                trial.outcome = Outcome::Proven;
            }
        }
        for trial in self.by_number.values_mut() {
            match trial.outcome {
                Outcome::Open if trial.is_contradicted(now) => {
                    trial.outcome = Outcome::Disproven;
                    verdicts.wrong.push(Arc::clone(&trial.plan));
                }
                Outcome::Proven => {
                    if trial.find_half(now) {
                        verdicts.half.push(Arc::clone(&trial.plan));
                    }
                }
                Outcome::Open | Outcome::Disproven => {}
            }
        }
        for (id, watched) in self.watched.iter_mut().filter(|(_, watched)| watched.is_counted) {
            if self.by_number.get(&watched.trial).is_some_and(Trial::is_settled) {
                watched.is_counted = false;
                verdicts.settled.push(*id);
            }
        }
        verdicts
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

    /// Attachments whose layout is found, and it. [`Self::untold`] says what the kernel half has to know.
    pub(super) fn repair(&mut self) -> Vec<(AttachmentId, RustlsLayout)> {
        let mut found = HashMap::new();
        for (number, trial) in self.by_number.iter_mut().filter(|(_, trial)| !trial.samples.is_empty() && trial.repairs < REPAIRS) {
            let layout = infer_rustls_layout(trial.samples.make_contiguous());
            if let Some(layout) = layout.filter(|layout| *layout != trial.layout.unwrap_or(RustlsLayout::USUAL)) {
                trial.layout = Some(layout);
                // They were of the layout, not of the function.
                for of in &mut trial.directions {
                    *of = Testimony { fits: of.fits, ..Testimony::default() };
                }
                trial.repairs = trial.repairs.saturating_add(1);
                trial.samples.clear();
                found.insert(*number, layout);
            }
        }
        self.watched.iter().filter_map(|(id, watched)| Some((*id, *found.get(&watched.trial)?))).collect()
    }

    /// Attachments whose code has a layout that the kernel half does not know yet, and it.
    pub(super) fn untold(&self) -> Vec<(AttachmentId, RustlsLayout)> {
        let untold = |(id, watched): (&AttachmentId, &Watched)| {
            let layout = self.by_number.get(&watched.trial)?.laid_out()?;
            (watched.told != Some(layout)).then_some((*id, layout))
        };
        self.watched.iter().filter_map(untold).collect()
    }

    /// The kernel half knows it now.
    pub(super) fn handle_told(&mut self, id: AttachmentId, layout: RustlsLayout) {
        if let Some(watched) = self.watched.get_mut(&id) {
            watched.told = Some(layout);
        }
    }

    /// How far a plan's probation is.
    pub(super) fn state(&self, plan: &ProbePlan) -> ProbationState {
        if !is_on_probation(plan) {
            return ProbationState::NotNeeded;
        }
        self.by_number.values().find(|trial| trial.plan.is_same_code(plan)).map_or(ProbationState::OnProbation, Trial::state)
    }
}

impl Trial {
    /// Whatever its calls are, nothing follows from it any more.
    fn is_settled(&self) -> bool {
        match self.outcome {
            Outcome::Open => false,
            Outcome::Proven => self.directions.iter().all(|of| of.fits),
            Outcome::Disproven => true,
        }
    }

    /// For so long, by so many, in whichever direction.
    fn is_contradicted(&self, now: BootTime) -> bool {
        let since = self.directions.iter().filter_map(|of| of.contradicted).min();
        let contradictions = self.directions.iter().fold(0, |sum: u64, of| sum.saturating_add(of.contradictions));
        contradictions >= CONTRADICTIONS && since.is_some_and(|since| now.nanos_since(since) >= CONTRADICTED_NANOS)
    }

    /// Whether one of the directions is known from now on not to be understood.
    fn find_half(&mut self, now: BootTime) -> bool {
        let mut is_found = false;
        for of in self.directions.iter_mut().filter(|of| !of.is_not_understood && of.is_contradicted(now)) {
            of.is_not_understood = true;
            is_found = true;
        }
        is_found
    }

    /// What the kernel half has to know of its arguments.
    fn laid_out(&self) -> Option<RustlsLayout> {
        // Whatever was sampled after the last repair would change nothing.
        let is_final = u8::from(self.repairs >= REPAIRS);
        self.layout.map(|layout| RustlsLayout { is_final, ..layout })
    }

    fn state(&self) -> ProbationState {
        let [writes, reads] = self.directions.map(|of| of.is_not_understood);
        match self.outcome {
            Outcome::Open => ProbationState::OnProbation,
            Outcome::Disproven => ProbationState::Disproven,
            Outcome::Proven if writes => ProbationState::WritesNotUnderstood,
            Outcome::Proven if reads => ProbationState::ReadsNotUnderstood,
            Outcome::Proven => ProbationState::Proven,
        }
    }
}

impl Testimony {
    fn hear(&mut self, fits: bool, contradictions: u64, now: BootTime) {
        self.fits |= fits;
        self.is_not_understood &= !self.fits;
        self.contradictions = self.contradictions.saturating_add(contradictions);
        if self.contradictions > 0 {
            self.contradicted.get_or_insert(now);
        }
    }

    fn is_contradicted(&self, now: BootTime) -> bool {
        let is_over = self.contradicted.is_some_and(|since| now.nanos_since(since) >= CONTRADICTED_NANOS);
        !self.fits && is_over && self.contradictions >= CONTRADICTIONS
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
        assert_eq!(trials.handle_evidence(read(1_000), BootTime(0)), Verdicts::default(), "at once");
        assert_eq!(trials.handle_evidence(read(1_000), LATER).wrong, [Arc::clone(&wrong)]);
        assert_eq!(trials.handle_evidence(read(2_000), LATER.plus_nanos(1)).wrong, [], "once");
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
            let verdicts = trials.handle_evidence(|_| Some(said(0, CONTRADICTIONS - 1)), BootTime(second * 1_000_000_000));
            assert_eq!(verdicts, Verdicts::default());
        }
    }

    #[test]
    fn one_call_that_fits_outweighs_all_that_contradict_and_so_does_http() {
        let plan = plan(1, CaptureMethod::Structure);
        let mut trials = on_trial(&[(ONE, &plan), (TWO, &plan)]);
        let read = |id: AttachmentId| Some(if id == ONE { said(1, 0) } else { said(0, 1_000) });
        for now in [BootTime(0), LATER, LATER.plus_nanos(1)] {
            assert!(trials.handle_evidence(read, now).wrong.is_empty());
        }
        let both = |_| Some(ProbeEvidence { fitting: [1, 1], contradicting: [0, 1_000] });
        let settled = trials.handle_evidence(both, LATER.plus_nanos(2)).settled;
        assert_eq!((trials.state(&plan), settled.len()), (ProbationState::Proven, 2));

        let mut trials = on_trial(&[(ONE, &plan)]);
        trials.handle_http(ONE);
        for now in [BootTime(0), LATER] {
            assert!(trials.handle_evidence(|_| Some(said(0, 1_000)), now).wrong.is_empty());
        }
    }

    #[test]
    fn a_direction_that_is_never_understood_is_said_although_the_other_one_is_until_a_call_fits() {
        for (direction, state) in [ProbationState::WritesNotUnderstood, ProbationState::ReadsNotUnderstood].into_iter().enumerate() {
            let plan = plan(1, CaptureMethod::Structure);
            let mut trials = on_trial(&[(ONE, &plan)]);
            let mut evidence = ProbeEvidence::default();
            (evidence.fitting[1 - direction], evidence.contradicting[direction]) = (9, CONTRADICTIONS);
            assert_eq!(trials.handle_evidence(|_| Some(evidence), BootTime(0)), Verdicts::default());
            assert_eq!(trials.state(&plan), ProbationState::Proven);
            assert_eq!(trials.handle_evidence(|_| Some(evidence), LATER).half, [Arc::clone(&plan)]);
            assert_eq!(trials.handle_evidence(|_| Some(evidence), LATER.plus_nanos(1)), Verdicts::default(), "once");
            assert_eq!(trials.state(&plan), state);
            // Attachments of later are listened to as well.
            let later = trials.follow([(ONE, &plan), (TWO, &plan)].into_iter());
            assert_eq!(later, [Change::Begin(TWO)]);
            evidence.fitting[direction] = 1;
            let verdicts = trials.handle_evidence(|id| (id == ONE).then_some(evidence), LATER.plus_nanos(2));
            assert_eq!((verdicts.settled.len(), trials.state(&plan)), (2, ProbationState::Proven));
            assert_eq!(trials.follow([(ONE, &plan), (TWO, &plan), (AttachmentId(3), &plan)].into_iter()), []);
        }
    }

    #[test]
    fn code_that_is_attached_is_never_forgotten_and_what_finds_no_room_is_said_once() {
        const MOST: usize = 8;
        let plans: Vec<_> = (0..=MOST as u64).map(|offset| plan(offset, CaptureMethod::Structure)).collect();
        let ids: Vec<_> = (0..=MOST as u64).map(AttachmentId).collect();
        let all = || ids.iter().copied().zip(&plans);
        let mut trials = Trials { most: MOST, ..Trials::default() };
        assert_eq!(trials.follow(all().take(MOST)).len(), MOST);
        trials.handle_http(ONE);
        // All links are made anew, as a move does, with one more in front.
        let last = (ids[MOST], &plans[MOST]);
        let moved = |id: AttachmentId| AttachmentId(id.0 + 1_000_000);
        let changes = trials.follow(std::iter::once(last).chain(all().take(MOST)));
        assert_eq!(changes, [Change::Refused(last.0)]);
        assert_eq!(trials.follow(std::iter::once(last).chain(all().take(MOST))), [], "said once");
        assert_eq!((trials.by_number.len(), trials.state(&plans[1])), (MOST, ProbationState::Proven));
        // One of them is attached no more: there is room.
        let changes = trials.follow(std::iter::once(last).chain(all().take(MOST).skip(1)));
        assert_eq!(changes, [Change::Forget(ids[0]), Change::Begin(last.0)]);
        assert_eq!(trials.follow(all().skip(1).map(|(id, plan)| (moved(id), plan))).len(), 2 * MOST);
        assert_eq!((trials.by_number.len(), trials.state(&plans[1])), (MOST, ProbationState::Proven));
    }

    #[test]
    fn silence_is_no_contradiction() {
        let plan = plan(1, CaptureMethod::Anchor);
        let mut trials = on_trial(&[(ONE, &plan)]);
        assert_eq!(trials.handle_evidence(|_| Some(said(0, 0)), BootTime(u64::MAX)), Verdicts::default());
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
        assert!(later.contains(&Change::Begin(AttachmentId(3))), "{later:?}");
        assert_eq!((later.len(), trials.untold()), (3, vec![(AttachmentId(3), layout)]));
    }

    #[test]
    fn a_layout_is_told_until_the_kernel_half_knows_it_and_the_last_one_ends_the_sampling() {
        let plan = plan(1, CaptureMethod::Structure);
        let mut trials = on_trial(&[(ONE, &plan), (TWO, &plan)]);
        assert_eq!(trials.untold(), []);
        // Two versions of the library in one program: each connection of the one makes records of the other unreadable.
        let mut other = sample();
        other.words = [0, 0x5555_0000_1000, 36, 0, 0x0005_0002, 0, 0];
        other.behind = [[0; 2]; 7];
        other.behind[1] = sample().behind[2];
        let mut layouts = Vec::new();
        for repair in 1..=REPAIRS {
            trials.handle_sample(ONE, if repair % 2 == 1 { sample() } else { other });
            let told = trials.repair();
            assert_eq!(told.len(), 2, "{repair}");
            let untold = trials.untold();
            assert_eq!(untold.len(), 2, "{repair}");
            let (_, layout) = untold[0];
            assert_eq!(u32::from(layout.is_final), u32::from(repair == REPAIRS), "{repair}");
            // There was room for one of them.
            trials.handle_told(ONE, layout);
            assert_eq!(trials.untold(), [(TWO, layout)]);
            trials.handle_told(TWO, layout);
            assert_eq!(trials.untold(), []);
            layouts.push(layout);
        }
        assert_ne!(layouts[0], layouts[1]);
        trials.handle_sample(ONE, sample());
        assert_eq!((trials.repair(), trials.untold()), (vec![], vec![]));
    }
}
