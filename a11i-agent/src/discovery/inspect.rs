//! The answer to `a11i inspect PID-or-PATH`: which functions were found where, or why not and what to do.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt, io,
    path::{Path, PathBuf},
};

use a11i_common::identity::Pid;
use serde::{Deserialize, Serialize};

use super::{
    elf::{Elf, Machine, RefusedSymbol},
    evidence::{self, Evidence},
    file::{FileId, OpenError, OpenedFile},
    ld_so_cache,
    mounts::Mounts,
    process::ProcFs,
    version,
};
use crate::{
    attach::{Planned, Probe, ProbeKind, analyse},
    call::CaptureLibrary,
};

/// Serializes to the JSON of the command; [`fmt::Display`] is its text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    pub target: Target,
    /// Every TLS library that can be attached.
    pub libraries: Vec<LibraryReport>,
    pub not_covered: Vec<NotCoveredReport>,
    /// Executable files looked at.
    pub files: usize,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Process { pid: u32, executable: Option<PathBuf> },
    File { path: PathBuf },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LibraryReport {
    pub path: PathBuf,
    pub file: FileId,
    /// `a11i.capture.library`.
    pub library: &'static str,
    #[serde(skip)]
    kind: CaptureLibrary,
    pub version: Option<String>,
    /// `a11i.capture.method`.
    pub method: &'static str,
    pub soname: Option<String>,
    pub build_id: Option<String>,
    pub probes: Vec<Probe>,
    pub refused: Vec<RefusedReport>,
}

/// A function that is probed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FunctionReport {
    pub name: String,
    /// In the file.
    pub offset: u64,
    /// The kernel takes its return from the stack.
    pub is_return_probed: bool,
    /// Return instructions that are probed where they are.
    pub exits: usize,
}

impl FunctionReport {
    /// What of it is probed, in words.
    pub fn probed(&self) -> String {
        match (self.is_return_probed, self.exits) {
            (true, _) => "entry and return".to_owned(),
            (false, 0) => "entry".to_owned(),
            (false, exits) => format!("entry and {exits} return instructions"),
        }
    }
}

