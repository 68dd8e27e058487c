//! Go's `crypto/tls` and its forks: entries and return instructions of `(*Conn).Write` and `.Read`.
//!
//! No return probes: the runtime copies stacks, and a return address that is not its own ends the program. A call is known by its goroutine
//! and by how deep in the stack it is, which neither a move of the stack nor a change of threads alters. Entry probes sit behind the check of
//! the stack's size, which a call may go through twice.
//!
//! A reader waits in `Read` while another goroutine writes, so an answer may have returned before the write of its request has. Therefore what
//! is written is copied when the call begins: `Write` of a connection that is set up sends all of it, or the connection is no use any more.

use a11i_common::{
    event::{Counter, RecordKind},
    session::{GoCall, GoCallKey, Session, SessionKey, flag, protocol},
};
use aya_ebpf::{bindings::BPF_ANY, maps::ProgramArray, programs::ProbeContext};

use super::{
    buffer_call::{frames_of, thread_key},
    life, operation,
};
use crate::{
    count, decide, emit, filter, hits,
    maps::{GO_CALLS, GO_HANDSHAKES, SESSIONS},
    registers, session,
    socket::binding,
    task, user_memory,
};

/// `g.stack`, the first member of the runtime's `g`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stack {
    low: u64,
    high: u64,
}

/// Single probes: each program has its operation.
#[inline(always)]
pub(crate) fn hit(ctx: &ProbeContext, programs: &ProgramArray, operation: u8, attachment: u64) {
    match operation {
        operation::GO_WRITE | operation::GO_READ | operation::GO_OUTER_WRITE | operation::GO_OUTER_READ => {
            enter(ctx, programs, operation, attachment)
        }
        operation::GO_WRITE_RETURN | operation::GO_READ_RETURN | operation::GO_READ_RETURN_KEPT => leave(ctx, programs, operation),
        _ => begin_or_end(ctx, operation, attachment),
    }
}

#[inline(always)]
pub(crate) fn enter(ctx: &ProbeContext, programs: &ProgramArray, operation: u8, attachment: u64) {
    let (tgid, tid) = task::current_ids();
    if !filter::follows(tgid) {
        return;
    }
    hits::add(attachment, tgid);
    let key = session::key(tgid, connection(ctx, operation));
    let buffer = registers::go_argument::<1>(ctx.regs);
    let capacity = registers::go_argument::<2>(ctx.regs);
    let direction = operation::direction(operation);
    // A reader waits in the call already when the request is written that its answer is to.
    if capacity == 0 || decide::is_of_no_interest(&key, direction, buffer, capacity, direction != 0) {
        return;
    }
    let Some((call, stack)) = call_of(ctx, tgid) else {
        count::add(Counter::CountUnreadable, 1);
        session::note_uncounted_call(&key, direction);
        return;
    };
    if is_duplicate(&call, &key, buffer, attachment, direction) {
        return;
    }
    // Made now, so that its absence at the return says that the connection was closed, or probes were away, in between.
    let Some(session) = session::find_or_insert(&key) else {
        return;
    };
    if direction != 0 {
        see_reader(session);
    }
    let is_copied = direction == 0 && is_set_up(&key, session) && is_resident(buffer, capacity);
    if direction == 0 {
        binding::go_writes(call.goroutine, tgid, key.session, session);
    }
    let on_stack = buffer >= stack.low && buffer < stack.high;
    let frame = GoCall {
        session: key.session,
        buffer,
        buffer_depth: if on_stack { stack.high - buffer } else { 0 },
        capacity,
        attachment,
        direction: direction as u8,
        is_copied: is_copied as u8,
        reserved: [0; 6],
    };
    if GO_CALLS.insert(&call, &frame, u64::from(BPF_ANY)).is_err() {
        count::add(Counter::InFlightFull, 1);
        session::note_uncounted_call(&key, direction);
        return;
    }
    if is_copied {
        transfer(ctx, programs, key, tid, attachment, buffer, capacity, direction, session);
    }
}

/// The `*Conn` that the function is called on. uTLS's `UConn` has it as its first member, and overrides some of its methods.
#[inline(always)]
fn connection(ctx: &ProbeContext, operation: u8) -> u64 {
    let receiver = registers::go_argument::<0>(ctx.regs);
    if operation >= operation::GO_OUTER_WRITE && operation <= operation::GO_OUTER_CLOSE {
        // What cannot be read has a connection of its own, and its answer none: two halves, never another connection's bytes.
        user_memory::read::<u64>(receiver).unwrap_or(receiver)
    } else {
        receiver
    }
}

