//! The end of a session: the destructor that `SSL_free` calls. It reports no error, so it is told by what it does and where it is called.
//!
//! Optional: without it a session ends at shutdown, with its process, or when its address is used again.

use std::collections::BTreeSet;

use crate::{
    discovery::elf::Machine,
    machine_code::{Functions, Image, Kind, Register, Walk, calls_to, decode},
};

/// Called near the calls of `known`, in their neighbourhood, and calling the third method of the table that its argument begins with
/// (`ssl_free` of `SSL_PROTOCOL_METHOD`). None unless there is exactly one.
pub(super) fn find(functions: &Functions<'_>, image: &Image<'_>, known: &[u64]) -> Option<u64> {
    let mut known = known.to_vec();
    known.sort_unstable();
    let is_near = |target: u64| known.iter().any(|start| start.abs_diff(target) <= NEIGHBOURHOOD);
    let mut targets = BTreeSet::new();
    for (at, _) in calls_to(image, &known).into_iter().take(MAX_CALLS) {
        targets.extend(calls_beside(image, at).into_iter().filter(|target| functions.may_begin(*target)));
    }
    // What uses the library often wraps the end in a function of its own.
    let starts: Vec<u64> = targets.into_iter().filter(|target| known.binary_search(target).is_err()).take(MAX_TARGETS).collect();
    let mut found = BTreeSet::new();
    for start in starts {
        let Some(walk) = functions.walk(start) else { continue };
        if is_near(start) && frees(image, &walk) {
            found.insert(start);
        }
        if walk.instructions.len() <= WRAPPER {
            let inner = walk.calls().map(|(_, target)| target).chain(walk.tail_jumps.iter().copied());
            let inner = inner.filter(|target| is_near(*target)).filter_map(|target| functions.walk(target));
            found.extend(inner.filter(|walk| frees(image, walk)).map(|walk| walk.start));
        }
    }
    let mut found = found.into_iter();
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// What is called in the bytes around `at`: some are no calls, which what follows sorts out.
fn calls_beside(image: &Image<'_>, at: u64) -> BTreeSet<u64> {
    let begin = image.code().find(|segment| segment.holds(at)).map_or(at, |segment| segment.vaddr.max(at.saturating_sub(BESIDE)));
    let bytes = image.bytes_up_to(begin, BESIDE.saturating_mul(2)).unwrap_or_default();
    let step = if image.machine() == Machine::X86_64 { 1 } else { 4 };
    let offsets = (usize::try_from(at.wrapping_sub(begin) % 4).unwrap_or(0) * usize::from(step == 4)..bytes.len()).step_by(step);
    let calls = offsets.filter_map(|into| match decode(image.machine(), begin.wrapping_add(into as u64), bytes.get(into..)?)?.kind {
        Kind::Call(target) if image.is_code(target) => Some(target),
        _ => None,
    });
    calls.collect()
}

/// `method = *arg0; … (*method)[2](arg0)`.
fn frees(image: &Image<'_>, walk: &Walk) -> bool {
    let Some(argument) = Register::argument(image.machine(), 0) else { return false };
    // In the order of addresses: what is set once at the beginning and used later.
    let mut sessions = BTreeSet::from([argument]);
    let mut tables: BTreeSet<Register> = BTreeSet::new();
    let mut methods: BTreeSet<Register> = BTreeSet::new();
    for instruction in walk.instructions.iter().take(LOOKED_AT) {
        let calls_method = match instruction.kind {
            Kind::CallMemory { base: Some(base), displacement: METHOD } => tables.contains(&base),
            Kind::CallRegister(register) => methods.contains(&register),
            _ => false,
        };
        if calls_method {
            return true;
        }
        if instruction.kind.is_call() {
            sessions.remove(&argument);
            tables.clear();
            methods.clear();
        }
        for register in instruction.clobbers() {
            for set in [&mut sessions, &mut tables, &mut methods] {
                set.remove(&register);
            }
        }
        if let Some(to) = instruction.destination() {
            let (session, table, method) = match instruction.kind {
                Kind::Move { from, .. } => (sessions.contains(&from), tables.contains(&from), methods.contains(&from)),
                Kind::Load { base, displacement: 0, size: 8, .. } => (false, sessions.contains(&base), false),
                Kind::Load { base, displacement: METHOD, size: 8, .. } => (false, false, tables.contains(&base)),
                _ => (false, false, false),
            };
            for (set, belongs) in [(&mut sessions, session), (&mut tables, table), (&mut methods, method)] {
                if belongs {
                    set.insert(to)
                } else {
                    set.remove(&to)
                };
            }
        }
    }
    false
}

/// `ssl_free` is the third of the table.
const METHOD: i64 = 16;
/// Distances seen in eight builds are below these.
const BESIDE: u64 = 3_000;
const NEIGHBOURHOOD: u64 = 128 * 1024;
/// Instructions of a wrapper: test, call, return.
const WRAPPER: usize = 12;
/// The method is called at the beginning.
const LOOKED_AT: usize = 64;
const MAX_CALLS: usize = 512;
const MAX_TARGETS: usize = 1_024;
