//! One library's code on trial: what was heard of it, and what follows.

use std::{collections::VecDeque, sync::Arc};

use a11i_common::{
    identity::BootTime,
    probation::ProbeEvidence,
    rustls::{RustlsLayout, RustlsSample},
};

use crate::{
    attach::{ProbePlan, infer_rustls_layout},
    observe::command::ProbationState,
};

/// So many calls have to contradict, and none may fit, …
pub(super) const CONTRADICTIONS: u64 = 64;
/// … for so long after the first of them: a layout that is not the usual one is found within a second.
pub(super) const CONTRADICTED_NANOS: u64 = 10 * 1_000_000_000;

/// Samples of one plan that are looked at together. The first records of two or three connections tell the layout.
const SAMPLES: usize = 16;

/// A program may hold two versions of a library whose layouts differ: changing over and over would serve neither.
pub(super) const REPAIRS: u32 = 4;

/// Code that is on trial, wherever it is attached.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) plan: Arc<ProbePlan>,
    outcome: Outcome,
    /// Of its writes and of its reads, by [`a11i_common::identity::Direction`].
    directions: [Testimony; 2],
    layout: Option<RustlsLayout>,
    samples: VecDeque<RustlsSample>,
    repairs: u32,
}

/// What is known of it now, and was not before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judgement {
    /// Its functions are not what they were taken for.
    Wrong,
    /// Those of one direction are, and those of the other are not understood.
    Half,
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

impl Trial {
    pub(super) fn of(plan: Arc<ProbePlan>) -> Self {
        let directions = [Testimony::default(); 2];
        Self { plan, outcome: Outcome::Open, directions, layout: None, samples: VecDeque::new(), repairs: 0 }
    }

    /// Whatever its calls are, nothing follows from it any more.
    pub(super) fn is_settled(&self) -> bool {
        match self.outcome {
            Outcome::Open => false,
            Outcome::Proven => self.directions.iter().all(|of| of.fits),
            Outcome::Disproven => true,
        }
    }

    pub(super) fn is_disproven(&self) -> bool {
        self.outcome == Outcome::Disproven
    }

    /// HTTP was read through it.
    pub(super) const fn handle_http(&mut self) {
        if matches!(self.outcome, Outcome::Open) {
            self.outcome = Outcome::Proven;
        }
    }

    /// What was counted of one attachment, now and at the last time.
    pub(super) fn hear(&mut self, evidence: &ProbeEvidence, last: &ProbeEvidence, now: BootTime) {
        let contradicting = evidence.contradicting.into_iter().zip(last.contradicting);
        for ((of, fitting), (all, before)) in self.directions.iter_mut().zip(evidence.fitting).zip(contradicting) {
            of.hear(fitting > 0, all.saturating_sub(before), now);
        }
        if self.outcome == Outcome::Open && self.directions.iter().any(|of| of.fits) {
            self.outcome = Outcome::Proven;
        }
    }

    /// What is new about it.
    pub(super) fn judge(&mut self, now: BootTime) -> Option<Judgement> {
        match self.outcome {
            Outcome::Open if self.is_contradicted(now) => {
                self.outcome = Outcome::Disproven;
                Some(Judgement::Wrong)
            }
            Outcome::Proven => self.find_half(now).then_some(Judgement::Half),
            Outcome::Open | Outcome::Disproven => None,
        }
    }

    /// An argument that does not have the layout that is expected.
    pub(super) fn sample(&mut self, sample: RustlsSample) {
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The layout that the samples tell, if it is another than the one that is known.
    pub(super) fn repair(&mut self) -> Option<RustlsLayout> {
        if self.samples.is_empty() || self.repairs >= REPAIRS {
            return None;
        }
        let known = self.layout.unwrap_or(RustlsLayout::USUAL);
        let layout = infer_rustls_layout(self.samples.make_contiguous()).filter(|layout| *layout != known)?;
        self.layout = Some(layout);
        // What contradicted was of the layout, not of the function.
        self.directions = self.directions.map(|of| Testimony { fits: of.fits, ..Testimony::default() });
        self.repairs = self.repairs.saturating_add(1);
        self.samples.clear();
        Some(layout)
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
    pub(super) fn laid_out(&self) -> Option<RustlsLayout> {
        // Whatever was sampled after the last repair would change nothing.
        let is_final = u8::from(self.repairs >= REPAIRS);
        self.layout.map(|layout| RustlsLayout { is_final, ..layout })
    }

    pub(super) fn state(&self) -> ProbationState {
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