/// Functions that have these probes, in ascending order of offset as the probes are.
pub fn functions(probes: &[Probe]) -> Vec<FunctionReport> {
    let mut functions: Vec<FunctionReport> = Vec::new();
    for probe in probes {
        match probe.kind {
            ProbeKind::Entry => {
                functions.push(FunctionReport { name: probe.symbol.clone(), offset: probe.offset, is_return_probed: false, exits: 0 });
            }
            ProbeKind::Return => {
                if let Some(function) = functions.iter_mut().rev().find(|function| function.offset == probe.offset) {
                    function.is_return_probed = true;
                }
            }
            // It lies in the function that begins before it; between the two another may begin, of which it is no part.
            ProbeKind::Exit => {
                if let Some(function) = functions.iter_mut().rev().find(|function| function.name == probe.symbol) {
                    function.exits = function.exits.saturating_add(1);
                }
            }
        }
    }
    functions
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RefusedReport {
    pub symbol: String,
    pub reason: String,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct NotCoveredReport {
    pub path: Option<PathBuf>,
    pub reason: String,
    pub remedy: String,
}

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("no process {0}")]
    NoProcess(u32),
    #[error("process {0} is a kernel thread or has ended: it maps no program")]
    NoMemory(u32),
    #[error("the mappings of process {pid} cannot be read: {source}; run as root, or with CAP_SYS_PTRACE")]
    Mappings { pid: u32, source: io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{path}: {source}", path = path.display())]
    Elf { path: PathBuf, source: super::elf::ElfError },
}

/// Looks at all that a process maps now.
pub fn process(proc: &ProcFs, pid: Pid) -> Result<Report, InspectError> {
    let process = proc.identify(pid).map_err(|_| InspectError::NoProcess(pid.0))?;
    let mappings = proc.mappings(pid).map_err(|source| InspectError::Mappings { pid: pid.0, source })?;
    if mappings.files.is_empty() {
        return Err(InspectError::NoMemory(pid.0));
    }
    let executable = proc.exe(pid).ok();
    let mut report = Report::new(Target::Process { pid: pid.0, executable: executable.clone() });
    let mut mounts = Mounts::default();
    let mut not_covered = BTreeSet::new();
    let mut stating = Vec::new();
    for mapping in &mappings.files {
        if mapping.file_name().to_str().is_some_and(|name| name.starts_with(version::CRYPTO)) {
            stating.push(mapping);
        }
        report.files = report.files.saturating_add(1);
        let is_program = executable.as_ref() == Some(&mapping.path);
        match proc.open_mapped(pid, mapping, &mut mounts) {
            // Data mapped executable is no library, and what is no ELF has no functions.
            Ok(file) => drop(report.add(&file, &mapping.path, is_program, &mut not_covered)),
            Err(error) => {
                not_covered.insert(NotCoveredReport {
                    path: Some(mapping.path.clone()),
                    reason: error.to_string(),
                    remedy: error.remedy().to_owned(),
                });
            }
        }
    }
    // Wheels have names with hashes in them: the folder tells what belongs together.
    report.versions_beside(|other| {
        let mapping = stating.iter().find(|mapping| mapping.path.parent() == other.parent())?;
        proc.open_mapped(pid, mapping, &mut mounts).ok()
    });
    if !proc.is_same(process) {
        return Err(InspectError::NoProcess(pid.0));
    }
    Ok(report.finish(not_covered))
}

/// Looks at one file.
pub fn file(path: &Path) -> Result<Report, InspectError> {
    let opened = OpenedFile::open(path)?;
    let mut report = Report::new(Target::File { path: path.to_owned() });
    let mut not_covered = BTreeSet::new();
    report.files = 1;
    report.add(&opened, path, true, &mut not_covered).map_err(|source| InspectError::Elf { path: path.to_owned(), source })?;
    for (library, path) in needed(&opened) {
        report.files = report.files.saturating_add(1);
        // What a library itself lacks matters only where the program has no TLS at all: its own file says so already.
        drop(report.add(&library, &path, false, &mut BTreeSet::new()));
    }
    report.versions_beside(|other| OpenedFile::open(other).ok());
    Ok(report.finish(not_covered))
}

/// A program links a few dozen libraries, a desktop one a few hundred.
const MAX_NEEDED: usize = 512;

/// The libraries the loader would map for a program of this host, as far as `/etc/ld.so.cache` tells (RPATH and LD_LIBRARY_PATH are not followed).
fn needed(program: &OpenedFile) -> Vec<(OpenedFile, PathBuf)> {
    let Some(machine) = Machine::host() else { return Vec::new() };
    let cache = ld_so_cache::libraries(Path::new("/"), machine, &[""]).unwrap_or_default();
    let names = |file: &OpenedFile| Elf::parse(file).map(|elf| elf.needed().to_vec()).unwrap_or_default();
    let mut wanted: VecDeque<String> = names(program).into();
    let mut seen: BTreeSet<String> = wanted.iter().cloned().collect();
    let mut found = Vec::new();
    while let Some(name) = wanted.pop_front() {
        if found.len() >= MAX_NEEDED {
            break;
        }
        let Some(known) = cache.iter().find(|library| library.soname == name) else { continue };
        let Ok(file) = OpenedFile::open(&known.path) else { continue };
        wanted.extend(names(&file).into_iter().filter(|name| seen.insert(name.clone())));
        found.push((file, known.path.clone()));
    }
    found
}

impl Report {
    fn new(target: Target) -> Self {
        Self { target, libraries: Vec::new(), not_covered: Vec::new(), files: 0 }
    }

    /// `thorough`: worth a pass over the whole file when it has no symbols.
    fn add(
        &mut self,
        file: &OpenedFile,
        path: &Path,
        thorough: bool,
        not_covered: &mut BTreeSet<NotCoveredReport>,
    ) -> Result<(), super::elf::ElfError> {
        let analysis = analyse(file, file.id())?;
        let mut signs = analysis.evidence.clone();
        if thorough && analysis.plans.is_empty() && !signs.contains(&Evidence::OtherClass) {
            signs.extend(evidence::by_strings(&Elf::parse(file)?));
        }
        not_covered.extend(signs.into_iter().map(|sign| NotCoveredReport {
            path: Some(path.to_owned()),
            reason: sign.reason().to_owned(),
            remedy: sign.remedy().to_owned(),
        }));
        self.libraries.extend(analysis.plans.iter().map(|planned| LibraryReport {
            path: path.to_owned(),
            file: file.id(),
            library: planned.plan.library.as_str(),
            kind: planned.plan.library,
            version: version::stated(file, planned.plan.library, analysis.soname.is_some()).or_else(|| planned.version.clone()),
            method: planned.plan.method.as_str(),
            soname: analysis.soname.clone(),
            build_id: analysis.build_id.clone(),
            probes: planned.plan.probes.clone(),
            refused: refused(planned),
        }));
        Ok(())
    }

    /// Of libraries that leave it to another file, which `open` finds.
    fn versions_beside(&mut self, mut open: impl FnMut(&Path) -> Option<OpenedFile>) {
        for library in &mut self.libraries {
            let Some(other) = version::beside(&library.path, library.kind).and_then(|other| open(&other)) else { continue };
            library.version = version::stated(&other, library.kind, true).or_else(|| library.version.take());
        }
    }

    fn finish(mut self, not_covered: BTreeSet<NotCoveredReport>) -> Self {
        self.not_covered = not_covered.into_iter().collect();
        if self.libraries.is_empty() && self.not_covered.is_empty() {
            let (reason, remedy) = match self.target {
                Target::Process { .. } => (
                    "no TLS library found in what the process maps, by names or by code",
                    "it may load one later, or leave TLS to another process: inspect that one; with TLS of its own it has to be instrumented with OpenTelemetry",
                ),
                Target::File { .. } => (
                    "the file defines no TLS library, by names or by code, nor do the libraries that it is linked to",
                    "it may load one when it runs: inspect its process",
                ),
            };
            self.not_covered.push(NotCoveredReport { path: None, reason: reason.to_owned(), remedy: remedy.to_owned() });
        }
        self
    }
}

fn refused(planned: &Planned) -> Vec<RefusedReport> {
    let report = |refused: &RefusedSymbol| RefusedReport { symbol: refused.name.to_owned(), reason: refused.why.to_string() };
    planned.refused.iter().map(report).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Process { pid, executable: Some(path) } => writeln!(f, "process {pid} ({})", Shown(path))?,
            Target::Process { pid, executable: None } => writeln!(f, "process {pid}")?,
            Target::File { path } => writeln!(f, "file {}", Shown(path))?,
        }
        for library in &self.libraries {
            writeln!(f, "\n{}", Shown(&library.path))?;
            let version = library.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
            writeln!(f, "  library   {}{version}, found by {}", library.library, library.method)?;
            if let Some(id) = &library.build_id {
                writeln!(f, "  build id  {id}")?;
            }
            for function in functions(&library.probes) {
                writeln!(f, "  {:<29} {:#10x}  {}", function.name, function.offset, function.probed())?;
            }
            for refused in &library.refused {
                writeln!(f, "  {:<29} not probed: {}", refused.symbol, refused.reason)?;
            }
        }
        for missing in &self.not_covered {
            writeln!(f)?;
            if let Some(path) = &missing.path {
                writeln!(f, "{}", Shown(path))?;
            }
            writeln!(f, "  not covered: {}\n  what to do:  {}", missing.reason, missing.remedy)?;
        }
        Ok(())
    }
}

