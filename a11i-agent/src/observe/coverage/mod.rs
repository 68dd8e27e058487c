//! Scans and attaches on the scanner's thread, keeps the order of who is attached for whom, and tells the event loop what became of it.
//!
//! Takes what the scanner finds, who talks to LLMs, commands and time; moves [`Links`]. `users` knows who needs a file, `guard` and `hazard`
//! for whom it may be attached, `convergence` which files are one, `report` what people are told.

mod attachment;
mod convergence;
mod guard;
mod hazard;
mod hits;
mod probation;
mod recognised;
mod report;
mod talkers;
mod trials;
mod users;
mod watch;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::atomic::Ordering,
};

use a11i_common::{
    identity::{BootTime, Pid, ProcessId},
    rustls::RustlsLayout,
};
use tokio::sync::mpsc;

pub(super) use recognised::Recognised;
pub(super) use talkers::{TalkerInbox, Talkers};

use self::{
    convergence::Aliases,
    guard::{Guard, GuardSettings},
    hazard::HazardWatch,
    hits::HitRates,
    probation::Probation,
    recognised::RecognisedInbox,
    report::{History, PlanStanding, Standing, not_covered},
    users::{Need, Used, idle, retain_users},
};
use super::command::{CoverageCommand, CoverageReport, NotCoveredReport, ProbationState, Progress};
use crate::{
    attach::{AttachError, ProbePlan, links::Links, links::MAX_FILES, scope::Reach},
    call::{CaptureFacts, CaptureLibrary, CaptureMethod},
    capture::{hazards::Hazards, hits::HitTable, losses::KernelCounters, probation::ProbationTables},
    clock::Clock,
    discovery::{
        file::FileId,
        process::ProcFs,
        scanner::{Audience, ScanReport, ScanRequest, ScanStatistics},
    },
};

/// Notes under way to the event loop. The scanner waits when the loop is that far behind.
pub(super) const NOTES: usize = 1024;

/// Commands under way to the coverage thread: people give them one by one.
pub(super) const COMMANDS: usize = 16;

