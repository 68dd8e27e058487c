//! OpenSSL 3 without symbols, linked into a program or library.
//!
//! Its error reports name the function they stand in: `ERR_set_debug(file, line, func)`. So the functions behind `SSL_read`, `SSL_write` and
//! their `_ex` forms are those that pass `"ssl_read_internal"` and `"ssl_write_internal"`.
#![expect(clippy::wildcard_enum_match_arm, reason = "of all instructions and programs a few are asked for")]

use std::sync::Arc;

use super::{
    Binary, Found, OpenSslFamily, Planned, ProbePlan, ProgramName, TlsLibrary,
    plan::{self, reads_and_writes},
};
use crate::{
    call::{CaptureLibrary, CaptureMethod},
    discovery::{elf::FunctionSymbol, evidence::Evidence},
    machine_code::{Functions, Image, Kind, Reference, Register, Walk, constants::Constants, literals, references},
};

/// See the module.
pub struct StaticOpenSsl;

/// How a function returns the count it transferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Count {
    /// Behind the fourth argument.
    Fourth,
    /// Behind the fifth; the fourth holds flags (OpenSSL 3.3).
    Fifth,
}

impl TlsLibrary for StaticOpenSsl {
    fn searches(&self) -> bool {
        true
    }

    fn find(&self, binary: &Binary<'_>) -> Found {
        let names = Names::of(binary.code().image());
        if names.is_empty() || !OpenSslFamily.find(binary).plans.is_empty() {
            return Found::default();
        }
        match plan(binary, &names) {
            Some(planned) => Found { plans: vec![planned], evidence: Vec::new() },
            None => Found { plans: Vec::new(), evidence: vec![Evidence::OpenSslWithoutSymbols] },
        }
    }
}

/// Where the names of functions stand, by the order of [`NAMES`].
struct Names(Vec<Vec<u64>>);

impl Names {
    fn of(image: &Image<'_>) -> Self {
        // One pass for what decides whether the library is there at all.
        let write = literals(image, WRITE_NAME);
        if write.is_empty() {
            return Self(Vec::new());
        }
        Self(NAMES.iter().map(|(name, _)| literals(image, name).iter().map(|literal| literal.at).collect()).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.iter().take(NEEDED).any(Vec::is_empty) || self.0.is_empty()
    }
}

fn plan(binary: &Binary<'_>, names: &Names) -> Option<Planned> {
    let functions = binary.code();
    let image = functions.image();
    let mut addresses: Vec<u64> = names.0.iter().flatten().copied().collect();
    addresses.sort_unstable();
    let mentions = references(image, &addresses);
    let mut roles: Vec<(&'static str, ProgramName, u64)> = Vec::new();
    let mut writes_with_flags = false;
    for ((name, program), at) in NAMES.iter().zip(&names.0) {
        let Some(walk) = only_in(functions, image, &mentions, at) else { continue };
        let program = match program {
            ProgramName::TlsReadEx if count(image, &walk) == Some(Count::Fourth) => ProgramName::TlsReadEx,
            ProgramName::TlsWriteEx => match count(image, &walk) {
                Some(Count::Fourth) => ProgramName::TlsWriteEx,
                Some(Count::Fifth) => ProgramName::TlsWriteEx2,
                None => continue,
            },
            ProgramName::TlsReadEx => continue,
            other => *other,
        };
        writes_with_flags |= program == ProgramName::TlsWriteEx2;
        let name = std::str::from_utf8(name.strip_suffix(b"\0").unwrap_or(name)).unwrap_or_default();
        roles.push((name, program, walk.start));
    }
    let proven = functions.proven(&roles.iter().map(|(_, _, start)| *start).collect::<Vec<_>>());
    let at: Vec<(FunctionSymbol, ProgramName)> = roles
        .into_iter()
        .filter(|(_, _, start)| proven.binary_search(start).is_ok())
        .filter_map(|(name, program, start)| {
            Some((FunctionSymbol { name, vaddr: start, offset: image.file_offset(start).ok()?, size: 0 }, program))
        })
        .collect();
    let (probes, refused) = plan::probes(at.iter().map(|(function, program)| (function, *program)));
    if !reads_and_writes(&probes) {
        return None;
    }
    let version = if writes_with_flags { "3.3 or later" } else { "3.0 to 3.2" };
    let plan = ProbePlan::of(binary, CaptureLibrary::OpenSsl, CaptureMethod::Anchor, probes);
    Some(Planned { plan: Arc::new(plan), version: Some(version.to_owned()), refused })
}

/// The one function that reports errors under this name; none where several do (it was inlined).
fn only_in(functions: &Functions<'_>, image: &Image<'_>, mentions: &[Reference], name: &[u64]) -> Option<Walk> {
    let third = Register::argument(image.machine(), 2)?;
    let mut found: Option<Walk> = None;
    for walk in functions.around(mentions.iter().filter(|mention| name.contains(&mention.target)).map(|mention| mention.at)) {
        let constants = Constants::of(image.machine(), &walk);
        let reports = mentions
            .iter()
            .filter(|other| name.contains(&other.target) && walk.at(other.at).is_some())
            .any(|other| constants.next_call(other.at).is_some_and(|(_, state)| state.of(third).constants() == [other.target]));
        if reports && found.replace(walk).is_some() {
            return None;
        }
    }
    found
}

/// Behind which argument the function writes a count: it does so itself when it hands the work to an asynchronous job.
fn count(image: &Image<'_>, walk: &Walk) -> Option<Count> {
    let (fourth, fifth) = (Register::argument(image.machine(), 3)?, Register::argument(image.machine(), 4)?);
    let constants = Constants::with(image.machine(), walk, &[(fourth, FOURTH), (fifth, FIFTH)]);
    let is_written = |argument: u64| {
        walk.instructions.iter().any(|instruction| match instruction.kind {
            Kind::Store { base, displacement: 0, size: 8, .. } => {
                constants.before(instruction.address).is_some_and(|state| state.of(base).constants() == [argument])
            }
            _ => false,
        })
    };
    match (is_written(FOURTH), is_written(FIFTH)) {
        (true, false) => Some(Count::Fourth),
        (false, true) => Some(Count::Fifth),
        (true, true) | (false, false) => None,
    }
}

/// Stand for the arguments; no address or number of a program.
const FOURTH: u64 = 0xa111_0000_0000_0004;
const FIFTH: u64 = 0xa111_0000_0000_0005;

const WRITE_NAME: &[u8] = b"ssl_write_internal\0";
/// What is reported under which name. `ssl3_ctrl` has the arguments of `SSL_ctrl`, which calls it with what it does not know: server names.
const NAMES: [(&[u8], ProgramName); 5] = [
    (WRITE_NAME, ProgramName::TlsWriteEx),
    (b"ssl_read_internal\0", ProgramName::TlsReadEx),
    (b"SSL_shutdown\0", ProgramName::SessionShutdown),
    (b"SSL_clear\0", ProgramName::SessionClear),
    (b"ssl3_ctrl\0", ProgramName::SslCtrl),
];
/// Without the first of them there is nothing to see.
const NEEDED: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attach::{ProbeKind, analyse},
        discovery::{
            file::OpenedFile,
            testing::{TempDir, compile},
        },
    };

