//! What the coverage thread knows, for people.

use std::collections::{BTreeMap, HashMap, VecDeque};

use a11i_common::identity::ProcessId;

use super::users::Used;
use crate::{
    attach::{Planned, ProbePlan},
    call::CaptureFacts,
    discovery::{file::FileId, files::Unanswered, inspect::functions, process::ProcFs, scanner::NotCovered},
    observe::command::{CoverageReport, FileReport, NotCoveredReport, PlanReport, ProbationState, ProcessReport, Seen},
};

/// Reasons kept for one process: it is said once for each of its libraries.
const REASONS_OF_PROCESS: usize = 8;

/// Processes about which something is kept; the one told longest ago goes first.
const PROCESSES: usize = 8_192;

/// What was said of processes that are not covered, or not wholly.
#[derive(Debug, Default)]
pub(super) struct History {
    reasons: HashMap<ProcessId, Vec<NotCoveredReport>>,
    order: VecDeque<ProcessId>,
}

impl History {
    /// False: it was said before, or there is no room for more of this process.
    pub(super) fn add(&mut self, process: ProcessId, report: NotCoveredReport) -> bool {
        if !self.reasons.contains_key(&process) {
            if self.order.len() >= PROCESSES
                && let Some(oldest) = self.order.pop_front()
            {
                self.reasons.remove(&oldest);
            }
            self.order.push_back(process);
        }
        let reasons = self.reasons.entry(process).or_default();
        let is_news = reasons.len() < REASONS_OF_PROCESS && !reasons.contains(&report);
        if is_news {
            reasons.push(report);
        }
        is_news
    }

    /// It holds no longer.
    pub(super) fn take_back(&mut self, process: ProcessId, reason: &str) {
        if let Some(reasons) = self.reasons.get_mut(&process) {
            reasons.retain(|known| known.reason != reason);
        }
    }

    /// The process has ended.
    pub(super) fn forget(&mut self, process: ProcessId) {
        if self.reasons.remove(&process).is_some() {
            self.order.retain(|known| *known != process);
        }
    }