/// What the event loop is told.
#[derive(Debug)]
pub(super) enum Note {
    /// A file has probes now.
    Attached {
        path: String,
        library: Option<CaptureLibrary>,
        probes: usize,
        files: usize,
    },
    /// A file that has probes has more of them now.
    AttachedMore {
        path: String,
        probes: usize,
    },
    /// A file has none, and why.
    AttachFailed {
        path: String,
        error: AttachError,
    },
    /// A library of a file has none, although others of it do, and why.
    PlanRefused {
        path: String,
        library: CaptureLibrary,
        method: CaptureMethod,
        error: AttachError,
    },
    /// A file lost its probes.
    Detached {
        path: String,
        why: DetachReason,
        probes: usize,
        files: usize,
    },
    /// Functions of a file are not what they were taken for, and have no probes any more.
    Disproven {
        path: String,
        library: CaptureLibrary,
        method: CaptureMethod,
        probes: usize,
    },
    /// Functions of a file that write are what they were taken for, and those that read are not, or the other way round.
    HalfUnderstood {
        path: String,
        library: CaptureLibrary,
        method: CaptureMethod,
        state: ProbationState,
    },
    /// So many attachments more are not on trial, for lack of room.
    ProbationFull {
        attachments: u64,
    },
    /// Records of a file's rustls have another layout than usual, and are understood from now on.
    LayoutFound {
        path: String,
        layout: RustlsLayout,
    },
    /// The bystander guard took a file from everyone.
    Limited {
        path: String,
        hits_per_second: u64,
        excluded: usize,
        limited_files: usize,
    },
    /// The bystander guard gave it back.
    Released {
        path: String,
        limited_files: usize,
    },
    NotCovered {
        process: ProcessId,
        report: NotCoveredReport,
    },
    /// These lost their probes: what was under way in them is not seen to its end.
    Uncovered(HashSet<ProcessId>),
    /// These lost them before and are about to have them again. Answered when nothing is kept of the time before.
    Returning {
        processes: HashSet<ProcessId>,
        done: std::sync::mpsc::SyncSender<()>,
    },
    /// A request is answered.
    Done(ScanRequest, ScanStatistics),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DetachReason {
    /// Nobody has used it for long enough.
    Unused,
    /// Rewritten in place: the probes sat at offsets of code that is gone.
    Changed,
    /// It is another name of a file that keeps its probes.
    SameInode,
    /// `a11i control detach`, or no process left that may be probed.
    Nobody,
}

/// Executes what the scanner finds. Lives on the scanner's thread.
pub(super) struct Coverage {
    links: Links,
    hits: HitTable,
    counters: KernelCounters,
    proc: ProcFs,
    notes: Notes,
    commands: mpsc::Receiver<CoverageCommand>,
    talkers: TalkerInbox,
    recognised: RecognisedInbox,
    talking: HashMap<Pid, ProcessId>,
    files: HashMap<FileId, Used>,
    aliases: Aliases,
    guard: Guard<FileId>,
    rates: HitRates,
    hazards: HazardWatch,
    history: History,
    probation: Probation,
    /// Lost their probes since the last pause.
    uncovered: HashSet<ProcessId>,
    /// Files whose links are being moved.
    unfinished: VecDeque<FileId>,
    /// Files that were found not to be what was analysed since the last pause.
    changed: Vec<FileId>,
    /// Why there is no bystander guard although it was asked for.
    no_guard: Option<&'static str>,
    /// A person switched everything off.
    is_off: bool,
    /// It was said that too many files are attached.
    said_full: bool,
    ticked: BootTime,
    ticks: u64,
    /// [`a11i_common::event::Counter::Hits`] at the last tick.
    hits_then: u64,
}

/// Files that are known to be used: those that may be attached, and as many that could not be.
const MAX_USED_FILES: usize = 2 * MAX_FILES;

/// Probes of a library stay this long after its last user: a program that is started again and again is then seen from its first call,
/// and a probe that nobody hits costs nothing. Whether it was rewritten meanwhile is asked every second.
const IDLE_GRACE_NANOS: u64 = 10 * 60 * 1_000_000_000;

enum Notes {
    /// Before the event loop runs nobody receives, and nobody may wait.
    Early(Vec<Note>),
    Sent(mpsc::Sender<Note>),
}

/// What the event loop tells it.
pub(super) struct Inboxes {
    pub commands: mpsc::Receiver<CoverageCommand>,
    pub talkers: TalkerInbox,
    pub recognised: RecognisedInbox,
}

/// What the coverage thread begins with.
pub(super) struct Equipment {
    pub links: Links,
    pub hits: HitTable,
    pub counters: KernelCounters,
    pub hazards: Hazards,
    pub probation: ProbationTables,
    /// [`crate::config::GuardConfig::hits_per_second`].
    pub hits_per_second: u64,
}

impl Coverage {
    pub(super) fn new(equipment: Equipment, proc: ProcFs, inboxes: Inboxes) -> Self {
        let Equipment { links, hits, counters, hazards, probation, hits_per_second } = equipment;
        let Inboxes { commands, talkers, recognised } = inboxes;
        // Where single processes cannot be attached, there is nothing to limit a file to.
        let no_guard = match (links.can_scope(), links.tells_files_apart()) {
            _ if hits_per_second == 0 => None,
            (_, false) => Some("no bystander guard: without attach cookies (Linux 5.15) nobody knows which file is hit"),
            (false, true) => Some("no bystander guard: this kernel cannot attach a file for single processes without CAP_SYS_ADMIN"),
            (true, true) => None,
        };
        if let Some(reason) = no_guard {
            tracing::warn!("{reason}");
        }
        let hits_per_second = if no_guard.is_none() { hits_per_second } else { 0 };
        Self {
            links,
            hits,
            counters,
            notes: Notes::Early(Vec::new()),
            commands,
            talkers,
            recognised,
            talking: HashMap::new(),
            files: HashMap::new(),
            aliases: Aliases::default(),
            guard: Guard::new(GuardSettings { hits_per_second }),
            rates: HitRates::default(),
            hazards: HazardWatch::new(hazards, proc.clone()),
            history: History::default(),
            probation: Probation::new(probation),
            uncovered: HashSet::new(),
            unfinished: VecDeque::new(),
            changed: Vec::new(),
            no_guard,
            is_off: false,
            said_full: false,
            ticked: Clock::boot_now(),
            ticks: 0,
            hits_then: 0,
            proc,
        }
    }

