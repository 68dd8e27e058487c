//! Scans and attaches on the scanner's thread, and tells the event loop what became of it.

use std::collections::{HashMap, HashSet};

use a11i_common::identity::ProcessId;
use tokio::sync::mpsc;

use crate::{
    attach::links::{AttachError, Links, MAX_FILES},
    call::CaptureLibrary,
    discovery::{
        file::FileId,
        process::ProcFs,
        scanner::{Candidate, NotCovered, ScanReport, ScanRequest},
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
    NotCovered {
        process: ProcessId,
        reason: NotCovered,
    },
    /// A request is answered.
    Done(ScanRequest),
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

#[derive(Default)]
struct Users {
    /// Named in an ld.so.cache: attached before anyone maps it, and for good.
    standing: bool,
    processes: HashSet<ProcessId>,
    probes: usize,
}

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
            ScanReport::Found { process, candidate } => self.attach(&candidate, Some(process)),
            ScanReport::Library { candidate } => self.attach(&candidate, None),
            ScanReport::NotCovered { process, reason } => self.tell(Note::NotCovered { process, reason }),
            ScanReport::Done { request, .. } => {
                match request {
                    ScanRequest::Forget(process) => self.retain(|user| *user != process),
                    ScanRequest::Host => self.forget_ended(),
                    ScanRequest::Exec(_) | ScanRequest::Process(_) => {}
                }
                self.tell(Note::Done(request));
            }
        }
    }

    fn attach(&mut self, candidate: &Candidate, process: Option<ProcessId>) {
        let file = candidate.file.id();
        let path = || candidate.path.display().to_string();
        if self.users.len() >= MAX_USED_FILES && !self.users.contains_key(&file) {
            return self.tell_full(path());
        }
        let users = self.users.entry(file).or_default();
        match process {
            Some(process) if users.processes.len() < MAX_USERS => drop(users.processes.insert(process)),
            Some(_) => {}
            None => users.standing = true,
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

    fn tell_full(&mut self, path: String) {
        if !std::mem::replace(&mut self.said_full, true) {
            self.tell(Note::AttachFailed { path, error: AttachError::TooManyFiles });
        }
    }

    /// Makes up for ends that were not told: a lost record, a rejected request.
    fn forget_ended(&mut self) {
        let processes: HashSet<ProcessId> = self.users.values().flat_map(|users| users.processes.iter().copied()).collect();
        let ended: HashSet<ProcessId> = processes.into_iter().filter(|process| !self.proc.is_same(*process)).collect();
        if !ended.is_empty() {
            self.retain(|user| !ended.contains(user));
        }
    }

    /// Users that are not kept have ended: files that nobody else uses are detached.
    fn retain(&mut self, keep: impl Fn(&ProcessId) -> bool) {
        for (file, probes) in unused(&mut self.users, keep) {
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

/// Takes out files that had a user and have none any more, with the number of their probes.
fn unused(users: &mut HashMap<FileId, Users>, keep: impl Fn(&ProcessId) -> bool) -> Vec<(FileId, usize)> {
    let mut unused = Vec::new();
    users.retain(|file, users| {
        users.processes.retain(|process| keep(process));
        let used = users.standing || !users.processes.is_empty();
        if !used {
            unused.push((*file, users.probes));
        }
        used
    });
    unused
}
