//! Entry and return of `fn(session, buffer, length, …)`: captured on return, with the count really transferred.
//!
//! A non-blocking caller repeats a write after `WANT_WRITE` with the same buffer: what is copied at entry
//! would be seen twice. In-flight state is cleared on every return, failed calls included.

use a11i_common::{event::Counter, limits::FRAMES_PER_THREAD, probe::OPERATION_BITS, session::SessionKey};
use aya_ebpf::{
    bindings::BPF_NOEXIST,
    maps::ProgramArray,
    programs::{ProbeContext, RetProbeContext},
};

use super::{
    frame::{FREE_FRAME, Frame, Frames, Scratch},
    gnutls, operation,
};
use crate::{
    count, decide,
    emit::{self, launder},
    filter, hits,
    maps::{IN_FLIGHT, NO_FRAMES, SESSIONS},
    probation, registers, session,
    socket::unsent,
    task, user_memory,
};

/// Deeper than any library's own nesting of entry points (`_early_data` → `_ex` → plain), far less than a thread's stack.
const NESTING_BYTES: u64 = 16 * 1024;

#[inline(always)]
pub(crate) fn enter(ctx: &ProbeContext, operation: u8, attachment: u64) {
    let (tgid, tid) = task::current_ids();
    if !filter::follows(tgid) {
        return;
    }
    hits::add(attachment, tgid);
    let key = session::key(tgid, registers::argument::<0>(ctx.regs));
    let (buffer, capacity) = if gnutls::has_no_buffer(operation) {
        (0, 0)
    } else {
        (registers::argument::<1>(ctx.regs), capacity(registers::argument::<2>(ctx.regs), operation))
    };
    if !gnutls::has_no_buffer(operation)
        && decide::is_of_no_interest(&key, operation::direction(operation), buffer, capacity, operation == operation::GNUTLS_RECV)
    {
        return;
    }
    let (fourth, fifth) = (registers::argument::<3>(ctx.regs), registers::argument::<4>(ctx.regs));
    let frame = Frame {
        stack_pointer: registers::stack_pointer_at_entry(ctx.regs),
        session: key.session,
        buffer,
        count_pointer: if operation == operation::WRITE_EX2 { fifth } else { fourth },
        attachment,
        capacity,
        entered: if operation::direction(operation) == 0 { session::now() } else { 0 },
        operation,
        has_sent: 0,
        reserved: [0; 6],
    };
    let Some(frames) = frames_of(thread_key(tgid, tid)) else {
        count::add(Counter::InFlightFull, 1);
        session::note_uncounted_call(&key, operation::direction(operation));
        return;
    };
    // SAFETY: a live map value that only this thread touches.
    place(unsafe { &mut (*frames).frames }, &frame, tgid);
}

/// The thread's entry, made on first use. `None` if the table is full.
#[inline(always)]
pub(super) fn frames_of(thread: u64) -> Option<*mut Frames> {
    if let Some(frames) = IN_FLIGHT.get_ptr_mut(&thread) {
        return Some(frames);
    }
    // An element of zeros: a fresh one fits no stack beside the rest.
    let none = NO_FRAMES.get(0)?;
    let _ = IN_FLIGHT.insert(&thread, none, u64::from(BPF_NOEXIST));
    IN_FLIGHT.get_ptr_mut(&thread)
}

/// Puts the frame into its slot: the one with its stack pointer, else a free one, else that of a call which must be over.
#[inline(always)]
fn place(frames: &mut [Frame; FRAMES_PER_THREAD], frame: &Frame, tgid: u32) {
    let mut slot = usize::MAX;
    let (mut abandoned, mut abandoned_direction) = (0, 0);
    for (i, live) in frames.iter().enumerate() {
        if live.stack_pointer == 0 {
            if slot == usize::MAX {
                slot = i;
            }
            continue;
        }
        let same_transfer = live.session == frame.session && operation::direction(live.operation) == operation::direction(frame.operation);
        // Without attach cookies (before 5.15) all attachments are 0, and two of one file are told from a missed return by nothing.
        let same_probe = live.attachment != 0 && live.attachment == frame.attachment && live.operation == frame.operation;
        if live.stack_pointer == frame.stack_pointer && same_transfer && live.buffer == frame.buffer && !same_probe {
            // The same call through a second attachment of its file, or one entry point that jumps into another: the content is the same.
            count::add(Counter::DuplicateHits, 1);
            hits::duplicate(live.attachment, frame.attachment);
            slot = i;
            break;
        }
        // One entry point of the library calling another for the same transfer: the outer one reports it.
        let above = live.stack_pointer.wrapping_sub(frame.stack_pointer);
        let same_bytes = live.buffer == frame.buffer || live.operation == operation::GNUTLS_UNCORK;
        if same_transfer && above != 0 && above < NESTING_BYTES && same_bytes {
            count::add(Counter::DuplicateHits, 1);
            return;
        }
        // Stacks grow down: a live frame at or below the new one was left without a return (longjmp, exception, a missed probe).
        if frame.stack_pointer.wrapping_sub(live.stack_pointer) < NESTING_BYTES {
            count::add(Counter::AbandonedFrames, 1);
            (abandoned, abandoned_direction) = (live.session, operation::direction(live.operation));
            slot = i;
        }
    }
    // What that call transferred, if anything, was not seen.
    if abandoned != 0 {
        session::note_uncounted_call(&session::key(tgid, abandoned), abandoned_direction);
    }
    if slot == usize::MAX {
        count::add(Counter::InFlightFull, 1);
        session::note_uncounted_call(&session::key(tgid, frame.session), operation::direction(frame.operation));
        return;
    }
    if let Some(place) = frames.get_mut(slot) {
        *place = *frame;
    }
}

