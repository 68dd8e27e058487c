//! OpenSSL 3 without symbols, linked into a program or library.
//!
//! Its error reports name the function they stand in: `ERR_set_debug(file, line, func)`. So the functions behind `SSL_read`, `SSL_write` and
//! their `_ex` forms are those that pass `"ssl_read_internal"` and `"ssl_write_internal"`.

use std::{collections::BTreeSet, sync::Arc};

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
    fn symbols(&self) -> &'static [&'static str] {
        &[]
    }

    fn soname_prefixes(&self) -> &'static [&'static str] {
        &[]
    }

    fn find(&self, binary: &Binary<'_>) -> Found {
        let image = Image::of(binary.elf);
        let names = Names::of(&image);
        if names.is_empty() || !OpenSslFamily.find(binary).plans.is_empty() {
            return Found::default();
        }
        match plan(binary, &image, &names) {
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

fn plan(binary: &Binary<'_>, image: &Image<'_>, names: &Names) -> Option<Planned> {
    let functions = Functions::of(image);
    let mut addresses: Vec<u64> = names.0.iter().flatten().copied().collect();
    addresses.sort_unstable();
    let mentions = references(image, &addresses);
    let mut roles: Vec<(&'static str, ProgramName, u64)> = Vec::new();
    let mut writes_with_flags = false;
    for ((name, program), at) in NAMES.iter().zip(&names.0) {
        let Some(walk) = only_in(&functions, image, &mentions, at) else { continue };
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
    let plan = ProbePlan { file: binary.file, library: CaptureLibrary::OpenSsl, method: CaptureMethod::Anchor, probes };
    Some(Planned { plan: Arc::new(plan), version: Some(version.to_owned()), refused })
}

/// The one function that reports errors under this name; none where several do (it was inlined).
fn only_in(functions: &Functions<'_, '_>, image: &Image<'_>, mentions: &[Reference], name: &[u64]) -> Option<Walk> {
    let third = Register::argument(image.machine(), 2)?;
    let mut found: Option<Walk> = None;
    let mut looked_at = BTreeSet::new();
    for mention in mentions.iter().filter(|mention| name.contains(&mention.target)) {
        let Some(walk) = functions.walk_around(mention.at) else { continue };
        if !looked_at.insert(walk.start) {
            continue;
        }
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
