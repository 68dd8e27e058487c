//! Which function is which, by the reasons it reports.

use std::collections::{BTreeMap, BTreeSet};

use super::{destructor, error_reports::Reporting};
use crate::{
    attach::ProgramName,
    machine_code::{Functions, Image, Instruction, Kind, Register, Walk, calls_to, constants::Constants},
};

/// Reasons of `openssl/ssl.h` (`SSL_R_…`) and `openssl/err.h` (`ERR_R_…`).
mod reason {
    pub(super) const ERR_SHOULD_NOT_HAVE_BEEN_CALLED: u64 = 66;
    pub(super) const BAD_LENGTH: u64 = 111;
    pub(super) const CONNECTION_TYPE_NOT_SET: u64 = 134;
    pub(super) const EXT_INVALID_SERVERNAME: u64 = 213;
    pub(super) const HANDSHAKE_FAILURE: u64 = 215;
    pub(super) const UNINITIALIZED: u64 = 226;
    pub(super) const APPLICATION_DATA_ON_SHUTDOWN: u64 = 291;
}

/// Programs and the functions they belong to. A role that two functions would fit is given to neither.
pub(super) fn tell(functions: &Functions<'_>, image: &Image<'_>, reporting: &BTreeMap<u64, Reporting>) -> Vec<(ProgramName, u64)> {
    let with = |wanted: &dyn Fn(&BTreeSet<u64>) -> bool| only(reporting.values().filter(|f| wanted(&f.reasons)).map(|f| f.walk.start));
    let has = |reasons: &BTreeSet<u64>, all: &[u64]| all.iter().all(|reason| reasons.contains(reason));
    let write = with(&|r| has(r, &[reason::UNINITIALIZED, reason::HANDSHAKE_FAILURE, reason::BAD_LENGTH]));
    // Until 2022 what it calls looked at the length.
    let write = write.or_else(|| {
        let reasons = [reason::UNINITIALIZED, reason::HANDSHAKE_FAILURE, reason::ERR_SHOULD_NOT_HAVE_BEEN_CALLED];
        let public = reporting.values().filter(|f| has(&f.reasons, &reasons) && hands_on(image, &f.walk));
        only(public.map(|f| f.walk.start))
    });
    let shutdown = with(&|r| has(r, &[reason::UNINITIALIZED, reason::APPLICATION_DATA_ON_SHUTDOWN]));
    let host_name = with(&|r| has(r, &[reason::EXT_INVALID_SERVERNAME]));
    let handshake = reporting.values().filter(|f| has(&f.reasons, &[reason::CONNECTION_TYPE_NOT_SET])).map(|f| f.walk.start);
    let Some(write) = write else { return Vec::new() };
    let Some(read) = read(functions, image, reporting, write) else { return Vec::new() };
    let mut roles = vec![(ProgramName::TlsWrite, write), (ProgramName::TlsRead, read)];
    roles.extend(shutdown.map(|start| (ProgramName::SessionShutdown, start)));
    roles.extend(host_name.map(|start| (ProgramName::SetHostName, start)));
    let known: Vec<u64> = roles.iter().map(|(_, start)| *start).chain(handshake).collect();
    roles.extend(destructor::find(functions, image, &known).map(|start| (ProgramName::SessionFree, start)));
    roles
}

/// `SSL_read`, not `SSL_peek`, which leaves the data where it is.
fn read(functions: &Functions<'_>, image: &Image<'_>, reporting: &BTreeMap<u64, Reporting>, write: u64) -> Option<u64> {
    let is_public = |f: &&Reporting| f.reasons.contains(&reason::ERR_SHOULD_NOT_HAVE_BEEN_CALLED);
    let reads = |f: &&Reporting| {
        f.walk.start != write
            && f.reasons.contains(&reason::UNINITIALIZED)
            && f.reasons.contains(&reason::HANDSHAKE_FAILURE)
            && !f.reasons.contains(&reason::BAD_LENGTH)
    };
    // The common part (`ssl_read_impl`), a function of its own in all builds seen …
    let implementation: Vec<&Reporting> = reporting.values().filter(|f| reads(f) && !is_public(f)).collect();
    let candidates: Vec<&Reporting> = match *implementation.as_slice() {
        [common] => reporting
            .values()
            .filter(|f| f.reasons.iter().eq([&reason::ERR_SHOULD_NOT_HAVE_BEEN_CALLED]))
            .filter(|f| f.walk.calls().any(|(_, target)| target == common.walk.start))
            .collect(),
        // … or inlined.
        [] => reporting.values().filter(|f| reads(f) && is_public(f)).collect(),
        _ => return None,
    };
    let common = only(implementation.iter().map(|f| f.walk.start));
    let consuming = candidates.iter().filter(|f| consumes(image, &f.walk, common)).map(|f| f.walk.start);
    match (candidates.as_slice(), only(consuming)) {
        (_, Some(read)) => Some(read),
        // Not inlined: `SSL_read` reports nothing itself, calls `SSL_peek` and consumes what that copied.
        ([peek], None) => {
            let callers = calls_to(image, &[peek.walk.start]).into_iter().filter_map(|(at, _)| functions.start_of(at));
            let callers: BTreeSet<u64> = callers.take(MAX_CALLERS).collect();
            only(callers.into_iter().filter(|start| functions.walk(*start).is_some_and(|walk| is_read_of(image, &walk, peek.walk.start))))
        }
        _ => None,
    }
}

