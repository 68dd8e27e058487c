//! Scans and attaches on the scanner's thread, and tells the event loop what became of it.

use std::collections::{HashMap, HashSet};

use a11i_common::identity::{BootTime, ProcessId};
use tokio::sync::mpsc;

use crate::{
    attach::links::{AttachError, Links, MAX_FILES},
    call::CaptureLibrary,
    clock::Clock,
    discovery::{
        file::FileId,
        process::ProcFs,
        scanner::{Candidate, NotCovered, ScanReport, ScanRequest, ScanStatistics},
    },
};

/// Notes under way to the event loop. The scanner waits when the loop is that far behind.
pub(super) const NOTES: usize = 1024;

/// What the event loop is told.
#[derive(Debug)]
pub(super) enum Note {
    /// A file has probes now.
    Attached {
        path: String,
        library: CaptureLibrary,
        probes: usize,
        files: usize,
    },
    /// A file has none, and why.
    AttachFailed {
        path: String,
        error: AttachError,
    },
    /// The file has no user any more and lost its probes.
    Detached {
        probes: usize,
        files: usize,
    },
    /// The file was rewritten in place and lost its probes.
    Changed {
        probes: usize,
        files: usize,
    },
    NotCovered {
        process: ProcessId,
        reason: NotCovered,
    },
    /// A request is answered.
    Done(ScanRequest, ScanStatistics),
}

/// Executes what the scanner finds. Lives on the scanner's thread.
pub(super) struct Coverage {
    links: Links,
    proc: ProcFs,
    notes: Notes,
    users: HashMap<FileId, Users>,
    /// Files that could not be attached: said once.
    refused: HashSet<FileId>,
    /// It was said that too many files are attached.
    said_full: bool,
}

/// Files that are known to be used: those that may be attached, and as many that could not be.
const MAX_USED_FILES: usize = 2 * MAX_FILES;

/// Processes remembered as users of one file. One that is not remembered loses its probes with the last one that is, until a host scan
/// finds it again.
const MAX_USERS: usize = 65_536;

enum Notes {
    /// Before the event loop runs nobody receives, and nobody may wait.
    Early(Vec<Note>),
    Sent(mpsc::Sender<Note>),
}

/// Who needs a file's probes.
#[derive(Clone, Copy)]
enum User {
    Process(ProcessId),
    /// Programs of this mount namespace will map it.
    Namespace(u64),
}

#[derive(Default)]
struct Users {
    /// Mount namespaces whose ld.so.cache names it: attached before anyone maps it, for as long as one of them exists.
    standing: HashSet<u64>,
    processes: HashSet<ProcessId>,
    /// When the last user ended.
    idle_since: Option<BootTime>,
    probes: usize,
}

/// Probes of a file stay this long after its last user: a program that is started again and again is then seen from its first call,
/// and a probe that nobody hits costs nothing.
const IDLE_GRACE_NANOS: u64 = 10 * 60 * 1_000_000_000;

impl Coverage {
    pub(super) fn new(links: Links, proc: ProcFs) -> Self {
        Self { links, proc, notes: Notes::Early(Vec::new()), users: HashMap::new(), refused: HashSet::new(), said_full: false }
    }

    /// From now on notes go to the event loop; what was to be told so far comes back.
    pub(super) fn connect(&mut self, notes: mpsc::Sender<Note>) -> Vec<Note> {
        match std::mem::replace(&mut self.notes, Notes::Sent(notes)) {
            Notes::Early(notes) => notes,
            Notes::Sent(_) => Vec::new(),
        }
    }

    pub(super) fn handle(&mut self, report: ScanReport) {
        match report {
            ScanReport::Found { process, candidate } => self.attach(&candidate, User::Process(process)),
            ScanReport::Library { candidate, namespace } => self.attach(&candidate, User::Namespace(namespace)),
            ScanReport::NamespaceGone { namespace } => {
                for users in self.users.values_mut() {
                    users.standing.remove(&namespace);
                }
                retain_users(&mut self.users, |_| true, Clock::boot_now());
            }
            ScanReport::Changed { file } => self.detach_changed(&file),
            ScanReport::NotCovered { process, reason } => self.tell(Note::NotCovered { process, reason }),
            ScanReport::Done { request, statistics } => {
                match request {
                    ScanRequest::Forget(process) => retain_users(&mut self.users, |user| *user != process, Clock::boot_now()),
                    ScanRequest::Host => {
                        self.forget_ended();
                        self.detach_idle(IDLE_GRACE_NANOS);
                    }
                    ScanRequest::Exec(_) | ScanRequest::Process(_) | ScanRequest::Mapped(_) => {}
                }
                self.tell(Note::Done(request, statistics));
            }
        }
    }

