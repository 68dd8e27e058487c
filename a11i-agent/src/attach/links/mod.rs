//! Executes plans: files are attached for everyone, or for a set of processes, and moved from one to the other.
//!
//! With `capture` the only place that imports aya (`kernel`). A plan that cannot be executed is a fact about one file, never fatal.
//!
//! A move makes the new links before it takes the old ones away: a call in between comes through both and the kernel half drops the second
//! hit, since each set of links has an attachment id of its own. Without attach cookies (before 5.15) it could not tell the two apart;
//! there the old links go first and calls in between are missed.

mod attached;
mod kernel;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroU32,
    sync::Arc,
};

use a11i_common::identity::{AttachmentId, BootTime, ProcessId};

use self::attached::{Attached, LinkSet};
pub use self::{
    attached::RefusedPlan,
    kernel::{Kernel, Programs},
};
use super::{
    AttachError, ProbePlan,
    groups::groups,
    proof::Proof,
    scope::{Goal, Reach},
};
use crate::{
    call::CaptureFacts,
    capture::features::AttachMode,
    clock::Clock,
    discovery::{
        deadline::DeadlineWorker,
        file::{FileId, OpenedFile},
    },
};

/// Files attached at once: far more TLS libraries than a node has, and a bound on links.
pub const MAX_FILES: usize = 4096;

/// Processes with links of their own, over all files: three descriptors each.
pub const MAX_SCOPED: usize = 8192;

/// Processes with links of their own on one file; three links each.
const MAX_SCOPED_OF_FILE: usize = 512;

/// The same by perf events: one for each of about 26 probes, each of which takes about 0.1 s to close.
const MAX_SCOPED_OF_FILE_BY_PERF_EVENTS: usize = 32;

/// What became of a move.
#[derive(Debug, Default)]
pub struct Moved {
    /// Processes that could not be reached, and why.
    pub failed: Vec<(ProcessId, AttachError)>,
    /// Time ran out: the same move goes on when it is asked for again.
    pub is_unfinished: bool,
}

/// The loaded programs and everything they are attached to. Dropping it detaches all.
pub struct Links<K: Kernel = Programs> {
    kernel: K,
    mode: AttachMode,
    /// For single processes; None: cannot be done here.
    process_mode: Option<AttachMode>,
    has_cookie: bool,
    files: HashMap<FileId, Attached<K::Link>>,
    owners: HashMap<AttachmentId, Owner>,
    /// Processes with links, summed over files.
    scoped: usize,
    turn: u64,
    next_serial: u32,
    /// Reads files that were analysed: they may have stopped answering since.
    reader: DeadlineWorker,
}

/// What an attachment is of.
struct Owner {
    file: FileId,
    plan: Arc<ProbePlan>,
}

impl<K: Kernel> Links<K> {
    fn over(kernel: K, mode: AttachMode, process_mode: Option<AttachMode>, has_cookie: bool) -> Self {
        Self {
            kernel,
            mode,
            process_mode,
            has_cookie,
            files: HashMap::new(),
            owners: HashMap::new(),
            scoped: 0,
            turn: 0,
            next_serial: 1,
            reader: DeadlineWorker::default(),
        }
    }

    /// Whether files can be attached for single processes.
    pub const fn can_scope(&self) -> bool {
        self.process_mode.is_some()
    }

    /// Whether a hit tells through which file it came.
    pub const fn tells_files_apart(&self) -> bool {
        self.has_cookie
    }

    /// Processes that may have links of their own on one file.
    pub const fn most_processes(&self) -> usize {
        match self.process_mode {
            Some(AttachMode::PerfEvent) => MAX_SCOPED_OF_FILE_BY_PERF_EVENTS,
            Some(AttachMode::Multi) | None => MAX_SCOPED_OF_FILE,
        }
    }

    pub fn knows(&self, file: &FileId) -> bool {
        self.files.contains_key(file)
    }

    /// Files that are known.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The file of an attachment; None when it is no more.
    pub fn file_of(&self, attachment: AttachmentId) -> Option<FileId> {
        self.owners.get(&attachment).map(|owner| owner.file)
    }

    /// Every attachment there is, and what it is of.
    pub fn attachments(&self) -> impl Iterator<Item = (AttachmentId, FileId, &Arc<ProbePlan>)> {
        self.owners.iter().map(|(id, owner)| (*id, owner.file, &owner.plan))
    }

    /// Changes with every attachment that is made.
    pub const fn serial(&self) -> u32 {
        self.next_serial
    }

