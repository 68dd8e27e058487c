//! OpenSSL 1.1.1 and later without symbols, linked into a program or library.
//!
//! Its error reports name the function they stand in: `ERR_set_debug(file, line, func)`. So the functions behind `SSL_read`, `SSL_write` and
//! their `_ex` forms are those that pass `"ssl_read_internal"` and `"ssl_write_internal"`. OpenSSL 1.1.1 has a number for each, and the names in
//! a table beside: `ERR_put_error(lib, func, reason, file, line)`. These numbers are public API (`SSL_F_…` of `openssl/sslerr.h`).
#![expect(clippy::wildcard_enum_match_arm, reason = "of all instructions and programs a few are asked for")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Binary, Found, OpenSslFamily, Planned, ProbePlan, ProgramName, TlsLibrary,
    plan::{self, reads_and_writes},
};
use crate::{
    call::{CaptureLibrary, CaptureMethod},
    discovery::{elf::FunctionSymbol, evidence::Evidence},
    machine_code::{
        Functions, Image, Kind, Reference, Register, Walk,
        constants::{Constants, Value},
        literals, references,
    },
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
        let image = binary.code().image();
        let names = Names::of(image);
        if names.is_empty() || !OpenSslFamily.find(binary).plans.is_empty() {
            return Found::default();
        }
        match plan(binary, by_name(binary.code(), image, &names)).or_else(|| plan(binary, by_number(binary.code(), image))) {
            Some(planned) => Found { plans: vec![planned], evidence: Vec::new() },
            None => Found { plans: Vec::new(), evidence: vec![Evidence::OpenSslWithoutSymbols] },
        }
    }
}

/// How a version reports errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reports {
    Names,
    Numbers,
}

/// A function by what it reports.
struct Reporting {
    function: &'static Reported,
    walk: Walk,
    by: Reports,
}

/// Where the names of functions stand, by the order of [`FUNCTIONS`].
struct Names(Vec<Vec<u64>>);

