//! Processes that somebody else reports: the trees of `exec`. A state machine: roots and forks in, a yes or no per process out; and which of
//! their sessions the kernel half was told to leave alone.

use std::collections::HashMap;

use a11i_common::{
    decode::SessionId,
    identity::{BootTime, Pid, ProcessId},
    limits::SESSIONS,
};

use crate::flow::FlowId;

/// Who hides a tree: one connection of the admin socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Hider(pub(super) u64);

/// More than a host runs below `exec`; what exceeds it is reported twice rather than not at all.
const MAX_HIDDEN: usize = 65_536;

/// As many as the kernel half knows at once; of what exceeds it (ends that were not told) bytes are copied for nothing.
const MAX_IGNORED: usize = SESSIONS as usize;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HiddenTrees {
    /// By pid, since a fork names its parent so.
    processes: HashMap<Pid, Hidden>,
    /// Sessions the kernel half was told to ignore.
    ignored: HashMap<FlowId, Hider>,
}

#[derive(Clone, Copy, Debug)]
struct Hidden {
    process: ProcessId,
    /// It lived then, so that a fork before was its own.
    at: BootTime,
    by: Hider,
}

impl HiddenTrees {
    /// `at`: a time when the process was there. Records of before may still come.
    pub(super) fn hide(&mut self, process: ProcessId, at: BootTime, by: Hider) {
        if self.processes.len() < MAX_HIDDEN || self.processes.contains_key(&process.pid) {
            self.processes.insert(process.pid, Hidden { process, at, by });
        }
    }

    /// The connection is gone: what still runs is for us to report. The sessions that the kernel half ignores, to be forgotten there.
    #[must_use]
    pub(super) fn reveal(&mut self, by: Hider) -> Vec<FlowId> {
        self.processes.retain(|_, hidden| hidden.by != by);
        self.ignored.extract_if(|_, hider| *hider == by).map(|(flow, _)| flow).collect()
    }

    /// Bytes of this session have come. True once, if the process is hidden: the kernel half has to be told to ignore it.
    pub(super) fn is_to_be_ignored(&mut self, process: ProcessId, session: SessionId) -> bool {
        let Some(hidden) = self.processes.get(&process.pid).filter(|hidden| is_same(hidden.process, process)) else { return false };
        let flow = FlowId { process, session };
        self.ignored.len() < MAX_IGNORED && self.ignored.insert(flow, hidden.by).is_none()
    }

    /// The session has ended, or could not be ignored.
    pub(super) fn forget(&mut self, process: ProcessId, session: SessionId) {
        self.ignored.remove(&FlowId { process, session });
    }

    pub(super) fn handle_fork(&mut self, child: ProcessId, parent: Pid, time: BootTime) {
        if self.is_older(child, time) {
            return;
        }
        match self.processes.get(&parent).copied() {
            Some(hidden) => self.hide(child, time, hidden.by),
            // The pid of one whose end was not told.
            None => drop(self.processes.remove(&child.pid)),
        }
    }

    pub(super) fn handle_exit(&mut self, process: ProcessId, time: BootTime) {
        if !self.is_older(process, time) && self.processes.remove(&process.pid).is_some() {
            self.ignored.retain(|flow, _| flow.process.pid != process.pid);
        }
    }

    /// What is told is older than what is known of this pid: the question to hide a process can be faster than the record of its birth.
    fn is_older(&self, process: ProcessId, time: BootTime) -> bool {
        self.processes.get(&process.pid).is_some_and(|hidden| time < hidden.at)
    }

    pub(super) fn contains(&self, process: ProcessId) -> bool {
        self.processes.get(&process.pid).is_some_and(|hidden| is_same(hidden.process, process))
    }

    pub(super) fn len(&self) -> usize {
        self.processes.len()
    }
}

