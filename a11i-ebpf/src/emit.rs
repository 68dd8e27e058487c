//! Reserve, copy, submit; and count what cannot be sent.

use a11i_common::{
    event::{Counter, DataHeader, DataRecord, RecordHeader, RecordKind, cause},
    limits::{CHUNKS_PER_CALL, LARGEST_TIER},
    probe::LONG_TRANSFER,
    session::{Session, SessionKey},
};
use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    maps::ProgramArray,
};

use crate::{
    count, decide,
    maps::{RING, SESSIONS},
    session, settings,
    tls::frame::Scratch,
    user_memory,
};

/// One finished call of a buffer function; its length and direction are in the thread's scratch.
pub(crate) struct Transfer {
    pub(crate) key: SessionKey,
    pub(crate) tid: u32,
    pub(crate) attachment: u64,
    pub(crate) buffer: u64,
}

/// Copies a transfer out and advances the session's offset, whatever could be copied. One that takes several records is left to
/// [`long_transfer`] in a program of its own: its loop is walked by the verifier once, and not once for every way that leads to it.
#[inline(always)]
pub(crate) fn transfer<C: EbpfContext>(
    ctx: &C,
    programs: &ProgramArray,
    transfer: &Transfer,
    session: &mut Session,
    scratch: &mut Scratch,
) {
    let direction = usize::from(launder(&raw const scratch.direction) & 1);
    if !decide::decide(transfer, session, scratch, direction) {
        return;
    }
    scratch.cursor = 0;
    scratch.faulted = 0;
    note_skipped(scratch);
    if launder(&raw const scratch.limit) > LARGEST_TIER as u64 {
        scratch.session = transfer.key.session;
        scratch.attachment = transfer.attachment;
        scratch.buffer = transfer.buffer;
        // SAFETY: nothing here has to be dropped.
        unsafe { programs.tail_call(ctx, LONG_TRANSFER) };
        // Only if the agent did not put it there: then nothing of this call is copied, and it says so.
        count::add(Counter::InFlightFull, 1);
        let direction = usize::from(launder(&raw const scratch.direction) & 1);
        session.causes[direction] |= cause::TABLE_FULL;
        session.offsets[direction] += launder(&raw const scratch.length);
        return;
    }
    last_chunk(transfer, session, scratch);
}

/// As [`transfer`], for what is known to fit one record of the ring: a TLS record or a part of one.
#[inline(always)]
pub(crate) fn record(transfer: &Transfer, session: &mut Session, scratch: &mut Scratch) {
    let direction = usize::from(launder(&raw const scratch.direction) & 1);
    if !decide::decide(transfer, session, scratch, direction) {
        return;
    }
    scratch.cursor = 0;
    scratch.faulted = 0;
    note_skipped(scratch);
    last_chunk(transfer, session, scratch);
}

/// The rest of [`transfer`] for calls that take several records. What there is to copy lies in the thread's scratch.
#[inline(always)]
pub(crate) fn long_transfer(tgid: u32, tid: u32, scratch: &mut Scratch) {
    let key = session::key(tgid, scratch.session);
    let Some(session) = SESSIONS.get_ptr_mut(&key) else {
        return;
    };
    // SAFETY: a live map value.
    let session = unsafe { &mut *session };
    let transfer = &Transfer { key, tid, attachment: scratch.attachment, buffer: scratch.buffer };
    let direction = usize::from(launder(&raw const scratch.direction) & 1);
    let (length, limit) = (launder(&raw const scratch.length), launder(&raw const scratch.limit));
    for _ in 0..CHUNKS_PER_CALL {
        let done = launder(&raw const scratch.cursor);
        if limit <= done || limit - done <= LARGEST_TIER as u64 {
            break;
        }
        // The first record that finds no room ends the copying of this call: the rest is one gap.
        if !full_chunk(transfer, session, scratch, direction, done) {
            count::add(Counter::RingFullRecords, 1);
            count::add(Counter::RingFullBytes, limit - done);
            count_handled(scratch, done);
            session.causes[direction] |= cause::RING_FULL | launder(&raw const scratch.skip_cause);
            session.offsets[direction] += length;
            return;
        }
        scratch.cursor = done + LARGEST_TIER as u64;
    }
    count_handled(scratch, launder(&raw const scratch.cursor));
    last_chunk(transfer, session, scratch);
}