    /// Whom a file is attached for.
    pub fn reach(&self, file: &FileId) -> Reach {
        match self.files.get(file) {
            None => Reach::Nobody,
            Some(Attached { everyone: Some(_), .. }) => Reach::Everyone,
            Some(Attached { processes, .. }) if processes.is_empty() => Reach::Nobody,
            Some(Attached { processes, .. }) => Reach::Processes(processes.keys().copied().collect()),
        }
    }

    /// Files whose bytes are no longer those that were analysed: their probes sit at offsets of code that is gone. Asked of every file that
    /// is known, whoever uses it; the code is only read again where a time has changed.
    pub fn changed(&mut self) -> Vec<FileId> {
        let reader = &mut self.reader;
        self.files.iter_mut().filter_map(|(id, attached)| attached.has_changed(reader).then_some(*id)).collect()
    }

    /// Takes a file that was just analysed, for nobody yet. One that is known stays as it is. Nothing is read: whether it is still what was
    /// analysed is asked when its probes go in.
    pub fn add(&mut self, file: OpenedFile, plans: Vec<Arc<ProbePlan>>) -> Result<(), AttachError> {
        let id = file.id();
        if self.files.contains_key(&id) {
            return Ok(());
        }
        if self.files.len() >= MAX_FILES {
            return Err(AttachError::TooManyFiles);
        }
        if plans.iter().any(|plan| plan.file != id) {
            return Err(AttachError::Changed);
        }
        self.files.insert(id, Attached::of(file, plans));
        Ok(())
    }

    /// Plans of a file that cannot be probed, whomever for, while others of it are.
    pub fn refused(&self, file: &FileId) -> &[RefusedPlan] {
        self.files.get(file).map(|attached| attached.refused.as_slice()).unwrap_or_default()
    }

    /// Those that were refused since the last question.
    pub fn take_refusals(&mut self, file: &FileId) -> Vec<(Arc<ProbePlan>, AttachError)> {
        self.files.get_mut(file).map(|attached| std::mem::take(&mut attached.untold)).unwrap_or_default()
    }

    /// Probes of a file that anybody has.
    pub fn probes(&self, file: &FileId) -> usize {
        self.files.get(file).map_or(0, Attached::probes)
    }

    /// Adds plans to those of a file. Links of them are made by the next [`Self::set_reach`]; what is there stays as it is. False: none of
    /// them is new.
    pub fn extend(&mut self, file: &FileId, plans: &[Arc<ProbePlan>]) -> Result<bool, AttachError> {
        let Some(attached) = self.files.get_mut(file) else { return Ok(false) };
        if plans.iter().any(|plan| plan.file != *file) {
            return Err(AttachError::Changed);
        }
        let before = attached.plans.len();
        for plan in plans {
            if !attached.plans.contains(plan) {
                attached.plans.push(Arc::clone(plan));
            }
        }
        let is_more = attached.plans.len() > before;
        if is_more {
            // The proof is of all plans: nothing more is linked to a file of which one of them does not hold.
            attached.proof = Arc::new(Proof::analysed(file, &attached.plans));
        }
        Ok(is_more)
    }

    /// Whoever has links of the file has those of all plans that were added.
    pub fn is_whole(&self, file: &FileId) -> bool {
        self.files.get(file).is_none_or(Attached::is_whole)
    }

    /// There is nothing to move: [`Self::set_reach`] with the same arguments would do nothing.
    pub fn is_at(&self, file: &FileId, goal: &Goal) -> bool {
        let has_leftovers = !self.keeps_processes(goal)
            && self.files.get(file).is_some_and(|attached| attached.everyone.is_some() && !attached.processes.is_empty());
        self.reach(file) == goal.reach && !has_leftovers && self.is_whole(file)
    }

    /// Attaches a file for these and for nobody else. Processes that could not be reached are given back with the reason, others are attached.
    /// On an error for everyone what was there stays, and what could be linked before it. From `until` on, no link of another process is made or closed.
    pub fn set_reach(&mut self, file: &FileId, goal: &Goal, until: Option<BootTime>) -> Result<Moved, AttachError> {
        let Some(mut attached) = self.files.remove(file) else { return Ok(Moved::default()) };
        let outcome = self.move_to(&mut attached, goal, until);
        self.files.insert(*file, attached);
        outcome
    }

    /// Perf events take so long to close and to make again that they stay while everyone has probes for a second. Where the kernel half
    /// tells attachments apart, it drops the second hit.
    fn keeps_processes(&self, goal: &Goal) -> bool {
        goal.is_for_a_moment && goal.reach.is_everyone() && self.has_cookie && self.process_mode == Some(AttachMode::PerfEvent)
    }

