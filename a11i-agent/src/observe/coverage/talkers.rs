//! Processes with LLM traffic, as the event loop learns of them; the coverage thread is told of each once.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use a11i_common::identity::{Pid, ProcessId};
use tokio::sync::mpsc;

/// The event loop's end.
#[derive(Debug)]
pub(in crate::observe) struct Talkers {
    known: HashMap<Pid, ProcessId>,
    told: mpsc::Sender<ProcessId>,
    scoped: Arc<AtomicBool>,
}

/// The coverage thread's end.
#[derive(Debug)]
pub(in crate::observe) struct TalkerInbox {
    pub(super) told: mpsc::Receiver<ProcessId>,
    /// Set while a file is attached for single processes only: then forks must be looked at without delay.
    pub(super) scoped: Arc<AtomicBool>,
}

/// Processes that begin to talk within one pause of the coverage thread. One that finds no room is told at its next call.
const UNDER_WAY: usize = 1024;

/// As many as the kernel half tracks. More are told at each of their calls.
const MAX_KNOWN: usize = a11i_common::limits::PROCESSES as usize;

impl Talkers {
    pub(in crate::observe) fn new() -> (Self, TalkerInbox) {
        let (told, inbox) = mpsc::channel(UNDER_WAY);
        let scoped = Arc::new(AtomicBool::new(false));
        (Self { known: HashMap::new(), told, scoped: Arc::clone(&scoped) }, TalkerInbox { told: inbox, scoped })
    }

    /// It has an LLM call, or asked for an LLM provider's server name.
    pub(in crate::observe) fn handle_talk(&mut self, process: ProcessId) {
        if self.known.get(&process.pid) != Some(&process) && self.told.try_send(process).is_ok() && self.known.len() < MAX_KNOWN {
            self.known.insert(process.pid, process);
        }
    }

    /// A child talks as its parent does. True: it should be looked at now, since probes are not for everyone.
    pub(in crate::observe) fn handle_fork(&mut self, parent: Pid, child: ProcessId) -> bool {
        if self.known.contains_key(&parent) {
            self.handle_talk(child);
        }
        self.scoped.load(Ordering::Relaxed)
    }

    pub(in crate::observe) fn handle_exit(&mut self, process: ProcessId) {
        self.known.remove(&process.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start_ticks: 5 }
    }

    #[test]
    fn a_talker_is_told_once_and_its_children_too() {
        let (mut talkers, mut inbox) = Talkers::new();
        talkers.handle_talk(process(7));
        talkers.handle_talk(process(7));
        assert!(!talkers.handle_fork(Pid(7), process(8)) && !talkers.handle_fork(Pid(6), process(9)));
        inbox.scoped.store(true, Ordering::Relaxed);
        assert!(talkers.handle_fork(Pid(8), process(10)));
        talkers.handle_exit(process(7));
        assert!(talkers.handle_fork(Pid(7), process(11)));
        let told: Vec<_> = std::iter::from_fn(|| inbox.told.try_recv().ok()).collect();
        assert_eq!(told, [process(7), process(8), process(10)]);
    }

    #[test]
    fn who_found_no_room_is_told_again() {
        let (mut talkers, mut inbox) = Talkers::new();
        for pid in 0..=u32::try_from(UNDER_WAY).unwrap() {
            talkers.handle_talk(process(pid));
        }
        while inbox.told.try_recv().is_ok() {}
        talkers.handle_talk(process(u32::try_from(UNDER_WAY).unwrap()));
        assert_eq!(inbox.told.try_recv().ok(), Some(process(u32::try_from(UNDER_WAY).unwrap())));
    }
}