    pub(super) fn of(&self, process: ProcessId) -> &[NotCoveredReport] {
        self.reasons.get(&process).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = &ProcessId> {
        self.order.iter()
    }
}

/// In the words of the scan, with what to do.
pub(super) fn not_covered(reason: &NotCovered) -> NotCoveredReport {
    let remedy = match reason {
        NotCovered::Unsupported { evidence, .. } => Some(evidence.remedy()),
        NotCovered::NoAccess(_) => Some("give the agent CAP_SYS_PTRACE"),
        NotCovered::Unanswered { source, .. } => Some(match **source {
            Unanswered::Silent(_) => "see whether its file system answers; it is looked at again when it does",
            Unanswered::TooLong => "none is needed: it is looked at again, by its names alone",
        }),
        NotCovered::Silent(_) => Some("see why the process does not answer; it is looked at again when it does"),
        NotCovered::OverBudget { .. } | NotCovered::BeingWritten { .. } => Some("none is needed: it is looked at again by itself"),
        NotCovered::Unopened { source, .. } => Some(source.remedy()),
        NotCovered::Unreadable { .. } => {
            Some("see whether the file is whole and its disk sound; it is looked at again when it was replaced")
        }
        NotCovered::TooManyMappings => Some("please report the program: it maps more files than any that is known"),
    };
    NotCoveredReport { reason: reason.to_string(), remedy: remedy.map(str::to_owned) }
}

/// What is said of one file beside what it is.
pub(super) struct Standing {
    pub is_attached: bool,
    pub is_everyone: bool,
    /// Why not for everyone, or not at all.
    pub reason: Option<String>,
    pub remedy: Option<String>,
}

/// The same of one plan of it.
#[derive(Default)]
pub(super) struct PlanStanding {
    pub probation: ProbationState,
    /// Why it has no probes although others of the file may have.
    pub reason: Option<String>,
    pub remedy: Option<String>,
}

pub(super) fn build(
    files: &HashMap<FileId, Used>,
    history: &History,
    standing: impl Fn(&FileId, &Used) -> Standing,
    of_plan: impl Fn(&FileId, &ProbePlan) -> PlanStanding,
    proc: &ProcFs,
) -> CoverageReport {
    let mut ordered: Vec<(&FileId, &Used)> = files.iter().collect();
    ordered.sort_unstable_by_key(|(file, used)| (&used.path, **file));
    let mut report = CoverageReport::default();
    let mut processes: BTreeMap<ProcessId, ProcessReport> = BTreeMap::new();
    let of = |process: &ProcessId| ProcessReport { pid: process.pid.0, start_ticks: process.start_ticks, ..ProcessReport::default() };
    for (number, (file, used)) in (1..).zip(ordered) {
        let standing = standing(file, used);
        let plans = plans(used, |plan| of_plan(file, plan));
        let first = plans.first().cloned();
        let first = first.as_ref();
        report.files.push(FileReport {
            file: number,
            path: used.path.display().to_string(),
            library: first.map(|plan| plan.library.clone()).unwrap_or_default(),
            method: first.map(|plan| plan.method.clone()).unwrap_or_default(),
            version: first.and_then(|plan| plan.version.clone()),
            plans,
            probes: used.probes,
            attached: standing.is_attached,
            scope: if standing.is_everyone { "everyone" } else { "processes" }.to_owned(),
            users: used.processes.len(),
            hits_per_second: used.hits_per_second,
            aliases: used.aliases.iter().map(|path| path.display().to_string()).collect(),
            reason: standing.reason,
            remedy: standing.remedy,
        });
        for (process, user) in &used.processes {
            let entry = processes.entry(*process).or_insert_with(|| of(process));
            entry.files.push(number);
            #[expect(clippy::cast_possible_truncation, reason = "wraps as ProcessId::from_boot_nanos does")]
            let covered_ticks = user.covered_since.map(|since| (since.0 / ProcessId::NANOS_PER_TICK) as u32);
            // Half the range: what is further away lies before the wrap.
            entry.attached_late |= covered_ticks.is_none_or(|at| (1..u32::MAX / 2).contains(&at.wrapping_sub(process.start_ticks)));
        }
    }
    for process in history.processes() {
        processes.entry(*process).or_insert_with(|| of(process));
    }
    for (process, entry) in &mut processes {
        entry.executable = proc.exe(process.pid).ok().map(|path| path.display().to_string());
        entry.not_covered = history.of(*process).to_vec();
    }
    report.processes = processes.into_values().collect();
    report
}

/// What the file holds, and what came of it.
fn plans(used: &Used, standing: impl Fn(&ProbePlan) -> PlanStanding) -> Vec<PlanReport> {
    let report = |(number, planned): (usize, &Planned)| {
        let plan = &planned.plan;
        let facts = CaptureFacts { library: Some(plan.library), method: Some(plan.method) };
        let seen = match (used.seen.contains(&(facts, true)), used.seen.contains(&(facts, false))) {
            (true, _) => Seen::Http,
            (false, true) => Seen::OtherBytes,
            (false, false) => Seen::Nothing,
        };
        // What the file states is of the first library in it.
        let stated = used.stated.clone().filter(|_| number == 0);
        let PlanStanding { probation, reason, remedy } = standing(plan);
        PlanReport {
            library: plan.library.as_str().to_owned(),
            method: plan.method.as_str().to_owned(),
            version: stated.or_else(|| planned.version.clone()),
            functions: functions(&plan.probes),
            refused: planned.refused.iter().map(|refused| format!("{}: {}", refused.name, refused.why)).collect(),
            seen,
            probation,
            reason,
            remedy,
        }
    };
    used.analysis.plans.iter().enumerate().map(report).collect()
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use a11i_common::identity::{BootTime, Pid};

    use super::*;
    use crate::{
        attach::{Analysis, ProbePlan},
        call::{CaptureLibrary, CaptureMethod},
        observe::coverage::users::User,
    };

    fn process(pid: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start_ticks: 100 }
    }

    fn said(reason: &str) -> NotCoveredReport {
        NotCoveredReport { reason: reason.to_owned(), remedy: None }
    }

