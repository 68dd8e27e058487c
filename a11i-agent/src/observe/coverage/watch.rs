//! Once a second: which files were rewritten, which files are one, who became endangered, what is tried again, who pays for probes that are not
//! for him.

use a11i_common::{
    event::Counter,
    identity::{BootTime, ProcessId},
};

use super::{
    Coverage, Note,
    convergence::may_be_one,
    guard::{Decision, Share},
};
use crate::{discovery::file::FileId, observe::command::NotCoveredReport};

/// Rates are of seconds.
const TICK_NANOS: u64 = 1_000_000_000;

/// Hits by file and process are read this often although there are few: for reports.
const TICKS_PER_READING: u64 = 5;

/// Told of each process that the guard excludes, and taken back when it is probed again.
const EXCLUDED: &str = "bystander guard: it has no LLM traffic and called the TLS library more often than `guard.hits_per_second` allows; it is looked at again now and then";

impl Coverage {
    pub(super) fn handle_talkers(&mut self) {
        while let Ok(process) = self.talkers.told.try_recv() {
            self.talking.insert(process.pid, process);
            for file in self.guard.handle_talks(process.pid) {
                self.history.take_back(process, EXCLUDED);
                self.reconcile(&file);
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now: BootTime) {
        let elapsed = now.nanos_since(self.ticked);
        if elapsed < TICK_NANOS {
            return;
        }
        self.ticked = now;
        self.ticks = self.ticks.wrapping_add(1);
        for file in self.links.changed() {
            self.drop_changed(&file);
        }
        self.converge();
        self.look_at_hazards();
        self.try_functions(now);
        // Here and not with a host scan: of a tree there is none.
        self.retry_failed(now);
        self.watch_bystanders(now, elapsed);
    }

    /// Attachments through which one call came are of one inode: one of them is enough.
    fn converge(&mut self) {
        // Files first: with the first merge the ids of one of them are gone, and what is told is a chain.
        let pairs = self.hits.take_duplicates().into_iter();
        let pairs: Vec<_> = pairs.filter_map(|(one, other)| Some((self.links.file_of(one)?, self.links.file_of(other)?))).collect();
        for (a, b) in pairs {
            let (a, b) = (self.aliases.resolve(a), self.aliases.resolve(b));
            if a == b {
                continue; // it was just moved from everyone to processes or back
            }
            if !may_be_one(&a, &b) {
                tracing::debug!(?a, ?b, "one call came through two files that are not one: a function of one jumps into the other's");
                continue;
            }
            let weight = |file: &FileId| self.files.get(file).map(|used| (!used.standing.is_empty(), used.processes.len()));
            let (kept, gone) = if (weight(&b), b) > (weight(&a), a) { (b, a) } else { (a, b) };
            self.merge(kept, gone);
        }
    }

    /// A process may confine itself at any time. Those that have probes are asked every second, since what comes next may harm them.
    fn look_at_hazards(&mut self) {
        if !self.hazards.is_needed() {
            return;
        }
        let covered = self.files.values().flat_map(|used| used.processes.iter()).filter(|(_, user)| user.hazard.is_none());
        let processes: std::collections::HashSet<ProcessId> = covered.map(|(process, _)| *process).collect();
        for process in processes {
            // One that has ended is nobody's concern; its exit is told elsewhere.
            let Some(hazard) = self.hazards.look(process).filter(|_| self.proc.is_same(process)) else { continue };
            let report = NotCoveredReport { reason: hazard.reason().to_owned(), remedy: Some(hazard.remedy().to_owned()) };
            let mut moved = Vec::new();
            for (file, used) in &mut self.files {
                if let Some(user) = used.processes.get_mut(&process) {
                    user.hazard = Some(hazard);
                    moved.push(*file);
                }
            }
            for file in moved {
                self.reconcile(&file);
            }
            self.say_not_covered(process, report);
        }
    }

    fn watch_bystanders(&mut self, now: BootTime, elapsed: u64) {
        for (file, decision) in self.guard.handle_timeout(now) {
            self.execute(file, decision);
        }
        let hits = self.counters.read_one(Counter::Hits).unwrap_or(self.hits_then);
        let more = hits.saturating_sub(std::mem::replace(&mut self.hits_then, hits));
        let limit = self.guard.settings().hits_per_second;
        let is_busy = limit > 0 && u128::from(more) * u128::from(TICK_NANOS) >= u128::from(limit) * u128::from(elapsed);
        if !is_busy && !self.guard.is_trying() && !self.ticks.is_multiple_of(TICKS_PER_READING) {
            return;
        }
        let links = &self.links;
        let Some(interval) = self.rates.handle_reading(self.hits.hits(), |id| links.file_of(id), now) else { return };
        let files: Vec<FileId> = self.files.keys().copied().collect();
        for file in files {
            let rates = interval.rates.get(&file);
            let shares: Vec<Share> = rates
                .into_iter()
                .flatten()
                .map(|(pid, rate)| Share { pid: *pid, hits_per_second: *rate, talks: self.talking.contains_key(pid) })
                .collect();
            if let Some(used) = self.files.get_mut(&file) {
                used.hits_per_second = shares.iter().fold(0, |sum, share| sum.saturating_add(share.hits_per_second));
            }
            if let Some(decision) = self.guard.handle_rates(file, &shares, interval.begin, now) {
                self.execute(file, decision);
            }
        }
    }

    /// Does what the guard decided, and says so.
    pub(super) fn execute(&mut self, file: FileId, decision: Decision) {
        self.reconcile(&file);
        self.publish_scope();
        let Some(used) = self.files.get(&file) else { return };
        let path = used.path.display().to_string();
        let limited_files = self.files.keys().filter(|file| self.guard.is_limited(file)).count();
        let users: Vec<ProcessId> = used.processes.keys().copied().collect();
        for process in users {
            if self.guard.excludes(&file, process.pid) {
                let report = NotCoveredReport { reason: EXCLUDED.to_owned(), remedy: Some("raise `guard.hits_per_second`".to_owned()) };
                self.say_not_covered(process, report);
            } else {
                self.history.take_back(process, EXCLUDED);
            }
        }
        match decision {
            Decision::Limit { hits_per_second, excluded } => self.tell(Note::Limited { path, hits_per_second, excluded, limited_files }),
            Decision::Release => self.tell(Note::Released { path, limited_files }),
            Decision::Narrow | Decision::Try | Decision::Resume => tracing::debug!(path, ?decision, "bystander guard"),
        }
    }
}
