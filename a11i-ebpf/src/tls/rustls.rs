//! rustls, whatever its cryptography: `MessageEncrypter::encrypt` at its entry, `MessageDecrypter::decrypt` at its entry and at its return
//! instruction. Each call is one record and is never repeated, so plaintext to encrypt is copied before the call.
//!
//! The calling convention is the Rust compiler's and not promised: nothing is copied of a record whose arguments fail the tests here.

use a11i_common::{
    event::{Counter, RecordKind, cause},
    limits::{RUSTLS_SLICES, TLS_RECORD_BYTES},
    probe::{RUSTLS_JOIN, RUSTLS_SLICE},
    rustls::{RustlsKey, RustlsKeyState, UNSEEN},
    session::protocol,
};
use aya_ebpf::{maps::ProgramArray, programs::ProbeContext};

use super::{
    life,
    record_call::{self, RecordCall},
};
use crate::{
    count, decide,
    emit::{self, launder},
    filter, hits,
    maps::{DECISIONS, RUSTLS_KEYS, SESSIONS},
    registers, session, task, user_memory,
};

const WRITE: u32 = 0;
const READ: u32 = 1;

/// Content types of a record (RFC 8446 section 5.1), by the wire's values and by rustls's own numbering of them.
const ALERT: [u8; 2] = [21, 1];
const HANDSHAKE: [u8; 2] = [22, 2];
const APPLICATION_DATA: [u8; 2] = [23, 3];
/// `AlertDescription` of an orderly end (RFC 8446 section 6).
const CLOSE_NOTIFY: u8 = 0;
/// Versions are numbered from SSL 2.0 on, or are the wire's.
const MOST_VERSION: u16 = 8;
const WIRE_VERSION: u16 = 3;
/// TLS 1.2 and 1.3.
const NUMBERED_VERSIONS: [u16; 2] = [4, 5];
/// Tags of a version in 0.24: of every record, or of a first ClientHello.
const MOST_TAG: u8 = 1;
/// The first content type on the wire, `change_cipher_spec`.
const FIRST_TYPE: u8 = 20;
/// No pointer is lower, and no capacity of a record's vector higher.
const LOWEST_POINTER: u64 = 0x1_0000;
/// More slices than a caller hands to the kernel at once (`IOV_MAX`): no array of slices.
const MOST_SLICES: u64 = 1024;
/// What encryption adds to a record, at most (RFC 5246 section 6.2.3).
const MOST_EXPANSION: u64 = 2048;
/// Before the record's body.
const RECORD_HEADER_BYTES: u64 = 5;

/// A record to encrypt, as its argument begins since 0.23. Until 0.22 it is a [`Slice`] and a [`Kind`].
#[repr(C)]
#[derive(Clone, Copy)]
struct OutboundMessage {
    /// 0 = one slice follows: pointer and length. Else an array of slices.
    slices: u64,
    pointer_or_count: u64,
    length_or_start: u64,
    end: u64,
    kind: Kind,
}

/// A record that came, until 0.22: a vector of its own.
#[repr(C)]
#[derive(Clone, Copy)]
struct OwnedMessage {
    capacity: u64,
    pointer: u64,
    length: u64,
    kind: Kind,
}

/// What ends the description of a record: content type and version, in the order that the compiler chose for it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Kind(u64);

impl Kind {
    /// The content type, by the wire's values or by rustls's own numbering. A number of its own that means no data goes for everything else.
    #[inline(always)]
    fn content_type(self) -> u8 {
        let (first, second, third) = (self.0 as u16, (self.0 >> 16) as u16, (self.0 >> 32) as u8);
        // The version first: until 0.22 of records with vectors. None of the types that are asked for has these numbers.
        let is_version_first = NUMBERED_VERSIONS[0] == first || NUMBERED_VERSIONS[1] == first;
        // In 0.24 versions have a tag before them and are the wire's.
        let is_version_tagged = first as u8 <= MOST_TAG && second > MOST_VERSION && second >> 8 == WIRE_VERSION && third >= FIRST_TYPE;
        if is_version_first || is_version_tagged { third } else { first as u8 }
    }