    /// How OpenSSL's functions look from outside; `WRITE` is what differs between versions.
    const LIBRARY: &str = r#"
typedef unsigned long size;
typedef struct { void **method; size transferred; int async; } SSL;
#define OUT __attribute__((noinline, noclone))
#define FAIL do { set_debug("ssl/ssl_lib.c", __LINE__, __func__); return -1; } while (0)
OUT void set_debug(const char *file, int line, const char *func) { __asm__ volatile("" :: "r"(file), "r"(line), "r"(func) : "memory"); }
OUT int job(SSL *s, const void *b, size n) { __asm__ volatile("" ::: "memory"); return s->async; }
OUT int ssl_read_internal(SSL *s, void *b, size n, size *done) { if (!s->method) FAIL; if (s->async) { int r = job(s, b, n); *done = s->transferred; return r; } return ((int (*)(SSL *, void *, size, size *))s->method[1])(s, b, n, done); }
WRITE
OUT int SSL_shutdown(SSL *s) { if (!s->method) FAIL; return job(s, 0, 0); }
int main(int c, char **v) { SSL s = { (void **)v, 0, c }; size n = 0; ssl_read_internal(&s, v[0], 1, &n); CALL; SSL_shutdown(&s); return n; }
"#;
    const OLD: (&str, &str) = (
        "OUT int ssl_write_internal(SSL *s, const void *b, size n, size *done) { if (!s->method) FAIL; if (s->async) { int r = job(s, b, n); *done = s->transferred; return r; } return ((int (*)(SSL *, const void *, size, size *))s->method[2])(s, b, n, done); }",
        "ssl_write_internal(&s, v[0], 1, &n)",
    );
    const NEW: (&str, &str) = (
        "OUT int ssl_write_internal(SSL *s, const void *b, size n, size flags, size *done) { if (!s->method) FAIL; if (flags) FAIL; if (s->async) { int r = job(s, b, n); *done = s->transferred; return r; } return ((int (*)(SSL *, const void *, size, size *))s->method[2])(s, b, n, done); }",
        "ssl_write_internal(&s, v[0], 1, 0, &n)",
    );
    const UNCLEAR: (&str, &str) = (
        "OUT int ssl_write_internal(SSL *s, const void *b, size n, size *done) { if (!s->method) FAIL; return ((int (*)(SSL *, const void *, size, size *))s->method[2])(s, b, n, done); }",
        "ssl_write_internal(&s, v[0], 1, &n)",
    );