#[inline(always)]
pub(crate) fn leave(ctx: &RetProbeContext, programs: &ProgramArray) {
    let (tgid, tid) = task::current_ids();
    let Some(frames) = IN_FLIGHT.get_ptr_mut(&thread_key(tgid, tid)) else {
        return;
    };
    let stack_pointer = registers::stack_pointer_at_return(ctx.regs);
    // SAFETY: a live map value that only this thread touches.
    let Frames { frames, scratch } = unsafe { &mut *frames };
    let mut frame = FREE_FRAME;
    for live in frames.iter_mut() {
        if live.stack_pointer == stack_pointer {
            frame = *live;
            live.stack_pointer = 0;
            break;
        }
    }
    if frame.stack_pointer == 0 {
        return;
    }
    count::add(Counter::Calls, 1);
    let key = session::key(tgid, frame.session);
    scratch.queued = 0;
    scratch.has_sent = frame.has_sent;
    let result = ctx.ret::<u64>();
    let transferred = if gnutls::is_of(frame.operation) {
        gnutls::transferred(&key, &frame, result as i64, scratch)
    } else {
        transferred(&key, &frame, result as i32)
    };
    let Some(transferred) = transferred else {
        return;
    };
    probation::transferred(frame.attachment, operation::direction(frame.operation), frame.buffer);
    if let Some(session) = session::find_or_insert(&key) {
        scratch.length = transferred;
        scratch.direction = operation::direction(frame.operation) as u8;
        scratch.began = frame.entered;
        scratch.session = frame.session;
        scratch.buffer = frame.buffer;
        let transfer = emit::Transfer { key, tid, attachment: frame.attachment, buffer: frame.buffer };
        // SAFETY: a live map value. One direction of a session is used by one thread at a time; two threads with a direction each touch
        // apart members of it.
        emit::transfer(ctx, programs, &transfer, unsafe { &mut *session }, scratch);
        note_unsent(scratch, tgid, tid);
    }
}

/// What the call has written may be sent later. Behind the copying, which the verifier would walk once for each way that leads through this.
#[inline(always)]
fn note_unsent(scratch: &Scratch, tgid: u32, tid: u32) {
    if launder(&raw const scratch.has_sent) != 0 || launder(&raw const scratch.direction) != 0 {
        return;
    }
    let key = session::key(tgid, launder(&raw const scratch.session));
    if let Some(session) = SESSIONS.get_ptr(&key) {
        unsent::wrote(&key, session, tid, launder(&raw const scratch.length), launder(&raw const scratch.buffer));
    }
}

/// Goes on where [`leave`] left a call that takes several records.
#[inline(always)]
pub(crate) fn leave_long() {
    let (tgid, tid) = task::current_ids();
    if let Some(frames) = IN_FLIGHT.get_ptr_mut(&thread_key(tgid, tid)) {
        // SAFETY: a live map value that only this thread touches.
        let scratch = unsafe { &mut (*frames).scratch };
        emit::long_transfer(tgid, tid, scratch);
        note_unsent(scratch, tgid, tid);
    }
}

/// Bytes the call transferred; `None` if it failed or moved nothing.
#[inline(always)]
fn transferred(key: &SessionKey, frame: &Frame, result: i32) -> Option<u64> {
    if result <= 0 {
        return None;
    }
    let n = if frame.operation == operation::WRITE || frame.operation == operation::READ {
        result as u64
    } else {
        let n = user_memory::read::<u64>(frame.count_pointer);
        if n.is_none() {
            // Bytes were transferred and nobody knows how many: the offsets miss them, and the session says so.
            count::add(Counter::CountUnreadable, 1);
            probation::contradicts(frame.attachment, operation::direction(frame.operation));
            session::note_uncounted_call(key, operation::direction(frame.operation));
        }
        n?
    };
    within_capacity(key, frame, n)
}

/// A count larger than the buffer is no count.
#[inline(always)]
pub(super) fn within_capacity(key: &SessionKey, frame: &Frame, n: u64) -> Option<u64> {
    if n > frame.capacity {
        count::add(Counter::CountUnreadable, 1);
        probation::contradicts(frame.attachment, operation::direction(frame.operation));
        session::note_uncounted_call(key, operation::direction(frame.operation));
        return None;
    }
    if n == 0 { None } else { Some(n) }
}

/// The length argument: an `int` in the plain forms, a `size_t` in the others.
#[inline(always)]
fn capacity(argument: u64, operation: u8) -> u64 {
    if operation == operation::WRITE || operation == operation::READ { argument & 0x7fff_ffff } else { argument }
}

#[inline(always)]
pub(super) fn thread_key(tgid: u32, tid: u32) -> u64 {
    (u64::from(tgid) << 32) | u64::from(tid)
}

#[inline(always)]
pub(crate) fn attachment_of(cookie: u64) -> u64 {
    cookie >> OPERATION_BITS
}