    /// Where the type comes first.
    #[inline(always)]
    fn version(self) -> u16 {
        (self.0 >> 16) as u16
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
    let Some(message) = user_memory::read::<OutboundMessage>(message) else {
        count::add(Counter::RustlsLayout, 1);
        return;
    };
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
    let in_slices = message.end.wrapping_sub(message.length_or_start);
    let is_slices = message.pointer_or_count <= MOST_SLICES && in_slices <= TLS_RECORD_BYTES && is_version(message.kind.version());
    let kind = if message.slices == 0 {
        one_piece(call, message.pointer_or_count, message.length_or_start);
        message.kind
    } else if is_slices {
        call.slices = message.slices;
        call.slices_left = message.pointer_or_count;
        call.skip = message.length_or_start;
        call.left = in_slices;
        message.kind
    } else {
        one_piece(call, message.slices, message.pointer_or_count);
        Kind(message.length_or_start)
    };
    if launder(&raw const call.left) > TLS_RECORD_BYTES || !is_version(kind.version()) {
        count::add(Counter::RustlsLayout, 1);
        return;
    }
    record(ctx, programs, tgid, tid, call, kind.content_type());
}

#[inline(always)]
fn one_piece(call: &mut RecordCall, pointer: u64, length: u64) {
    call.buffer = pointer;
    call.length = length;
    call.left = length;
    call.slices = 0;
    call.slices_left = 1;
    call.skip = 0;
}

#[inline(always)]
fn is_version(version: u16) -> bool {
    version <= MOST_VERSION || version & 0xff == WIRE_VERSION || version >> 8 == WIRE_VERSION
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
    let Some(message) = user_memory::read::<OwnedMessage>(message) else {
        count::add(Counter::RustlsLayout, 1);
        return;
    };
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
    call.stack_pointer = stack_pointer;
    call.object = object;
    call.sequence = sequence;
    call.function = registers::instruction(ctx.regs);
    call.attachment = attachment;
    call.out = out;
    let is_owned = message.capacity < LOWEST_POINTER && message.pointer >= LOWEST_POINTER && message.length <= message.capacity;
    // A borrowed record is a pointer and a length.
    (call.buffer, call.length) = if is_owned { (message.pointer, message.length) } else { (message.capacity, message.pointer) };
    call.owned = if is_owned { message.kind.0 } else { 0 };
    call.direction = READ;
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
    let told = if call.owned == 0 { borrowed(call) } else { owned(call) };
    let Some((plain, outer_type, content_type)) = told else {
        count::add(Counter::RustlsLayout, 1);
        return;
    };
    // Only a record of TLS 1.2 says outside what it is.
    if is(outer_type, APPLICATION_DATA) || same_kind(outer_type, content_type) {
        call.buffer = plain.pointer;
        call.length = plain.length;
        call.left = plain.length;
        call.slices = 0;
        call.slices_left = 1;
        call.skip = 0;
        record(ctx, programs, tgid, tid, call, content_type);
    } else {
        count::add(Counter::RustlsLayout, 1);
    }
}

/// Plaintext, type of the record and type within it, behind a word that tells success from failure: what a failure has there fails the tests.
#[inline(always)]
fn borrowed(call: &RecordCall) -> Option<(Slice, u8, u8)> {
    let plain = user_memory::read::<Slice>(call.out + 8)?;
    let kind = user_memory::read::<Kind>(call.out + 24)?;
    let outer_type = header_type(call.buffer, call.length)?;
    // The plaintext lies within the record: decryption is in place.
    let before = plain.pointer.wrapping_sub(call.buffer);
    let is_within = before <= call.length && plain.length <= call.length - before;
    if is_within { Some((plain, outer_type, kind.content_type())) } else { None }
}

/// The same until 0.22, where a record is a vector without its header: the plaintext is the very same vector, made shorter.
#[inline(always)]
fn owned(call: &RecordCall) -> Option<(Slice, u8, u8)> {
    let message = user_memory::read::<OwnedMessage>(call.out + 8)?;
    let is_same = message.pointer == call.buffer && message.length < call.length;
    let plain = Slice { pointer: message.pointer, length: message.length };
    if is_same { Some((plain, Kind(call.owned).content_type(), message.kind.content_type())) } else { None }
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

#[inline(always)]
fn same_kind(one: u8, other: u8) -> bool {
    (is(one, ALERT) && is(other, ALERT)) || (is(one, HANDSHAKE) && is(other, HANDSHAKE))
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
        call.skip = 0;
        call.left -= length;
        call.scratch.length = length;
        call.scratch.direction = direction as u8;
        emit::record(&transfer, session, &mut call.scratch);
    } else {
        call.skip -= slice.length;
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
    if session.protocol >= protocol::OTHER {
        return;
    }
    count::add(if why == cause::USER_FAULT { Counter::UserFaultBytes } else { decide::counter_of(why) }, bytes);
    session.causes[direction & 1] |= why;
    session.offsets[direction & 1] += bytes;
}