    /// From now on notes go to the event loop; what was to be told so far comes back.
    pub(super) fn connect(&mut self, notes: mpsc::Sender<Note>) -> Vec<Note> {
        match std::mem::replace(&mut self.notes, Notes::Sent(notes)) {
            Notes::Early(notes) => notes,
            Notes::Sent(_) => Vec::new(),
        }
    }

    pub(super) fn handle(&mut self, report: ScanReport) {
        // A scan of one process may take a while: who waits for an answer waits for one file of it.
        self.handle_commands();
        match report {
            ScanReport::Found { process, candidate } => self.attach(candidate, Need::Process(process)),
            ScanReport::Library { candidate, namespace } => self.attach(candidate, Need::Namespace(namespace)),
            ScanReport::More { candidate } => self.attach_more(&candidate),
            ScanReport::Version { file, version } => {
                if let Some(used) = self.files.get_mut(&self.aliases.resolve(file)) {
                    used.stated = Some(version);
                }
            }
            ScanReport::NamespaceGone { namespace } => {
                for used in self.files.values_mut() {
                    used.standing.remove(&namespace);
                    used.namespaces.remove(&namespace);
                }
                retain_users(&mut self.files, |_| true, Clock::boot_now());
                self.detach_idle(IDLE_GRACE_NANOS);
            }
            ScanReport::Changed { file } => {
                let file = self.aliases.resolve(file);
                self.drop_file(&file, DetachReason::Changed);
            }
            ScanReport::NotCovered { process, reason } => self.say_not_covered(process, not_covered(&reason)),
            ScanReport::Done { request, statistics } => {
                match request {
                    ScanRequest::Forget(process) => self.handle_exit(process),
                    ScanRequest::Host => {
                        self.forget_ended();
                        self.detach_idle(IDLE_GRACE_NANOS);
                        self.aliases.forget_unused(&self.files);
                    }
                    ScanRequest::Exec(process) => self.renew_links(process),
                    ScanRequest::Process(_) | ScanRequest::Mapped(_) => {}
                }
                self.tell(Note::Done(request, statistics));
            }
        }
    }