    fn found(dir: &TempDir, (write, call): (&str, &str), arguments: &[&str]) -> (Vec<(String, ProgramName)>, Vec<Evidence>) {
        let source = LIBRARY.replace("WRITE", write).replace("CALL", call);
        let arguments: Vec<&str> = arguments.iter().copied().chain(["-s", "-fno-ipa-ra", "-fno-ipa-stack-alignment"]).collect();
        let file = OpenedFile::open(&compile(dir, "program", &source, &arguments)).unwrap();
        let analysis = analyse(&file, file.id()).unwrap();
        let probes = analysis.plans.iter().flat_map(|planned| planned.plan.probes.clone());
        let entries = probes.filter(|probe| probe.kind == ProbeKind::Entry).map(|probe| (probe.symbol, probe.program));
        (entries.collect(), analysis.evidence)
    }

    #[test]
    fn the_code_tells_behind_which_argument_the_count_is() {
        let dir = TempDir::new("static-openssl");
        for arguments in [&["-O2"][..], &["-O0"], &["-Os", "-fno-asynchronous-unwind-tables", "-no-pie", "-fno-pie"]] {
            for (form, program) in [(OLD, ProgramName::TlsWriteEx), (NEW, ProgramName::TlsWriteEx2)] {
                let (mut entries, evidence) = found(&dir, form, arguments);
                entries.sort();
                let wanted = [
                    ("SSL_shutdown".to_owned(), ProgramName::SessionShutdown),
                    ("ssl_read_internal".to_owned(), ProgramName::TlsReadEx),
                    ("ssl_write_internal".to_owned(), program),
                ];
                assert_eq!((entries.as_slice(), evidence.as_slice()), (&wanted[..], &[][..]), "{arguments:?}");
            }
        }
    }

    /// Where a compiler for arm64 is installed, as where the project is checked.
    #[test]
    fn the_same_is_found_in_code_of_arm64() {
        let compiler = "aarch64-linux-gnu-gcc";
        if std::process::Command::new(compiler).arg("--version").output().is_err() {
            eprintln!("no {compiler}: nothing is compiled for arm64");
            return;
        }
        let dir = TempDir::new("static-openssl-arm64");
        for level in ["-O2", "-O0", "-Os"] {
            for ((write, call), program) in [(OLD, ProgramName::TlsWriteEx), (NEW, ProgramName::TlsWriteEx2)] {
                let (source, path) = (dir.path().join("library.c"), dir.path().join("program"));
                std::fs::write(&source, LIBRARY.replace("WRITE", write).replace("CALL", call)).unwrap();
                let mut run = std::process::Command::new(compiler);
                run.args([level, "-s", "-fno-ipa-ra", "-nostdlib", "-Wl,-e,main", "-o"]).arg(&path).arg(&source);
                assert!(run.status().unwrap().success());
                let file = OpenedFile::open(&path).unwrap();
                let elf = crate::discovery::elf::Elf::parse(&file).unwrap();
                let Found { plans, evidence } =
                    StaticOpenSsl.find(&Binary::new(file.id(), &elf, crate::discovery::elf::Functions::default()));
                let probes = plans.iter().flat_map(|planned| &planned.plan.probes).filter(|probe| probe.kind == ProbeKind::Entry);
                let mut found: Vec<_> = probes.map(|probe| (probe.symbol.as_str(), probe.program)).collect();
                found.sort_unstable();
                let wanted = [
                    ("SSL_shutdown", ProgramName::SessionShutdown),
                    ("ssl_read_internal", ProgramName::TlsReadEx),
                    ("ssl_write_internal", program),
                ];
                assert_eq!((found.as_slice(), evidence.as_slice()), (&wanted[..], &[][..]), "{level}");
            }
        }
    }

    #[test]
    fn a_count_that_nothing_proves_is_refused() {
        let dir = TempDir::new("static-openssl-unclear");
        assert_eq!(found(&dir, UNCLEAR, &["-O2"]), (vec![], vec![Evidence::OpenSslWithoutSymbols]));
    }
}