    #[test]
    fn what_is_said_of_a_process_is_said_once_and_bounded() {
        let mut history = History::default();
        assert!(history.add(process(1), said("a")) && !history.add(process(1), said("a")));
        for number in 0..100 {
            history.add(process(1), said(&number.to_string()));
        }
        assert_eq!(history.of(process(1)).len(), REASONS_OF_PROCESS);
        for pid in 2..=u32::try_from(PROCESSES).unwrap() + 1 {
            history.add(process(pid), said("a"));
        }
        assert_eq!((history.reasons.len(), history.of(process(1)).len()), (PROCESSES, 0));
        history.take_back(process(2), "a");
        assert_eq!(history.of(process(2)), []);
    }

    #[test]
    fn a_report_names_files_by_number_and_processes_that_were_there_before_the_probes() {
        let facts = |library, method| CaptureFacts { library: Some(library), method: Some(method) };
        let openssl = facts(CaptureLibrary::OpenSsl, CaptureMethod::Symbol);
        let gnutls = facts(CaptureLibrary::GnuTls, CaptureMethod::Symbol);
        let planned = |library, method, version: Option<&str>| Planned {
            plan: Arc::new(ProbePlan { file: FileId::default(), library, method, probes: Vec::new(), code: Vec::new() }),
            version: version.map(str::to_owned),
            refused: Vec::new(),
        };
        let plans = vec![
            planned(CaptureLibrary::OpenSsl, CaptureMethod::Symbol, Some("3.0 to 3.2")),
            planned(CaptureLibrary::GnuTls, CaptureMethod::Symbol, Some("3.7.4 or later")),
            planned(CaptureLibrary::Go, CaptureMethod::Gopclntab, None),
        ];
        let analysis = Analysis { plans, ..Analysis::default() };
        let late = User { covered_since: Some(BootTime(102 * ProcessId::NANOS_PER_TICK)), ..User::default() };
        let early = User { covered_since: Some(BootTime(100 * ProcessId::NANOS_PER_TICK)), ..User::default() };
        let used = Used {
            analysis: Arc::new(analysis),
            stated: Some("3.0.17".to_owned()),
            seen: vec![(openssl, true), (gnutls, false)],
            path: PathBuf::from("/lib/libssl.so.3"),
            processes: HashMap::from([(process(7), late), (process(8), early)]),
            ..Used::default()
        };
        let mut history = History::default();
        history.add(process(9), said("why"));
        let expected =
            [("openssl", Some("3.0.17"), Seen::Http), ("gnutls", Some("3.7.4 or later"), Seen::OtherBytes), ("go", None, Seen::Nothing)];
        let standing = |_: &FileId, _: &Used| Standing { is_attached: true, is_everyone: false, reason: None, remedy: None };
        let of_plan = |_: &FileId, plan: &ProbePlan| PlanStanding {
            reason: (plan.library == CaptureLibrary::Go).then(|| "refused".to_owned()),
            ..PlanStanding::default()
        };
        let report = build(&HashMap::from([(FileId::default(), used)]), &history, standing, of_plan, &ProcFs::at("/nowhere"));
        assert_eq!(report.files.iter().map(|f| (f.file, f.scope.as_str(), f.users)).collect::<Vec<_>>(), [(1, "processes", 2)]);
        let told: Vec<_> = report.files[0].plans.iter().map(|plan| (plan.library.as_str(), plan.version.as_deref(), plan.seen)).collect();
        assert_eq!(told, expected);
        let refused: Vec<_> = report.files[0].plans.iter().map(|plan| plan.reason.as_deref()).collect();
        assert_eq!(refused, [None, None, Some("refused")]);
        assert_eq!((report.files[0].library.as_str(), report.files[0].version.as_deref()), ("openssl", Some("3.0.17")));
        let shown: Vec<_> = report.processes.iter().map(|p| (p.pid, p.files.clone(), p.attached_late, p.not_covered.len())).collect();
        assert_eq!(shown, [(7, vec![1], true, 0), (8, vec![1], false, 0), (9, vec![], false, 1)]);
    }
}
