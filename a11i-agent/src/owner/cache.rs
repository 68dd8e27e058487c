//! Owners of processes, kept for a while after they ended: a call is finished after the last byte, and a short program
//! may be gone by then.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use a11i_common::identity::{BootTime, Pid, ProcessId};

use super::Owner;

/// Bounded; no I/O of its own: who resolves is asked elsewhere and answers later ([`Self::ask`], [`Self::answer`]).
#[derive(Debug, Default)]
pub struct OwnerCache {
    entries: HashMap<ProcessId, Entry>,
    /// The process that has a pid now: a fork names its parent by pid alone.
    by_pid: HashMap<Pid, ProcessId>,
    /// Ended processes by the time they may be forgotten.
    ended: BTreeSet<(BootTime, ProcessId)>,
    /// All processes by last use; the least recently used goes first.
    used: BTreeSet<(u64, ProcessId)>,
    uses: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Entry {
    knowledge: Knowledge,
    /// Answers under way. Only the last one describes the program that runs now.
    asked: u32,
    used: u64,
    forget_at: Option<BootTime>,
}

#[derive(Debug)]
enum Knowledge {
    /// Nothing but the id.
    Nothing,
    /// The owner of the process that forked it: the same program in the same environment.
    OfParent(Arc<Owner>),
    Resolved(Arc<Owner>),
}

/// What can be said of a process now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    /// As good as it will become.
    Owner(Arc<Owner>),
    /// An answer is under way.
    Awaited,
    /// Nobody was asked, or nobody knew: another question may help while the process lives.
    No,
}

impl OwnerCache {
    pub fn owner(&mut self, process: ProcessId) -> Known {
        let Some(entry) = self.entries.get(&process) else { return Known::No };
        let known = match &entry.knowledge {
            _ if entry.asked > 0 => Known::Awaited,
            Knowledge::Resolved(owner) => Known::Owner(Arc::clone(owner)),
            // Nobody can be asked any more.
            Knowledge::OfParent(_) if entry.forget_at.is_some() => Known::Owner(self.best(process)),
            Knowledge::OfParent(_) | Knowledge::Nothing => Known::No,
        };
        self.touch(process);
        known
    }

    /// What is known without waiting: its own owner, else what it inherited by fork, else [`Owner::unknown`].
    pub fn best(&self, process: ProcessId) -> Arc<Owner> {
        match self.entries.get(&process).map(|entry| &entry.knowledge) {
            Some(Knowledge::Resolved(owner)) => Arc::clone(owner),
            Some(Knowledge::OfParent(parent)) => Arc::new(inherited(process, parent)),
            Some(Knowledge::Nothing) | None => Arc::new(Owner::unknown(process)),
        }
    }

    /// Notes that somebody is asked now. False: an answer is under way already, and nobody needs to be asked.
    pub fn ask(&mut self, process: ProcessId) -> bool {
        let first = self.entry(process).asked == 0;
        if first {
            self.entry(process).asked = 1;
        }
        first
    }

    /// `None`: the process could not be looked at. An answer to a question that was overtaken by an exec is passed over.
    pub fn answer(&mut self, process: ProcessId, owner: Option<Arc<Owner>>) {
        let entry = self.entry(process);
        entry.asked = entry.asked.saturating_sub(1);
        if entry.asked == 0
            && let Some(owner) = owner
        {
            entry.knowledge = Knowledge::Resolved(owner);
        }
    }

    /// The child runs its parent's program, as long as nobody knows better.
    pub fn handle_fork(&mut self, child: ProcessId, parent: Pid) {
        let Some(parent) = self.by_pid.get(&parent).and_then(|id| self.entries.get(id)) else { return };
        let owner = match &parent.knowledge {
            Knowledge::Resolved(owner) | Knowledge::OfParent(owner) => Arc::clone(owner),
            Knowledge::Nothing => return,
        };
        let entry = self.entry(child);
        if matches!(entry.knowledge, Knowledge::Nothing) {
            entry.knowledge = Knowledge::OfParent(owner);
        }
    }

    /// The process runs another program: what was known would be the wrong one, and somebody is asked anew. What calls already hold
    /// stays as it was.
    pub fn handle_exec(&mut self, process: ProcessId) {
        let entry = self.entry(process);
        entry.knowledge = Knowledge::Nothing;
        entry.asked = entry.asked.saturating_add(1);
    }

