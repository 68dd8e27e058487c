//! TLS connections to LLM hosts of which no plaintext is seen: told by the sockets, so that no process is missed in silence.

use std::collections::{BTreeMap, HashMap, VecDeque};

use a11i_common::identity::{BootTime, ProcessId};

use super::{CoverageReport, NotCoveredReport, ProcessReport};

/// From a handshake until its plaintext is missed: longer than any client waits between its handshake and its request, but for connections
/// that are opened beforehand.
const PATIENCE_NANOS: u64 = 10 * 1_000_000_000;

/// Processes that are remembered; for one more, the one that was first goes.
const PROCESSES: usize = 4_096;

/// Hosts of one process. Providers have few; a process that makes up names is not to cost more.
const HOSTS: usize = 8;

/// Who began TLS with whom.
#[derive(Debug, Default)]
pub(super) struct UnseenTls {
    processes: HashMap<ProcessId, Process>,
    order: VecDeque<ProcessId>,
}

#[derive(Clone, Debug, Default)]
struct Process {
    /// Its plaintext to LLM hosts is seen.
    seen: bool,
    hosts: BTreeMap<String, Host>,
}

#[derive(Clone, Debug, Default)]
struct Host {
    connections: u64,
    /// When the first of them is missed; None: it was.
    due: Option<BootTime>,
}

/// Something that has to be said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Missed {
    pub process: ProcessId,
    pub host: String,
    pub connections: u64,
}

impl UnseenTls {
    /// The process began a connection. True: it had none before, so that it should be looked at now.
    pub(super) fn handle_hello(&mut self, process: ProcessId, llm_host: Option<&str>, now: BootTime) -> bool {
        let is_new = !self.processes.contains_key(&process);
        if is_new {
            if self.order.len() >= PROCESSES
                && let Some(first) = self.order.pop_front()
            {
                self.processes.remove(&first);
            }
            self.order.push_back(process);
        }
        let entry = self.processes.entry(process).or_default();
        if let Some(name) = llm_host
            && !entry.seen
            && (entry.hosts.len() < HOSTS || entry.hosts.contains_key(name))
        {
            let fresh = || Host { connections: 0, due: Some(now.plus_nanos(PATIENCE_NANOS)) };
            let host = entry.hosts.entry(name.to_owned()).or_insert_with(fresh);
            host.connections = host.connections.saturating_add(1);
        }
        is_new
    }

    /// An LLM call of this process was seen, or it was said why none can be.
    pub(super) fn handle_seen(&mut self, process: ProcessId) {
        if let Some(entry) = self.processes.get_mut(&process) {
            entry.seen = true;
            entry.hosts.clear();
        }
    }

    /// The process ended: what it did not say by now was not seen.
    pub(super) fn handle_end(&mut self, process: ProcessId) -> Vec<Missed> {
        let Some(entry) = self.processes.remove(&process) else { return Vec::new() };
        self.order.retain(|known| *known != process);
        let unsaid = entry.hosts.into_iter().filter(|(_, host)| host.due.is_some());
        unsaid.map(|(host, Host { connections, .. })| Missed { process, host, connections }).collect()
    }

    /// Whose plaintext is missed now; each host of a process once.
    pub(super) fn handle_timeout(&mut self, now: BootTime) -> Vec<Missed> {
        let mut missed = Vec::new();
        for (process, entry) in &mut self.processes {
            for (name, host) in &mut entry.hosts {
                if host.due.is_some_and(|due| due <= now) {
                    host.due = None;
                    missed.push(Missed { process: *process, host: name.clone(), connections: host.connections });
                }
            }
        }
        missed
    }

    /// What is missed, by process, for a report.
    pub(super) fn missed(&self) -> Vec<Missed> {
        let hosts = self.processes.iter().flat_map(|(process, entry)| entry.hosts.iter().map(move |(name, host)| (process, name, host)));
        hosts
            .filter(|(.., host)| host.due.is_none())
            .map(|(process, name, host)| Missed { process: *process, host: name.clone(), connections: host.connections })
            .collect()
    }
}