/// What is left of a transfer, at most one record.
#[inline(always)]
fn last_chunk(transfer: &Transfer, session: &mut Session, scratch: &mut Scratch) {
    let direction = usize::from(launder(&raw const scratch.direction) & 1);
    let (limit, done) = (launder(&raw const scratch.limit), launder(&raw const scratch.cursor));
    let (skipped, skip_cause) = (launder(&raw const scratch.skipped), launder(&raw const scratch.skip_cause));
    let wake = launder(&raw const scratch.wake) != 0;
    let began = launder(&raw const scratch.began);
    let rest = if limit > done { (limit - done) & 0x1_ffff } else { 0 };
    if limit == 0 {
        session.causes[direction] |= skip_cause;
    } else if rest <= 256 {
        chunk::<256>(transfer, session, direction, done, rest, skipped, skip_cause, wake, began);
    } else if rest <= 1024 {
        chunk::<1024>(transfer, session, direction, done, rest, skipped, skip_cause, wake, began);
    } else if rest <= 4096 {
        chunk::<4096>(transfer, session, direction, done, rest, skipped, skip_cause, wake, began);
    } else if rest <= 16_384 {
        chunk::<16_384>(transfer, session, direction, done, rest, skipped, skip_cause, wake, began);
    } else {
        chunk::<LARGEST_TIER>(transfer, session, direction, done, rest, skipped, skip_cause, wake, began);
    }
    let length = launder(&raw const scratch.length);
    session.offsets[direction] += length;
    if launder(&raw const scratch.queued) != 0 {
        session.queued = length as u16;
    }
}

/// Counts what is left out, and leaves the numbers where the verifier does not follow them.
#[inline(always)]
fn note_skipped(scratch: &mut Scratch) {
    let (length, limit) = (launder(&raw const scratch.length), launder(&raw const scratch.limit));
    if limit < length {
        scratch.skipped = length - limit;
        let skip_cause = launder(&raw const scratch.skip_cause);
        if skip_cause == cause::NOT_LLM {
            count::add(Counter::NotLlmCalls, 1);
        } else {
            count::add(decide::counter_of(skip_cause), length - limit);
        }
    } else {
        scratch.limit = length;
        scratch.skipped = 0;
        scratch.skip_cause = 0;
    }
}

/// Bytes that whole chunks handled: copied, or not readable.
#[inline(always)]
fn count_handled(scratch: &Scratch, done: u64) {
    let faulted = launder(&raw const scratch.faulted);
    if done > faulted {
        count::add(Counter::CopiedBytes, done - faulted);
    }
    if faulted > 0 {
        count::add(Counter::UserFaultBytes, faulted);
    }
}

