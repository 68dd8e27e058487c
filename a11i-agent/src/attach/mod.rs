//! Which TLS library a file is, and where its probes go.
//!
//! Takes a file of a process; gives a [`ProbePlan`] (data) or the evidence for a library that is not supported. Refuses
//! offsets without proof. A new library is one file here and one line in [`LIBRARIES`].

mod boringssl;
#[cfg(feature = "host")]
mod error;
mod faithful;
mod gnutls;
mod go;
#[cfg(feature = "host")]
mod groups;
#[cfg(feature = "host")]
pub mod links;
mod openssl;
mod plan;
#[cfg(feature = "host")]
mod proof;
mod rustls;
#[cfg(feature = "host")]
pub mod scope;
mod ssl_bio;
mod static_openssl;

use std::{cell::OnceCell, sync::Arc};

pub use boringssl::StrippedBoringSsl;
#[cfg(feature = "host")]
pub use error::AttachError;
pub use gnutls::GnuTls;
pub use go::GoCryptoTls;
pub use openssl::OpenSslFamily;
pub use plan::{Probe, ProbeKind, ProbePlan, ProgramName};
pub use rustls::{Rustls, infer as infer_rustls_layout};
pub use static_openssl::StaticOpenSsl;

use self::faithful::Faithful;
use crate::{
    discovery::{
        elf::{Elf, ElfError, Functions, Machine, RefusedSymbol},
        evidence::{self, Evidence},
        file::{ByteSource, FileId},
    },
    machine_code::{self, Image},
};

/// One TLS library or family with one calling convention.
pub trait TlsLibrary: Sync {
    /// Functions whose presence it asks about.
    fn symbols(&self) -> &'static [&'static str] {
        &[]
    }

    /// Beginnings of the sonames of its shared libraries, to attach before anyone maps them.
    fn soname_prefixes(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether it is looked for in the code: that takes milliseconds to a second, where names take next to nothing.
    fn searches(&self) -> bool {
        false
    }

    /// What the file offers of it; nothing where it does not define it.
    fn find(&self, binary: &Binary<'_>) -> Found;
}

/// Answer of [`TlsLibrary::find`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Found {
    /// Each reads and writes. Their probes may overlap with those of other plans of the file: live data tells which are used.
    pub plans: Vec<Planned>,
    /// Why there is no plan although the library is there.
    pub evidence: Vec<Evidence>,
}

/// All that we can attach to.
pub const LIBRARIES: &[&dyn TlsLibrary] = &[&OpenSslFamily, &GnuTls, &GoCryptoTls, &StrippedBoringSsl, &StaticOpenSsl, &Rustls];

/// A parsed file and the functions that were asked for.
pub struct Binary<'a> {
    pub file: FileId,
    pub elf: &'a Elf<'a>,
    pub functions: Functions,
    code: OnceCell<machine_code::Functions<'a>>,
}

impl<'a> Binary<'a> {
    /// `functions`: those whose names libraries ask for.
    pub fn new(file: FileId, elf: &'a Elf<'a>, functions: Functions) -> Self {
        Self { file, elf, functions, code: OnceCell::new() }
    }

    /// Its code. Tables of it are made when they are first needed, once for all who search it.
    pub fn code(&self) -> &machine_code::Functions<'a> {
        self.code.get_or_init(|| machine_code::Functions::of(&Image::of(self.elf)))
    }

    /// Something of the code was not looked at for lack of work.
    fn has_run_out(&self) -> bool {
        self.code.get().is_some_and(machine_code::Functions::has_run_out)
    }
}

/// What one version of one file offers.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Analysis {
    pub soname: Option<String>,
    pub build_id: Option<String>,
    pub plans: Vec<Planned>,
    /// Libraries that are there and not supported.
    pub evidence: Vec<Evidence>,
}

/// A plan and what belongs to it in reports.
#[derive(Clone, PartialEq, Debug)]
pub struct Planned {
    pub plan: Arc<ProbePlan>,
    pub version: Option<String>,
    pub refused: Vec<RefusedSymbol>,
}