    fn handle_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                CoverageCommand::DetachAll { progress, done } => {
                    self.switch(true, &progress);
                    // Whoever asked may have gone away.
                    done.send(()).ok();
                }
                CoverageCommand::AttachAll { progress, done } => {
                    self.switch(false, &progress);
                    done.send(()).ok();
                }
                CoverageCommand::Report { done } => {
                    // What was told before the question belongs to the answer.
                    self.handle_recognised();
                    drop(done.send(self.report()));
                }
            }
        }
    }

    fn switch(&mut self, off: bool, progress: &mpsc::UnboundedSender<Progress>) {
        self.is_off = off;
        let files: Vec<FileId> = self.files.keys().copied().collect();
        let (of, mut failed) = (files.len(), 0usize);
        if !off {
            // Whoever switches on again forgets all sessions of the time before.
            let users = self.files.values_mut().flat_map(|used| used.processes.values_mut());
            users.for_each(|user| user.was_covered = false);
        }
        for (done, file) in (1..).zip(&files) {
            self.retry(file, None);
            let is_missing = |used: &Used| used.refusal.is_some() || used.retry.is_some();
            failed = failed.saturating_add(usize::from(!off && self.files.get(file).is_some_and(is_missing)));
            progress.send(Progress { done, of, failed }).ok();
        }
    }

    /// Told together: the event loop looks through a table for it.
    fn tell_uncovered(&mut self) {
        if !self.uncovered.is_empty() {
            let processes = std::mem::take(&mut self.uncovered);
            self.tell(Note::Uncovered(processes));
        }
    }

    fn report(&self) -> CoverageReport {
        let standing = |file: &FileId, used: &Used| {
            let reach = self.links.reach(file);
            let limited = self.guard.is_limited(file);
            let (reason, remedy) = if let Some(refusal) = &used.refusal {
                (Some(refusal.reason.clone()), Some(refusal.remedy.to_owned()))
            } else if !self.links.knows(file) {
                let full = AttachError::TooManyFiles;
                (Some(full.to_string()), Some(full.remedy().to_owned()))
            } else if self.is_off {
                (Some("switched off".to_owned()), Some("a11i control attach".to_owned()))
            } else if limited {
                let excluded = self.guard.excluded(file);
                let limit = self.guard.settings().hits_per_second;
                (
                    Some(format!("bystander guard: {excluded} processes without LLM traffic hit it more than {limit} times a second")),
                    Some("raise `guard.hits_per_second`, or exclude those processes".to_owned()),
                )
            } else if self.hazards.is_cautious() {
                (Some("this kernel's probes would harm some processes: only those that were looked at have them".to_owned()), None)
            } else {
                (self.no_guard.map(str::to_owned), None)
            };
            Standing { is_attached: reach != Reach::Nobody, is_everyone: !limited && !self.hazards.is_cautious(), reason, remedy }
        };
        let of_plan = |file: &FileId, plan: &ProbePlan| {
            let refused = self.links.refused(file).iter().find(|refused| *refused.plan == *plan);
            PlanStanding {
                probation: self.probation.trials.state(plan),
                reason: refused.map(|refused| refused.reason.clone()),
                remedy: refused.map(|refused| refused.remedy.to_owned()),
            }
        };
        report::build(&self.files, &self.history, standing, of_plan, &self.proc)
    }

    fn handle_recognised(&mut self) {
        while let Ok((attachment, is_http)) = self.recognised.try_recv() {
            if is_http {
                self.probation.trials.handle_http(attachment);
            }
            if let Some(used) = self.links.file_of(attachment).and_then(|file| self.files.get_mut(&file)) {
                used.recognised(CaptureFacts::of_attachment(attachment), is_http);
            }
        }
    }

    fn handle_exit(&mut self, process: ProcessId) {
        let now = Clock::boot_now();
        retain_users(&mut self.files, |user| *user != process, now);
        self.links.remove_process(process);
        self.history.forget(process);
        if self.talking.get(&process.pid) == Some(&process) {
            self.talking.remove(&process.pid);
        }
        for (file, decision) in self.guard.handle_exit(process.pid, now) {
            self.execute(file, decision);
        }
        self.detach_idle(IDLE_GRACE_NANOS);
    }

    /// The process runs another program: links of its own may be lost on it.
    fn renew_links(&mut self, process: ProcessId) {
        for file in self.links.renew_process(process) {
            self.reconcile(&file);
        }
        self.follow_attachments();
    }

    /// Makes up for ends that were not told: a lost record, a rejected request.
    fn forget_ended(&mut self) {
        let known = self.files.values().flat_map(|used| used.processes.keys());
        let known: HashSet<ProcessId> = known.chain(self.talking.values()).chain(self.history.processes()).copied().collect();
        for process in known {
            if !self.proc.is_same(process) {
                self.handle_exit(process);
            }
        }
        let Self { hits, links, proc, .. } = self;
        hits.forget(&mut |attachment, pid| links.file_of(attachment).is_none() || !proc.path(pid, "stat").exists());
    }

    fn say_not_covered(&mut self, process: ProcessId, report: NotCoveredReport) {
        if self.history.add(process, report.clone()) {
            self.tell(Note::NotCovered { process, report });
        }
    }

    /// Libraries without users for so long, and programs without users.
    fn detach_idle(&mut self, nanos: u64) {
        for file in idle(&self.files, Clock::boot_now(), nanos) {
            self.drop_file(&file, DetachReason::Unused);
        }
    }

    fn tell(&mut self, note: Note) {
        match &mut self.notes {
            Notes::Early(notes) => notes.push(note),
            // Fails only when the event loop has ended, and with it everyone who could be told.
            Notes::Sent(notes) => drop(notes.blocking_send(note)),
        }
    }

    /// Tells the event loop whether a fork must be looked at without delay.
    fn publish_scope(&self) {
        let scoped = self.hazards.is_cautious() || self.files.keys().any(|file| self.guard.is_limited(file));
        self.talkers.scoped.store(scoped, Ordering::Relaxed);
    }
}

impl Audience for Coverage {
    fn handle_report(&mut self, report: ScanReport) {
        self.handle(report);
    }

    fn handle_pause(&mut self) {
        self.handle_commands();
        self.handle_talkers();
        self.handle_recognised();
        self.repair_layouts();
        self.handle_timeout(Clock::boot_now());
        self.continue_moves();
        self.tell_uncovered();
        self.links.begin_turn();
    }

    fn take_changed(&mut self) -> Vec<FileId> {
        std::mem::take(&mut self.changed)
    }
}
