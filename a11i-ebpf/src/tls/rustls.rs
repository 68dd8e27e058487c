//! rustls, whatever its cryptography: `MessageEncrypter::encrypt` at its entry, `MessageDecrypter::decrypt` at its entry and at its return
//! instruction. Each call is one record and is never repeated, so plaintext to encrypt is copied before the call.
//!
//! The calling convention is the Rust compiler's and not promised: nothing is copied of a record whose arguments fail the tests here.

use a11i_common::{
    event::{Counter, RecordKind, cause},
    limits::{RUSTLS_SLICES, TLS_RECORD_BYTES},
    probe::{RUSTLS_JOIN, RUSTLS_SLICE},
    rustls::{ABSENT, RustlsKey, RustlsKeyState, RustlsLayout, RustlsSampleKey, SAMPLE_WORDS, SAMPLES, UNSEEN},
};
use aya_ebpf::{bindings::BPF_NOEXIST, maps::ProgramArray, programs::ProbeContext};

use super::{
    life,
    record_call::{self, RecordCall},
};
use crate::{
    count, decide,
    emit::{self, launder},
    filter, hits,
    maps::{DECISIONS, RUSTLS_KEYS, RUSTLS_LAYOUTS, RUSTLS_SAMPLES, SESSIONS},
    probation, registers, session,
    socket::unsent,
    task, user_memory,
};

const WRITE: u32 = 0;
const READ: u32 = 1;

/// Content types of a record (RFC 8446 section 5.1), by the wire's values and by rustls's own numbering of them.
const CHANGE_CIPHER_SPEC: [u8; 2] = [20, 0];
const ALERT: [u8; 2] = [21, 1];
const HANDSHAKE: [u8; 2] = [22, 2];
const APPLICATION_DATA: [u8; 2] = [23, 3];
/// `AlertDescription` of an orderly end (RFC 8446 section 6).
const CLOSE_NOTIFY: u8 = 0;
/// Handshake messages have a type below, and a length of three bytes (RFC 8446 section 4).
const HANDSHAKE_TYPES: u8 = 26;
/// Longest handshake message: a chain of certificates.
const MOST_MESSAGE: u64 = 0x1_ffff;
/// The handshake message that both sides encrypt first in TLS 1.2, and a client in TLS 1.3.
const FINISHED: u8 = 20;
/// Versions are numbered from SSL 2.0 on (these are TLS 1.1 to 1.3), or are the wire's.
const LEAST_NUMBERED_VERSION: u16 = 3;
const MOST_NUMBERED_VERSION: u16 = 5;
const WIRE_VERSION: u16 = 3;
/// More slices than a caller hands to the kernel at once (`IOV_MAX`): no array of slices.
const MOST_SLICES: u64 = 1024;
/// What encryption adds to a record, at most (RFC 5246 section 6.2.3).
const MOST_EXPANSION: u64 = 2048;
/// Before the record's body.
const RECORD_HEADER_BYTES: u64 = 5;
/// What is behind the plaintext of a record of TLS 1.3 and of TLS 1.2: the tag; and before the one of TLS 1.2 with GCM, its nonce.
const TAG: u64 = 16;
const NONCE: u64 = 8;
/// Words among which the record to decrypt is told, and those of the result of that. Both end on the stack of the caller.
const MESSAGE_WORDS: usize = 4;
const RESULT_WORDS: usize = 6;
/// No pointer is lower, and no capacity of a record's vector higher.
const LOWEST_POINTER: u64 = 0x1_0000;
/// TLS 1.2 and 1.3, as rustls numbers them.
const NUMBERED_VERSIONS: [u16; 2] = [4, 5];

/// A record to decrypt, until 0.22: a vector of its own, without the record's header. The plaintext is the same vector, made shorter.
#[repr(C)]
#[derive(Clone, Copy)]
struct OwnedMessage {
    capacity: u64,
    pointer: u64,
    length: u64,
    /// Content type and version, in either order.
    kind: u64,
}

