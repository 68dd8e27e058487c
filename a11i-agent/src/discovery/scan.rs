//! One look at a process, at all of them, or at a file, with memory of earlier looks.
//!
//! What a file offers is remembered by [`FileId`], what a process was seen to map by process: a second look costs one
//! small read. Runs on the scanner's thread ([`super::scanner`]); what may hang runs on a thread of its own ([`super::deadline`]).
//! What could not be looked at now (over budget, no answer, being written) is looked at again by a later host scan.

use std::{
    collections::{HashMap, HashSet},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use a11i_common::identity::{Pid, ProcessId};

use super::{
    elf::Machine,
    empty_files::EmptyFiles,
    evidence::Evidence,
    file::{Device, FileId, OpenError, OpenedFile, id_of},
    files::{Analysed, Files, Place, Refused},
    ld_so_cache,
    maps::{Mapping, Mappings},
    mounts::{Mounts, fuse_mount_points},
    namespaces::Namespaces,
    prefix,
    process::ProcFs,
    reported::Reported,
    scanner::{Candidate, NotCovered, ScanReport, ScanRequest, ScanStatistics},
    script,
};
use crate::{
    attach::{Analysis, LIBRARIES},
    clock::Clock,
};

/// See the module.
pub struct Scan {
    proc: ProcFs,
    own_pid: Pid,
    processes: HashMap<ProcessId, KnownProcess>,
    files: Files,
    /// Files without anything, by what `maps` shows. Forgotten every [`GENERATIONS_OF_TRUST`].
    empty: EmptyFiles,
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
    /// Those that were reported.
    found: Vec<Mapping>,
    /// Files that are tried again and were complained about.
    said: HashSet<(Device, u64)>,
    said_no_access: bool,
}

/// What became of one mapped file.
struct Outcome {
    reports: Vec<ScanReport>,
    /// Not to be looked at again for this process.
    is_final: bool,
}

impl Outcome {
    const fn done(reports: Vec<ScanReport>) -> Self {
        Self { reports, is_final: true }
    }

    const fn later(reports: Vec<ScanReport>) -> Self {
        Self { reports, is_final: false }
    }
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

    /// Answers one request, a host scan included from beginning to end.
    pub fn handle(&mut self, request: ScanRequest, reports: &mut dyn FnMut(ScanReport)) {
        match request {
            ScanRequest::Exec(process) => {
                self.processes.remove(&process);
                self.process(process, reports);
            }
            ScanRequest::Process(process) => self.process(process, reports),
            // Ended already: nothing to look at.
            ScanRequest::Mapped(pid) => drop(self.proc.identify(pid).map(|process| self.process(process, reports))),
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

    /// Libraries of `root`'s ld.so.cache. A cache that is missing or broken gives none: libraries are then found when they are mapped.
    /// `false`: some could not be looked at now.
    fn libraries_of(&mut self, root: &Path, namespace: u64, fuse_mounts: &[PathBuf], reports: &mut dyn FnMut(ScanReport)) -> bool {
        let Some(machine) = Machine::host() else { return true };
        if fuse_mounts.iter().any(|mount| Path::new(LD_SO_CACHE).starts_with(mount)) {
            return true;
        }
        let below = root.to_owned();
        let look = move || ld_so_cache::libraries(&below, machine, &soname_prefixes()).unwrap_or_default();
        let Ok(libraries) = self.files.within_time(Place::Namespace(namespace), look) else { return false };
        self.offer(root, namespace, libraries.into_iter().map(|library| library.path).collect(), fuse_mounts, reports)
    }

    /// Libraries in the folder that belongs to the program's own prefix. `false`: some could not be looked at now.
    fn libraries_beside(
        &mut self,
        root: &Path,
        namespace: u64,
        dir: &Path,
        fuse_mounts: &[PathBuf],
        reports: &mut dyn FnMut(ScanReport),
    ) -> bool {
        if fuse_mounts.iter().any(|mount| dir.starts_with(mount)) {
            return true;
        }
        let (below, folder) = (root.to_owned(), dir.to_owned());
        let look = move || prefix::libraries(&below, &folder, &soname_prefixes());
        let Ok(paths) = self.files.within_time(Place::Namespace(namespace), look) else { return false };
        self.offer(root, namespace, paths, fuse_mounts, reports)
    }

    fn offer(
        &mut self,
        root: &Path,
        namespace: u64,
        paths: Vec<PathBuf>,
        fuse_mounts: &[PathBuf],
        reports: &mut dyn FnMut(ScanReport),
    ) -> bool {
        let mut seen = HashSet::new(); // `libssl.so` of the development package is a link to the same file
        let mut complete = true;
        for path in paths {
            if fuse_mounts.iter().any(|mount| path.starts_with(mount)) {
                continue;
            }
            let (below, name) = (root.to_owned(), path.clone());
            let open = move || OpenedFile::open_in_root(&below, &name);
            let file = match self.files.open(Place::Namespace(namespace), namespace, Clock::boot_now(), open) {
                Ok(file) => file,
                Err(Refused::Open(_)) => continue,
                Err(Refused::Unanswered(_) | Refused::OverBudget) => {
                    complete = false;
                    continue;
                }
            };
            if !seen.insert(file.id()) {
                continue;
            }
            match self.files.analyse(file, namespace) {
                Ok(Analysed { file, analysis: Ok(analysis), is_stable: true }) if !analysis.plans.is_empty() => {
                    self.report_version(file.id(), &analysis, reports);
                    self.namespaces.offered(namespace, self.generation);
                    reports(ScanReport::Library { candidate: Candidate { file, path, analysis }, namespace });
                }
                Ok(Analysed { is_stable, .. }) => complete &= is_stable,
                Err(_) => complete = false,
            }
        }
        complete
    }

    /// A program that is about to run, before it maps anything: itself, the interpreter of a script, the libraries of
    /// their prefixes and of our root.
    pub fn program(&mut self, path: &Path, reports: &mut dyn FnMut(ScanReport)) -> Result<(), OpenError> {
        let namespace = self.namespaces.own();
        let mut next = Some(path.to_owned());
        for _ in 0..MAX_SCRIPT_DEPTH {
            let Some(path) = next.take() else { break };
            let file = OpenedFile::open(&path)?;
            // A virtual environment's python is a link into the prefix.
            if let Some(dir) = path.canonicalize().ok().and_then(|path| prefix::library_dir(&path)) {
                self.libraries_beside(Path::new("/"), namespace, &dir, &[], reports);
            }
            match self.files.analyse(file, namespace) {
                Ok(Analysed { file, analysis: Ok(analysis), .. }) if !analysis.plans.is_empty() => {
                    self.report_version(file.id(), &analysis, reports);
                    reports(ScanReport::Library { candidate: Candidate { file, path, analysis }, namespace });
                }
                Ok(Analysed { file, analysis: Err(_), .. }) => next = script::interpreter(&file),
                Ok(_) | Err(_) => {}
            }
        }
        self.libraries_of(Path::new("/"), namespace, &[], reports);
        Ok(())
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
        match self.files.within_time(Place::Process(pid), move || proc.mappings(pid)) {
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

    /// `false`: some of them are to be looked at again.
    fn mapped_files(&mut self, process: ProcessId, known: &mut KnownProcess, mappings: Mappings, found: &mut Vec<ScanReport>) -> bool {
        // Those that most likely matter go first, before a budget is used up.
        let (first, rest): (Vec<Mapping>, Vec<Mapping>) = mappings.files.into_iter().partition(is_tls_name);
        let mut all = true;
        for mapping in first.into_iter().chain(rest) {
            let key = (mapping.device, mapping.inode);
            if known.files.contains(&key) {
                continue;
            }
            let Outcome { reports, is_final } = self.mapped_file(process, known.namespace, &mapping);
            if reports.iter().any(|report| matches!(report, ScanReport::Found { .. })) {
                known.found.push(mapping);
            }
            if is_final {
                known.files.insert(key);
                found.extend(reports);
            } else {
                all = false;
                if !reports.is_empty() && known.said.insert(key) {
                    found.extend(reports);
                }
            }
        }
        all
    }

    fn mapped_file(&mut self, process: ProcessId, namespace: u64, mapping: &Mapping) -> Outcome {
        if self.empty.contains(mapping.device, mapping.inode, &mapping.path) {
            return Outcome::done(Vec::new());
        }
        let not_covered = |reason| ScanReport::NotCovered { process, reason };
        let path = mapping.path.clone();
        if self.proc.is_on_fuse(process.pid, mapping.device, &mut self.mounts) {
            return Outcome::done(vec![not_covered(NotCovered::Unopened { path: path.clone(), source: OpenError::Fuse { path } })]);
        }
        let (proc, which) = (self.proc.clone(), mapping.clone());
        let open = move || proc.open_located(process.pid, &which);
        let file = match self.files.open(Place::Device(mapping.device), namespace, Clock::boot_now(), open) {
            Ok(file) => file,
            // Unmapped or ended meanwhile; every library that is not TLS would be named here.
            Err(Refused::Open(OpenError::Io { .. } | OpenError::OtherFile { .. } | OpenError::NotRegular { .. }))
                if !is_tls_name(mapping) =>
            {
                return Outcome::done(Vec::new());
            }
            Err(Refused::Open(source)) => return Outcome::done(vec![not_covered(NotCovered::Unopened { path, source })]),
            Err(Refused::Unanswered(source)) => return Outcome::later(vec![not_covered(NotCovered::Unanswered { path, source })]),
            Err(Refused::OverBudget) if is_tls_name(mapping) => return Outcome::later(vec![not_covered(NotCovered::OverBudget { path })]),
            Err(Refused::OverBudget) => return Outcome::later(Vec::new()),
        };
        let (file, analysis, is_stable) = match self.files.analyse(file, namespace) {
            Ok(Analysed { file, analysis, is_stable }) => (file, analysis, is_stable),
            Err(source) => return Outcome::later(vec![not_covered(NotCovered::Unanswered { path, source })]),
        };
        if !is_stable {
            return Outcome::later(vec![not_covered(NotCovered::BeingWritten { path })]);
        }
        let analysis = match analysis {
            Ok(analysis) => analysis,
            // Data mapped executable is no library; a file named like one that cannot be read is worth a word.
            Err(_) if !is_tls_name(mapping) => return Outcome::done(Vec::new()),
            Err(source) => return Outcome::done(vec![not_covered(NotCovered::Unreadable { path, source })]),
        };
        if analysis.is_empty() {
            self.empty.add(mapping.device, mapping.inode, &mapping.path);
            return Outcome::done(Vec::new());
        }
        let unsupported = |evidence: &Evidence| not_covered(NotCovered::Unsupported { path: path.clone(), evidence: *evidence });
        let mut reports: Vec<_> = analysis.evidence.iter().map(unsupported).collect();
        if !analysis.plans.is_empty() {
            self.report_version(file.id(), &analysis, &mut |report| reports.push(report));
            reports.push(ScanReport::Found { process, candidate: Candidate { file, path, analysis } });
        }
        Outcome::done(reports)
    }

    /// Before a file is reported: an earlier version of the same inode is over.
    fn report_version(&mut self, id: FileId, analysis: &Arc<Analysis>, reports: &mut dyn FnMut(ScanReport)) {
        if let Some(file) = self.reported.report(id, Arc::clone(analysis), self.generation) {
            self.look_again_at(&file);
            reports(ScanReport::Changed { file });
        }
    }

    /// Looks once per host scan at each file that was reported for a living process: was it rewritten in place?
    fn versions_of(&mut self, process: ProcessId, reports: &mut dyn FnMut(ScanReport)) {
        let Some(known) = self.processes.get(&process) else { return };
        for mapping in known.found.clone() {
            let Some(id) = self.reported.due((mapping.device, mapping.inode), self.generation) else { continue };
            let place = Place::Device(mapping.device);
            let path = self.proc.path(process.pid, "map_files").join(mapping.map_files_name());
            let Some(now) = self.files.version(place, path.clone()).filter(|now| (now.dev, now.ino) == (id.dev, id.ino)) else { continue };
            let is_same = now == id
                || (now.size, now.mtime) == (id.size, id.mtime) && {
                    // Times of the name, not of the bytes (unlinked, renamed, linked), or bytes whose time was set back.
                    let open = move || OpenedFile::open(&path);
                    let opened = self.files.within_time(place, open).ok().and_then(Result::ok);
                    let analysed = opened.and_then(|file| self.files.analyse(file, self.namespaces.own()).ok());
                    let analysis = analysed.filter(|analysed| analysed.is_stable).and_then(|analysed| analysed.analysis.ok());
                    analysis.is_some_and(|analysis| self.reported.is_same(&id, now, &analysis))
                };
            if !is_same && let Some(file) = self.reported.withdraw(&id) {
                self.look_again_at(&file);
                reports(ScanReport::Changed { file });
            }
        }
    }

    /// Processes that map another version of the file are looked at again by the next host scan.
    fn look_again_at(&mut self, file: &FileId) {
        let key = (Device::of(file.dev), file.ino);
        for known in self.processes.values_mut() {
            let before = known.found.len();
            known.found.retain(|mapping| (mapping.device, mapping.inode) != key);
            if known.found.len() != before {
                known.files.remove(&key);
                known.executable_kib = 0;
            }
        }
    }

    /// Libraries that the process or others like it will map: the first process seen in a mount namespace leads to the
    /// namespace's ld.so.cache, the first one of a program to its prefix. `false`: some could not be looked at now.
    fn unmapped_libraries(&mut self, pid: Pid, namespace: u64, reports: &mut dyn FnMut(ScanReport)) -> bool {
        if namespace == 0 {
            return true;
        }
        let dir = self.proc.exe(pid).ok().and_then(|exe| prefix::library_dir(&exe));
        let new_dir = dir.filter(|dir| self.namespaces.is_new_prefix(namespace, dir));
        let new_namespace = self.namespaces.is_new(namespace);
        if new_dir.is_none() && !new_namespace {
            return true;
        }
        // Without its mounts nobody knows what is FUSE: then these are found when they are mapped.
        let Ok(mountinfo) = self.proc.mountinfo(pid) else { return true };
        let (root, fuse_mounts) = (self.proc.root_of(pid), fuse_mount_points(&mountinfo));
        let of_cache = !new_namespace || self.libraries_of(&root, namespace, &fuse_mounts, reports);
        let of_prefix = new_dir.as_ref().is_none_or(|dir| self.libraries_beside(&root, namespace, dir, &fuse_mounts, reports));
        if !of_cache || !of_prefix {
            self.namespaces.again(namespace, new_dir);
        }
        of_cache && of_prefix
    }

    fn remember(&mut self, process: ProcessId, mut known: KnownProcess) {
        known.generation = self.generation;
        if self.processes.len() >= MAX_PROCESSES {
            self.processes.clear(); // costs a second look at each, loses nothing
        }
        self.processes.insert(process, known);
    }
}

fn is_tls_name(mapping: &Mapping) -> bool {
    let name = mapping.file_name().as_bytes();
    soname_prefixes().iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

fn soname_prefixes() -> Vec<&'static str> {
    LIBRARIES.iter().flat_map(|library| library.soname_prefixes()).copied().collect()
}

const LD_SO_CACHE: &str = "/etc/ld.so.cache";
/// Host scans after which what is known by inode number alone is looked at again (a minute at one scan in 5 s).
const GENERATIONS_OF_TRUST: u64 = 12;
/// As many as the kernel half tracks.
const MAX_PROCESSES: usize = a11i_common::limits::PROCESSES as usize;
/// A script whose interpreter is a script: Linux allows four levels, two are used.
const MAX_SCRIPT_DEPTH: usize = 4;

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