/// Puts what is missed into a report of what is covered.
pub(super) fn complete(missed: Vec<Missed>, report: &mut CoverageReport) {
    for Missed { process, host, connections } in missed {
        let said = NotCoveredReport {
            reason: format!("{connections} TLS connections to {host} without plaintext"),
            remedy: Some("see `a11i inspect` of this process for its TLS libraries".to_owned()),
        };
        let known = report.processes.iter_mut().find(|known| (known.pid, known.start_ticks) == (process.pid.0, process.start_ticks));
        match known {
            Some(known) => known.not_covered.push(said),
            None => report.processes.push(ProcessReport {
                pid: process.pid.0,
                start_ticks: process.start_ticks,
                not_covered: vec![said],
                ..ProcessReport::default()
            }),
        }
    }
    report.processes.sort_by_key(|process| (process.pid, process.start_ticks));
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::Pid;

    use super::*;

    const fn process(pid: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start_ticks: 1 }
    }

    const HOST: &str = "api.openai.com";
    const LATER: BootTime = BootTime(PATIENCE_NANOS);

    fn missed(pid: u32, connections: u64) -> Missed {
        Missed { process: process(pid), host: HOST.to_owned(), connections }
    }

    #[test]
    fn what_is_not_seen_in_time_is_missed_once() {
        let mut unseen = UnseenTls::default();
        assert!(unseen.handle_hello(process(1), Some(HOST), BootTime(0)));
        assert!(!unseen.handle_hello(process(1), Some(HOST), BootTime(5)));
        assert!(unseen.handle_hello(process(2), Some(HOST), BootTime(0)));
        assert!(unseen.handle_hello(process(3), None, BootTime(0)));
        unseen.handle_seen(process(2));
        assert_eq!(unseen.handle_timeout(BootTime(9)), []);
        assert_eq!(unseen.handle_timeout(LATER), [missed(1, 2)]);
        unseen.handle_hello(process(1), Some(HOST), LATER);
        assert_eq!(unseen.handle_timeout(BootTime(u64::MAX)), []);
        assert_eq!(unseen.missed(), [missed(1, 3)]);
        unseen.handle_seen(process(1));
        assert_eq!(unseen.missed(), []);
    }

    #[test]
    fn a_process_that_ends_sooner_is_told_at_its_end() {
        let mut unseen = UnseenTls::default();
        unseen.handle_hello(process(1), Some(HOST), BootTime(0));
        assert_eq!(unseen.handle_end(process(1)), [missed(1, 1)]);
        assert_eq!(unseen.handle_end(process(1)), []);
        unseen.handle_hello(process(2), Some(HOST), BootTime(0));
        assert_eq!(unseen.handle_timeout(LATER), [missed(2, 1)]);
        assert_eq!(unseen.handle_end(process(2)), []);
    }

    #[test]
    fn processes_and_hosts_are_bounded() {
        let mut unseen = UnseenTls::default();
        for n in 0..100 {
            unseen.handle_hello(process(1), Some(&format!("{n}.openai.com")), BootTime(0));
        }
        assert_eq!(unseen.processes[&process(1)].hosts.len(), HOSTS);
        for pid in 2..10_000 {
            unseen.handle_hello(process(pid), None, BootTime(0));
        }
        assert_eq!((unseen.processes.len(), unseen.order.len()), (PROCESSES, PROCESSES));
    }

    #[test]
    fn a_report_names_process_host_and_what_to_do() {
        let known = ProcessReport { pid: 7, start_ticks: 1, executable: Some("x".to_owned()), ..ProcessReport::default() };
        let mut report = CoverageReport { processes: vec![known], ..CoverageReport::default() };
        complete(vec![missed(7, 2), missed(3, 1)], &mut report);
        let said: Vec<_> = report.processes.iter().map(|p| (p.pid, p.not_covered[0].reason.as_str())).collect();
        assert_eq!(
            said,
            [(3, "1 TLS connections to api.openai.com without plaintext"), (7, "2 TLS connections to api.openai.com without plaintext")]
        );
    }
}
