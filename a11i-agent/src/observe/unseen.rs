//! TLS connections to LLM hosts of which no plaintext is seen: told by the sockets, so that no process is missed in silence.

use std::collections::{BTreeMap, HashMap, VecDeque};

use a11i_common::identity::{BootTime, ProcessId};

use super::{CoverageReport, NotCoveredReport, ProcessReport};

/// From a handshake until its plaintext is missed: longer than any client waits between its handshake and its request, but for connections
/// that are opened beforehand.
const PATIENCE_NANOS: u64 = 10 * 1_000_000_000;

/// Processes that are remembered; for one more, the first goes that nothing is awaited of, or else the first.
const PROCESSES: usize = 4_096;

/// LLM hosts of one process. Providers have few; a process that makes up names is not to cost more: of it, so many are followed.
const HOSTS: usize = 32;

/// Who began TLS with whom.
#[derive(Debug, Default)]
pub(super) struct UnseenTls {
    processes: HashMap<ProcessId, BTreeMap<String, Host>>,
    order: VecDeque<ProcessId>,
}

/// What is known of a process's connections to one host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Host {
    /// Plaintext is missed from `due` on.
    Awaited { connections: u64, due: BootTime },
    /// It was said.
    Missed { connections: u64 },
    /// Plaintext of one of them was seen, and so is that of the others.
    Seen,
}

/// Something that has to be said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Missed {
    pub process: ProcessId,
    pub host: String,
    pub connections: u64,
}

/// What a handshake leads to.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Greeted {
    /// The process had none before: it should be looked at now.
    pub is_new: bool,
    /// Of a process that had to go for it.
    pub missed: Vec<Missed>,
}

impl UnseenTls {
    /// The process began a connection. `llm_host`: in lower case.
    pub(super) fn handle_hello(&mut self, process: ProcessId, llm_host: Option<&str>, now: BootTime) -> Greeted {
        let mut greeted = Greeted { is_new: !self.processes.contains_key(&process), missed: Vec::new() };
        if greeted.is_new {
            if self.order.len() >= PROCESSES
                && let Some(gone) = self.order.remove(self.least_awaited(now))
            {
                greeted.missed = self.take(gone, Some(now));
            }
            self.order.push_back(process);
        }
        let hosts = self.processes.entry(process).or_default();
        let Some(name) = llm_host else { return greeted };
        if hosts.len() >= HOSTS && !hosts.contains_key(name) {
            // One that is seen is seen again with its next connection.
            let seen = hosts.iter().find(|(_, host)| **host == Host::Seen).map(|(name, _)| name.clone());
            let Some(seen) = seen else { return greeted };
            hosts.remove(&seen);
        }
        match hosts.entry(name.to_owned()).or_insert(Host::Awaited { connections: 0, due: now.plus_nanos(PATIENCE_NANOS) }) {
            Host::Awaited { connections, .. } | Host::Missed { connections } => *connections = connections.saturating_add(1),
            Host::Seen => {}
        }
        greeted
    }

    /// Plaintext between the process and this host was seen, or it was said why none can be. None: a call to nobody knows whom, which may be
    /// any of them.
    pub(super) fn handle_seen(&mut self, process: ProcessId, host: Option<&str>) {
        let Some(hosts) = self.processes.get_mut(&process) else { return };
        match host {
            Some(name) => {
                if let Some(host) = hosts.get_mut(name) {
                    *host = Host::Seen;
                }
            }
            None => hosts.values_mut().for_each(|host| *host = Host::Seen),
        }
    }

    /// The process ended, or runs another program: what it did not say by now was not seen.
    pub(super) fn handle_end(&mut self, process: ProcessId) -> Vec<Missed> {
        if self.processes.contains_key(&process) {
            self.order.retain(|known| *known != process);
        }
        self.take(process, None)
    }

    /// Place in `order` of who goes for another: the first whose plaintext nobody waits for.
    fn least_awaited(&self, now: BootTime) -> usize {
        let awaits = |process| {
            let hosts = self.processes.get(process).into_iter().flat_map(BTreeMap::values);
            hosts.into_iter().any(|host| matches!(host, Host::Awaited { due, .. } if *due > now))
        };
        self.order.iter().position(|process| !awaits(process)).unwrap_or_default()
    }

    /// `now`: the process goes on, and its plaintext may yet come where it is not due.
    fn take(&mut self, process: ProcessId, now: Option<BootTime>) -> Vec<Missed> {
        let hosts = self.processes.remove(&process).unwrap_or_default();
        let unsaid = hosts.into_iter().filter_map(|(host, state)| match state {
            Host::Awaited { connections, due } if now.is_none_or(|now| due <= now) => Some(Missed { process, host, connections }),
            Host::Awaited { .. } | Host::Missed { .. } | Host::Seen => None,
        });
        unsaid.collect()
    }