/// Calls a method of the session with the buffer and the length that it was given, as they are: `method->write_app_data(ssl, …, buf, num)`.
fn hands_on(image: &Image<'_>, walk: &Walk) -> bool {
    let argument = |n| Register::argument(image.machine(), n);
    let (Some(session), Some(buffer), Some(length)) = (argument(0), argument(1), argument(2)) else { return false };
    let constants = Constants::with(image.machine(), walk, &[(session, SESSION), (buffer, BUFFER), (length, LENGTH)]);
    let is_method = |kind: Kind| matches!(kind, Kind::CallMemory { .. } | Kind::CallRegister(_));
    walk.instructions.iter().filter(|instruction| is_method(instruction.kind)).any(|call| {
        let Some(state) = constants.before(call.address) else { return false };
        let holds = |n: usize, value: u64| argument(n).is_some_and(|register| state.of(register).constants() == [value]);
        holds(0, SESSION) && (1..4).any(|n| holds(n, BUFFER) && holds(n + 1, LENGTH))
    })
}

/// After the data was copied, something of the session is changed: what was read is no longer pending. `from`: the call that made data
/// available; the copy is the next.
fn consumes(image: &Image<'_>, walk: &Walk, from: Option<u64>) -> bool {
    let begin = match from {
        Some(common) => walk.calls().filter(|(_, target)| *target == common).map(|(at, _)| at).collect(),
        None => vec![walk.start],
    };
    // (address, a call was passed since)
    let mut open: Vec<(u64, bool)> = begin.into_iter().filter_map(|at| Some((walk.at(at)?.next(), false))).collect();
    let mut seen = BTreeSet::new();
    while let Some((mut address, mut copied)) = open.pop() {
        while let Some(instruction) = walk.at(address).filter(|_| seen.insert((address, copied))) {
            match instruction.kind {
                Kind::Store { base, .. } if copied && !is_local(image, walk, base) => return true,
                Kind::Jump(target) | Kind::Branch(target) => open.push((target, copied)),
                kind if kind.is_call() => copied = true,
                _ => {}
            }
            if instruction.ends_flow() {
                break;
            }
            address = instruction.next();
        }
    }
    false
}

/// The register points to the function's own stack frame. The frame pointer is a register like any other where no frame is kept in it.
fn is_local(image: &Image<'_>, walk: &Walk, register: Register) -> bool {
    let (stack, frame) = (Register::stack(image.machine()), Register::frame(image.machine()));
    let points_to_stack = |kind: Kind| match kind {
        Kind::Move { to, from } | Kind::Add { to, from, .. } => to == frame && from == stack,
        _ => false,
    };
    register == stack || (register == frame && walk.instructions.iter().any(|instruction| points_to_stack(instruction.kind)))
}

/// A function that hands its three arguments on to `peek` and then consumes.
fn is_read_of(image: &Image<'_>, walk: &Walk, peek: u64) -> bool {
    let Some(at) = only(walk.calls().filter(|(_, target)| *target == peek).map(|(at, _)| at)) else { return false };
    let arguments: Vec<Register> = (0..3).filter_map(|n| Register::argument(image.machine(), n)).collect();
    let before = walk.instructions.iter().take_while(|instruction| instruction.address < at);
    let is_straight = before.clone().all(|i| !i.ends_flow() && !matches!(i.kind, Kind::Branch(_) | Kind::Call(_)));
    let keeps = before.clone().all(|i| !arguments.iter().any(|register| i.writes(*register)));
    let after = walk.at(at).map(Instruction::next);
    let stores = walk.instructions.iter().filter(|i| after.is_some_and(|after| i.address >= after)).any(|i| match i.kind {
        Kind::Store { base, .. } => !is_local(image, walk, base),
        _ => false,
    });
    is_straight && keeps && stores
}

fn only<T>(mut candidates: impl Iterator<Item = T>) -> Option<T> {
    let first = candidates.next()?;
    candidates.next().is_none().then_some(first)
}

const MAX_CALLERS: usize = 64;
/// Stand for the arguments; no address or number of a program.
const SESSION: u64 = 0xa111_0000_0000_0001;
const BUFFER: u64 = 0xa111_0000_0000_0002;
const LENGTH: u64 = 0xa111_0000_0000_0003;
