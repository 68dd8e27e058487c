//! Functions that were found without names, until live calls prove them: what speaks for and against each, and when that is enough. Evidence and
//! time in, decisions out.
//!
//! Only what a library's function *cannot* have had speaks against it: no TLS record where one has to be, more bytes than were offered, memory
//! that is not there. A connection that stays idle or is no HTTP (a database's) says nothing. One call that fits is enough to keep the probes
//! for good: a right plan is never thrown away, a wrong one that nothing contradicts is harmless. Writes and reads are different functions: what
//! proves one of them keeps both, and the other one is listened to until a call fits there as well.

#[cfg(test)]
mod tests;
mod trial;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use a11i_common::{
    identity::{AttachmentId, BootTime},
    probation::ProbeEvidence,
    rustls::{RustlsLayout, RustlsSample},
};

use self::trial::{Judgement, Trial};
use crate::{attach::ProbePlan, call::CaptureMethod, observe::command::ProbationState};

/// Plans that are remembered, attached or not: as many as there are files at a time. The oldest without probes goes first.
const TRIALS: usize = crate::attach::links::MAX_FILES;

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
        let (mut new, mut is_full) = (Vec::new(), false);
        for (id, plan) in attachments.filter(|(_, plan)| is_on_probation(plan)) {
            if !gone.remove(&id) && !self.watched.contains_key(&id) {
                new.push((id, plan));
            }
        }
        for id in &gone {
            self.watched.remove(id);
        }
        changes.extend(gone.into_iter().map(Change::Forget));
        // Code that is known first: it may be that all its links were just made anew, and then nobody would be using it.
        let mut unknown = Vec::new();
        for (id, plan) in new {
            match self.known(plan) {
                Some(number) => changes.extend(self.watch(id, number)),
                None => unknown.push((id, plan)),
            }
        }
        for (id, plan) in unknown {
            if let Some(number) = self.known(plan).or_else(|| self.begin(plan, &mut is_full)) {
                changes.extend(self.watch(id, number));
            } else if unwatched.insert(id) && !self.unwatched.contains(&id) {
                changes.push(Change::Refused(id));
            }
        }
        self.unwatched = unwatched;
        changes
    }

    fn known(&self, plan: &ProbePlan) -> Option<u64> {
        self.by_number.iter().find(|(_, trial)| trial.plan.is_same_code(plan)).map(|(number, _)| *number)
    }

    fn watch(&mut self, id: AttachmentId, number: u64) -> Option<Change> {
        let is_counted = self.by_number.get(&number).is_some_and(|trial| !trial.is_settled());
        self.watched.insert(id, Watched { trial: number, last: ProbeEvidence::default(), is_counted, told: None });
        is_counted.then_some(Change::Begin(id))
    }

    /// None: all that are known are attached, and there is room for no other.
    fn begin(&mut self, plan: &Arc<ProbePlan>, is_full: &mut bool) -> Option<u64> {
        if self.by_number.len() >= self.most {
            // Whoever was looked for in vain need not be looked for again for the next one.
            let unused = if *is_full { None } else { self.oldest_unused() };
            *is_full = unused.is_none();
            self.by_number.remove(&unused?);
        }
        self.next = self.next.wrapping_add(1);
        self.by_number.insert(self.next, Trial::of(Arc::clone(plan)));
        Some(self.next)
    }

    fn oldest_unused(&self) -> Option<u64> {
        let in_use: HashSet<u64> = self.watched.values().map(|watched| watched.trial).collect();
        let unused = self.by_number.iter().filter(|(number, _)| !in_use.contains(number));
        // What was found to be wrong would come back.
        unused.map(|(number, trial)| (trial.is_disproven(), *number)).min().map(|(_, number)| number)
    }

    fn of_attachment(&mut self, id: AttachmentId) -> Option<&mut Trial> {
        self.by_number.get_mut(&self.watched.get(&id)?.trial)
    }

    /// HTTP was read through it.
    pub(super) fn handle_http(&mut self, id: AttachmentId) {
        if let Some(trial) = self.of_attachment(id) {
            trial.handle_http();
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
            trial.hear(&evidence, &last, now);
        }
        for trial in self.by_number.values_mut() {
            match trial.judge(now) {
                None => {}
                Some(Judgement::Wrong) => verdicts.wrong.push(Arc::clone(&trial.plan)),
                Some(Judgement::Half) => verdicts.half.push(Arc::clone(&trial.plan)),
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
            trial.sample(sample);
        }
    }

    /// Attachments whose layout is found, and it. [`Self::untold`] says what the kernel half has to know.
    pub(super) fn repair(&mut self) -> Vec<(AttachmentId, RustlsLayout)> {
        let found = self.by_number.iter_mut().filter_map(|(number, trial)| Some((*number, trial.repair()?)));
        let found: HashMap<u64, RustlsLayout> = found.collect();
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