    /// Whose plaintext is missed now; each host of a process once.
    pub(super) fn handle_timeout(&mut self, now: BootTime) -> Vec<Missed> {
        let mut missed = Vec::new();
        for (process, hosts) in &mut self.processes {
            for (name, host) in hosts {
                if let Host::Awaited { connections, due } = *host
                    && due <= now
                {
                    *host = Host::Missed { connections };
                    missed.push(Missed { process: *process, host: name.clone(), connections });
                }
            }
        }
        missed
    }

    /// What is missed, by process, for a report.
    pub(super) fn missed(&self) -> Vec<Missed> {
        let hosts = self.processes.iter().flat_map(|(process, hosts)| hosts.iter().map(move |(name, host)| (process, name, host)));
        let missed = hosts.filter_map(|(process, name, host)| match *host {
            Host::Missed { connections } => Some(Missed { process: *process, host: name.clone(), connections }),
            Host::Awaited { .. } | Host::Seen => None,
        });
        missed.collect()
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
        assert!(unseen.handle_hello(process(1), Some(HOST), BootTime(0)).is_new);
        assert!(!unseen.handle_hello(process(1), Some(HOST), BootTime(5)).is_new);
        assert!(unseen.handle_hello(process(2), Some(HOST), BootTime(0)).is_new);
        assert!(unseen.handle_hello(process(3), None, BootTime(0)).is_new);
        unseen.handle_seen(process(2), Some(HOST));
        assert_eq!(unseen.handle_timeout(BootTime(9)), []);
        assert_eq!(unseen.handle_timeout(LATER), [missed(1, 2)]);
        unseen.handle_hello(process(1), Some(HOST), LATER);
        assert_eq!(unseen.handle_timeout(BootTime(u64::MAX)), []);
        assert_eq!(unseen.missed(), [missed(1, 3)]);
        unseen.handle_seen(process(1), None);
        assert_eq!(unseen.missed(), []);
    }

    #[test]
    fn what_is_seen_of_one_host_says_nothing_of_another() {
        let mut unseen = UnseenTls::default();
        unseen.handle_hello(process(1), Some("api.anthropic.com"), BootTime(0));
        unseen.handle_hello(process(1), Some(HOST), BootTime(0));
        unseen.handle_seen(process(1), Some("api.anthropic.com"));
        assert_eq!(unseen.handle_timeout(LATER), [missed(1, 1)]);
    }

    #[test]
    fn another_program_in_the_same_process_is_asked_anew() {
        let mut unseen = UnseenTls::default();
        unseen.handle_hello(process(1), Some(HOST), BootTime(0));
        unseen.handle_seen(process(1), Some(HOST));
        assert_eq!(unseen.handle_end(process(1)), []);
        assert!(unseen.handle_hello(process(1), Some(HOST), BootTime(0)).is_new);
        assert_eq!(unseen.handle_timeout(LATER), [missed(1, 1)]);
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
    fn processes_and_hosts_are_bounded_and_who_has_to_go_is_told() {
        let mut unseen = UnseenTls::default();
        for n in 0..100 {
            unseen.handle_hello(process(1), Some(&format!("{n}.openai.com")), BootTime(0));
        }
        assert_eq!(unseen.processes[&process(1)].len(), HOSTS);
        unseen.handle_seen(process(1), Some("0.openai.com"));
        unseen.handle_hello(process(1), Some(HOST), BootTime(0));
        let hosts = &unseen.processes[&process(1)];
        assert!(hosts.len() == HOSTS && hosts.contains_key(HOST) && !hosts.contains_key("0.openai.com"));
        let mut told = Vec::new();
        for pid in 2..10_000 {
            told.extend(unseen.handle_hello(process(pid), None, LATER).missed);
        }
        assert_eq!((unseen.processes.len(), unseen.order.len()), (PROCESSES, PROCESSES));
        assert!(told.len() == HOSTS && told.contains(&missed(1, 1)), "{told:?}");
    }

    #[test]
    fn who_has_to_go_is_one_that_nothing_is_awaited_of_and_nothing_is_told_before_its_time() {
        let mut unseen = UnseenTls::default();
        unseen.handle_hello(process(1), Some(HOST), BootTime(0));
        for pid in 2..10_000 {
            assert_eq!(unseen.handle_hello(process(pid), None, BootTime(1)).missed, []);
        }
        assert_eq!(unseen.handle_timeout(LATER), [missed(1, 1)], "it was kept");
        // Of all of them plaintext is awaited: the first goes, and may yet show it.
        let mut unseen = UnseenTls::default();
        for pid in 0..4_200 {
            assert_eq!(unseen.handle_hello(process(pid), Some(HOST), BootTime(0)).missed, []);
        }
        assert!(!unseen.processes.contains_key(&process(0)) && unseen.processes.contains_key(&process(4_199)));
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