impl Analysis {
    /// Nothing to attach to and nothing to say.
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty() && self.evidence.is_empty()
    }

    /// The same of another file with the same bytes.
    #[must_use]
    pub fn at(&self, file: FileId) -> Self {
        let mut same = self.clone();
        for planned in &mut same.plans {
            planned.plan = Arc::new(ProbePlan { file, ..ProbePlan::clone(&planned.plan) });
        }
        same
    }
}

/// How much is looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Depth {
    /// What has names: symbols, and Go's function table. Milliseconds.
    Names,
    /// The code as well: up to a second for some hundred megabytes.
    Whole,
}

/// Finds out what `file` offers; cached by the caller under the [`FileId`]. What could not be read fails the whole: it must not pass for
/// what is not there. What there is no time or quota for is said ([`Evidence::SearchUnfinished`]), and who was searching then has found nothing.
pub fn analyse(source: &dyn ByteSource, file: FileId) -> Result<Analysis, ElfError> {
    analyse_to(source, file, Depth::Whole)
}

/// [`analyse`], as deep as is asked for.
pub fn analyse_to(source: &dyn ByteSource, file: FileId, depth: Depth) -> Result<Analysis, ElfError> {
    let source = Faithful::new(source);
    let elf = match Elf::parse(&source) {
        Err(ElfError::OtherClass) => return Ok(Analysis { evidence: vec![Evidence::OtherClass], ..Analysis::default() }),
        parsed => parsed?,
    };
    if Machine::host() != Some(elf.machine()) {
        // Emulated or mixed: its instructions are not this kernel's to probe.
        return Ok(Analysis { evidence: vec![Evidence::OtherMachine], ..Analysis::default() });
    }
    let names: Vec<_> = LIBRARIES.iter().flat_map(|library| library.symbols()).chain(evidence::SYMBOLS).copied().collect();
    let binary = Binary::new(file, &elf, elf.functions(&names)?);
    let mut analysis = Analysis {
        soname: elf.soname().map(str::to_owned),
        build_id: elf.build_id(),
        plans: Vec::new(),
        evidence: evidence::in_file(&elf, &binary.functions),
    };
    for library in LIBRARIES.iter().filter(|library| depth == Depth::Whole || !library.searches()) {
        let found = library.find(&binary);
        if source.is_exhausted() || binary.has_run_out() {
            analysis.evidence.push(Evidence::SearchUnfinished);
            break;
        }
        // Code that lies behind the end of the file.
        analysis.plans.extend(found.plans.into_iter().filter(|planned| planned.plan.has_code()));
        analysis.evidence.extend(found.evidence);
    }
    if depth == Depth::Whole && analysis.is_empty() {
        let image = Image::of(&elf);
        // Nothing is attached for it: all it does is not to be silent of a library that no finder knows.
        if evidence::TLS13_LABELS.iter().all(|label| !machine_code::literals(&image, label).is_empty()) {
            analysis.evidence.push(Evidence::UnknownTls);
        }
    }
    match source.failure() {
        Some(failure) => Err(ElfError::Read(failure)),
        None => Ok(analysis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{CaptureLibrary, CaptureMethod};
    use crate::discovery::{
        file::OpenedFile,
        testing::{TempDir, compile, openssl_look_alike},
    };

    fn analyse_file(path: &std::path::Path) -> Analysis {
        let opened = OpenedFile::open(path).unwrap();
        analyse(&opened, opened.id()).unwrap()
    }

    #[test]
    fn a_library_with_the_functions_is_planned_whole() {
        let dir = TempDir::new("plan");
        let analysis = analyse_file(&openssl_look_alike(&dir));
        let [planned] = analysis.plans.as_slice() else { panic!("{analysis:?}") };
        assert_eq!((planned.plan.library, planned.version.as_deref()), (CaptureLibrary::OpenSsl, Some("3.3 or later")));
        let entries = planned.plan.probes.iter().filter(|p| p.kind == ProbeKind::Entry).count();
        let returns = planned.plan.probes.iter().filter(|p| p.kind == ProbeKind::Return).count();
        assert_eq!((entries, returns), (11, 7));
        assert!(planned.plan.probes.iter().all(|p| (p.kind == ProbeKind::Return) == (p.program == ProgramName::TlsReturn)));
    }

    #[test]
    fn a_program_that_only_calls_the_functions_is_not_a_candidate() {
        let dir = TempDir::new("caller");
        openssl_look_alike(&dir);
        let library = format!("-L{}", dir.path().display());
        let source =
            "int SSL_read(void*,void*,int);int SSL_write(void*,void*,int);int main(void){return SSL_read(0,0,0)+SSL_write(0,0,0);}";
        let caller = compile(&dir, "caller", source, &[&library, "-l:libssl.so.3"]);
        assert!(analyse_file(&caller).is_empty());
    }

    #[test]
    fn the_system_library_is_openssl() {
        let paths = ["/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib/aarch64-linux-gnu/libssl.so.3", "/usr/lib64/libssl.so.3"];
        for path in paths.iter().map(std::path::Path::new).filter(|path| path.exists()) {
            let analysis = analyse_file(path);
            assert_eq!(analysis.plans.first().map(|p| p.plan.library), Some(CaptureLibrary::OpenSsl));
            assert!(analysis.plans.iter().all(|p| p.plan.probes.len() >= 15 && p.refused.is_empty()));
        }
    }

    #[test]
    fn a_tls_library_that_nobody_knows_is_told() {
        let dir = TempDir::new("unknown-tls");
        let with = |labels: &str| {
            let source = format!("char const s[]=\"{labels}\";int main(int c,char**v){{return s[c]+!v;}}");
            analyse_file(&compile(&dir, "program", &source, &["-s"])).evidence
        };
        assert_eq!(with("c hs traffic\\0s hs traffic\\0c ap traffic\\0s ap traffic"), [Evidence::UnknownTls]);
        assert_eq!(with("c ap traffic\\0client finished"), []);
    }

    /// What the finders of code without names accept in programs of this system speaks TLS 1.3 indeed: it has the label under which secrets are
    /// logged, which no finder looks for.
    #[test]
    fn no_program_of_this_system_is_taken_for_what_it_is_not() {
        const LABEL: &[u8] = b"CLIENT_HANDSHAKE_TRAFFIC_SECRET";
        let mut looked_at = 0_usize;
        for path in std::fs::read_dir("/usr/bin").unwrap().map(|entry| entry.unwrap().path()) {
            let Ok(opened) = OpenedFile::open(&path) else { continue };
            let Ok(analysis) = analyse(&opened, opened.id()) else { continue };
            looked_at += 1;
            for planned in analysis.plans.iter().filter(|planned| planned.plan.method != CaptureMethod::Symbol) {
                let is_said = evidence::contains(&opened, 0, opened.id().size, &[LABEL]) == [true];
                assert!(is_said, "{}: {:?}", path.display(), planned.plan);
            }
        }
        assert!(looked_at > 0);
    }

    /// Remembers where it is read.
    struct Watched {
        file: OpenedFile,
        reads: std::cell::RefCell<Vec<std::ops::Range<u64>>>,
    }

    impl ByteSource for Watched {
        fn len(&self) -> u64 {
            self.file.len()
        }

        fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
            self.reads.borrow_mut().push(offset..offset + into.len() as u64);
            self.file.read_exact_at(offset, into)
        }
    }

    #[test]
    fn tables_of_the_code_are_made_once_and_only_for_who_asks() {
        let dir = TempDir::new("shared");
        let file = OpenedFile::open(&openssl_look_alike(&dir)).unwrap();
        let source = Watched { file, reads: std::cell::RefCell::default() };
        let elf = Elf::parse(&source).unwrap();
        let table = elf.section(".eh_frame_hdr").unwrap().offset;
        let times_read = || source.reads.borrow().iter().filter(|read| **read == (table..table + 12)).count();
        let binary = Binary::new(source.file.id(), &elf, Functions::default());
        for library in LIBRARIES.iter().filter(|library| !library.searches()) {
            library.find(&binary);
        }
        assert_eq!(times_read(), 0);
        assert!(binary.code().unwindable() > 0 && binary.code().unwindable() > 0);
        let once = times_read();
        for library in LIBRARIES {
            library.find(&binary);
        }
        assert_eq!((once > 0, times_read()), (true, once));
    }
}