    /// Detaches a file and forgets it. One that is not known is as good as detached.
    pub fn remove(&mut self, file: &FileId) {
        if let Some(mut attached) = self.files.remove(file) {
            self.take_away(&mut attached, &Goal::default(), None);
        }
    }

    /// Detaches what is of this code, for whomever it is attached; the file's other plans stay as they are.
    pub fn withdraw(&mut self, file: &FileId, code: &ProbePlan) {
        let Some(mut attached) = self.files.remove(file) else { return };
        let is_of = |id: &AttachmentId| self.owners.get(id).is_some_and(|owner| owner.plan.is_same_code(code));
        let gone = attached.take(is_of);
        self.unlink(gone);
        self.scoped = self.scoped.saturating_sub(attached.forget(code));
        self.files.insert(*file, attached);
    }

    /// The process has ended.
    pub fn remove_process(&mut self, process: ProcessId) {
        for (_, set) in self.take_process(process, |_| true) {
            self.unlink(set);
        }
    }

    /// What is told from now on happened before the links that are made from now on.
    pub const fn begin_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// The process runs another program. The kernel knows whoever has links of his own by the thread that was his first: where another one began
    /// the program, that one is gone, and what it was known by with it. So its links are made anew, and then the old ones are closed: given back
    /// are the files of these links. Those that were made in this turn are of the new program.
    pub fn renew_process(&mut self, process: ProcessId) -> Vec<FileId> {
        let turn = self.turn;
        let taken = self.take_process(process, |set| set.turn != turn);
        let mut files = Vec::with_capacity(taken.len());
        for (file, old) in taken {
            if let Some(mut attached) = self.files.remove(&file) {
                // Whoever moves the file next is told what fails.
                self.link_process(&mut attached, process).ok();
                self.files.insert(file, attached);
            }
            self.unlink(old);
            files.push(file);
        }
        files
    }

    fn take_process(&mut self, process: ProcessId, is_taken: impl Fn(&LinkSet<K::Link>) -> bool) -> Vec<(FileId, LinkSet<K::Link>)> {
        if self.scoped == 0 {
            return Vec::new();
        }
        let sets = self.files.iter_mut().filter_map(|(file, attached)| Some((*file, attached.take_process(process, &is_taken)?)));
        let taken: Vec<_> = sets.collect();
        self.scoped = self.scoped.saturating_sub(taken.len());
        taken
    }

    fn move_to(&mut self, attached: &mut Attached<K::Link>, goal: &Goal, until: Option<BootTime>) -> Result<Moved, AttachError> {
        let mut moved = Moved::default();
        if !self.has_cookie && !self.take_away(attached, goal, until) {
            moved.is_unfinished = true;
            return Ok(moved);
        }
        match &goal.reach {
            Reach::Nobody => {}
            Reach::Everyone => {
                let mut set = attached.everyone.take().unwrap_or_default();
                let linked = self.complete(attached, &mut set, None);
                attached.everyone = (!set.is_empty()).then_some(set);
                linked?;
            }
            Reach::Processes(wanted) => moved = self.link_processes(attached, wanted, until),
        }
        // Links for everyone stay until each process has its own.
        if !moved.is_unfinished {
            moved.is_unfinished = !self.take_away(attached, goal, until);
        }
        Ok(moved)
    }

    fn link_processes(&mut self, attached: &mut Attached<K::Link>, wanted: &BTreeSet<ProcessId>, until: Option<BootTime>) -> Moved {
        let mut failed = std::mem::take(&mut attached.failed);
        failed.retain(|(process, _)| wanted.contains(process));
        let tried: BTreeSet<ProcessId> = failed.iter().map(|(process, _)| *process).collect();
        let lacks = |process: &&ProcessId| attached.lacks(**process) && !tried.contains(process);
        let open: Vec<ProcessId> = wanted.iter().filter(lacks).copied().collect();
        let mut rest = open.into_iter().enumerate();
        while let Some((number, process)) = rest.next() {
            // At least one, so that a move comes to an end. One that fails costs as much as one that does not.
            if number > 0 && is_over(until) {
                attached.failed = failed;
                return Moved { failed: Vec::new(), is_unfinished: true };
            }
            match self.link_process(attached, process) {
                Ok(()) => {}
                // Nor would it answer for the others, each of which would wait as long.
                Err(AttachError::Unanswered) => {
                    failed.push((process, AttachError::Unanswered));
                    failed.extend(rest.map(|(_, process)| (process, AttachError::Unanswered)));
                    break;
                }
                Err(error) => failed.push((process, error)),
            }
        }
        Moved { failed, is_unfinished: false }
    }

