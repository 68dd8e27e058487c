//! Probation: [`Trials`] hears what the kernel half counted, and what it decides is done.

use std::{collections::BTreeSet, sync::Arc};

use a11i_common::{
    event::Counter,
    identity::{BootTime, ProcessId},
};

use super::{
    Coverage, Note,
    trials::{Change, Trials, Verdicts},
    users::Refusal,
};
use crate::{
    attach::{Planned, ProbePlan, scope::Reach},
    capture::probation::ProbationTables,
    discovery::file::FileId,
    observe::command::{NotCoveredReport, ProbationState},
};

/// Of a file whose functions are not what they were taken for.
const DISPROVEN: &str = "detached: no call was what a call of this library's functions is, so they are not what they were taken for";
const DISPROVEN_REMEDY: &str = "please report the program and its version";

/// What is known of functions that were found without names.
pub(super) struct Probation {
    tables: ProbationTables,
    pub(super) trials: Trials,
    /// Of the last look at the links.
    serial: Option<u32>,
    /// [`Counter::RustlsLayout`] at the last look for samples.
    unlike: u64,
}

impl Probation {
    pub(super) fn new(tables: ProbationTables) -> Self {
        Self { tables, trials: Trials::default(), serial: None, unlike: 0 }
    }
}

impl Coverage {
    /// Tells the kernel half of attachments that are new, as soon as they are there: what is known of their code holds from their first call
    /// on.
    pub(super) fn follow_attachments(&mut self) {
        if self.probation.serial.replace(self.links.serial()) != Some(self.links.serial()) {
            self.follow_all();
        }
    }

    fn follow_all(&mut self) {
        let mut refused = 0_u64;
        let Probation { tables, trials, .. } = &mut self.probation;
        for change in trials.follow(self.links.attachments().map(|(id, _, plan)| (id, plan))) {
            match change {
                Change::Begin(id) => tables.begin(id),
                Change::Forget(id) => {
                    tables.end(id);
                    tables.forget_layout(id);
                }
                Change::Refused(_) => refused = refused.saturating_add(1),
            }
        }
        self.tell_layouts();
        if refused > 0 {
            self.tell(Note::ProbationFull { attachments: refused });
        }
    }

    /// What finds no room in the kernel half's table is told again a second later.
    fn tell_layouts(&mut self) {
        let Probation { tables, trials, .. } = &mut self.probation;
        for (id, layout) in trials.untold() {
            if tables.lay_out(id, layout) {
                trials.handle_told(id, layout);
            }
        }
    }

    /// Once a second: who is proven, and who is not what he was taken for.
    pub(super) fn try_functions(&mut self, now: BootTime) {
        self.follow_all();
        let Probation { tables, trials, .. } = &mut self.probation;
        let Verdicts { settled, wrong, half } = trials.handle_evidence(|id| tables.evidence(id), now);
        for id in settled {
            tables.end(id);
        }
        for plan in half {
            for file in self.files_with(&plan) {
                let Some(used) = self.files.get(&file) else { continue };
                let (path, state) = (used.path.display().to_string(), self.probation.trials.state(&plan));
                self.tell(Note::HalfUnderstood { path, library: plan.library, method: plan.method, state });
            }
        }
        for plan in wrong {
            for file in self.files_with(&plan) {
                self.withdraw(&file, &plan);
            }
        }
    }

    fn files_with(&self, plan: &ProbePlan) -> BTreeSet<FileId> {
        let with = |plans: &[Planned]| plans.iter().any(|planned| planned.plan.is_same_code(plan));
        // Also those that have it as what was added, and is not told of yet.
        let linked = self.links.attachments().filter(|(_, _, of)| of.is_same_code(plan)).map(|(_, file, _)| file);
        let offered = self.files.iter().filter(|(_, used)| with(&used.analysis.plans)).map(|(file, _)| *file);
        linked.chain(offered).collect()
    }

    fn withdraw(&mut self, file: &FileId, plan: &ProbePlan) {
        self.links.withdraw(file, plan);
        let left = self.links.probes(file);
        let Some(used) = self.files.get_mut(file) else { return };
        let path = used.path.display().to_string();
        let gone = if used.is_attached { used.probes.saturating_sub(left) } else { plan.probes.len() };
        used.probes = used.probes.saturating_sub(gone);
        let probes = if used.is_attached { gone } else { 0 };
        self.tell(Note::Disproven { path, library: plan.library, method: plan.method, probes });
        if !self.refuse_hopeless(file) {
            let reach = self.links.reach(file);
            self.note_reach(file, &reach);
        }
    }

    /// A file of which nothing is left to attach has no probes, and says why. Whether it is one.
    pub(super) fn refuse_hopeless(&mut self, file: &FileId) -> bool {
        let Some(used) = self.files.get_mut(file) else { return false };
        let refused = self.links.refused(file);
        let is_refused = |planned: &Planned| refused.iter().any(|refused| *refused.plan == *planned.plan);
        let is_disproven = |planned: &Planned| self.probation.trials.state(&planned.plan) == ProbationState::Disproven;
        if !used.analysis.plans.iter().all(|planned| is_disproven(planned) || is_refused(planned)) {
            return false;
        }
        let (reason, remedy) = refused.first().map_or((DISPROVEN, DISPROVEN_REMEDY), |refused| (refused.reason.as_str(), refused.remedy));
        let (reason, remedy) = (reason.to_owned(), remedy);
        used.refusal = Some(Refusal { reason: reason.clone(), remedy });
        used.retry = None;
        let users: Vec<ProcessId> = used.processes.keys().copied().collect();
        self.links.remove(file);
        self.note_reach(file, &Reach::Nobody);
        for process in users {
            let report = NotCoveredReport { reason: reason.clone(), remedy: Some(remedy.to_owned()) };
            self.say_not_covered(process, report);
        }
        true
    }

    /// Those that are not known to be wrong.
    pub(super) fn not_disproven(&self, plans: &[Planned]) -> Vec<Arc<ProbePlan>> {
        let is_left = |planned: &&Planned| self.probation.trials.state(&planned.plan) != ProbationState::Disproven;
        plans.iter().filter(is_left).map(|planned| Arc::clone(&planned.plan)).collect()
    }

    /// At every pause: arguments that are laid out in another way, if there were any.
    pub(super) fn repair_layouts(&mut self) {
        let Probation { tables, trials, unlike, .. } = &mut self.probation;
        let now = self.counters.read_one(Counter::RustlsLayout).unwrap_or(*unlike);
        if std::mem::replace(unlike, now) == now {
            return;
        }
        for (id, sample) in tables.take_samples() {
            trials.handle_sample(id, sample);
        }
        let found = trials.repair().into_iter();
        let mut files: Vec<_> = found.filter_map(|(id, layout)| Some((self.links.file_of(id)?, layout))).collect();
        self.tell_layouts();
        files.sort_unstable_by_key(|(file, _)| *file);
        files.dedup();
        for (file, layout) in files {
            let Some(used) = self.files.get(&file) else { continue };
            self.tell(Note::LayoutFound { path: used.path.display().to_string(), layout });
        }
    }
}