/// At a return instruction of the function that `operation` names.
#[inline(always)]
pub(crate) fn leave(ctx: &ProbeContext, programs: &ProgramArray, operation: u8) {
    let (tgid, tid) = task::current_ids();
    if !filter::follows(tgid) {
        return;
    }
    let Some((call, stack)) = call_of(ctx, tgid) else {
        return;
    };
    let direction = operation::direction(operation);
    let Some(frame) = taken(&call, direction).or_else(|| kept(ctx, operation, tgid)) else {
        return;
    };
    count::add(Counter::Calls, 1);
    if direction == 0 {
        binding::go_has_written(call.goroutine, tgid);
    }
    let transferred = registers::go_argument::<0>(ctx.regs) as i64;
    if frame.is_copied != 0 || transferred <= 0 {
        return;
    }
    let key = session::key(tgid, frame.session);
    let Some(session) = SESSIONS.get_ptr_mut(&key) else {
        return;
    };
    // Whatever the error beside it says, these bytes were transferred.
    let transferred = transferred as u64;
    if transferred > frame.capacity {
        count::add(Counter::CountUnreadable, 1);
        session::note_uncounted_call(&key, direction);
        return;
    }
    let buffer = if frame.buffer_depth != 0 { stack.high.wrapping_sub(frame.buffer_depth) } else { frame.buffer };
    transfer(ctx, programs, key, tid, frame.attachment, buffer, transferred, direction, session);
}

/// The call as it was entered.
#[inline(always)]
fn taken(call: &GoCallKey, direction: usize) -> Option<GoCall> {
    let frame = GO_CALLS.get_ptr(call)?;
    // SAFETY: a live map value of this goroutine, which runs here.
    let frame = unsafe { *frame };
    let _ = GO_CALLS.remove(call);
    // Else it is one that never returned.
    if usize::from(frame.direction) == direction { Some(frame) } else { None }
}

/// A reader that waited in the call before there were probes, as that of an idle connection does: its arguments are in their slots above the
/// return address. That the first of them is a connection whose request was seen shows that they are what they should be.
#[inline(always)]
fn kept(ctx: &ProbeContext, operation: u8, tgid: u32) -> Option<GoCall> {
    if operation != operation::GO_READ_RETURN_KEPT {
        return None;
    }
    let [session, buffer, capacity] = user_memory::read::<[u64; 3]>(registers::stack_pointer_at_entry(ctx.regs).wrapping_add(8))?;
    let known = SESSIONS.get_ptr_mut(&session::key(tgid, session))?;
    // Through a second attachment of the file, every return comes twice.
    if !see_reader(known) {
        return None;
    }
    // Without an entry it is not known through which attachment it came: that of the cookie is as good.
    let attachment = super::buffer_call::attachment_of(operation::cookie(ctx));
    Some(GoCall { session, buffer, buffer_depth: 0, capacity, attachment, direction: 1, is_copied: 0, reserved: [0; 6] })
}

/// False: a reader was seen before. Verdicts are noted in the same byte, by whoever transfers: that one of the two is forgotten costs a
/// duplicate, or a second look.
#[inline(always)]
fn see_reader(session: *mut Session) -> bool {
    // SAFETY: a live map value; a single byte.
    unsafe {
        let is_first = (*session).flags & flag::READER_SEEN == 0;
        if is_first {
            (*session).flags |= flag::READER_SEEN;
        }
        is_first
    }
}

/// Close, half-close and begin of a connection.
#[inline(always)]
pub(crate) fn begin_or_end(ctx: &ProbeContext, operation: u8, attachment: u64) {
    let (tgid, tid) = task::current_ids();
    if !filter::follows(tgid) {
        return;
    }
    let key = session::key(tgid, connection(ctx, operation));
    if operation == operation::GO_CLOSE_WRITE {
        life::tell(RecordKind::WriteShutdown, &key, tid, attachment);
    } else if operation == operation::GO_CLOSE || operation == operation::GO_OUTER_CLOSE {
        // Those who still wait in it find no session when they return. The address is in use for as long.
        life::end(&key, tid, attachment);
        let _ = GO_HANDSHAKES.remove(&key);
    } else {
        begin(&key, tid, attachment);
    }
}