    fn link_process(&mut self, attached: &mut Attached<K::Link>, process: ProcessId) -> Result<(), AttachError> {
        let (mut set, is_new) = attached
            .processes
            .remove(&process)
            .map_or_else(|| (LinkSet { turn: self.turn, ..LinkSet::default() }, true), |set| (set, false));
        if is_new && self.scoped >= MAX_SCOPED {
            return Err(AttachError::TooManyProcesses);
        }
        let linked = self.complete(attached, &mut set, Some(process));
        // What it had it keeps.
        if !set.is_empty() {
            self.scoped = self.scoped.saturating_add(usize::from(is_new));
            attached.processes.insert(process, set);
        }
        linked
    }

    /// Closes what the goal does not ask for. False: time ran out before that was all.
    fn take_away(&mut self, attached: &mut Attached<K::Link>, goal: &Goal, until: Option<BootTime>) -> bool {
        let reach = &goal.reach;
        if !reach.is_everyone()
            && let Some(set) = attached.everyone.take()
        {
            self.unlink(set);
        }
        let keeps = self.keeps_processes(goal);
        let scoped = |process: &ProcessId| if reach.is_everyone() { keeps } else { reach.has(*process) };
        let gone: Vec<ProcessId> = attached.processes.keys().filter(|process| !scoped(process)).copied().collect();
        for (number, process) in gone.into_iter().enumerate() {
            if number > 0 && is_over(until) {
                return false;
            }
            if let Some(set) = attached.processes.remove(&process) {
                self.scoped = self.scoped.saturating_sub(1);
                self.unlink(set);
            }
        }
        true
    }

    /// Links the plans that `set` lacks, each of them whole or not at all. One with an instruction that the kernel will not probe is left out
    /// where others of its file are linked; whatever else fails may pass, and ends it. What is linked by then stays.
    fn complete(
        &mut self,
        attached: &mut Attached<K::Link>,
        set: &mut LinkSet<K::Link>,
        process: Option<ProcessId>,
    ) -> Result<(), AttachError> {
        let missing = attached.missing(set);
        if missing.is_empty() {
            return Ok(());
        }
        attached.proven(&mut self.reader)?;
        let (mut more, mut refused, mut failure) = (LinkSet::default(), Vec::new(), None);
        for plan in missing {
            match self.link(&attached.file, &plan, process) {
                Ok(linked) => more.absorb(linked),
                Err(error) if error.is_of_an_instruction() => refused.push((plan, error)),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if !more.is_empty()
            && let Err(unproven) = attached.proven(&mut self.reader)
        {
            self.unlink(more);
            return Err(unproven);
        }
        set.absorb(more);
        if set.is_empty() {
            // It may be the file or the kernel, and not these plans.
            failure = failure.or_else(|| refused.into_iter().next().map(|(_, error)| error));
        } else {
            attached.refuse(refused);
        }
        failure.map_or(Ok(()), Err)
    }

    /// All probes of the plan, or none.
    fn link(&mut self, file: &OpenedFile, plan: &Arc<ProbePlan>, process: Option<ProcessId>) -> Result<LinkSet<K::Link>, AttachError> {
        let (mode, pid) = match process {
            None => (self.mode, None),
            Some(process) => {
                let pid = NonZeroU32::new(process.pid.0).ok_or(AttachError::NoProcessScope)?;
                (self.process_mode.ok_or(AttachError::NoProcessScope)?, Some(pid))
            }
        };
        let facts = CaptureFacts { library: Some(plan.library), method: Some(plan.method) };
        let id = facts.to_attachment(self.next_serial);
        self.next_serial = self.next_serial.wrapping_add(1);
        let mut set = LinkSet { attachments: vec![(id, Arc::clone(plan))], ..LinkSet::default() };
        self.owners.insert(id, Owner { file: plan.file, plan: Arc::clone(plan) });
        let target = file.attach_path();
        // Returns first: a call that enters in between then finds its return armed, never the other way round.
        for group in groups(mode, &plan.probes) {
            match self.kernel.attach(&group, &target, pid, id) {
                Ok(link) => set.links.push((id, group.program, link)),
                Err(error) => {
                    self.unlink(set);
                    return Err(error);
                }
            }
        }
        Ok(set)
    }

    fn unlink(&mut self, set: LinkSet<K::Link>) {
        // Entries first: what enters afterwards is not followed, what is inside still finds its return.
        for (_, name, link) in set.links.into_iter().rev() {
            if let Err(error) = self.kernel.detach(name, link) {
                tracing::warn!(%error, program = name, "cannot detach");
            }
        }
        for (id, _) in set.attachments {
            self.owners.remove(&id);
        }
    }
}

fn is_over(until: Option<BootTime>) -> bool {
    until.is_some_and(|until| until <= Clock::boot_now())
}