/// Start times are unknown to a kernel half without BTF.
const fn is_same(one: ProcessId, other: ProcessId) -> bool {
    one.start_ticks == other.start_ticks || one.start_ticks == 0 || other.start_ticks == 0
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::TlsSession;

    use super::*;

    const AT: BootTime = BootTime(100);

    fn process(pid: u32, start_ticks: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start_ticks }
    }

    #[test]
    fn a_tree_is_hidden_through_forks_until_its_hider_is_gone() {
        let mut trees = HiddenTrees::default();
        trees.hide(process(10, 1), AT, Hider(1));
        trees.handle_fork(process(11, 2), Pid(10), AT);
        trees.handle_fork(process(12, 3), Pid(11), AT);
        trees.handle_fork(process(20, 4), Pid(19), AT);
        assert!([process(10, 1), process(11, 2), process(12, 3)].into_iter().all(|p| trees.contains(p)));
        assert!(!trees.contains(process(20, 4)));
        trees.handle_exit(process(11, 2), AT);
        assert!(!trees.contains(process(11, 2)) && trees.contains(process(12, 3)), "an orphan stays hidden");
        assert!(trees.reveal(Hider(1)).is_empty());
        assert_eq!(trees.len(), 0);
    }

    #[test]
    fn a_pid_that_is_used_again_is_not_hidden() {
        let mut trees = HiddenTrees::default();
        trees.hide(process(10, 1), AT, Hider(1));
        assert!(!trees.contains(process(10, 7)));
        trees.handle_fork(process(10, 7), Pid(1), AT);
        trees.handle_fork(process(11, 8), Pid(10), AT);
        assert_eq!(trees.len(), 0);
    }

    #[test]
    fn a_birth_and_a_death_that_are_told_late_reveal_nobody() {
        let mut trees = HiddenTrees::default();
        trees.hide(process(10, 0), AT, Hider(1));
        let earlier = BootTime(AT.0 - 1);
        trees.handle_exit(process(10, 0), earlier);
        trees.handle_fork(process(10, 0), Pid(1), earlier);
        assert!(trees.contains(process(10, 0)));
        trees.handle_fork(process(10, 0), Pid(1), AT);
        assert!(!trees.contains(process(10, 0)), "the pid was used again");
    }

    #[test]
    fn hiders_do_not_reveal_each_others_trees() {
        let mut trees = HiddenTrees::default();
        trees.hide(process(10, 1), AT, Hider(1));
        trees.hide(process(20, 1), AT, Hider(2));
        assert!(trees.reveal(Hider(1)).is_empty());
        assert!(!trees.contains(process(10, 1)) && trees.contains(process(20, 1)));
    }

    #[test]
    fn each_session_of_a_hidden_process_is_ignored_once_and_given_back_when_it_is_revealed() {
        let session = |at: u64| SessionId { session: TlsSession(at), generation: 1 };
        let mut trees = HiddenTrees::default();
        for pid in [10, 20, 30] {
            trees.hide(process(pid, 1), AT, Hider(u64::from(pid.min(20))));
        }
        assert!(!trees.is_to_be_ignored(process(40, 1), session(1)), "a process that is not hidden");
        for (pid, at) in [(10, 1), (10, 2), (20, 1), (20, 3), (30, 1)] {
            assert!(trees.is_to_be_ignored(process(pid, 1), session(at)) && !trees.is_to_be_ignored(process(pid, 1), session(at)));
        }
        trees.forget(process(20, 1), session(3));
        trees.handle_exit(process(30, 1), AT);
        assert_eq!(trees.reveal(Hider(20)), [FlowId { process: process(20, 1), session: session(1) }]);
        assert_eq!(trees.reveal(Hider(10)).len(), 2);
        assert!(trees.ignored.is_empty());
    }

    #[test]
    fn what_exceeds_the_bound_is_reported() {
        let mut trees = HiddenTrees::default();
        for pid in 0..=u32::try_from(MAX_HIDDEN).unwrap() {
            trees.hide(process(pid, 1), AT, Hider(1));
        }
        assert_eq!(trees.len(), MAX_HIDDEN);
        assert!(!trees.contains(process(u32::try_from(MAX_HIDDEN).unwrap(), 1)));
    }
}
