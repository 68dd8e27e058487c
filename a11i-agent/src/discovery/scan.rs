//! One look at a process, at all of them, or at a file, with memory of earlier looks.
//!
//! What a file offers is remembered by [`FileId`], what a process was seen to map by process: a second look costs one
//! small read. Runs on the scanner's thread ([`super::scanner`]), because files of others may be slow.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use a11i_common::identity::{Pid, ProcessId};

use super::{
    elf::{ElfError, Machine},
    evidence::Evidence,
    file::{Device, FileId, OpenError, OpenedFile, id_of},
    ld_so_cache,
    maps::Mapping,
    mounts::{Mounts, fuse_mount_points},
    prefix,
    process::ProcFs,
    scanner::{Candidate, NotCovered, ScanReport, ScanRequest, ScanStatistics},
    script,
};
use crate::attach::{Analysis, LIBRARIES, analyse};

/// See the module.
pub struct Scan {
    proc: ProcFs,
    own_pid: Pid,
    processes: HashMap<ProcessId, KnownProcess>,
    files: AnalysisCache,
    /// Files without anything, by what `maps` shows: spares opening them. Forgotten every [`GENERATIONS_OF_TRUST`].
    empty: HashMap<(Device, u64), PathBuf>,
    mounts: Mounts,
    /// Mount namespaces whose ld.so.cache was read.
    namespaces: HashSet<u64>,
    /// Library folders that were looked through, by mount namespace.
    prefixes: HashSet<(u64, PathBuf)>,
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
    files: HashSet<(Device, u64)>,
    said_no_access: bool,
}

impl Scan {
    pub fn new(proc: ProcFs) -> Self {
        Self {
            proc,
            own_pid: Pid(std::process::id()),
            processes: HashMap::new(),
            files: AnalysisCache::default(),
            empty: HashMap::new(),
            mounts: Mounts::default(),
            namespaces: HashSet::new(),
            prefixes: HashSet::new(),
            host_cache: None,
            generation: 0,
            host: None,
            statistics: ScanStatistics::default(),
        }
    }

    pub fn statistics(&self) -> ScanStatistics {
        self.statistics
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
        reports(ScanReport::Done { request, statistics: self.statistics });
    }

    /// Libraries of `root`'s ld.so.cache. A cache that is missing or broken gives none: libraries are then found when they are mapped.
    pub fn libraries_of(&mut self, root: &Path, namespace: u64, fuse_mounts: &[PathBuf], reports: &mut dyn FnMut(ScanReport)) {
        let Some(machine) = Machine::host() else { return };
        if fuse_mounts.iter().any(|mount| Path::new(LD_SO_CACHE).starts_with(mount)) {
            return;
        }
        let libraries = ld_so_cache::libraries(root, machine, &soname_prefixes()).unwrap_or_default();
        self.offer(root, namespace, libraries.into_iter().map(|library| library.path).collect(), fuse_mounts, reports);
    }

    /// Libraries in the folder that belongs to the program's own prefix.
    fn libraries_beside(&mut self, root: &Path, namespace: u64, dir: &Path, fuse_mounts: &[PathBuf], reports: &mut dyn FnMut(ScanReport)) {
        if !fuse_mounts.iter().any(|mount| dir.starts_with(mount)) {
            self.offer(root, namespace, prefix::libraries(root, dir, &soname_prefixes()), fuse_mounts, reports);
        }
    }

    fn offer(&mut self, root: &Path, namespace: u64, paths: Vec<PathBuf>, fuse_mounts: &[PathBuf], reports: &mut dyn FnMut(ScanReport)) {
        let mut seen = HashSet::new(); // `libssl.so` of the development package is a link to the same file
        for path in paths {
            if fuse_mounts.iter().any(|mount| path.starts_with(mount)) {
                continue;
            }
            let Ok(file) = OpenedFile::open_in_root(root, &path) else { continue };
            self.statistics.files_opened += 1;
            if seen.insert(file.id())
                && let Ok(analysis) = self.analysis_of(&file)
                && !analysis.plans.is_empty()
            {
                reports(ScanReport::Library { candidate: Candidate { file, path, analysis }, namespace });
            }
        }
    }

