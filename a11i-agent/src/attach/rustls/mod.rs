//! rustls in programs, stripped or not, whatever its provider of cryptography: by the structure of its record cryptography.
//!
//! rustls encrypts and decrypts records through `Box<dyn MessageEncrypter>` and `Box<dyn MessageDecrypter>`. Calls through trait objects
//! cannot be inlined, so the functions are in every build, and method tables lead to them: [`method_table`] recognises those of encrypters by
//! their second method, [`constructor`] goes from each to the decrypter that is made beside it. Strings are for reports only.

mod constructor;
mod layout;
mod method_table;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

pub use self::layout::infer;
use self::method_table::{Encrypter, MethodTable};
use super::{Binary, Found, Planned, Probe, ProbeKind, ProbePlan, ProgramName, TlsLibrary};
use crate::{
    call::{CaptureLibrary, CaptureMethod},
    discovery::{
        elf::{Refusal, RefusedSymbol},
        evidence::Evidence,
    },
    machine_code::{Functions, Image, Incomplete, Indirect, Instructions, Kind, Walk, holds_loaded, literals},
};

/// See the module.
pub struct Rustls;

impl TlsLibrary for Rustls {
    fn searches(&self) -> bool {
        true
    }

    fn find(&self, binary: &Binary<'_>) -> Found {
        let functions = binary.code();
        let image = functions.image();
        let encrypters = method_table::encrypters(image, functions.pointers());
        if encrypters.is_empty() {
            return Found::default();
        }
        let pairs = constructor::pairs(image, functions, &encrypters);
        let (probes, refused) = probes(image, functions, &pairs);
        let has = |program| probes.iter().any(|probe| probe.program == program);
        if !has(ProgramName::RustlsEncrypt) || !has(ProgramName::RustlsDecryptExit) {
            return Found { evidence: vec![Evidence::RustlsUnproven], ..Found::default() };
        }
        let plan = ProbePlan::of(binary, CaptureLibrary::Rustls, CaptureMethod::Structure, probes);
        let planned = Planned { plan: Arc::new(plan), version: version(image, &pairs), refused };
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
fn probes(image: &Image<'_>, functions: &Functions<'_>, pairs: &[Pair]) -> (Vec<Probe>, Vec<RefusedSymbol>) {
    let starts = pairs.iter().flat_map(|Pair { encrypter, decrypter }| {
        [Some(encrypter.table.method), encrypter.table.drop, Some(decrypter.method), decrypter.drop].into_iter().flatten()
    });
    let proven = functions.proven(&starts.collect::<Vec<_>>());
    let is_proven = |start: u64| proven.binary_search(&start).is_ok();
    let mut wanted: BTreeMap<u64, Option<(ProgramName, ProbeKind)>> = BTreeMap::new();
    let mut refused = Vec::new();
    let mut want = |vaddr: u64, program, kind| {
        wanted.entry(vaddr).and_modify(|known| *known = known.filter(|known| *known == (program, kind))).or_insert(Some((program, kind)));
    };
    for pair in pairs {
        let (encrypt, decrypt) = (pair.encrypter.table.method, pair.decrypter.method);
        let exits = if is_proven(encrypt) && is_proven(decrypt) { exits(image, functions, decrypt) } else { None };
        let Some(exits) = exits else {
            refused.push(RefusedSymbol { name: name(ProgramName::RustlsDecrypt), vaddr: decrypt, why: Refusal::NotWhole });
            continue;
        };
        want(encrypt, ProgramName::RustlsEncrypt, ProbeKind::Entry);
        want(decrypt, ProgramName::RustlsDecrypt, ProbeKind::Entry);
        for exit in exits {
            want(exit, ProgramName::RustlsDecryptExit, ProbeKind::Exit);
        }
        for drop in [pair.encrypter.table.drop, pair.decrypter.drop].into_iter().flatten().filter(|drop| is_proven(*drop)) {
            want(drop, ProgramName::RustlsDrop, ProbeKind::Entry);
        }
    }
    let probe = |(vaddr, program): (u64, Option<(ProgramName, ProbeKind)>)| {
        let (program, kind) = program?;
        Some(Probe { program, kind, symbol: name(program).to_owned(), offset: image.file_offset(vaddr).ok()? })
    };
    let mut probes: Vec<_> = wanted.into_iter().filter_map(probe).collect();
    probes.sort_by_key(|probe| (probe.offset, probe.kind));
    (probes, refused)
}

/// Where a function returns; none when that is not certain.
fn exits(image: &Image<'_>, functions: &Functions<'_>, start: u64) -> Option<Vec<u64>> {
    let walk = functions.walk(start)?;
    // What leaves by a jump returns elsewhere, where nobody looks.
    if !walk.is_balanced || !walk.tail_jumps.is_empty() || !walk.indirect_tail_calls.is_empty() {
        return None;
    }
    let returns = match walk.incomplete {
        None => walk.returns,
        // A choice by a table, whose branches lie in the function too.
        Some(Incomplete::IndirectJump(_)) => linear(image, functions.end_of(start)?, &walk)?,
        Some(_) => return None,
    };
    (!returns.is_empty()).then_some(returns)
}

/// Returns in a decode of all bytes from the function's start to its end, one instruction after the other. None unless it arrives at the end
/// and passes through all that was reached by following the code and through the target of every jump: then nothing in it is data.
fn linear(image: &Image<'_>, end: u64, walk: &Walk) -> Option<Vec<u64>> {
    let code = image.bytes(walk.start, end.checked_sub(walk.start)?)?;
    let instructions: Vec<_> = Instructions::new(image.machine(), walk.start, &code).collect();
    let begins = |address: u64| instructions.binary_search_by_key(&address, |instruction| instruction.address).is_ok();
    let targets = instructions
        .iter()
        .filter_map(|instruction| if let Kind::Jump(target) | Kind::Branch(target) = instruction.kind { Some(target) } else { None });
    // By a slot of the linkage table, or by a method's address: it would return elsewhere.
    let leaves = instructions.iter().enumerate().any(|(index, instruction)| {
        let Kind::JumpIndirect(by) = instruction.kind else { return false };
        match by {
            Indirect::Slot(_) | Indirect::Memory { .. } => true,
            Indirect::Register(register) => holds_loaded(instructions.iter().take(index).rev(), register),
            Indirect::Indexed => false,
        }
    });
    let is_whole = !leaves
        && instructions.last().is_some_and(|last| last.next() == end)
        && walk.instructions.iter().map(|instruction| instruction.address).all(begins)
        && targets.into_iter().all(begins);
    is_whole.then(|| instructions.iter().filter(|instruction| instruction.kind == Kind::Return).map(|i| i.address).collect())
}

/// For messages.
const fn name(program: ProgramName) -> &'static str {
    if matches!(program, ProgramName::RustlsEncrypt) {
        "MessageEncrypter::encrypt"
    } else if matches!(program, ProgramName::RustlsDecryptExit) {
        "MessageDecrypter::decrypt, return"
    } else if matches!(program, ProgramName::RustlsDrop) {
        "a key's destructor"
    } else {
        "MessageDecrypter::decrypt"
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
