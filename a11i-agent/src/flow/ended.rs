//! Who ended lately, so that what comes late of it is not taken for something new.

use std::collections::{HashMap, VecDeque};

use a11i_common::identity::{BootTime, ProcessId, TlsSession};

use super::FlowId;

/// Ends of sessions, and of processes, that are remembered. Records are late by no more than a ring's worth, and far fewer sessions than
/// this end within one.
pub const ENDS: usize = 4_096;

/// Sessions and processes that ended, the newest of them.
#[derive(Debug, Default)]
pub struct Ended {
    sessions: Recent<(ProcessId, TlsSession)>,
    processes: Recent<ProcessId>,
}

impl Ended {
    pub fn session_ended(&mut self, id: &FlowId, time: BootTime) {
        self.sessions.put((id.process, id.session.session), time);
    }

    /// A process that execs goes on as another program: what it does from then on is new.
    pub fn process_ended(&mut self, process: ProcessId, time: BootTime) {
        self.processes.put(process, time);
    }

    /// Whether what happened at `time` belongs to a session that is over. Whatever the generation: at one address there is one session at a
    /// time.
    pub fn covers(&self, id: &FlowId, time: BootTime) -> bool {
        let session = self.sessions.last.get(&(id.process, id.session.session));
        // The end of a process is taken after its last transfer, and an exec may be followed by one within the clock's grain.
        session.is_some_and(|end| time <= *end) || self.processes.last.get(&id.process).is_some_and(|end| time < *end)
    }
}

/// The time of each key, bounded by forgetting the oldest.
#[derive(Debug)]
struct Recent<K> {
    last: HashMap<K, BootTime>,
    /// In order of entry. A key that is entered again has several places, of which only the one with its last time counts.
    order: VecDeque<(K, BootTime)>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { last: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + std::hash::Hash> Recent<K> {
    fn put(&mut self, key: K, time: BootTime) {
        let last = self.last.entry(key).or_insert(time);
        *last = time.max(*last);
        self.order.push_back((key, *last));
        if self.order.len() > ENDS
            && let Some((key, time)) = self.order.pop_front()
            && self.last.get(&key) == Some(&time)
        {
            self.last.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use a11i_common::{decode::SessionId, identity::Pid};

    use super::*;

    fn flow(session: u64, generation: u16) -> FlowId {
        FlowId { process: ProcessId { pid: Pid(1), start_ticks: 1 }, session: SessionId { session: TlsSession(session), generation } }
    }

    #[test]
    fn what_happened_before_an_end_is_over_and_what_happens_after_is_new() {
        let mut ended = Ended::default();
        ended.session_ended(&flow(1, 1), BootTime(10));
        assert!(ended.covers(&flow(1, 1), BootTime(10)) && ended.covers(&flow(1, 7), BootTime(9)));
        assert!(!ended.covers(&flow(1, 1), BootTime(11)) && !ended.covers(&flow(2, 1), BootTime(9)));
        ended.process_ended(flow(1, 1).process, BootTime(20));
        assert!(ended.covers(&flow(2, 1), BootTime(19)) && !ended.covers(&flow(2, 1), BootTime(20)));
    }

    #[test]
    fn only_the_newest_ends_are_kept() {
        let mut ended = Ended::default();
        let many = u64::try_from(ENDS).unwrap() * 3;
        for n in 0..many {
            ended.session_ended(&flow(n, 0), BootTime(n));
            ended.session_ended(&flow(u64::MAX, 0), BootTime(n));
        }
        assert!(ended.sessions.last.len() <= ENDS && ended.sessions.order.len() <= ENDS);
        assert!(!ended.covers(&flow(0, 0), BootTime(0)));
        assert!(ended.covers(&flow(u64::MAX, 0), BootTime(many - 1)) && ended.covers(&flow(many - 1, 0), BootTime(0)));
    }
}
