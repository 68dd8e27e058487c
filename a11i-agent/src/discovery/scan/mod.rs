//! One look at a process, at all of them, or at a file, with memory of earlier looks.
//!
//! What a file offers is remembered by [`FileId`], what a process was seen to map by process: a second look costs one
//! small read. Runs on the scanner's thread ([`super::scanner`]); what may hang runs on a thread of its own ([`super::deadline`]).
//! What could not be looked at now (over budget, no answer, being written) is looked at again by a later host scan.

mod deep;
mod mapped;
mod stated;
mod unmapped;
mod versions;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    time::Duration,
};

use a11i_common::identity::{Pid, ProcessId};

use self::{deep::Deep, stated::Stated};
use super::{
    empty_files::EmptyFiles,
    file::{Device, FileId, id_of},
    files::{Files, Place},
    maps::Mapping,
    mounts::Mounts,
    namespaces::Namespaces,
    process::ProcFs,
    reported::Reported,
    scanner::{NotCovered, ScanReport, ScanRequest, ScanStatistics},
};
use crate::attach::LIBRARIES;

/// What goes on when there is no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chore {
    /// One process more, or the end of the scan: [`Scan::step_host`].
    HostScan,
    /// The code of a file, or its version: [`Scan::step_deep`].
    Deep,
}

/// See the module.
pub struct Scan {
    proc: ProcFs,
    own_pid: Pid,
    processes: HashMap<ProcessId, KnownProcess>,
    files: Files,
    /// Files without anything, by what `maps` shows. Forgotten every [`GENERATIONS_OF_TRUST`].
    empty: EmptyFiles,
    /// Files whose code is yet to be looked at.
    deep: Deep,
    /// Files whose versions are yet to be told.
    stated: Stated,
    /// Files that were reported, and in which version.
    reported: Reported,
    mounts: Mounts,
    namespaces: Namespaces,
    host_cache: Option<FileId>,
    /// Counts host scans: the clock of the caches.
    generation: u64,
    /// What the host scan that is under way has yet to look at.
    host: Option<std::vec::IntoIter<Pid>>,
    statistics: ScanStatistics,
}

#[derive(Default)]
struct KnownProcess {
    executable_kib: u64,
    /// Host scan in or after which it was last seen.
    generation: u64,
    namespace: u64,
    /// Files that are done with.
    files: HashSet<(Device, u64)>,
    /// Those whose code is yet to be looked at, with what mappings show of them.
    deep: HashMap<FileId, (Device, u64)>,
    /// Those that were reported.
    found: Vec<Mapped>,
    /// Files that are tried again and were complained about.
    said: HashSet<(Device, u64)>,
    said_no_access: bool,
}

/// A mapped file that was reported.
#[derive(Clone)]
struct Mapped {
    mapping: Mapping,
    /// Device and inode as the opened file states them: its key in [`Reported`].
    file: (Device, u64),
}

impl Scan {
    pub fn new(proc: ProcFs) -> Self {
        let own_pid = Pid(std::process::id());
        let own_namespace = proc.mount_namespace(own_pid).unwrap_or_default();
        Self {
            proc,
            own_pid,
            processes: HashMap::new(),
            files: Files::default(),
            empty: EmptyFiles::default(),
            deep: Deep::default(),
            stated: Stated::default(),
            reported: Reported::default(),
            mounts: Mounts::default(),
            namespaces: Namespaces::new(own_namespace),
            host_cache: None,
            generation: 0,
            host: None,
            statistics: ScanStatistics::default(),
        }
    }

    pub fn statistics(&self) -> ScanStatistics {
        ScanStatistics {
            files_opened: self.files.opened(),
            files_analysed: self.files.analysed(),
            files_postponed: self.files.postponed(),
            unanswered: self.files.unanswered(),
            ..self.statistics
        }
    }

    /// For the event loop: which mappings need no look.
    pub fn empty_files(&self) -> EmptyFiles {
        self.empty.clone()
    }

    /// Answers one request, a host scan included from beginning to end, and looks at all code that is new with it.
    pub fn handle(&mut self, request: ScanRequest, reports: &mut dyn FnMut(ScanReport)) {
        self.begin(request, reports);
        while self.step_code(PATIENCE, reports) {}
    }

    /// Answers one request, as far as names tell. [`Self::step_deep`] goes on.
    pub fn begin(&mut self, request: ScanRequest, reports: &mut dyn FnMut(ScanReport)) {
        match request {
            ScanRequest::Exec(process) => {
                self.processes.remove(&process);
                self.process(process, reports);
            }
            ScanRequest::Process(process) => self.process(process, reports),
            ScanRequest::Mapped(pid) => {
                // Ended already: nothing to look at.
                if let Ok(process) = self.proc.identify(pid) {
                    self.look_whatever_its_size(process);
                    self.process(process, reports);
                }
            }
            ScanRequest::Forget(process) => {
                self.processes.remove(&process);
            }
            ScanRequest::Host => {
                self.begin_host(reports);
                while self.step_host(reports) {}
                return;
            }
        }
        reports(ScanReport::Done { request, statistics: self.statistics() });
    }

