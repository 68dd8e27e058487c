//! Owners of processes, kept for a while after they ended: a call is finished after the last byte, and a short program
//! may be gone by then.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use a11i_common::identity::{BootTime, ProcessId};

use super::Owner;

/// Bounded; no I/O of its own: who resolves is asked through a closure, so that tests need no processes.
#[derive(Debug, Default)]
pub struct OwnerCache {
    entries: HashMap<ProcessId, Entry>,
    /// Ended processes by the time they may be forgotten.
    ended: BTreeSet<(BootTime, ProcessId)>,
    /// Living processes by last use; the least recently used goes first.
    used: BTreeSet<(u64, ProcessId)>,
    uses: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Entry {
    owner: Arc<Owner>,
    /// Nothing was learnt of it but its id.
    unknown: bool,
    used: u64,
    forget_at: Option<BootTime>,
}

impl OwnerCache {
    /// The owner, resolved on the first question. A process that could not be resolved is [`Owner::unknown`], and asked
    /// for again next time only if it is not known to have ended.
    pub fn owner(&mut self, process: ProcessId, resolve: impl FnOnce(ProcessId) -> Option<Owner>) -> Arc<Owner> {
        if let Some(entry) = self.entries.get(&process)
            && (!entry.unknown || entry.forget_at.is_some())
        {
            let owner = Arc::clone(&entry.owner);
            self.touch(process);
            return owner;
        }
        self.put(process, resolve(process))
    }

    /// The process runs another program: described anew. What calls already hold stays as it was.
    pub fn handle_exec(&mut self, process: ProcessId, resolve: impl FnOnce(ProcessId) -> Option<Owner>) {
        match resolve(process) {
            Some(owner) => drop(self.put(process, Some(owner))),
            // Gone already: what was known before the exec would be the wrong program.
            None => self.remove(process),
        }
    }

    /// The process ended: its owner is kept for the calls that are still under way.
    pub fn handle_exit(&mut self, process: ProcessId, now: BootTime) {
        let Some(entry) = self.entries.get_mut(&process) else { return };
        if entry.forget_at.is_none() {
            let at = now.plus_nanos(KEPT_AFTER_EXIT_NANOS);
            entry.forget_at = Some(at);
            self.ended.insert((at, process));
        }
    }

    pub fn handle_timeout(&mut self, now: BootTime) {
        while let Some(&(at, process)) = self.ended.first() {
            if at > now {
                break;
            }
            self.remove(process);
        }
    }

    pub fn poll_timeout(&self) -> Option<BootTime> {
        self.ended.first().map(|(at, _)| *at)
    }

    /// Entries that had to go because the cache was full.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn put(&mut self, process: ProcessId, owner: Option<Owner>) -> Arc<Owner> {
        // An end that is known stays known.
        let forget_at = self.entries.get(&process).and_then(|entry| entry.forget_at);
        self.remove(process);
        while self.entries.len() >= MAX_OWNERS {
            // Ended ones first.
            let ended = self.ended.first().map(|(_, process)| *process);
            let Some(victim) = ended.or_else(|| self.used.first().map(|(_, process)| *process)) else { break };
            self.remove(victim);
            self.evicted = self.evicted.saturating_add(1);
        }
        let unknown = owner.is_none();
        let owner = Arc::new(owner.unwrap_or_else(|| Owner::unknown(process)));
        self.uses = self.uses.saturating_add(1);
        self.used.insert((self.uses, process));
        if let Some(at) = forget_at {
            self.ended.insert((at, process));
        }
        self.entries.insert(process, Entry { owner: Arc::clone(&owner), unknown, used: self.uses, forget_at });
        owner
    }

    fn touch(&mut self, process: ProcessId) {
        let Some(entry) = self.entries.get_mut(&process) else { return };
        self.uses = self.uses.saturating_add(1);
        self.used.remove(&(entry.used, process));
        entry.used = self.uses;
        self.used.insert((self.uses, process));
    }

    fn remove(&mut self, process: ProcessId) {
        if let Some(entry) = self.entries.remove(&process) {
            self.used.remove(&(entry.used, process));
            if let Some(at) = entry.forget_at {
                self.ended.remove(&(at, process));
            }
        }
    }
}

/// Processes with TLS traffic or recently begun; an owner takes about 1 KiB.
const MAX_OWNERS: usize = 16_384;
/// The pipeline finishes calls within seconds of the last byte; a minute leaves room for a full queue.
const KEPT_AFTER_EXIT_NANOS: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use a11i_common::identity::Pid;

    use super::*;

    fn id(pid: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start_ticks: 1 }
    }

    fn named(name: &str) -> impl FnOnce(ProcessId) -> Option<Owner> {
        move |process| Some(Owner { executable_name: Some(name.to_owned()), ..Owner::unknown(process) })
    }

    fn nobody(_: ProcessId) -> Option<Owner> {
        None
    }

    #[test]
    fn a_process_is_resolved_once_and_survives_its_end_for_a_while() {
        let mut cache = OwnerCache::default();
        cache.owner(id(1), named("python3"));
        cache.handle_exit(id(1), BootTime(5));
        assert_eq!(cache.owner(id(1), nobody).executable_name.as_deref(), Some("python3"));
        let end = cache.poll_timeout().unwrap();
        assert_eq!(end, BootTime(5 + KEPT_AFTER_EXIT_NANOS));
        cache.handle_timeout(BootTime(end.0 - 1));
        assert_eq!(cache.len(), 1);
        cache.handle_timeout(end);
        assert!(cache.is_empty() && cache.used.is_empty() && cache.ended.is_empty());
    }

    #[test]
    fn an_exec_changes_the_owner_but_not_of_calls_under_way() {
        let mut cache = OwnerCache::default();
        let before = cache.owner(id(1), named("sh"));
        cache.handle_exec(id(1), named("curl"));
        assert_eq!(cache.owner(id(1), nobody).executable_name.as_deref(), Some("curl"));
        assert_eq!(before.executable_name.as_deref(), Some("sh"));
        cache.handle_exec(id(1), nobody);
        assert_eq!(cache.owner(id(1), nobody).executable_name, None);
    }

    #[test]
    fn what_could_not_be_resolved_is_asked_for_again_while_it_lives() {
        let mut cache = OwnerCache::default();
        assert_eq!(*cache.owner(id(1), nobody), Owner::unknown(id(1)));
        assert_eq!(cache.owner(id(1), named("late")).executable_name.as_deref(), Some("late"));
        cache.owner(id(2), nobody);
        cache.handle_exit(id(2), BootTime(0));
        assert_eq!(cache.owner(id(2), named("another")).executable_name, None);
    }

    #[test]
    fn a_full_cache_lets_the_ended_go_first_then_the_least_used() {
        let mut cache = OwnerCache::default();
        let full = u32::try_from(MAX_OWNERS).unwrap();
        for pid in 0..full {
            cache.owner(id(pid), named("p"));
        }
        cache.handle_exit(id(7), BootTime(0));
        cache.owner(id(0), nobody);
        cache.owner(id(full), named("new"));
        assert!(!cache.entries.contains_key(&id(7)) && cache.entries.contains_key(&id(1)));
        cache.owner(id(full + 1), named("new"));
        assert!(!cache.entries.contains_key(&id(1)) && cache.entries.contains_key(&id(0)));
        assert_eq!((cache.len(), cache.evicted(), cache.used.len()), (MAX_OWNERS, 2, MAX_OWNERS));
    }
}
