//! Versions that libraries state as text: looked for when nothing else is to be done, once for each file that was reported.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use a11i_common::identity::Pid;

use super::{
    super::{
        file::{ByteSource as _, Device, FileId, OpenedFile},
        files::Place,
        maps::Mapping,
        scanner::{Candidate, ScanReport},
        version::{CRYPTO, Search, beside},
    },
    Scan,
};
use crate::{attach::Analysis, clock::Clock};

/// Files that wait, most of them held open. Of those that find no room, the version stays what functions prove.
const MOST_WAITING: usize = 64;

/// Files that were asked: more than can have probes. When there are more, they are asked again.
const MOST_ASKED: usize = 8_192;

/// See the module.
#[derive(Default)]
pub(super) struct Stated {
    waiting: VecDeque<Job>,
    asked: HashSet<FileId>,
}

struct Job {
    of: FileId,
    search: Search,
    within: Within,
    namespace: u64,
}

/// What is searched.
enum Within {
    File(OpenedFile),
    /// A library that a process maps beside.
    Mapped(Pid, Mapping),
    /// A library beside, by its name in a root.
    Named {
        root: PathBuf,
        path: PathBuf,
    },
}

/// How the library beside is reached.
pub(super) enum Neighbours<'a> {
    Mapped(Pid, &'a [Mapping]),
    Root(PathBuf),
}

/// Mappings that may state the version of another's file.
pub(super) fn states_for_others(mapping: &Mapping) -> bool {
    mapping.file_name().to_str().is_some_and(|name| name.starts_with(CRYPTO))
}

impl Stated {
    /// A file is reported for the first time, or again.
    pub(super) fn ask(&mut self, candidate: &Candidate, namespace: u64, neighbours: &Neighbours<'_>) {
        let of = candidate.file.id();
        if self.waiting.len() >= MOST_WAITING || self.asked.contains(&of) {
            return;
        }
        let Some(library) = library_of(&candidate.analysis) else { return };
        let is_own = candidate.analysis.soname.is_some();
        let Some(search) = Search::of(library, is_own) else { return };
        let other = beside(&candidate.path, library);
        let within = match (other, neighbours) {
            (None, _) => candidate.file.duplicate().ok().map(Within::File),
            (Some(other), Neighbours::Mapped(pid, mappings)) => {
                // Wheels have names with hashes in them: the folder tells what belongs together.
                let near = mappings.iter().find(|mapping| mapping.path.parent() == other.parent());
                near.map(|mapping| Within::Mapped(*pid, mapping.clone()))
            }
            (Some(path), Neighbours::Root(root)) => Some(Within::Named { root: root.clone(), path }),
        };
        let Some(within) = within else { return };
        if self.asked.len() >= MOST_ASKED {
            self.asked.clear();
        }
        self.asked.insert(of);
        self.waiting.push_back(Job { of, search, within, namespace });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The first, which is the one that is shown.
fn library_of(analysis: &Arc<Analysis>) -> Option<crate::call::CaptureLibrary> {
    analysis.plans.first().map(|planned| planned.plan.library)
}

impl Scan {
    /// Looks through a slice of one file.
    pub(super) fn step_stated(&mut self, reports: &mut dyn FnMut(ScanReport)) {
        let Some(Job { of, mut search, within, namespace }) = self.stated.waiting.pop_front() else { return };
        let Some(file) = self.stating_file(within, namespace) else {
            // It may be there for the next process.
            self.stated.asked.remove(&of);
            return;
        };
        let place = Place::Device(Device::of(file.id().dev));
        let look = move || {
            let goes_on = search.step(&file);
            (file, search, goes_on)
        };
        match self.files.within_time(place, namespace, look) {
            Ok((file, search, true)) => self.stated.waiting.push_front(Job { of, search, within: Within::File(file), namespace }),
            Ok((_, search, false)) => {
                if let Some(version) = search.version() {
                    reports(ScanReport::Version { file: of, version });
                }
            }
            // The version stays what functions prove.
            Err(_) => {}
        }
    }

    fn stating_file(&mut self, within: Within, namespace: u64) -> Option<OpenedFile> {
        let opened = match within {
            Within::File(file) => return Some(file),
            Within::Mapped(pid, mapping) => {
                if self.proc.is_on_fuse(pid, mapping.device, &mut self.mounts) {
                    return None;
                }
                let proc = self.proc.clone();
                self.files.open(Place::Device(mapping.device), namespace, Clock::boot_now(), move || proc.open_located(pid, &mapping))
            }
            Within::Named { root, path } => {
                let open = move || OpenedFile::open_in_root(&root, &path);
                self.files.open(Place::Namespace(namespace), namespace, Clock::boot_now(), open)
            }
        };
        opened.ok().filter(|file| !file.is_empty())
    }
}