    fn attach(&mut self, candidate: &Candidate, user: User) {
        let file = candidate.file.id();
        let path = || candidate.path.display().to_string();
        if self.users.len() >= MAX_USED_FILES && !self.users.contains_key(&file) {
            return self.tell_full(path());
        }
        if self.links.len() >= MAX_FILES && !self.links.is_attached(&file) {
            self.detach_idle(0);
        }
        let users = self.users.entry(file).or_default();
        users.idle_since = None;
        match user {
            User::Process(process) if users.processes.len() < MAX_USERS => drop(users.processes.insert(process)),
            User::Namespace(namespace) if users.standing.len() < MAX_USERS => drop(users.standing.insert(namespace)),
            User::Process(_) | User::Namespace(_) => {}
        }
        if self.links.is_attached(&file) || self.refused.contains(&file) {
            return;
        }
        for planned in &candidate.analysis.plans {
            match self.links.attach(&planned.plan, &candidate.file) {
                Ok(_) => {
                    let probes = planned.plan.probes.len();
                    if let Some(users) = self.users.get_mut(&file) {
                        users.probes = users.probes.saturating_add(probes);
                    }
                    self.tell(Note::Attached { path: path(), library: planned.plan.library, probes, files: self.links.len() });
                }
                // There may be room later, when the next process with this file is found.
                Err(AttachError::TooManyFiles) => self.tell_full(path()),
                Err(error @ (AttachError::Changed | AttachError::NoProgram(_) | AttachError::Kernel { .. })) => {
                    // One of the set is as good as another: it is only said again.
                    if self.refused.len() >= MAX_FILES {
                        self.refused.clear();
                    }
                    self.refused.insert(file);
                    self.tell(Note::AttachFailed { path: path(), error });
                }
            }
        }
    }

    /// At once: a process that maps the new bytes would run into probes in the middle of its instructions.
    fn detach_changed(&mut self, file: &FileId) {
        self.refused.remove(file);
        if let Some(users) = self.users.remove(file) {
            self.links.detach(file);
            self.tell(Note::Changed { probes: users.probes, files: self.links.len() });
        }
    }

    fn tell_full(&mut self, path: String) {
        if !std::mem::replace(&mut self.said_full, true) {
            self.tell(Note::AttachFailed { path, error: AttachError::TooManyFiles });
        }
    }

    /// Makes up for ends that were not told: a lost record, a rejected request.
    fn forget_ended(&mut self) {
        let processes: HashSet<ProcessId> = self.users.values().flat_map(|users| users.processes.iter().copied()).collect();
        let ended: HashSet<ProcessId> = processes.into_iter().filter(|process| !self.proc.is_same(*process)).collect();
        retain_users(&mut self.users, |user| !ended.contains(user), Clock::boot_now());
    }

    /// Detaches files that have had no user for so long.
    fn detach_idle(&mut self, nanos: u64) {
        for (file, probes) in take_idle(&mut self.users, Clock::boot_now(), nanos) {
            self.refused.remove(&file);
            self.links.detach(&file);
            self.said_full = false;
            if probes > 0 {
                self.tell(Note::Detached { probes, files: self.links.len() });
            }
        }
    }

    fn tell(&mut self, note: Note) {
        match &mut self.notes {
            Notes::Early(notes) => notes.push(note),
            // Fails only when the event loop has ended, and with it everyone who could be told.
            Notes::Sent(notes) => drop(notes.blocking_send(note)),
        }
    }
}

/// Users that are not kept have ended; a file without any begins to be idle.
fn retain_users(users: &mut HashMap<FileId, Users>, keep: impl Fn(&ProcessId) -> bool, now: BootTime) {
    for users in users.values_mut() {
        users.processes.retain(|process| keep(process));
        if users.standing.is_empty() && users.processes.is_empty() && users.idle_since.is_none() {
            users.idle_since = Some(now);
        }
    }
}

/// Takes out files that have been idle for `nanos` or longer, with the number of their probes.
fn take_idle(users: &mut HashMap<FileId, Users>, now: BootTime, nanos: u64) -> Vec<(FileId, usize)> {
    let mut idle = Vec::new();
    users.retain(|file, users| {
        let is_over = users.idle_since.is_some_and(|since| now.nanos_since(since) >= nanos);
        if is_over {
            idle.push((*file, users.probes));
        }
        !is_over
    });
    idle
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::Pid;

    use super::*;

    const FILE: FileId = FileId { dev: 1, ino: 2, size: 3, mtime: 4, ctime: 5 };

    fn user(pid: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start_ticks: 1 }
    }

    fn used_by(pids: &[u32]) -> HashMap<FileId, Users> {
        let processes = pids.iter().map(|pid| user(*pid)).collect();
        HashMap::from([(FILE, Users { processes, probes: 16, ..Users::default() })])
    }

    #[test]
    fn a_file_is_detached_some_time_after_its_last_user_and_not_before() {
        let mut users = used_by(&[7, 8]);
        retain_users(&mut users, |process| *process != user(7), BootTime(10));
        assert_eq!(take_idle(&mut users, BootTime(1_000), 5), []);
        retain_users(&mut users, |process| *process != user(8), BootTime(1_000));
        assert_eq!(take_idle(&mut users, BootTime(1_004), 5), []);
        assert_eq!(take_idle(&mut users, BootTime(1_005), 5), [(FILE, 16)]);
        assert!(users.is_empty());
    }

    #[test]
    fn a_library_that_programs_will_map_stays() {
        let mut users = used_by(&[7]);
        for users in users.values_mut() {
            users.standing.insert(1);
        }
        retain_users(&mut users, |_| false, BootTime(10));
        assert_eq!(take_idle(&mut users, BootTime(u64::MAX), 0), []);
    }
}
