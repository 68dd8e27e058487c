//! From what is wanted to links: new files, moves, merges, ends.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{Arc, mpsc},
    time::Duration,
};

use a11i_common::identity::{BootTime, ProcessId};

use super::{
    Coverage, DetachReason, MAX_USED_FILES, Note, Notes,
    users::{Need, Refusal, Retry, Used, Wanted, wanted},
};
use crate::{
    attach::{
        Analysis, AttachError,
        links::MAX_FILES,
        scope::{Goal, Reach},
    },
    clock::Clock,
    discovery::{file::FileId, scanner::Candidate},
    observe::command::NotCoveredReport,
};

/// So long a move of links may keep the scanner's thread from looking at programs that begin. One process's links are moved at least.
const SLICE_NANOS: u64 = 200_000_000;

/// The event loop sweeps a table: milliseconds. Without its answer the probes come back all the same.
const READY_TIME: Duration = Duration::from_secs(1);

/// Follows the number.
const TOO_MANY: &str = " processes have probes of their own on a file of it already";
const TOO_MANY_REMEDY: &str =
    "raise `guard.hits_per_second`, or use a kernel without the hazard that `a11i doctor` shows: then everyone has probes";

impl Coverage {
    /// A file with plans, and who needs its probes.
    pub(super) fn attach(&mut self, candidate: Candidate, need: Need) {
        let Candidate { file: opened, path, analysis } = candidate;
        let file = self.aliases.resolve(opened.id());
        if self.files.len() >= MAX_USED_FILES && !self.files.contains_key(&file) {
            return self.tell_full(&path.display().to_string());
        }
        if self.links.len() >= MAX_FILES && !self.links.knows(&file) {
            self.detach_idle(0);
        }
        let used = match self.files.entry(file) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Used::of(path, &analysis)),
        };
        if let Need::Process(process) = need
            && !used.processes.contains_key(&process)
        {
            used.namespaces.insert(self.proc.mount_namespace(process.pid).unwrap_or_default());
        }
        used.add(need);
        self.aliases.add(opened.id(), need);
        let was_cautious = self.hazards.is_cautious();
        if let Need::Process(process) = need {
            let hazard = self.hazards.look(process);
            if let Some(user) = used.processes.get_mut(&process) {
                user.hazard = hazard;
            }
            if let Some(hazard) = hazard {
                let report = NotCoveredReport { reason: hazard.reason().to_owned(), remedy: Some(hazard.remedy().to_owned()) };
                self.say_not_covered(process, report);
            }
        }
        let is_refused = self.files.get(&file).is_some_and(|used| used.refusal.is_some());
        if self.links.knows(&file) {
            // What code adds may come this way, too, where it was looked at with the names. By another name of the inode it is looked at as well.
            if file == opened.id()
                && let Err(error) = self.extend(&file, &analysis)
            {
                self.refuse(&file, error);
            }
        } else if !is_refused && !self.refuse_hopeless(&file) {
            let plans = self.not_disproven(&analysis.plans);
            if let Some(used) = self.files.get_mut(&file) {
                used.probes = plans.iter().map(|plan| plan.probes.len()).sum();
            }
            if let Err(error) = self.links.add(opened, plans) {
                self.refuse(&file, error);
            }
        }
        if self.hazards.is_cautious() == was_cautious {
            return self.reconcile(&file);
        }
        // The first endangered process of this host: nobody is probed unseen any more.
        for file in self.files.keys().copied().collect::<Vec<_>>() {
            self.reconcile(&file);
        }
    }

    /// A file that has probes, or may have, offers more.
    pub(super) fn attach_more(&mut self, candidate: &Candidate) {
        let id = candidate.file.id();
        match self.extend(&id, &candidate.analysis) {
            Ok(false) => {}
            Ok(true) => self.reconcile(&id),
            Err(error) => self.refuse(&id, error),
        }
    }

    /// Plans that a known file has not; their links are made when it is reconciled. Whether there are any.
    fn extend(&mut self, file: &FileId, analysis: &Arc<Analysis>) -> Result<bool, AttachError> {
        let plans = self.not_disproven(&analysis.plans);
        let is_more = self.links.extend(file, &plans)?;
        if let Some(used) = self.files.get_mut(file).filter(|_| is_more) {
            used.more = Some(Arc::clone(analysis));
        }
        Ok(is_more)
    }

    /// Makes the links what they should be, or begins to: moves that take long go on at the next pauses. Whoever has a right to probes keeps
    /// those that it has meanwhile.
    pub(super) fn reconcile(&mut self, file: &FileId) {
        self.reconcile_until(file, Some(Clock::boot_now().plus_nanos(SLICE_NANOS)));
    }

    /// The same; without `until`, to the end.
    pub(super) fn reconcile_until(&mut self, file: &FileId, until: Option<BootTime>) {
        let Some(used) = self.files.get(file) else { return };
        if !self.links.knows(file) || used.refusal.is_some() {
            return;
        }
        let limited = self.guard.is_limited(file);
        let rank = |process: ProcessId| {
            let talks = self.talking.get(&process.pid) == Some(&process);
            (!self.guard.excludes(file, process.pid)).then_some(u8::from(!talks))
        };
        let most = self.links.most_processes();
        let Wanted { reach, left_out } =
            if self.is_off { Wanted::default() } else { wanted(used, limited, self.hazards.is_cautious(), most, rank) };
        let too_many = NotCoveredReport { reason: format!("{most}{TOO_MANY}"), remedy: Some(TOO_MANY_REMEDY.to_owned()) };
        let mut left_out: Vec<_> = left_out.into_iter().map(|process| (process, too_many.clone())).collect();
        let goal = Goal { reach, is_for_a_moment: self.guard.is_trying_file(file) };
        let mut is_unfinished = false;
        if !self.links.is_at(file, &goal) {
            let returning = used.returning(&goal.reach);
            self.make_ready(returning);
            match self.links.set_reach(file, &goal, until) {
                Ok(moved) => {
                    is_unfinished = moved.is_unfinished;
                    let now = Clock::boot_now();
                    let failed: Vec<_> = moved.failed.into_iter().filter(|(_, error)| !error.is_ended_process()).collect();
                    if let Some(used) = self.files.get_mut(file).filter(|_| !is_unfinished) {
                        let may_pass = failed.iter().any(|(_, error)| !error.is_final());
                        used.retry = may_pass.then(|| used.retry.filter(|retry| retry.at > now).unwrap_or(Retry::after(used.retry, now)));
                    }
                    let report =
                        |error: &AttachError| NotCoveredReport { reason: error.to_string(), remedy: Some(error.remedy().to_owned()) };
                    left_out.extend(failed.iter().map(|(process, error)| (*process, report(error))));
                    if is_unfinished && !self.unfinished.contains(file) {
                        self.unfinished.push_back(*file);
                    }
                }
                // Whatever was there before: who has probes now keeps them.
                Err(error) if self.links.reach(file) == Reach::Nobody || matches!(error, AttachError::Changed) => self.refuse(file, error),
                Err(error) => self.keep(file, error),
            }
            self.publish_scope();
            self.follow_attachments();
        } else if let Some(used) = self.files.get_mut(file) {
            used.retry = None;
        }
        let reach = self.links.reach(file);
        // Who could not be reached is known when the move is over.
        if !is_unfinished {
            self.note_left_out(file, left_out);
        }
        self.tell_refusals(file);
        self.note_more(file);
        self.note_reach(file, &reach);
    }

    /// Libraries of a file that stay without probes while others of it have some.
    fn tell_refusals(&mut self, file: &FileId) {
        for (plan, error) in self.links.take_refusals(file) {
            let Some(used) = self.files.get(file) else { return };
            let path = used.path.display().to_string();
            self.tell(Note::PlanRefused { path, library: plan.library, method: plan.method, error });
        }
    }

    /// A file that has probes could not be given more, or not for more processes: it keeps what it has, and whatever may pass is tried again.
    fn keep(&mut self, file: &FileId, error: AttachError) {
        let Some(used) = self.files.get_mut(file) else { return };
        let now = Clock::boot_now();
        used.retry = (!error.is_final()).then(|| used.retry.filter(|retry| retry.at > now).unwrap_or(Retry::after(used.retry, now)));
        if used.retry.is_none() {
            used.more = None;
        }
        let reason = error.to_string();
        if used.said.replace(reason.clone()).is_none_or(|said| said != reason) {
            let path = used.path.display().to_string();
            self.tell(Note::AttachFailed { path, error });
        }
    }

    /// What was added to a file is told when all its links have it; and what could not be linked at first, when it is.
    fn note_more(&mut self, file: &FileId) {
        let is_whole = self.links.is_whole(file);
        if let Some(used) = self.files.get_mut(file)
            && let Some(analysis) = used.more.take_if(|_| is_whole)
        {
            used.analysis = analysis;
        }
        let probes = self.links.probes(file);
        let Some(used) = self.files.get_mut(file) else { return };
        let more = probes.saturating_sub(used.probes);
        // Of a file that had none the first are told as such.
        if is_whole && used.is_attached && more > 0 {
            used.probes = probes;
            used.said = None;
            let path = used.path.display().to_string();
            self.tell(Note::AttachedMore { path, probes: more });
        }
    }

    /// The next slice of a move that takes long.
    pub(super) fn continue_moves(&mut self) {
        if let Some(file) = self.unfinished.pop_front() {
            self.reconcile(&file);
        }
    }

    /// Links that could not be made, for causes that may have passed.
    pub(super) fn retry_failed(&mut self, now: BootTime) {
        let is_due = |used: &Used| used.retry.is_some_and(|retry| retry.at <= now);
        let due: Vec<FileId> = self.files.iter().filter(|(_, used)| is_due(used)).map(|(file, _)| *file).collect();
        for file in due {
            self.retry(&file, Some(now.plus_nanos(SLICE_NANOS)));
        }
    }

    /// As if it had not failed; what is final stays so.
    pub(super) fn retry(&mut self, file: &FileId, until: Option<BootTime>) {
        if let Some(used) = self.files.get_mut(file).filter(|used| used.retry.is_some()) {
            used.refusal = None;
        }
        self.reconcile_until(file, until);
    }

    /// Says of whom there is no room for, or what else kept links from them; and takes it back.
    fn note_left_out(&mut self, file: &FileId, left_out: Vec<(ProcessId, NotCoveredReport)>) {
        let Some(used) = self.files.get_mut(file) else { return };
        let now: HashMap<ProcessId, String> = left_out.iter().map(|(process, report)| (*process, report.reason.clone())).collect();
        let before = std::mem::replace(&mut used.left_out, now.clone());
        for (process, reason) in before {
            if now.get(&process) != Some(&reason) {
                self.history.take_back(process, &reason);
            }
        }
        for (process, report) in left_out {
            self.say_not_covered(process, report);
        }
    }

    /// Before processes that lost their probes have them again: what the kernel half knows of their sessions is of another time, and
    /// addresses of then may be those of other sessions now.
    fn make_ready(&self, returning: HashSet<ProcessId>) {
        let Notes::Sent(notes) = &self.notes else { return };
        if returning.is_empty() {
            return;
        }
        let (done, is_done) = mpsc::sync_channel(1);
        if notes.blocking_send(Note::Returning { processes: returning, done }).is_ok() {
            // Whoever does not answer in time ends; or it is so busy that calls are lost anyway.
            is_done.recv_timeout(READY_TIME).ok();
        }
    }

    pub(super) fn note_reach(&mut self, file: &FileId, reach: &Reach) {
        let Some(used) = self.files.get_mut(file) else { return };
        let lost = used.handle_reach(reach, Clock::boot_now());
        // Who switches everything off ends all flows himself, with a better cause.
        if !self.is_off {
            self.uncovered.extend(lost);
        }
        let probes = self.links.probes(file);
        let Some(used) = self.files.get_mut(file) else { return };
        let is_attached = *reach != Reach::Nobody;
        if std::mem::replace(&mut used.is_attached, is_attached) == is_attached {
            return;
        }
        if is_attached {
            used.said = None;
            used.probes = probes;
        }
        let (path, library, probes) = (used.path.display().to_string(), used.library(), used.probes);
        let files = self.attached_files();
        self.tell(if is_attached {
            Note::Attached { path, library, probes, files }
        } else {
            Note::Detached { path, why: DetachReason::Nobody, probes, files }
        });
    }

    /// Two names of one inode: the first keeps its probes and takes over the users of the other.
    pub(super) fn merge(&mut self, kept: FileId, gone: FileId) {
        let Some(mut other) = self.files.remove(&gone) else { return };
        let (path, probes, was_attached) = (other.path.display().to_string(), other.probes, other.is_attached);
        other.is_attached = false;
        let Some(used) = self.files.get_mut(&kept) else {
            self.files.insert(gone, other);
            return;
        };
        self.aliases.merge(gone, kept, &other);
        used.absorb(other);
        self.guard.forget(&gone);
        self.reconcile(&kept);
        self.links.remove(&gone);
        if was_attached {
            let files = self.attached_files();
            self.tell(Note::Detached { path, why: DetachReason::SameInode, probes, files });
        }
    }

    /// The file is not what was analysed: it is dropped, and the scan looks at it again.
    pub(super) fn drop_changed(&mut self, file: &FileId) {
        self.drop_file(file, DetachReason::Changed);
        self.changed.push(*file);
    }

    /// The file and everything known of it; the next process that maps it begins anew.
    pub(super) fn drop_file(&mut self, file: &FileId, why: DetachReason) {
        let Some(used) = self.files.remove(file) else { return };
        self.links.remove(file);
        self.aliases.forget(file);
        self.guard.forget(file);
        self.unfinished.retain(|other| other != file);
        self.said_full = false;
        let covered = used.processes.iter().filter(|(_, user)| user.covered_since.is_some());
        self.uncovered.extend(covered.map(|(process, _)| *process));
        if used.is_attached {
            let files = self.attached_files();
            self.tell(Note::Detached { path: used.path.display().to_string(), why, probes: used.probes, files });
        }
        self.publish_scope();
    }

    fn refuse(&mut self, file: &FileId, error: AttachError) {
        let Some(used) = self.files.get_mut(file) else { return self.links.remove(file) };
        let path = used.path.display().to_string();
        match error {
            // There may be room later, when the next process with this file is found.
            AttachError::TooManyFiles => {
                self.links.remove(file);
                return self.tell_full(&path);
            }
            // Its next version is looked at.
            AttachError::Changed => self.drop_changed(file),
            AttachError::Unanswered
            | AttachError::TooManyProcesses
            | AttachError::NoProcessScope
            | AttachError::NoProgram(_)
            | AttachError::Kernel { .. } => {
                let reason = error.to_string();
                // The same again is no news.
                let is_said = used.said.replace(reason.clone()).is_some_and(|said| said == reason);
                used.refusal = Some(Refusal { reason, remedy: error.remedy() });
                used.retry = (!error.is_final()).then(|| Retry::after(used.retry, Clock::boot_now()));
                if used.retry.is_none() {
                    self.links.remove(file);
                }
                if is_said {
                    return;
                }
            }
        }
        self.tell(Note::AttachFailed { path, error });
    }

    fn tell_full(&mut self, path: &str) {
        if !std::mem::replace(&mut self.said_full, true) {
            self.tell(Note::AttachFailed { path: path.to_owned(), error: AttachError::TooManyFiles });
        }
    }

    fn attached_files(&self) -> usize {
        self.files.values().filter(|used| used.is_attached).count()
    }
}
