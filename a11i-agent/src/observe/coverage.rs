//! Scans and attaches on the scanner's thread, and tells the event loop what became of it.

use std::collections::{HashMap, HashSet};

use a11i_common::identity::ProcessId;
use tokio::sync::mpsc;

use crate::{
    attach::links::{AttachError, Links},
    call::CaptureLibrary,
    discovery::{
        file::FileId,
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
    notes: Notes,
    users: HashMap<FileId, Users>,
    /// Files that could not be attached: said once.
    refused: HashSet<FileId>,
}

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
}

impl Coverage {
    pub(super) fn new(links: Links) -> Self {
        Self { links, notes: Notes::Early(Vec::new()), users: HashMap::new(), refused: HashSet::new() }
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
                if let ScanRequest::Forget(process) = request {
                    self.forget(process);
                }
                self.tell(Note::Done(request));
            }
        }
    }

    fn attach(&mut self, candidate: &Candidate, process: Option<ProcessId>) {
        let file = candidate.file.id();
        let users = self.users.entry(file).or_default();
        match process {
            Some(process) => drop(users.processes.insert(process)),
            None => users.standing = true,
        }
        if self.links.is_attached(&file) || self.refused.contains(&file) {
            return;
        }
        let path = candidate.path.display().to_string();
        for planned in &candidate.analysis.plans {
            let note = match self.links.attach(&planned.plan, &candidate.file) {
                Ok(_) => Note::Attached {
                    path: path.clone(),
                    library: planned.plan.library,
                    probes: planned.plan.probes.len(),
                    files: self.links.len(),
                },
                Err(error) => {
                    self.refused.insert(file);
                    Note::AttachFailed { path: path.clone(), error }
                }
            };
            self.tell(note);
        }
    }

    /// The process ended: files that nobody else uses are detached.
    fn forget(&mut self, process: ProcessId) {
        let mut unused = Vec::new();
        self.users.retain(|file, users| {
            let used = !users.processes.remove(&process) || users.standing || !users.processes.is_empty();
            if !used {
                unused.push(*file);
            }
            used
        });
        for file in unused {
            self.refused.remove(&file);
            self.links.detach(&file);
            self.tell(Note::Detached { files: self.links.len() });
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
