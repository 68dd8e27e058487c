//! Probation: [`Trials`] hears what the kernel half counted, and what it decides is done.

use std::{collections::BTreeSet, sync::Arc};

use a11i_common::{
    event::Counter,
    identity::{BootTime, ProcessId},
};

use super::{
    Coverage, Note,
    trials::{Change, Trials},
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
        let Probation { tables, trials, .. } = &mut self.probation;
        for change in trials.follow(self.links.attachments().map(|(id, _, plan)| (id, plan))) {
            match change {
                Change::Begin { id, is_on_probation, layout } => {
                    if let Some(layout) = layout {
                        tables.lay_out(id, layout);
                    }
                    if is_on_probation {
                        tables.begin(id);
                    }
                }
                Change::Forget(id) => {
                    tables.end(id);
                    tables.forget_layout(id);
                }
            }
        }
    }

    /// Once a second: who is proven, and who is not what he was taken for.
    pub(super) fn try_functions(&mut self, now: BootTime) {
        self.follow_all();
        let Probation { tables, trials, .. } = &mut self.probation;
        let (proven, wrong) = trials.handle_evidence(|id| tables.evidence(id), now);
        for id in proven {
            tables.end(id);
        }
        for plan in wrong {
            let with = |plans: &[Planned]| plans.iter().any(|planned| planned.plan.is_same_code(&plan));
            // Also those that have it as what was added, and is not told of yet.
            let linked = self.links.attachments().filter(|(_, _, of)| of.is_same_code(&plan)).map(|(_, file, _)| file);
            let offered = self.files.iter().filter(|(_, used)| with(&used.analysis.plans)).map(|(file, _)| *file);
            for file in linked.chain(offered).collect::<BTreeSet<FileId>>() {
                self.withdraw(&file, &plan);
            }
        }
    }

    fn withdraw(&mut self, file: &FileId, plan: &ProbePlan) {
        self.links.withdraw(file, plan);
        let Some(used) = self.files.get_mut(file) else { return };
        let path = used.path.display().to_string();
        used.probes = used.probes.saturating_sub(plan.probes.len());
        let probes = if used.is_attached { plan.probes.len() } else { 0 };
        self.tell(Note::Disproven { path, library: plan.library, method: plan.method, probes });
        self.refuse_disproven(file);
    }

    /// A file of which nothing is left to attach has no probes, and says why. Whether it is one.
    pub(super) fn refuse_disproven(&mut self, file: &FileId) -> bool {
        let Some(used) = self.files.get_mut(file) else { return false };
        if used.analysis.plans.iter().any(|planned| self.probation.trials.state(&planned.plan) != ProbationState::Disproven) {
            return false;
        }
        used.refusal = Some(Refusal { reason: DISPROVEN.to_owned(), remedy: DISPROVEN_REMEDY });
        used.retry = None;
        let users: Vec<ProcessId> = used.processes.keys().copied().collect();
        self.links.remove(file);
        self.note_reach(file, &Reach::Nobody);
        for process in users {
            let report = NotCoveredReport { reason: DISPROVEN.to_owned(), remedy: Some(DISPROVEN_REMEDY.to_owned()) };
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
        let mut files = Vec::new();
        for (id, layout) in trials.repair() {
            tables.lay_out(id, layout);
            files.extend(self.links.file_of(id).map(|file| (file, layout)));
        }
        files.sort_unstable_by_key(|(file, _)| *file);
        files.dedup();
        for (file, layout) in files {
            let Some(used) = self.files.get(&file) else { continue };
            self.tell(Note::LayoutFound { path: used.path.display().to_string(), layout });
        }
    }
}
