//! Processes that somebody else reports: the trees of `exec`. A state machine: roots and forks in, a yes or no per process out.

use std::collections::HashMap;

use a11i_common::identity::{Pid, ProcessId};

/// Who hides a tree: one connection of the admin socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Hider(pub(super) u64);

/// More than a host runs below `exec`; what exceeds it is reported twice rather than not at all.
const MAX_HIDDEN: usize = 65_536;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HiddenTrees {
    /// By pid, since a fork names its parent so.
    processes: HashMap<Pid, Hidden>,
}

#[derive(Clone, Copy, Debug)]
struct Hidden {
    process: ProcessId,
    by: Hider,
}

impl HiddenTrees {
    pub(super) fn hide(&mut self, process: ProcessId, by: Hider) {
        if self.processes.len() < MAX_HIDDEN || self.processes.contains_key(&process.pid) {
            self.processes.insert(process.pid, Hidden { process, by });
        }
    }

    /// The connection is gone: what still runs is for us to report.
    pub(super) fn reveal(&mut self, by: Hider) {
        self.processes.retain(|_, hidden| hidden.by != by);
    }

    pub(super) fn handle_fork(&mut self, child: ProcessId, parent: Pid) {
        match self.processes.get(&parent).copied() {
            Some(hidden) => self.hide(child, hidden.by),
            // The pid of one whose end was not told.
            None => drop(self.processes.remove(&child.pid)),
        }
    }

    pub(super) fn handle_exit(&mut self, process: ProcessId) {
        self.processes.remove(&process.pid);
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
    use super::*;

    fn process(pid: u32, start_ticks: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start_ticks }
    }

    #[test]
    fn a_tree_is_hidden_through_forks_until_its_hider_is_gone() {
        let mut trees = HiddenTrees::default();
        trees.hide(process(10, 1), Hider(1));
        trees.handle_fork(process(11, 2), Pid(10));
        trees.handle_fork(process(12, 3), Pid(11));
        trees.handle_fork(process(20, 4), Pid(19));
        assert!([process(10, 1), process(11, 2), process(12, 3)].into_iter().all(|p| trees.contains(p)));
        assert!(!trees.contains(process(20, 4)));
        trees.handle_exit(process(11, 2));
        assert!(!trees.contains(process(11, 2)) && trees.contains(process(12, 3)), "an orphan stays hidden");
        trees.reveal(Hider(1));
        assert_eq!(trees.len(), 0);
    }

    #[test]
    fn a_pid_that_is_used_again_is_not_hidden() {
        let mut trees = HiddenTrees::default();
        trees.hide(process(10, 1), Hider(1));
        assert!(!trees.contains(process(10, 7)));
        trees.handle_fork(process(10, 7), Pid(1));
        trees.handle_fork(process(11, 8), Pid(10));
        assert_eq!(trees.len(), 0);
    }

    #[test]
    fn hiders_do_not_reveal_each_others_trees() {
        let mut trees = HiddenTrees::default();
        trees.hide(process(10, 1), Hider(1));
        trees.hide(process(20, 1), Hider(2));
        trees.reveal(Hider(1));
        assert!(!trees.contains(process(10, 1)) && trees.contains(process(20, 1)));
    }

    #[test]
    fn what_exceeds_the_bound_is_reported() {
        let mut trees = HiddenTrees::default();
        for pid in 0..=u32::try_from(MAX_HIDDEN).unwrap() {
            trees.hide(process(pid, 1), Hider(1));
        }
        assert_eq!(trees.len(), MAX_HIDDEN);
        assert!(!trees.contains(process(u32::try_from(MAX_HIDDEN).unwrap(), 1)));
    }
}