/// A handshake: what was known of this address was another connection, which was dropped without being closed. A call that began in the
/// present one (`Write` shakes hands where nobody else did) has an entry that nothing was transferred in.
#[inline(always)]
fn begin(key: &SessionKey, tid: u32, attachment: u64) {
    if let Some(session) = SESSIONS.get_ptr_mut(key) {
        // SAFETY: a live map value; nobody transfers anything before the handshake is over.
        let session = unsafe { &mut *session };
        if session.offsets == [0; 2] && session.protocol == protocol::UNDECIDED {
            return;
        }
        life::tell(RecordKind::SessionEnd, key, tid, attachment);
        session::begin_connection(session);
        session.protocol = protocol::UNDECIDED;
        session.request_direction = 2;
        session.flags &= flag::READER_SEEN;
    }
    let _ = GO_HANDSHAKES.insert(key, &1, u64::from(BPF_ANY));
}

/// The handshake is over: bytes were transferred, or it was seen to begin before this call.
#[inline(always)]
fn is_set_up(key: &SessionKey, session: *const Session) -> bool {
    // SAFETY: a live map value; a single byte.
    let has_transferred = unsafe { (*session).last_direction } != 2;
    has_transferred || GO_HANDSHAKES.remove(key).is_ok()
}

/// What the program has not touched yet cannot be read from here; it will have when the call returns.
#[inline(always)]
fn is_resident(buffer: u64, capacity: u64) -> bool {
    user_memory::read::<u8>(buffer).is_some() && user_memory::read::<u8>(buffer.wrapping_add(capacity - 1)).is_some()
}

/// Which call of which goroutine this is; `None` if it is on no stack of a goroutine.
#[inline(always)]
fn call_of(ctx: &ProbeContext, tgid: u32) -> Option<(GoCallKey, Stack)> {
    let goroutine = registers::goroutine(ctx.regs);
    let stack = user_memory::read::<Stack>(goroutine)?;
    let stack_pointer = registers::stack_pointer_at_entry(ctx.regs);
    let depth = stack.high.wrapping_sub(stack_pointer);
    if stack_pointer < stack.low || stack_pointer > stack.high || depth > u64::from(u32::MAX) {
        return None;
    }
    Some((GoCallKey { goroutine, depth: depth as u32, tgid }, stack))
}

/// Whether the call is known through a second attachment of its file. Another call in its place never returned (a panic, a missed probe).
#[inline(always)]
fn is_duplicate(call: &GoCallKey, key: &SessionKey, buffer: u64, attachment: u64, direction: usize) -> bool {
    let Some(live) = GO_CALLS.get_ptr(call) else {
        return false;
    };
    // SAFETY: a live map value of this goroutine, which runs here.
    let live = unsafe { *live };
    // Without attach cookies (before 5.15) all attachments are 0.
    let same_probe = live.attachment != 0 && live.attachment == attachment;
    if live.session == key.session && live.buffer == buffer && usize::from(live.direction) == direction && !same_probe {
        count::add(Counter::DuplicateHits, 1);
        hits::duplicate(live.attachment, attachment);
        return true;
    }
    count::add(Counter::AbandonedFrames, 1);
    // What it transferred, if anything, was not seen.
    if live.is_copied == 0 {
        session::note_uncounted_call(&session::key(key.tgid, live.session), usize::from(live.direction));
    }
    false
}

#[inline(always)]
fn transfer(
    ctx: &ProbeContext,
    programs: &ProgramArray,
    key: SessionKey,
    tid: u32,
    attachment: u64,
    buffer: u64,
    length: u64,
    direction: usize,
    session: *mut Session,
) {
    let Some(frames) = frames_of(thread_key(key.tgid, tid)) else {
        count::add(Counter::InFlightFull, 1);
        session::note_uncounted_call(&key, direction);
        return;
    };
    // SAFETY: a live map value that only this thread touches.
    let scratch = unsafe { &mut (*frames).scratch };
    scratch.length = length;
    scratch.direction = direction as u8;
    // Its socket is told by the goroutine, not by the thread.
    scratch.has_sent = 1;
    // What a connection that is set up writes is told when the call begins.
    scratch.began = 0;
    let transfer = emit::Transfer { key, tid, attachment, buffer };
    // SAFETY: a live map value. Of a connection one goroutine writes and one reads at a time (its locks see to it); the two touch apart
    // members, and those that they share are single words that each of them writes whole.
    emit::transfer(ctx, programs, &transfer, unsafe { &mut *session }, scratch);
}
