//! Calls and losses per process, for `a11i processes`.

use std::collections::HashMap;

use a11i_common::identity::ProcessId;

use super::{CoverageReport, ProcessReport};
use crate::call::{CaptureFacts, Completeness};

/// Processes that are remembered; for one more, the one that was silent longest is forgotten.
const MAX_PROCESSES: usize = 4096;

#[derive(Clone, Debug, Default)]
pub(super) struct ProcessTally {
    processes: HashMap<ProcessId, Tally>,
    /// Counts calls: the order in which processes spoke.
    spoken: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Tally {
    calls: u64,
    lost_bytes: u64,
    incomplete: u64,
    joined_late: u64,
    /// Each once; there are few.
    through: Vec<CaptureFacts>,
    last: u64,
}

impl ProcessTally {
    pub(super) fn add(&mut self, process: ProcessId, capture: CaptureFacts, completeness: Completeness) {
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&process) {
            let silent = self.processes.iter().min_by_key(|(_, tally)| tally.last).map(|(process, _)| *process);
            silent.and_then(|process| self.processes.remove(&process));
        }
        self.spoken = self.spoken.saturating_add(1);
        let tally = self.processes.entry(process).or_default();
        tally.calls = tally.calls.saturating_add(1);
        tally.last = self.spoken;
        tally.incomplete = tally.incomplete.saturating_add(u64::from(!completeness.is_whole()));
        tally.joined_late = tally.joined_late.saturating_add(u64::from(completeness == Completeness::JoinedLate));
        if !tally.through.contains(&capture) {
            tally.through.push(capture);
        }
        if let Completeness::Gap { lost: Some(lost), .. } = completeness {
            tally.lost_bytes = tally.lost_bytes.saturating_add(lost);
        }
    }

    /// Puts the numbers into a report of what is covered.
    pub(super) fn complete(mut self, report: &mut CoverageReport) {
        for process in &mut report.processes {
            let id = ProcessId { pid: a11i_common::identity::Pid(process.pid), start_ticks: process.start_ticks };
            if let Some(tally) = self.processes.remove(&id) {
                tally.put_into(process);
            }
        }
        // Those that ended since, those without TLS, and those whose kernel half knows no start time.
        let others = self.processes.into_iter().map(|(id, tally)| {
            let mut process = ProcessReport { pid: id.pid.0, start_ticks: id.start_ticks, ..ProcessReport::default() };
            tally.put_into(&mut process);
            process
        });
        report.processes.extend(others);
        report.processes.sort_by_key(|process| (process.pid, process.start_ticks));
    }
}

impl Tally {
    fn put_into(self, process: &mut ProcessReport) {
        (process.calls, process.lost_bytes) = (self.calls, self.lost_bytes);
        (process.incomplete_calls, process.joined_late_calls) = (self.incomplete, self.joined_late);
        let named =
            |facts: CaptureFacts| format!("{}/{}", facts.library.map_or("?", |it| it.as_str()), facts.method.map_or("?", |it| it.as_str()));
        process.seen_through = self.through.into_iter().map(named).collect();
    }
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::Pid;

    use super::*;
    use crate::call::{CaptureLibrary, CaptureMethod, LossCauses};

    const SOCKET: CaptureFacts = CaptureFacts { library: Some(CaptureLibrary::Plaintext), method: Some(CaptureMethod::Socket) };

    const fn process(pid: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start_ticks: 1 }
    }

    #[test]
    fn a_report_gets_the_numbers_of_its_processes_and_those_of_others() {
        let mut tally = ProcessTally::default();
        tally.add(process(7), SOCKET, Completeness::Whole);
        tally.add(process(7), SOCKET, Completeness::Gap { lost: Some(10), causes: LossCauses(1) });
        tally.add(process(3), CaptureFacts::default(), Completeness::JoinedLate);
        let known = ProcessReport { pid: 7, start_ticks: 1, executable: Some("x".to_owned()), ..ProcessReport::default() };
        let silent = ProcessReport { pid: 9, start_ticks: 1, ..ProcessReport::default() };
        let mut report = CoverageReport { processes: vec![silent, known], ..CoverageReport::default() };
        tally.complete(&mut report);
        let seen: Vec<_> = report.processes.iter().map(|p| (p.pid, p.executable.is_some(), p.calls, p.lost_bytes)).collect();
        assert_eq!(seen, [(3, false, 1, 0), (7, true, 2, 10), (9, false, 0, 0)]);
        let how: Vec<_> = report.processes.iter().map(|p| (p.incomplete_calls, p.joined_late_calls, p.seen_through.join(" "))).collect();
        assert_eq!(how, [(1, 1, "?/?".to_owned()), (1, 0, "plaintext/socket".to_owned()), (0, 0, String::new())]);
    }

    #[test]
    fn the_process_that_was_silent_longest_is_forgotten_first() {
        let mut tally = ProcessTally::default();
        for pid in 0..u32::try_from(MAX_PROCESSES).unwrap() {
            tally.add(process(pid), SOCKET, Completeness::Whole);
        }
        tally.add(process(0), SOCKET, Completeness::Whole);
        tally.add(process(u32::MAX), SOCKET, Completeness::Whole);
        assert_eq!(tally.processes.len(), MAX_PROCESSES);
        assert!(tally.processes.contains_key(&process(0)) && !tally.processes.contains_key(&process(1)));
    }
}
