//! rustls in programs, stripped or not, whatever its provider of cryptography: by the structure of its record cryptography.
//!
//! rustls encrypts and decrypts records through `Box<dyn MessageEncrypter>` and `Box<dyn MessageDecrypter>`. Calls through trait objects
//! cannot be inlined, so the functions are in every build, and method tables lead to them: [`method_table`] recognises those of encrypters by
//! their second method, [`constructor`] goes from each to the decrypter that is made beside it. Strings are for reports only.

mod constructor;
mod method_table;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use self::method_table::{Encrypter, MethodTable};
use super::{Binary, Found, Planned, Probe, ProbeKind, ProbePlan, ProgramName, TlsLibrary};
use crate::{
    call::{CaptureLibrary, CaptureMethod},
    discovery::evidence::Evidence,
    machine_code::{Function, Functions, Image, Kind, Pointers, literals},
};

/// See the module.
pub struct Rustls;

impl TlsLibrary for Rustls {
    fn symbols(&self) -> &'static [&'static str] {
        &[]
    }

    fn soname_prefixes(&self) -> &'static [&'static str] {
        &[]
    }

    fn find(&self, binary: &Binary<'_>) -> Found {
        let image = Image::of(binary.elf);
        let pointers = Pointers::of(&image);
        let encrypters = method_table::encrypters(&image, &pointers);
        if encrypters.is_empty() {
            return Found::default();
        }
        let functions = Functions::of(&image);
        let pairs = constructor::pairs(&image, &pointers, &functions, &encrypters);
        let probes = probes(&image, &functions, &pairs);
        let has = |program| probes.iter().any(|probe| probe.program == program);
        if !has(ProgramName::RustlsEncrypt) || !has(ProgramName::RustlsDecryptExit) {
            return Found { evidence: vec![Evidence::RustlsUnproven], ..Found::default() };
        }
        let plan = ProbePlan { file: binary.file, library: CaptureLibrary::Rustls, method: CaptureMethod::Structure, probes };
        let planned = Planned { plan: Arc::new(plan), version: version(&image, &pairs), refused: Vec::new() };
        Found { plans: vec![planned], ..Found::default() }
    }
}

/// The two method tables of one cipher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pair {
    encrypter: Encrypter,
    decrypter: MethodTable,
}

/// Entries of both methods and of the keys' destructors, and every return of `decrypt`. A decryption is left out when one of its returns
/// is not certain; an address that would be two things is left out too.
fn probes(image: &Image<'_>, functions: &Functions, pairs: &[Pair]) -> Vec<Probe> {
    let mut wanted: BTreeMap<u64, Option<(ProgramName, ProbeKind)>> = BTreeMap::new();
    let mut want = |vaddr: u64, program, kind| {
        wanted.entry(vaddr).and_modify(|known| *known = known.filter(|known| *known == (program, kind))).or_insert(Some((program, kind)));
    };
    for pair in pairs {
        let Some(exits) = exits(image, functions, pair.decrypter.method) else { continue };
        want(pair.encrypter.table.method, ProgramName::RustlsEncrypt, ProbeKind::Entry);
        want(pair.decrypter.method, ProgramName::RustlsDecrypt, ProbeKind::Entry);
        for exit in exits {
            want(exit, ProgramName::RustlsDecryptExit, ProbeKind::Exit);
        }
        for drop in [pair.encrypter.table.drop, pair.decrypter.drop].into_iter().flatten() {
            want(drop, ProgramName::RustlsDrop, ProbeKind::Entry);
        }
    }
    let probe = |(vaddr, program): (u64, Option<(ProgramName, ProbeKind)>)| {
        let (program, kind) = program?;
        Some(Probe { program, kind, symbol: name(program).to_owned(), offset: image.file_offset(vaddr).ok()? })
    };
    let mut probes: Vec<_> = wanted.into_iter().filter_map(probe).collect();
    probes.sort_by_key(|probe| (probe.offset, probe.kind));
    probes
}

/// Where a function returns, when it does so with its stack as at its entry and in no other way.
fn exits(image: &Image<'_>, functions: &Functions, start: u64) -> Option<Vec<u64>> {
    let limit = functions.end_of(start)?;
    let walk = Function::walk(image, start, limit);
    // What leaves by a jump returns elsewhere, where nobody looks.
    let is_whole = walk.is_complete() && walk.is_balanced && walk.tail_jumps.is_empty();
    (is_whole && !walk.returns.is_empty()).then_some(walk.returns)
}

/// For messages.
const fn name(program: ProgramName) -> &'static str {
    match program {
        ProgramName::RustlsEncrypt => "MessageEncrypter::encrypt",
        ProgramName::RustlsDecryptExit => "MessageDecrypter::decrypt, return",
        ProgramName::RustlsDrop => "a key's destructor",
        _ => "MessageDecrypter::decrypt",
    }
}

/// As the source paths in panic messages tell it, and the provider by the size of its keys.
fn version(image: &Image<'_>, pairs: &[Pair]) -> Option<String> {
    let number = literals(image, SOURCE_PATH).into_iter().find_map(|literal| {
        let before = literal.at.checked_sub(1)?;
        let bytes = image.bytes_up_to(before, VERSION_BYTES)?;
        let rest = bytes.strip_prefix(b"/rustls-")?;
        let length = rest.iter().position(|byte| *byte == b'/')?;
        let (number, rest) = rest.split_at_checked(length)?;
        let is_version = number.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(byte));
        (is_version && rest.starts_with(b"/src/")).then(|| String::from_utf8_lossy(number).into_owned())
    });
    let has = |size: u64, align: u64| pairs.iter().any(|pair| (pair.encrypter.table.size, pair.encrypter.table.align) == (size, align));
    // ring keeps the key schedule in the object, aws-lc a pointer to it.
    let providers = [(has(560, 16), "ring"), (has(40, 8) || has(48, 8), "aws-lc")];
    let providers: Vec<_> = providers.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect();
    match (number, providers.is_empty()) {
        (None, true) => None,
        (Some(number), true) => Some(number),
        (None, false) => Some(providers.join(" and ")),
        (Some(number), false) => Some(format!("{number} with {}", providers.join(" and "))),
    }
}

const SOURCE_PATH: &[u8] = b"rustls-0.";
/// A path's part with a version in it is shorter.
const VERSION_BYTES: u64 = 48;
