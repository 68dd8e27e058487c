//! rustls, whatever its cryptography: `MessageEncrypter::encrypt` at its entry, `MessageDecrypter::decrypt` at its entry and at its return
//! instruction. Each call is one record and is never repeated, so plaintext to encrypt is copied before the call.
//!
//! What the arguments and the result say is read in `rustls_record`.

use a11i_common::{
    event::{Counter, RecordKind, cause},
    limits::RUSTLS_SLICES,
    probe::{RUSTLS_JOIN, RUSTLS_SLICE},
    rustls::{RustlsKey, RustlsKeyState, RustlsLayout, UNSEEN},
};
use aya_ebpf::{maps::ProgramArray, programs::ProbeContext};

use super::{
    life,
    record_call::{self, RecordCall},
    rustls_record::{ALERT, APPLICATION_DATA, HANDSHAKE, READ, Slice, WRITE, arguments, inbound, is, outbound, plaintext, sample},
};
use crate::{
    count, decide,
    emit::{self, launder},
    filter, hits,
    maps::{DECISIONS, RUSTLS_KEYS, RUSTLS_LAYOUTS, SESSIONS},
    probation, registers, session,
    socket::unsent,
    task, user_memory,
};

/// `AlertDescription` of an orderly end (RFC 8446 section 6).
const CLOSE_NOTIFY: u8 = 0;

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
        // SAFETY: as above.
        if layout.is_none_or(|layout| unsafe { (*layout).is_final } == 0) {
            sample(call, message);
        }
    }
}

/// A record whose arguments or result are not what they would be.
#[inline(always)]
fn contradicts(call: &RecordCall) {
    count::add(Counter::RustlsLayout, 1);
    probation::contradicts(call.attachment, call.direction as usize);
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
    call.direction = READ;
    if inbound(call, message).is_some() {
        call.stack_pointer = stack_pointer;
    } else {
        contradicts(call);
    }
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
    if let Some((plain, content_type)) = plaintext(call) {
        decrypted_to(ctx, programs, tgid, tid, call, &plain, content_type);
    } else {
        contradicts(call);
    }
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