/// Sends a whole largest chunk from `at`; false if the ring has no room. The verifier walks this once per chunk of the longest call,
/// so it has as few branches as can be: no counters, no waking (the call's last record does both).
#[inline(always)]
fn full_chunk(transfer: &Transfer, session: &mut Session, scratch: &mut Scratch, direction: usize, at: u64) -> bool {
    let Some(mut entry) = RING.reserve::<DataRecord<LARGEST_TIER>>(0) else {
        return false;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` is the reservation; the fixed part is written whole before submit.
    unsafe {
        let copied = user_memory::copy::<LARGEST_TIER>((&raw mut (*record).payload).cast(), LARGEST_TIER as u64, transfer.buffer + at);
        let (payload_len, skipped, fault) = if copied { (LARGEST_TIER as u32, 0, 0) } else { (0, LARGEST_TIER as u32, cause::USER_FAULT) };
        let causes = session.causes[direction] | fault;
        (&raw mut (*record).data).write(data_header(
            transfer,
            session,
            direction,
            at,
            payload_len,
            skipped,
            causes,
            launder(&raw const scratch.began),
        ));
        scratch.faulted += u64::from(skipped);
    }
    session.causes[direction] = 0;
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    true
}

/// Reads back what was just written: volatile, so that the optimiser does not keep the value in a register after all.
#[inline(always)]
pub(crate) fn launder<T: Copy>(place: *const T) -> T {
    // SAFETY: the callers pass members of a live map value.
    unsafe { core::ptr::read_volatile(place) }
}

/// As [`chunk`], of bytes that the caller has put into the record.
///
/// # Safety
/// `record` is a reservation of `N` payload bytes, of which the first `length` are written.
#[inline(always)]
pub(crate) unsafe fn written<const N: usize>(
    record: *mut DataRecord<N>,
    transfer: &Transfer,
    session: &mut Session,
    direction: usize,
    length: u64,
    began: u64,
) {
    count::add(Counter::CopiedBytes, length);
    // SAFETY: the caller's.
    unsafe {
        (&raw mut (*record).data).write(data_header(transfer, session, direction, 0, length as u32, 0, session.causes[direction], began))
    };
    session.causes[direction] = 0;
    session.offsets[direction] += length;
}

/// When the bytes were transferred: what is written, no earlier than its call began, which may wait for long; what is read, by the time it is there.
#[inline(always)]
fn time(began: u64) -> u64 {
    if began == 0 { session::now() } else { began }
}

#[inline(always)]
fn data_header(
    transfer: &Transfer,
    session: &Session,
    direction: usize,
    at: u64,
    payload_len: u32,
    skipped: u32,
    causes: u8,
    began: u64,
) -> DataHeader {
    DataHeader {
        header: RecordHeader {
            request: session.request,
            ..session::header_at(time(began), RecordKind::Data, session.process, transfer.tid, payload_len)
        },
        session: transfer.key.session,
        attachment: transfer.attachment,
        offset: session.offsets[direction] + at,
        skipped,
        generation: session.generation,
        direction: direction as u8,
        causes,
    }
}

/// Sends `length` bytes from `at`, or notes why not. `skipped` bytes after them were not copied, for `skip_cause`.
#[inline(always)]
fn chunk<const N: usize>(
    transfer: &Transfer,
    session: &mut Session,
    direction: usize,
    at: u64,
    length: u64,
    skipped: u64,
    skip_cause: u8,
    wake: bool,
    began: u64,
) {
    let Some(mut entry) = RING.reserve::<DataRecord<N>>(0) else {
        count::add(Counter::RingFullRecords, 1);
        count::add(Counter::RingFullBytes, length);
        session.causes[direction] |= cause::RING_FULL | skip_cause;
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` is the reservation of N payload bytes; the fixed part is written whole before submit.
    unsafe {
        let copied = user_memory::copy::<N>((&raw mut (*record).payload).cast(), length, transfer.buffer + at);
        let (payload_len, skipped, causes) = if copied {
            count::add(Counter::CopiedBytes, length);
            (length, skipped, session.causes[direction] | skip_cause)
        } else {
            count::add(Counter::UserFaultBytes, length);
            (0, length + skipped, session.causes[direction] | skip_cause | cause::USER_FAULT)
        };
        let skipped = if skipped > u64::from(u32::MAX) { u32::MAX } else { skipped as u32 };
        (&raw mut (*record).data).write(data_header(transfer, session, direction, at, payload_len as u32, skipped, causes, began));
    }
    session.causes[direction] = 0;
    entry.submit(if wake { u64::from(BPF_RB_FORCE_WAKEUP) } else { wake_by_volume() });
}

/// Submits a record without payload, or counts its loss. Not waking: the reader looks often enough for these.
#[inline(always)]
pub(crate) fn fixed<T: Copy + 'static>(record: &T, loss: Counter) {
    let Some(mut entry) = RING.reserve::<T>(0) else {
        count::add(loss, 1);
        return;
    };
    entry.write(*record);
    entry.submit(wake_by_volume());
}

/// Wakes the reader when enough is waiting, once on the way up: it also looks on its own every few milliseconds.
#[inline(always)]
pub(crate) fn wake_by_volume() -> u64 {
    let waiting = RING.query(u64::from(BPF_RB_AVAIL_DATA));
    let from = u64::from(settings::wake_bytes());
    if waiting >= from && waiting < from + 2 * LARGEST_TIER as u64 { u64::from(BPF_RB_FORCE_WAKEUP) } else { u64::from(BPF_RB_NO_WAKEUP) }
}