impl Names {
    fn of(image: &Image<'_>) -> Self {
        // One pass for what decides whether the library is there at all.
        let write = literals(image, WRITE_NAME);
        if write.is_empty() {
            return Self(Vec::new());
        }
        Self(FUNCTIONS.iter().map(|function| literals(image, function.name).iter().map(|literal| literal.at).collect()).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.iter().take(NEEDED).any(Vec::is_empty) || self.0.is_empty()
    }
}

fn by_name(functions: &Functions<'_>, image: &Image<'_>, names: &Names) -> Vec<Reporting> {
    let mut addresses: Vec<u64> = names.0.iter().flatten().copied().collect();
    addresses.sort_unstable();
    let mentions = references(image, &addresses);
    let found = FUNCTIONS
        .iter()
        .zip(&names.0)
        .filter_map(|(function, at)| Some(Reporting { function, walk: only_in(functions, image, &mentions, at)?, by: Reports::Names }));
    found.collect()
}

/// Functions that report under one number, and under no other but that of a helper.
fn by_number(functions: &Functions<'_>, image: &Image<'_>) -> Vec<Reporting> {
    let argument = |n| Register::argument(image.machine(), n);
    let (Some(first), Some(second), Some(fourth)) = (argument(0), argument(1), argument(3)) else { return Vec::new() };
    // Merged literals are mentioned from their middle.
    let mut files: Vec<u64> =
        SOURCE_FILES.iter().flat_map(|name| literals(image, name)).flat_map(|literal| literal.start..=literal.at).collect();
    files.sort_unstable();
    files.dedup();
    let mentions = references(image, &files);
    let is_file = |value: &Value| !value.constants().is_empty() && value.constants().iter().all(|at| files.binary_search(at).is_ok());
    let mut found: BTreeMap<u64, Option<Walk>> = BTreeMap::new();
    for walk in functions.around(mentions.iter().map(|mention| mention.at)) {
        let constants = Constants::of(image.machine(), &walk);
        let calls = mentions.iter().filter(|mention| walk.at(mention.at).is_some()).filter_map(|mention| constants.next_call(mention.at));
        let reports = calls.filter(|(_, state)| state.of(first).constants() == [ERR_LIB_SSL] && is_file(&state.of(fourth)));
        let numbers = reports.flat_map(|(_, state)| state.of(second).constants().to_vec());
        let numbers: BTreeSet<u64> = numbers.filter(|number| *number != START_ASYNC_JOB).collect();
        let is_one = numbers.len() == 1;
        for number in numbers {
            // A number that two functions report is neither's: it was inlined.
            found.entry(number).and_modify(|known| *known = None).or_insert_with(|| is_one.then(|| walk.clone()));
        }
    }
    let found = FUNCTIONS
        .iter()
        .filter_map(|function| Some(Reporting { function, walk: found.remove(&function.number).flatten()?, by: Reports::Numbers }));
    found.collect()
}

fn plan(binary: &Binary<'_>, reporting: Vec<Reporting>) -> Option<Planned> {
    let functions = binary.code();
    let image = functions.image();
    let mut roles: Vec<(&'static str, ProgramName, u64)> = Vec::new();
    let mut version = None;
    for Reporting { function, walk, by } in reporting {
        let program = match (function.program, by) {
            (ProgramName::TlsReadEx, _) if count(image, &walk) == Some(Count::Fourth) => ProgramName::TlsReadEx,
            (ProgramName::TlsWriteEx, _) => {
                let (program, told) = match (count(image, &walk), by) {
                    (Some(Count::Fourth), Reports::Names) => (ProgramName::TlsWriteEx, "3.0 to 3.2"),
                    (Some(Count::Fourth), Reports::Numbers) => (ProgramName::TlsWriteEx, "1.1.1"),
                    (Some(Count::Fifth), Reports::Names) => (ProgramName::TlsWriteEx2, "3.3 or later"),
                    (Some(Count::Fifth), Reports::Numbers) | (None, _) => continue,
                };
                version = Some(told.to_owned());
                program
            }
            (ProgramName::TlsReadEx, _) => continue,
            (other, _) => other,
        };
        let name = std::str::from_utf8(function.name.strip_suffix(b"\0").unwrap_or(function.name)).unwrap_or_default();
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
    let plan = ProbePlan::of(binary, CaptureLibrary::OpenSsl, CaptureMethod::Anchor, probes);
    Some(Planned { plan: Arc::new(plan), version, refused })
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
/// A function that reports errors.
struct Reported {
    name: &'static [u8],
    /// Of OpenSSL 1.1.1.
    number: u64,
    program: ProgramName,
}

/// `ssl3_ctrl` has the arguments of `SSL_ctrl`, which calls it with what it does not know: server names.
static FUNCTIONS: [Reported; 5] = [
    Reported { name: WRITE_NAME, number: 524, program: ProgramName::TlsWriteEx },
    Reported { name: b"ssl_read_internal\0", number: 523, program: ProgramName::TlsReadEx },
    Reported { name: b"SSL_shutdown\0", number: 224, program: ProgramName::SessionShutdown },
    Reported { name: b"SSL_clear\0", number: 164, program: ProgramName::SessionClear },
    Reported { name: b"ssl3_ctrl\0", number: 213, program: ProgramName::SslCtrl },
];
/// Where they stand; what stands before is the build's.
const SOURCE_FILES: [&[u8]; 2] = [b"ssl/ssl_lib.c\0", b"ssl/s3_lib.c\0"];
const ERR_LIB_SSL: u64 = 20;
/// `ssl_start_async_job`, which compilers inline into all that read and write.
const START_ASYNC_JOB: u64 = 389;
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

    /// As OpenSSL 1.1.1 reports: numbers, with the names in a table beside.
    const NUMBERED: &str = r#"
typedef unsigned long size;
typedef struct { void **method; size transferred; int async; } SSL;
#define OUT __attribute__((noinline, noclone))
#define FAIL(function) do { put_error(20, function, 276, "../ssl/ssl_lib.c", __LINE__); return -1; } while (0)
struct { unsigned long code; const char *name; } table[] = { { 20 << 24 | 523 << 12, "ssl_read_internal" }, { 20 << 24 | 524 << 12, "ssl_write_internal" }, { 20 << 24 | 224 << 12, "SSL_shutdown" } };
OUT void put_error(int lib, int func, int reason, const char *file, int line) { __asm__ volatile("" :: "r"(lib), "r"(func), "r"(reason), "r"(file), "r"(line) : "memory"); }
OUT int job(SSL *s, const void *b, size n) { __asm__ volatile("" ::: "memory"); return s->async; }
OUT int ssl_read_internal(SSL *s, void *b, size n, size *done) { if (!s->method) FAIL(523); if (s->async) { int r = job(s, b, n); if (r == 5) FAIL(389); *done = s->transferred; return r; } return ((int (*)(SSL *, void *, size, size *))s->method[1])(s, b, n, done); }
OUT int ssl_write_internal(SSL *s, const void *b, size n, size *done) { if (!s->method) FAIL(524); if (s->async) { int r = job(s, b, n); if (r == 5) FAIL(389); *done = s->transferred; return r; } return ((int (*)(SSL *, const void *, size, size *))s->method[2])(s, b, n, done); }
OUT int SSL_write(SSL *s, const void *b, int n) { size done; if (n < 0) FAIL(208); return ssl_write_internal(s, b, n, &done) > 0 ? (int)done : -1; }
OUT int SSL_shutdown(SSL *s) { if (!s->method) FAIL(224); return job(s, 0, 0); }
OUT int other(SSL *s) { if (!s->method) { put_error(19, 524, 1, "../ssl/ssl_lib.c", 1); put_error(20, 523, 1, "elsewhere.c", 1); } MORE return job(s, 0, 0); }
int main(int c, char **v) { SSL s = { (void **)v, 0, c }; size n = 0; ssl_read_internal(&s, v[0], 1, &n); SSL_write(&s, v[0], c); SSL_shutdown(&s); other(&s); return n + table[c].name[0]; }
"#;

    #[test]
    fn functions_of_1_1_1_are_told_by_their_numbers() {
        let dir = TempDir::new("static-openssl-numbered");
        let program = |more: &str, arguments: &[&str]| {
            let arguments: Vec<&str> = arguments.iter().copied().chain(["-s", "-fno-ipa-ra", "-fno-ipa-stack-alignment"]).collect();
            let file = OpenedFile::open(&compile(&dir, "program", &NUMBERED.replace("MORE", more), &arguments)).unwrap();
            analyse(&file, file.id()).unwrap()
        };
        for arguments in [&["-O2"][..], &["-O0"], &["-Os", "-fno-asynchronous-unwind-tables", "-no-pie", "-fno-pie"]] {
            let analysis = program("", arguments);
            let [planned] = analysis.plans.as_slice() else { panic!("{arguments:?}: {analysis:?}") };
            assert_eq!(planned.version.as_deref(), Some("1.1.1"));
            let entries = planned.plan.probes.iter().filter(|probe| probe.kind == ProbeKind::Entry);
            let mut found: Vec<_> = entries.map(|probe| (probe.symbol.as_str(), probe.program)).collect();
            found.sort_unstable();
            let wanted = [
                ("SSL_shutdown", ProgramName::SessionShutdown),
                ("ssl_read_internal", ProgramName::TlsReadEx),
                ("ssl_write_internal", ProgramName::TlsWriteEx),
            ];
            assert_eq!(found, wanted, "{arguments:?}");
            // A second function with the number: one of them has the other inlined, or is none.
            let twice = program("if (s->async == 7) FAIL(524);", arguments);
            assert_eq!((twice.plans, twice.evidence), (vec![], vec![Evidence::OpenSslWithoutSymbols]), "{arguments:?}");
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