/// A path of others on our terminal: control characters are escaped.
struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.to_string_lossy().chars() {
            if character.is_control() { write!(f, "{}", character.escape_default())? } else { write!(f, "{character}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::ProgramName;
    use crate::discovery::testing::{TempDir, compile, openssl_look_alike};

    #[test]
    fn a_library_is_reported_with_its_functions() {
        let dir = TempDir::new("inspect");
        let report = file(&openssl_look_alike(&dir)).unwrap();
        let text = report.to_string();
        for part in ["openssl 3.3 or later, found by symbol", "build id", "SSL_write_ex2", "entry and return"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("not covered"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["libraries"][0]["probes"].as_array().map(Vec::len), Some(18));
        assert_eq!(json["libraries"][0]["library"], "openssl");
    }

    #[test]
    fn a_version_is_the_one_that_the_library_beside_states() {
        let dir = TempDir::new("inspect-version");
        let library = openssl_look_alike(&dir);
        let source = "char const s[]=\"OpenSSL 3.0.17 1 Jul 2025\";";
        compile(&dir, "libcrypto.so.3", source, &["-shared", "-fPIC"]);
        let report = file(&library).unwrap();
        assert_eq!(report.libraries[0].version.as_deref(), Some("3.0.17"), "{report}");
        let inside = "char const s[]=\"GNUTLS\\0OpenSSL 3.5.1 1 Jul 2025\";char const*volatile t=s;\n\
            __attribute__((used)) int SSL_read(int a){return a;}__attribute__((used)) int SSL_write(int a){return a+1;}int main(void){return 0;}";
        let report = file(&compile(&dir, "program", inside, &["-O1"])).unwrap();
        assert_eq!(report.libraries[0].version.as_deref(), Some("3.5.1"), "{report}");
    }

    #[test]
    fn return_instructions_belong_to_the_function_that_begins_before_them() {
        let probe = |program, kind, offset| Probe { program, kind, symbol: "decrypt".to_owned(), offset };
        let probes = [
            probe(ProgramName::RustlsDecrypt, ProbeKind::Entry, 1),
            probe(ProgramName::RustlsDecryptExit, ProbeKind::Exit, 5),
            probe(ProgramName::RustlsDecryptExit, ProbeKind::Exit, 6),
            probe(ProgramName::RustlsDecrypt, ProbeKind::Entry, 9),
            probe(ProgramName::TlsRead, ProbeKind::Entry, 20),
            probe(ProgramName::TlsReturn, ProbeKind::Return, 20),
        ];
        let told: Vec<_> = functions(&probes).iter().map(|function| (function.offset, function.probed())).collect();
        let expected = [(1, "entry and 2 return instructions"), (9, "entry"), (20, "entry and return")];
        assert_eq!(told, expected.map(|(at, words)| (at, words.to_owned())));
    }

    #[test]
    fn a_return_instruction_behind_the_beginning_of_another_function_is_counted_where_it_belongs() {
        let probe = |symbol: &str, program, kind, offset| Probe { program, kind, symbol: symbol.to_owned(), offset };
        let probes = [
            probe("read", ProgramName::GoRead, ProbeKind::Entry, 1),
            probe("close", ProgramName::GoClose, ProbeKind::Entry, 5),
            probe("read", ProgramName::GoReadReturn, ProbeKind::Exit, 9),
        ];
        let told: Vec<_> = functions(&probes).iter().map(|function| (function.offset, function.exits)).collect();
        assert_eq!(told, [(1, 1), (5, 0)]);
    }

    #[test]
    fn a_program_with_only_the_strings_of_a_stripped_library_says_so() {
        let dir = TempDir::new("inspect-strings");
        let source = "char const s[]=\"../../third_party/boringssl/src/ssl/ssl_lib.cc\";int main(int c,char**v){return s[c];}";
        let report = file(&compile(&dir, "stripped", source, &["-s"])).unwrap();
        assert_eq!(report.not_covered[0].reason, Evidence::BoringSslWithoutSymbols.reason());
    }

    #[test]
    fn nothing_found_is_said_with_what_to_do() {
        let dir = TempDir::new("inspect-nothing");
        let report = file(&compile(&dir, "nothing", "int main(void){return 0;}", &[])).unwrap();
        assert!(report.to_string().contains("defines no TLS library"), "{report}");
        let own = process(&ProcFs::default(), Pid(std::process::id())).unwrap();
        assert!(own.files > 0 && own.libraries.is_empty(), "{own}");
        assert!(matches!(process(&ProcFs::default(), Pid(u32::MAX)), Err(InspectError::NoProcess(_))));
        assert!(matches!(file(Path::new("/etc/passwd")), Err(InspectError::Elf { .. })));
    }

    #[test]
    fn a_hostile_path_cannot_drive_the_terminal() {
        assert_eq!(Shown(Path::new("/a\x1b[2J\nb")).to_string(), "/a\\u{1b}[2J\\nb");
    }
}