    /// The process ended: its owner is kept for the calls that are still under way.
    pub fn handle_exit(&mut self, process: ProcessId, now: BootTime) {
        let Some(entry) = self.entries.get_mut(&process) else { return };
        if entry.asked == 0 && !matches!(entry.knowledge, Knowledge::Resolved(_)) {
            // Nobody asked who it is: it had no call.
            self.remove(process);
        } else if entry.forget_at.is_none() {
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

    /// The process's entry, made if need be, used now.
    fn entry(&mut self, process: ProcessId) -> &mut Entry {
        if self.entries.contains_key(&process) {
            self.touch(process);
        } else {
            while self.entries.len() >= MAX_OWNERS {
                // Ended ones first.
                let ended = self.ended.first().map(|(_, process)| *process);
                let Some(victim) = ended.or_else(|| self.used.first().map(|(_, process)| *process)) else { break };
                self.remove(victim);
                self.evicted = self.evicted.saturating_add(1);
            }
            self.uses = self.uses.saturating_add(1);
            self.used.insert((self.uses, process));
            self.by_pid.insert(process.pid, process);
        }
        let used = self.uses;
        self.entries.entry(process).or_insert(Entry { knowledge: Knowledge::Nothing, asked: 0, used, forget_at: None })
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
            if self.by_pid.get(&process.pid) == Some(&process) {
                self.by_pid.remove(&process.pid);
            }
        }
    }
}

/// A forked child that nobody could look at: program, environment, user and container are its parent's.
fn inherited(process: ProcessId, parent: &Owner) -> Owner {
    let ticks = process.start_ticks.checked_sub(parent.process.start_ticks).map(u64::from);
    let later = ticks.and_then(|ticks| ticks.checked_mul(ProcessId::NANOS_PER_TICK));
    Owner {
        process,
        // A fork of a fork keeps the first ancestor's facts; its own parent is then not known.
        parent_pid: None,
        creation_unix_nanos: parent.creation_unix_nanos.zip(later).and_then(|(time, later)| time.checked_add(later)),
        ..parent.clone()
    }
}

/// Processes with TLS traffic or recently begun; an owner takes about 1 KiB.
const MAX_OWNERS: usize = 16_384;
/// The pipeline finishes calls within seconds of the last byte; a minute leaves room for a full queue.
const KEPT_AFTER_EXIT_NANOS: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(pid: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start_ticks: 1 }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as answers come")]
    fn named(pid: u32, name: &str) -> Option<Arc<Owner>> {
        Some(Arc::new(Owner { executable_name: Some(name.to_owned()), creation_unix_nanos: Some(5), ..Owner::unknown(id(pid)) }))
    }

    fn name(cache: &mut OwnerCache, pid: u32) -> Option<String> {
        match cache.owner(id(pid)) {
            Known::Owner(owner) => owner.executable_name.clone(),
            Known::Awaited | Known::No => None,
        }
    }

    #[test]
    fn a_process_is_asked_for_once_and_survives_its_end_for_a_while() {
        let mut cache = OwnerCache::default();
        assert_eq!(cache.owner(id(1)), Known::No);
        assert!(cache.ask(id(1)) && !cache.ask(id(1)));
        assert_eq!(cache.owner(id(1)), Known::Awaited);
        cache.handle_exit(id(1), BootTime(5));
        cache.answer(id(1), named(1, "python3"));
        assert_eq!(name(&mut cache, 1).as_deref(), Some("python3"));
        let end = BootTime(5 + KEPT_AFTER_EXIT_NANOS);
        cache.handle_timeout(BootTime(end.0 - 1));
        assert_eq!(cache.len(), 1);
        cache.handle_timeout(end);
        assert!(cache.is_empty() && cache.used.is_empty() && cache.ended.is_empty() && cache.by_pid.is_empty());
    }

    #[test]
    fn an_answer_from_before_an_exec_is_passed_over() {
        let mut cache = OwnerCache::default();
        cache.ask(id(1));
        cache.handle_exec(id(1));
        cache.answer(id(1), named(1, "sh"));
        assert_eq!(cache.owner(id(1)), Known::Awaited);
        cache.answer(id(1), named(1, "curl"));
        assert_eq!(name(&mut cache, 1).as_deref(), Some("curl"));
        cache.handle_exec(id(1));
        cache.answer(id(1), None);
        assert_eq!(*cache.best(id(1)), Owner::unknown(id(1)));
    }

    #[test]
    fn what_could_not_be_resolved_is_asked_for_again() {
        let mut cache = OwnerCache::default();
        cache.ask(id(1));
        cache.answer(id(1), None);
        assert_eq!(cache.owner(id(1)), Known::No);
        assert!(cache.ask(id(1)));
    }

    #[test]
    fn a_child_that_ends_before_it_is_resolved_has_its_parents_identity() {
        let mut cache = OwnerCache::default();
        cache.answer(id(1), named(1, "python3"));
        let child = ProcessId { pid: Pid(2), start_ticks: 3 };
        cache.handle_fork(child, Pid(1));
        assert_eq!(cache.owner(child), Known::No, "it lives: it can be asked for");
        cache.ask(child);
        cache.handle_exit(child, BootTime(0));
        cache.answer(child, None);
        let Known::Owner(owner) = cache.owner(child) else { panic!("not known") };
        assert_eq!(
            (owner.process, owner.executable_name.as_deref(), owner.creation_unix_nanos),
            (child, Some("python3"), Some(20_000_005))
        );
        let other = ProcessId { pid: Pid(3), start_ticks: 3 };
        cache.handle_fork(other, Pid(1));
        cache.handle_exit(other, BootTime(0));
        assert!(!cache.entries.contains_key(&other), "nobody asked for it");
    }

    #[test]
    fn a_full_cache_lets_the_ended_go_first_then_the_least_used() {
        let mut cache = OwnerCache::default();
        let full = u32::try_from(MAX_OWNERS).unwrap();
        for pid in 0..full {
            cache.answer(id(pid), named(pid, "p"));
        }
        cache.handle_exit(id(7), BootTime(0));
        cache.owner(id(0));
        cache.answer(id(full), named(full, "new"));
        assert!(!cache.entries.contains_key(&id(7)) && cache.entries.contains_key(&id(1)));
        cache.answer(id(full + 1), named(full + 1, "new"));
        assert!(!cache.entries.contains_key(&id(1)) && cache.entries.contains_key(&id(0)));
        assert_eq!((cache.len(), cache.evicted(), cache.used.len(), cache.by_pid.len()), (MAX_OWNERS, 2, MAX_OWNERS, MAX_OWNERS));
    }
}