    /// A program that is about to run, before it maps anything: itself, the interpreter of a script, the libraries of
    /// their prefixes and of our root.
    pub fn program(&mut self, path: &Path, reports: &mut dyn FnMut(ScanReport)) -> Result<(), OpenError> {
        let namespace = self.own_namespace();
        let mut next = Some(path.to_owned());
        for _ in 0..MAX_SCRIPT_DEPTH {
            let Some(path) = next.take() else { break };
            let file = OpenedFile::open(&path)?;
            self.statistics.files_opened += 1;
            // A virtual environment's python is a link into the prefix.
            if let Some(dir) = path.canonicalize().ok().and_then(|path| prefix::library_dir(&path)) {
                self.libraries_beside(Path::new("/"), namespace, &dir, &[], reports);
            }
            match self.analysis_of(&file) {
                Ok(analysis) if !analysis.plans.is_empty() => {
                    reports(ScanReport::Library { candidate: Candidate { file, path, analysis }, namespace });
                }
                Ok(_) => {}
                Err(_) => next = script::interpreter(&file),
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
            self.namespaces.clear();
            self.prefixes.clear();
            self.empty.clear();
        }
        let cache = id_of(Path::new(LD_SO_CACHE));
        if cache.is_some() && cache != self.host_cache {
            self.host_cache = cache;
            self.libraries_of(Path::new("/"), self.own_namespace(), &[], reports);
        }
        self.namespaces.extend(self.proc.mount_namespace(self.own_pid));
        // A /proc that cannot be listed gives an empty scan; each process is then found by its events.
        self.host = Some(self.proc.pids().unwrap_or_default().into_iter());
    }

    /// Looks at one more process. `false`: no host scan is under way, or it has just ended and [`ScanReport::Done`] was given.
    pub fn step_host(&mut self, reports: &mut dyn FnMut(ScanReport)) -> bool {
        let Some(pids) = self.host.as_mut() else { return false };
        if let Some(pid) = pids.next() {
            if let Ok(process) = self.proc.identify(pid) {
                self.process(process, reports);
            }
            return true;
        }
        self.host = None;
        let generation = self.generation;
        self.processes.retain(|_, known| known.generation == generation);
        reports(ScanReport::Done { request: ScanRequest::Host, statistics: self.statistics });
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
        let mut found = Vec::new();
        match self.proc.mappings(pid) {
            Ok(mappings) => {
                for mapping in &mappings.files {
                    if known.files.insert((mapping.device, mapping.inode)) {
                        found.extend(self.mapped_file(process, mapping));
                    }
                }
                if mappings.truncated {
                    found.push(ScanReport::NotCovered { process, reason: NotCovered::TooManyMappings });
                }
                known.executable_kib = executable_kib;
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                if !known.said_no_access {
                    known.said_no_access = true;
                    found.push(ScanReport::NotCovered { process, reason: NotCovered::NoAccess(error) });
                }
            }
            Err(_) => {} // ended
        }
        // The pid may have changed hands while we read: then all of this is about someone else.
        if !self.proc.is_same(process) {
            self.statistics.processes_vanished += 1;
            return;
        }
        self.unmapped_libraries(pid, reports);
        found.into_iter().for_each(reports);
        self.remember(process, known);
    }

    /// 0 where `/proc` does not say: no namespace has that number.
    fn own_namespace(&self) -> u64 {
        self.proc.mount_namespace(self.own_pid).unwrap_or_default()
    }

    fn mapped_file(&mut self, process: ProcessId, mapping: &Mapping) -> Vec<ScanReport> {
        let key = (mapping.device, mapping.inode);
        if self.empty.get(&key).is_some_and(|path| *path == mapping.path) {
            return Vec::new();
        }
        let not_covered = |reason| ScanReport::NotCovered { process, reason };
        let path = mapping.path.clone();
        let file = match self.proc.open_mapped(process.pid, mapping, &mut self.mounts) {
            Ok(file) => file,
            // Unmapped or ended meanwhile; every library that is not TLS would be named here.
            Err(OpenError::Io { .. } | OpenError::OtherFile { .. } | OpenError::NotRegular { .. }) if !is_tls_name(mapping) => {
                return Vec::new();
            }
            Err(source) => return vec![not_covered(NotCovered::Unopened { path, source })],
        };
        self.statistics.files_opened += 1;
        let analysis = match self.analysis_of(&file) {
            Ok(analysis) => analysis,
            // Data mapped executable is no library; a file named like one that cannot be read is worth a word.
            Err(_) if !is_tls_name(mapping) => return Vec::new(),
            Err(source) => return vec![not_covered(NotCovered::Unreadable { path, source })],
        };
        if analysis.is_empty() {
            if self.empty.len() >= MAX_EMPTY {
                self.empty.clear();
            }
            self.empty.insert(key, mapping.path.clone());
            return Vec::new();
        }
        let unsupported = |evidence: &Evidence| not_covered(NotCovered::Unsupported { path: path.clone(), evidence: *evidence });
        let mut reports: Vec<_> = analysis.evidence.iter().map(unsupported).collect();
        if !analysis.plans.is_empty() {
            reports.push(ScanReport::Found { process, candidate: Candidate { file, path, analysis } });
        }
        reports
    }

    fn analysis_of(&mut self, file: &OpenedFile) -> Result<Arc<Analysis>, ElfError> {
        if let Some(known) = self.files.entries.get(&file.id()) {
            return Ok(Arc::clone(known));
        }
        self.statistics.files_analysed += 1;
        let analysis = Arc::new(match analyse(file, file.id()) {
            // Not ours to read, today and tomorrow: remembered as empty.
            Err(ElfError::NotElf | ElfError::OtherType(_)) if !script::is_script(file) => Analysis::default(),
            analysis => analysis?,
        });
        if file.is_unchanged() {
            self.files.insert(file.id(), Arc::clone(&analysis));
        }
        Ok(analysis)
    }

    /// Libraries that the process or others like it will map: the first process seen in a mount namespace leads to the
    /// namespace's ld.so.cache, the first one of a program to its prefix.
    fn unmapped_libraries(&mut self, pid: Pid, reports: &mut dyn FnMut(ScanReport)) {
        let Some(namespace) = self.proc.mount_namespace(pid) else { return };
        if self.namespaces.len() >= MAX_NAMESPACES || self.prefixes.len() >= MAX_NAMESPACES {
            self.namespaces.clear();
            self.prefixes.clear();
        }
        let dir = self.proc.exe(pid).ok().and_then(|exe| prefix::library_dir(&exe));
        let new_dir = dir.filter(|dir| self.prefixes.insert((namespace, dir.clone())));
        let new_namespace = self.namespaces.insert(namespace);
        if new_dir.is_none() && !new_namespace {
            return;
        }
        // Without its mounts nobody knows what is FUSE: then these are found when they are mapped.
        let Ok(mountinfo) = self.proc.mountinfo(pid) else { return };
        let (root, fuse_mounts) = (self.proc.root_of(pid), fuse_mount_points(&mountinfo));
        if new_namespace {
            self.libraries_of(&root, namespace, &fuse_mounts, reports);
        }
        if let Some(dir) = new_dir {
            self.libraries_beside(&root, namespace, &dir, &fuse_mounts, reports);
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

/// Bounded; the oldest entry goes first.
#[derive(Default)]
struct AnalysisCache {
    entries: HashMap<FileId, Arc<Analysis>>,
    order: VecDeque<FileId>,
}

impl AnalysisCache {
    fn insert(&mut self, id: FileId, analysis: Arc<Analysis>) {
        if self.entries.insert(id, analysis).is_none() {
            self.order.push_back(id);
        }
        while self.entries.len() > MAX_ANALYSES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
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
/// Distinct files that are mapped executable on one node: some ten thousand with many images.
const MAX_ANALYSES: usize = 16_384;
const MAX_EMPTY: usize = 65_536;
const MAX_NAMESPACES: usize = 16_384;
/// As many as the kernel half tracks.
const MAX_PROCESSES: usize = a11i_common::limits::PROCESSES as usize;
/// A script whose interpreter is a script: Linux allows four levels, two are used.
const MAX_SCRIPT_DEPTH: usize = 4;

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        process::{Child, Command, Stdio},
    };

    use super::*;
    use crate::discovery::testing::{TempDir, compile, openssl_look_alike};

    /// A child that tells when it runs, and is ended with the test.
    struct Running(Child);
    impl Running {
        fn start(program: &Path) -> Self {
            let mut child = Command::new(program).stdout(Stdio::piped()).spawn().unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            Self(child)
        }

        fn id(&self) -> ProcessId {
            ProcFs::default().identify(Pid(self.0.id())).unwrap()
        }
    }
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }

    fn tls_client(dir: &TempDir) -> PathBuf {
        openssl_look_alike(dir);
        let library = format!("-L{}", dir.path().display());
        let rpath = format!("-Wl,-rpath,{}", dir.path().display());
        let source = "#include <unistd.h>\nint SSL_read(void*,void*,int);int main(void){SSL_read(0,0,0);write(1,\"x\",1);pause();}";
        compile(dir, "client", source, &[&library, &rpath, "-l:libssl.so.3"])
    }

    fn of_process(reports: &[ScanReport], wanted: ProcessId) -> Vec<&Candidate> {
        let candidate = |report| {
            let &ScanReport::Found { process, ref candidate } = report else { return None };
            (process == wanted).then_some(candidate)
        };
        reports.iter().filter_map(candidate).collect()
    }

    fn handle(scan: &mut Scan, request: ScanRequest) -> Vec<ScanReport> {
        let mut reports = Vec::new();
        scan.handle(request, &mut |report| reports.push(report));
        reports
    }

    #[test]
    fn a_process_with_a_tls_library_is_found_once_until_it_execs() {
        let dir = TempDir::new("scan");
        let child = Running::start(&tls_client(&dir));
        let mut scan = Scan::new(ProcFs::default());
        let reports = handle(&mut scan, ScanRequest::Exec(child.id()));
        let found = of_process(&reports, child.id());
        let [candidate] = found.as_slice() else { panic!("{reports:?}") };
        assert_eq!(candidate.path, dir.path().join("libssl.so.3"));
        assert_eq!(candidate.analysis.plans[0].plan.file, candidate.file.id());
        let analysed = scan.statistics().files_analysed;
        assert!(of_process(&handle(&mut scan, ScanRequest::Process(child.id())), child.id()).is_empty());
        assert_eq!(of_process(&handle(&mut scan, ScanRequest::Exec(child.id())), child.id()).len(), 1);
        assert_eq!(scan.statistics().files_analysed, analysed, "the second look analyses nothing");
    }

    #[test]
    fn a_host_scan_finds_running_processes_and_the_second_one_reads_little() {
        let dir = TempDir::new("host");
        let child = Running::start(&tls_client(&dir));
        let mut scan = Scan::new(ProcFs::default());
        let reports = handle(&mut scan, ScanRequest::Host);
        assert_eq!(of_process(&reports, child.id()).len(), 1);
        assert!(matches!(reports.last(), Some(ScanReport::Done { request: ScanRequest::Host, .. })));
        assert!(of_process(&handle(&mut scan, ScanRequest::Host), child.id()).is_empty());
        assert!(scan.statistics().processes_unchanged > 0);
    }

    #[test]
    fn a_request_is_answered_while_a_host_scan_is_under_way() {
        let dir = TempDir::new("between");
        let child = Running::start(&tls_client(&dir));
        let mut scan = Scan::new(ProcFs::default());
        let mut reports = Vec::new();
        scan.begin_host(&mut |report| reports.push(report));
        assert!(scan.is_scanning_host());
        assert_eq!(of_process(&handle(&mut scan, ScanRequest::Exec(child.id())), child.id()).len(), 1);
        while scan.step_host(&mut |report| reports.push(report)) {}
        assert!(of_process(&reports, child.id()).is_empty(), "found once");
        assert!(matches!(reports.last(), Some(ScanReport::Done { request: ScanRequest::Host, .. })));
        assert!(of_process(&handle(&mut scan, ScanRequest::Process(child.id())), child.id()).is_empty(), "still remembered");
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_reported_as_the_old_one() {
        let dir = TempDir::new("reuse");
        let child = Running::start(&tls_client(&dir));
        let earlier = ProcessId { start_ticks: child.id().start_ticks - 1, ..child.id() };
        let mut scan = Scan::new(ProcFs::default());
        let reports = handle(&mut scan, ScanRequest::Exec(earlier));
        assert!(matches!(reports.as_slice(), [ScanReport::Done { .. }]), "{reports:?}");
        assert_eq!(scan.statistics().processes_vanished, 1);
    }

    #[test]
    fn a_library_beside_the_program_is_offered_before_it_is_mapped() {
        let dir = TempDir::new("beside");
        for name in ["bin", "lib"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let library = dir.path().join("lib/libssl.so.3");
        std::fs::rename(openssl_look_alike(&dir), &library).unwrap();
        let program = compile(&dir, "bin/waits", "#include <unistd.h>\nint main(void){write(1,\"x\",1);pause();}", &[]);
        let is_library = |report: &ScanReport| matches!(report, ScanReport::Library { candidate, .. } if candidate.path == library);

        let child = Running::start(&program);
        let reports = handle(&mut Scan::new(ProcFs::default()), ScanRequest::Exec(child.id()));
        assert!(reports.iter().any(is_library), "{reports:?}");

        let mut reports = Vec::new();
        Scan::new(ProcFs::default()).program(&program, &mut |report| reports.push(report)).unwrap();
        assert!(reports.iter().any(is_library), "{reports:?}");
    }

    #[test]
    fn a_script_leads_to_its_interpreter_before_it_runs() {
        let dir = TempDir::new("script");
        let program = compile(
            &dir,
            "static-client",
            "int SSL_read(int a){return a;}int SSL_write(int a){return a+1;}int main(void){return 0;}",
            &["-O1"],
        );
        let script = dir.path().join("script");
        std::fs::write(&script, format!("#! {} -x\n", program.display())).unwrap();
        let mut reports = Vec::new();
        Scan::new(ProcFs::default()).program(&script, &mut |report| reports.push(report)).unwrap();
        let is_program = |report: &ScanReport| matches!(report, ScanReport::Library { candidate, .. } if candidate.path == program);
        assert!(reports.iter().any(is_program), "{reports:?}");
    }
}