    /// Begins a host scan, which [`Self::step_host`] carries on: what is urgent can be done in between. One that is under way goes on.
    pub fn begin_host(&mut self, reports: &mut dyn FnMut(ScanReport)) {
        if self.host.is_some() {
            return;
        }
        self.generation = self.generation.saturating_add(1);
        if self.generation.is_multiple_of(GENERATIONS_OF_TRUST) {
            self.mounts.clear();
            self.namespaces.look_again();
            self.empty.clear();
        }
        let own = self.namespaces.own();
        let cache = id_of(Path::new(LD_SO_CACHE));
        if cache.is_some() && cache != self.host_cache && self.libraries_of(Path::new("/"), own, &[], reports) {
            self.host_cache = cache;
        }
        self.namespaces.is_new(own);
        // A /proc that cannot be listed gives an empty scan; each process is then found by its events.
        self.host = Some(self.proc.pids().unwrap_or_default().into_iter());
    }

    /// Looks at one more process. `false`: no host scan is under way, or it has just ended and [`ScanReport::Done`] was given.
    pub fn step_host(&mut self, reports: &mut dyn FnMut(ScanReport)) -> bool {
        let Some(pids) = self.host.as_mut() else { return false };
        if let Some(pid) = pids.next() {
            if let Ok(process) = self.proc.identify(pid) {
                self.process(process, reports);
                self.versions_of(process, reports);
            }
            return true;
        }
        // Whoever runs already is covered when the scan is over, whatever its library has of names.
        if self.waits_for_code() && self.step_code(PATIENCE, reports) {
            return true;
        }
        self.host = None;
        let generation = self.generation;
        self.processes.retain(|_, known| known.generation == generation);
        self.reported.forget_unused(generation);
        for namespace in self.namespaces.gone(self.processes.values().map(|known| known.namespace), generation) {
            reports(ScanReport::NamespaceGone { namespace });
        }
        reports(ScanReport::Done { request: ScanRequest::Host, statistics: self.statistics() });
        false
    }

    /// A host scan is under way.
    pub fn is_scanning_host(&self) -> bool {
        self.host.is_some()
    }

    /// What is to be done when nobody asks. The code that a host scan ends with takes as long as any other: it is no step of the scan.
    pub fn background(&self) -> Option<Chore> {
        let has_processes = self.host.as_ref().is_some_and(|pids| !pids.as_slice().is_empty());
        match () {
            () if has_processes => Some(Chore::HostScan),
            () if self.is_scanning_host() && !self.waits_for_code() => Some(Chore::HostScan),
            () if self.has_code() => Some(Chore::Deep),
            () => self.has_deep().then_some(Chore::Deep),
        }
    }

    /// The first scan ends when all code was looked at that it found. Later ones do not: new programs may bring more without end.
    fn waits_for_code(&self) -> bool {
        self.generation == 1 && self.has_code()
    }

    fn process(&mut self, process: ProcessId, reports: &mut dyn FnMut(ScanReport)) {
        let pid = process.pid;
        if pid == self.own_pid {
            return;
        }
        // Kernel threads and zombies have no memory; what ended in between has no status.
        let Ok(Some(executable_kib)) = self.proc.executable_kib(pid) else { return };
        let mut known = self.processes.remove(&process).unwrap_or_default();
        if known.executable_kib == executable_kib {
            self.statistics.processes_unchanged += 1;
            self.remember(process, known);
            return;
        }
        self.statistics.processes_read += 1;
        known.namespace = self.proc.mount_namespace(pid).unwrap_or_default();
        let mut found = Vec::new();
        let proc = self.proc.clone();
        match self.files.within_time(Place::Process(pid), known.namespace, move || proc.mappings(pid)) {
            Ok(Ok(mappings)) => {
                if mappings.truncated {
                    found.push(ScanReport::NotCovered { process, reason: NotCovered::TooManyMappings });
                }
                if self.mapped_files(process, &mut known, mappings, &mut found) {
                    known.executable_kib = executable_kib;
                }
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                if !std::mem::replace(&mut known.said_no_access, true) {
                    found.push(ScanReport::NotCovered { process, reason: NotCovered::NoAccess(error) });
                }
            }
            Ok(Err(_)) => {} // ended
            Err(unanswered) => {
                if !std::mem::replace(&mut known.said_no_access, true) {
                    found.push(ScanReport::NotCovered { process, reason: NotCovered::Silent(unanswered) });
                }
            }
        }
        // The pid may have changed hands while we read: then all of this is about someone else.
        if !self.proc.is_same(process) {
            self.statistics.processes_vanished += 1;
            return;
        }
        if !self.unmapped_libraries(pid, known.namespace, reports) {
            known.executable_kib = 0;
        }
        found.into_iter().for_each(reports);
        self.remember(process, known);
    }

    /// Something was mapped for certain: in place of something as large, the size tells nothing.
    fn look_whatever_its_size(&mut self, process: ProcessId) {
        if let Some(known) = self.processes.get_mut(&process) {
            known.executable_kib = 0;
        }
    }

    fn remember(&mut self, process: ProcessId, mut known: KnownProcess) {
        known.generation = self.generation;
        if self.processes.len() >= MAX_PROCESSES {
            self.processes.clear(); // costs a second look at each, loses nothing
        }
        self.processes.insert(process, known);
    }
}

fn soname_prefixes() -> Vec<&'static str> {
    LIBRARIES.iter().flat_map(|library| library.soname_prefixes()).copied().collect()
}

const LD_SO_CACHE: &str = "/etc/ld.so.cache";
/// Who has nothing else to do asks again after it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Host scans after which what is known by inode number alone is looked at again (a minute at one scan in 5 s).
const GENERATIONS_OF_TRUST: u64 = 12;
/// As many as the kernel half tracks.
const MAX_PROCESSES: usize = a11i_common::limits::PROCESSES as usize;

#[cfg(test)]
mod tests;