impl OwnedMessage {
    #[inline(always)]
    fn content_type(&self) -> u8 {
        let first = self.kind as u16;
        let is_version_first = NUMBERED_VERSIONS[0] == first || NUMBERED_VERSIONS[1] == first;
        // None of the types that are asked for has these numbers.
        if is_version_first { (self.kind >> 32) as u8 } else { first as u8 }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Slice {
    pointer: u64,
    length: u64,
}

/// (result, self, message, sequence number)
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn arguments(ctx: &ProbeContext) -> (u64, u64, u64, u64) {
    (
        registers::argument::<0>(ctx.regs),
        registers::argument::<1>(ctx.regs),
        registers::argument::<2>(ctx.regs),
        registers::argument::<3>(ctx.regs),
    )
}

/// (result, self, message, sequence number): the result has a register of its own.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn arguments(ctx: &ProbeContext) -> (u64, u64, u64, u64) {
    (
        registers::result_pointer(ctx.regs),
        registers::argument::<0>(ctx.regs),
        registers::argument::<1>(ctx.regs),
        registers::argument::<2>(ctx.regs),
    )
}

#[inline(always)]
pub(crate) fn encrypt(ctx: &ProbeContext, programs: &ProgramArray, attachment: u64) {
    let (tgid, tid) = task::current_ids();
    if !filter::follows(tgid) {
        return;
    }
    hits::add(attachment, tgid);
    let (_, object, message, sequence) = arguments(ctx);
    let Some(call) = record_call::find_or_insert(tgid, tid) else {
        return;
    };
    // SAFETY: a live map value that only this thread touches.
    let call = unsafe { &mut *call };
    // A decryption that did not return (a panic) is over.
    call.stack_pointer = 0;
    call.object = object;
    call.sequence = sequence;
    call.function = registers::instruction(ctx.regs);
    call.attachment = attachment;
    call.direction = WRITE;
    let layout = RUSTLS_LAYOUTS.get_ptr(&attachment);
    // SAFETY: a live map value; the agent writes it whole before there is a call to which it belongs.
    let found = layout.and_then(|layout| outbound(call, message, unsafe { &*layout }));
    // What has one layout does not pass the tests of another; a program may have two versions of the library.
    let content_type =
        found.or_else(|| outbound(call, message, &RustlsLayout::USUAL)).or_else(|| outbound(call, message, &RustlsLayout::UNTIL_0_22));
    if let Some(content_type) = content_type {
        record(ctx, programs, tgid, tid, call, content_type);
    } else {
        contradicts(call);
        sample(call, message);
    }
}

/// The content type of a record to encrypt, and where its plaintext is. None: it is not laid out like that.
#[inline(always)]
fn outbound(call: &mut RecordCall, message: u64, layout: &RustlsLayout) -> Option<u8> {
    let at = |offset: u8| message + u64::from(offset);
    let content_type = user_memory::read::<u8>(at(layout.content_type))?;
    let version = user_memory::read::<u16>(at(layout.version))?;
    // Both are the wire's numbers, or both are the library's own.
    let is_wire = content_type >= CHANGE_CIPHER_SPEC[0] && content_type <= APPLICATION_DATA[0] && version >> 8 == WIRE_VERSION;
    let is_numbered = content_type >= ALERT[1]
        && content_type <= APPLICATION_DATA[1]
        && version >= LEAST_NUMBERED_VERSION
        && version <= MOST_NUMBERED_VERSION;
    if !is_wire && !is_numbered {
        return None;
    }
    let slices = if layout.slices == ABSENT { 0 } else { user_memory::read::<u64>(at(layout.slices))? };
    call.slices = slices;
    if slices == 0 {
        let slice = user_memory::read::<Slice>(at(layout.slice))?;
        call.buffer = slice.pointer;
        call.slices_left = 1;
        call.skip = 0;
        call.left = slice.length;
        call.length = slice.length;
    } else {
        call.slices_left = user_memory::read::<u64>(at(layout.slices) + 8)?;
        let one = user_memory::read::<u64>(at(layout.bounds[0]))?;
        let other = user_memory::read::<u64>(at(layout.bounds[1]))?;
        call.skip = if one < other { one } else { other };
        call.left = if one < other { other - one } else { one - other };
    }
    if launder(&raw const call.left) > TLS_RECORD_BYTES || launder(&raw const call.slices_left) > MOST_SLICES {
        return None;
    }
    // Of less than two slices there is no array, and nobody encrypts nothing of several.
    if slices != 0 && (launder(&raw const call.slices_left) < 2 || launder(&raw const call.left) == 0) {
        return None;
    }
    // Application data says itself whether it is any. Of a handshake, what every key begins with is known.
    if launder(&raw const call.sequence) == 0 && slices == 0 {
        let header = user_memory::read::<[u8; 4]>(launder(&raw const call.buffer))?;
        let told = (u64::from(header[1]) << 16) | (u64::from(header[2]) << 8) | u64::from(header[3]);
        let is_finished = header[0] == FINISHED && told + 4 == launder(&raw const call.length);
        if is(content_type, HANDSHAKE) {
            if !is_finished && (header[0] == FINISHED || header[0] >= HANDSHAKE_TYPES || told > MOST_MESSAGE) {
                return None;
            }
            probation::fits(call.attachment, WRITE as usize);
        } else if is(content_type, APPLICATION_DATA) && is_finished {
            return None;
        }
    }
    Some(content_type)
}

/// A record whose arguments or result are not what they would be.
#[inline(always)]
fn contradicts(call: &RecordCall) {
    count::add(Counter::RustlsLayout, 1);
    probation::contradicts(call.attachment, call.direction as usize);
}

/// Shows the agent an argument that has another layout, if it has seen the ones before.
#[inline(always)]
fn sample(call: &mut RecordCall, message: u64) {
    if call.attachment == 0 {
        return;
    }
    call.sample.sequence = call.sequence;
    for i in 0..SAMPLE_WORDS {
        let word = user_memory::read::<u64>(message + 8 * i as u64).unwrap_or(0);
        let behind = user_memory::read::<Slice>(word).unwrap_or(Slice { pointer: 0, length: 0 });
        call.sample.words[i] = word;
        call.sample.behind[i] = [behind.pointer, behind.length];
        call.sample.further[i] = user_memory::read::<u64>(behind.pointer).unwrap_or(0);
    }
    for slot in 0..u64::from(SAMPLES) {
        let key = RustlsSampleKey { attachment: call.attachment, slot };
        if RUSTLS_SAMPLES.insert(&key, &call.sample, u64::from(BPF_NOEXIST)).is_ok() {
            return;
        }
    }
}

/// Saves what is not known any more at the return.
#[inline(always)]
pub(crate) fn decrypt(ctx: &ProbeContext, attachment: u64) {
    let (tgid, tid) = task::current_ids();
    if !filter::follows(tgid) {
        return;
    }
    hits::add(attachment, tgid);
    let (out, object, message, sequence) = arguments(ctx);
    let Some(call) = record_call::find_or_insert(tgid, tid) else {
        return;
    };
    // SAFETY: a live map value that only this thread touches.
    let call = unsafe { &mut *call };
    let stack_pointer = registers::stack_pointer_at_entry(ctx.regs);
    if call.stack_pointer == stack_pointer && call.object == object && call.sequence == sequence && call.attachment != attachment {
        count::add(Counter::DuplicateHits, 1);
        hits::duplicate(call.attachment, attachment);
        return;
    }
    call.stack_pointer = 0;
    call.object = object;
    call.sequence = sequence;
    call.function = registers::instruction(ctx.regs);
    call.attachment = attachment;
    call.out = out;
    call.owned = 0;
    call.direction = READ;
    // The record's body is told among the words of the message, in whatever order: its header stands before it.
    for i in 0..MESSAGE_WORDS - 1 {
        let Some(body) = user_memory::read::<Slice>(message + 8 * i as u64) else {
            break;
        };
        if let Some(outer_type) = header_type(body.pointer, body.length) {
            call.outer_type = u32::from(outer_type);
            call.buffer = body.pointer;
            call.length = body.length;
            call.stack_pointer = stack_pointer;
            return;
        }
    }
    if let Some(record) = user_memory::read::<OwnedMessage>(message)
        && record.capacity < LOWEST_POINTER
        && record.pointer >= LOWEST_POINTER
        && record.length <= record.capacity
    {
        call.owned = 1;
        call.outer_type = u32::from(record.content_type());
        call.buffer = record.pointer;
        call.length = record.length;
        call.stack_pointer = stack_pointer;
        return;
    }
    contradicts(call);
}

/// At the return instruction: the stack pointer is the entry's again.
#[inline(always)]
pub(crate) fn decrypted(ctx: &ProbeContext, programs: &ProgramArray) {
    let (tgid, tid) = task::current_ids();
    let Some(call) = record_call::find(tgid, tid) else {
        return;
    };
    // SAFETY: a live map value that only this thread touches.
    let call = unsafe { &mut *call };
    if call.stack_pointer == 0 || call.stack_pointer != registers::stack_pointer_at_entry(ctx.regs) {
        return;
    }
    call.stack_pointer = 0;
    if call.owned != 0 {
        if let Some((plain, content_type)) = shortened(call) {
            decrypted_to(ctx, programs, tgid, tid, call, &plain, content_type);
        } else {
            contradicts(call);
        }
        return;
    }
    // The first word of a result tells success from failure where this compiler put it there; what a failure has elsewhere fails the tests.
    for turn in 0..RESULT_WORDS - 1 {
        // The second first: as it was in all builds seen.
        let i = if turn == 0 { 1 } else { turn - usize::from(turn == 1) };
        let Some(plain) = user_memory::read::<Slice>(call.out + 8 * i as u64) else {
            break;
        };
        if let Some(content_type) = inner_type(call, &plain) {
            decrypted_to(ctx, programs, tgid, tid, call, &plain, content_type);
            return;
        }
    }
    contradicts(call);
}

#[inline(always)]
fn decrypted_to(ctx: &ProbeContext, programs: &ProgramArray, tgid: u32, tid: u32, call: &mut RecordCall, plain: &Slice, content_type: u8) {
    call.buffer = plain.pointer;
    call.length = plain.length;
    call.left = plain.length;
    call.slices = 0;
    call.slices_left = 1;
    call.skip = 0;
    probation::fits(call.attachment, READ as usize);
    record(ctx, programs, tgid, tid, call, content_type);
}

/// Until 0.22, the vector that the record was, behind a word that tells success from failure: what a failure has there fails the tests.
#[inline(always)]
fn shortened(call: &RecordCall) -> Option<(Slice, u8)> {
    let message = user_memory::read::<OwnedMessage>(call.out + 8)?;
    let outer_type = call.outer_type as u8;
    let content_type = message.content_type();
    let is_same = message.pointer == call.buffer && message.length < call.length;
    // Only a record of TLS 1.2 says outside what it is.
    let is_told = is(outer_type, APPLICATION_DATA) || same_kind(outer_type, content_type);
    if is_same && is_told { Some((Slice { pointer: message.pointer, length: message.length }, content_type)) } else { None }
}

/// The same content type, by whichever numbers.
#[inline(always)]
fn same_kind(one: u8, other: u8) -> bool {
    (is(one, ALERT) && is(other, ALERT)) || (is(one, HANDSHAKE) && is(other, HANDSHAKE))
}

/// The content type of a decrypted record; None if this is not its plaintext. Decryption is in place, so the plaintext lies within the
/// record, and a record of TLS 1.3 goes on with its content type and zeros (RFC 8446 section 5.4).
#[inline(always)]
fn inner_type(call: &RecordCall, plain: &Slice) -> Option<u8> {
    let before = plain.pointer.wrapping_sub(call.buffer);
    if (before != 0 && before != NONCE) || before + TAG > call.length || plain.length > call.length - before - TAG {
        return None;
    }
    let outer_type = call.outer_type as u8;
    let growth = call.length - plain.length;
    // Only a record of TLS 1.2 says outside what it is.
    if !is(outer_type, APPLICATION_DATA) || growth == TAG || before != 0 {
        return Some(outer_type);
    }
    if growth == NONCE + TAG {
        // Of TLS 1.2, if this is not a type and all the zeros.
        let rest = user_memory::read::<u64>(plain.pointer + plain.length)?;
        return Some(if is_inner_type(rest) { rest as u8 } else { outer_type });
    }
    let inner_type = user_memory::read::<u8>(plain.pointer + plain.length)?;
    if is_inner_type(u64::from(inner_type)) { Some(inner_type) } else { None }
}

#[inline(always)]
fn is_inner_type(value: u64) -> bool {
    value >= u64::from(ALERT[0]) && value <= u64::from(APPLICATION_DATA[0])
}

/// The content type in the header of the record whose body this is, if there is one: type, a version of TLS, and this length.
#[inline(always)]
fn header_type(body: u64, length: u64) -> Option<u8> {
    let header = user_memory::read::<[u8; RECORD_HEADER_BYTES as usize]>(body.wrapping_sub(RECORD_HEADER_BYTES))?;
    let told = (u64::from(header[3]) << 8) | u64::from(header[4]);
    let is_record = header[1] == 3 && header[2] <= 4 && told == length && length <= TLS_RECORD_BYTES + MOST_EXPANSION;
    if is_record { Some(header[0]) } else { None }
}

#[inline(always)]
fn is(content_type: u8, kind: [u8; 2]) -> bool {
    content_type == kind[0] || content_type == kind[1]
}

/// One record whose plaintext is known.
#[inline(always)]
fn record(ctx: &ProbeContext, programs: &ProgramArray, tgid: u32, tid: u32, call: &mut RecordCall, content_type: u8) {
    count::add(Counter::Calls, 1);
    let is_data = is(content_type, APPLICATION_DATA);
    call.is_data = u32::from(is_data);
    call.turns = 0;
    match known(call, tgid) {
        Known::Twice => return,
        Known::No => {
            // Of a handshake nobody wants anything: its keys are gone before the first request.
            if is_data {
                // SAFETY: nothing here has to be dropped.
                unsafe { programs.tail_call(ctx, RUSTLS_JOIN) };
                count::add(Counter::RustlsFull, 1);
            }
            return;
        }
        Known::Yes => {}
    }
    if is_data {
        // SAFETY: as above.
        unsafe { programs.tail_call(ctx, RUSTLS_SLICE) };
        count::add(Counter::RustlsFull, 1);
    } else if is(content_type, ALERT) {
        alert(call, tgid, tid);
    } else if is(content_type, HANDSHAKE) {
        // New keys may stand beside this one by now.
        // SAFETY: as above.
        unsafe { programs.tail_call(ctx, RUSTLS_JOIN) };
    }
}

enum Known {
    Yes,
    No,
    /// The record came through another attachment of the file.
    Twice,
}

/// Whether the record's key is known, and counts the record.
#[inline(always)]
fn known(call: &mut RecordCall, tgid: u32) -> Known {
    let key = RustlsKey { object: call.object, tgid, direction: call.direction };
    let Some(state) = RUSTLS_KEYS.get_ptr_mut(&key) else {
        return Known::No;
    };
    // SAFETY: a live map value; a direction of a connection is used by one thread at a time.
    let state = unsafe { &mut *state };
    call.session = state.session;
    let sequence = call.sequence;
    if state.next_sequence != sequence {
        if fingerprint(call.object, u64::from(state.object_size)) != Some(state.fingerprint) {
            // Another key at the address of one that is gone.
            let state = *state;
            release(&key, &state);
            return Known::No;
        }
        if state.next_sequence == sequence.wrapping_add(1) {
            count::add(Counter::DuplicateHits, 1);
            hits::duplicate(state.attachment, call.attachment);
            return Known::Twice;
        }
        if state.next_sequence != UNSEEN {
            // Records in between were not seen.
            session::note_uncounted_call(&session::key(tgid, state.session), call.direction as usize);
        }
    }
    state.next_sequence = sequence.wrapping_add(1);
    state.attachment = call.attachment;
    Known::Yes
}

/// A number that tells one key object from another at its address: over the object's first and last words, where key or nonce lie. Objects
/// do not change while they live.
#[inline(always)]
pub(crate) fn fingerprint(object: u64, size: u64) -> Option<u64> {
    let first = user_memory::read::<Words>(object)?;
    let last = user_memory::read::<Words>(object + size.saturating_sub(size_of::<Words>() as u64))?;
    let sum = mix(mix(mix(mix(size, first.0), first.1), first.2), first.3);
    Some(mix(mix(mix(mix(sum, last.0), last.1), last.2), last.3))
}

/// Apart from each other, not in an array: the verifier wants no loop over the stack.
#[repr(C)]
#[derive(Clone, Copy)]
struct Words(u64, u64, u64, u64);

#[inline(always)]
fn mix(sum: u64, word: u64) -> u64 {
    (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// A key is gone. With the last of its connection, the session ends.
#[inline(always)]
pub(crate) fn release(key: &RustlsKey, state: &RustlsKeyState) {
    let _ = RUSTLS_KEYS.remove(key);
    let peer = RustlsKey { object: state.peer, tgid: key.tgid, direction: 1 - (key.direction & 1) };
    if let Some(peer_state) = RUSTLS_KEYS.get_ptr_mut(&peer) {
        // SAFETY: a live map value.
        let peer_state = unsafe { &mut *peer_state };
        if peer_state.session == state.session {
            // A new key of this direction finds the other one and goes on.
            if peer_state.peer == key.object {
                peer_state.peer = 0;
            }
            return;
        }
    }
    end(key.tgid, state.session, state.attachment);
}

/// Tells the agent that a session is over.
#[inline(always)]
pub(crate) fn end(tgid: u32, session: u64, attachment: u64) {
    let (_, tid) = task::current_ids();
    let key = session::key(tgid, session);
    life::tell(RecordKind::SessionEnd, &key, tid, attachment);
    let _ = SESSIONS.remove(&key);
    let _ = DECISIONS.remove(&key);
}

/// The destructor of a key.
#[inline(always)]
pub(crate) fn drop_key(ctx: &ProbeContext, attachment: u64) {
    let (tgid, _) = task::current_ids();
    if !filter::follows(tgid) {
        return;
    }
    hits::add(attachment, tgid);
    let object = registers::argument::<0>(ctx.regs);
    // It encrypted or it decrypted.
    if !release_if_known(&RustlsKey { object, tgid, direction: WRITE }) {
        release_if_known(&RustlsKey { object, tgid, direction: READ });
    }
}

#[inline(always)]
fn release_if_known(key: &RustlsKey) -> bool {
    let Some(state) = RUSTLS_KEYS.get_ptr(key) else {
        return false;
    };
    // SAFETY: a live map value.
    let state = unsafe { *state };
    release(key, &state);
    true
}

/// An alert of a known key.
#[inline(always)]
fn alert(call: &RecordCall, tgid: u32, tid: u32) {
    // Level and description.
    if call.slices != 0 || call.length != 2 || user_memory::read::<u8>(call.buffer + 1) != Some(CLOSE_NOTIFY) {
        return;
    }
    let key = session::key(tgid, call.session);
    if call.direction == WRITE {
        life::tell(RecordKind::WriteShutdown, &key, tid, call.attachment);
        return;
    }
    // Whoever asks gets no answer any more; whoever answers may still do so.
    if let Some(session) = SESSIONS.get_ptr(&key) {
        // SAFETY: a live map value; one byte.
        if unsafe { (*session).request_direction } == WRITE as u8 {
            end(tgid, call.session, call.attachment);
        }
    }
}

/// Copies the next slice of the record, and goes on with the one after it.
#[inline(always)]
pub(crate) fn slice(ctx: &ProbeContext, programs: &ProgramArray) {
    let (tgid, tid) = task::current_ids();
    let Some(call) = record_call::find(tgid, tid) else {
        return;
    };
    // SAFETY: a live map value that only this thread touches.
    let call = unsafe { &mut *call };
    let key = session::key(tgid, call.session);
    let direction = (call.direction & 1) as usize;
    if call.left == 0 {
        return;
    }
    let Some(session) = session::find_or_insert(&key) else {
        return;
    };
    // SAFETY: a live map value; a direction of a connection is used by one thread at a time.
    let session = unsafe { &mut *session };
    if call.slices_left == 0 {
        // The slices have fewer bytes than the message said: what this was is not known.
        count::add(Counter::RustlsLayout, 1);
        session.causes[direction] |= cause::TABLE_FULL;
        return;
    }
    if call.turns == 0 {
        call.plaintext = call.left as u32;
    }
    if call.turns >= RUSTLS_SLICES {
        leave_out(session, direction, call.left, cause::CALL_LIMIT);
        return;
    }
    call.turns += 1;
    call.slices_left -= 1;
    let mut slice = Slice { pointer: call.buffer, length: call.length };
    if call.slices != 0 {
        let Some(next) = user_memory::read::<Slice>(call.slices) else {
            leave_out(session, direction, call.left, cause::USER_FAULT);
            return;
        };
        slice = next;
        call.slices += 16;
    }
    if slice.length > call.skip {
        let mut length = slice.length - call.skip;
        if length > call.left {
            length = call.left;
        }
        let transfer = emit::Transfer { key, tid, attachment: call.attachment, buffer: slice.pointer + call.skip };
        call.scratch.buffer = if call.skip == 0 { slice.pointer } else { 0 };
        call.skip = 0;
        call.left -= length;
        call.scratch.length = length;
        call.scratch.direction = direction as u8;
        emit::record(&transfer, session, &mut call.scratch);
    } else {
        call.scratch.buffer = 0;
        call.skip -= slice.length;
    }
    // What the record begins with, where that is known. Behind the copying, which the verifier would walk once for each way through this.
    if launder(&raw const call.turns) == 1 && launder(&raw const call.direction) == WRITE {
        unsent::wrote(&key, session, tid, u64::from(launder(&raw const call.plaintext)), launder(&raw const call.scratch.buffer));
    }
    if call.left > 0 {
        // SAFETY: nothing here has to be dropped.
        unsafe { programs.tail_call(ctx, RUSTLS_SLICE) };
        leave_out(session, direction, call.left, cause::CALL_LIMIT);
    }
}

/// The rest of a record is not copied.
#[inline(always)]
fn leave_out(session: &mut a11i_common::session::Session, direction: usize, bytes: u64, why: u8) {
    if !session::is_counted(session) {
        return;
    }
    count::add(if why == cause::USER_FAULT { Counter::UserFaultBytes } else { decide::counter_of(why) }, bytes);
    session.causes[direction & 1] |= why;
    session.offsets[direction & 1] += bytes;
    session.frame_left = 0; // frames are looked for anew
}
