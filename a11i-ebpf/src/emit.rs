//! Reserve, copy, submit; and count what cannot be sent.

use a11i_common::{
    event::{Counter, DataHeader, DataRecord, RecordKind, cause},
    limits::{CHUNKS_PER_CALL, LARGEST_TIER, PROTOCOL_PROBE_BYTES},
    session::{Session, SessionKey, protocol},
};
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};

use crate::{count, maps::RING, session, settings, tls::frame::Scratch, user_memory};

/// One finished call of a buffer function; its length and direction are in the thread's scratch.
pub(crate) struct Transfer {
    pub(crate) key: SessionKey,
    pub(crate) tid: u32,
    pub(crate) attachment: u64,
    pub(crate) buffer: u64,
}

/// Copies a transfer out in chunks and advances the session's offset, whatever could be copied.
#[inline(always)]
pub(crate) fn transfer(transfer: &Transfer, session: &mut Session, scratch: &mut Scratch) {
    let direction = usize::from(launder(&raw const scratch.direction) & 1);
    // The first bytes sent after a response are a request's beginning.
    scratch.wake = (session.last_direction != direction as u8 && direction == 0) as u8;
    session.last_direction = direction as u8;
    decide(transfer, session, scratch, direction);
    scratch.cursor = 0;
    scratch.faulted = 0;

    let (length, limit) = (launder(&raw const scratch.length), launder(&raw const scratch.limit));
    let limit = if limit > length { length } else { limit };
    let skipped = length - limit;
    let mut skip_cause = 0;
    if skipped > 0 {
        skip_cause = launder(&raw const scratch.skip_cause);
        count::add(if skip_cause == cause::CALL_LIMIT { Counter::CallLimitBytes } else { Counter::NotHttpBytes }, skipped);
    }
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
            session.causes[direction] |= cause::RING_FULL | skip_cause;
            session.offsets[direction] += length;
            return;
        }
        scratch.cursor = done + LARGEST_TIER as u64;
    }
    let wake = launder(&raw const scratch.wake) != 0;
    let done = launder(&raw const scratch.cursor);
    count_handled(scratch, done);
    let rest = if limit > done { (limit - done) & 0x1_ffff } else { 0 };
    if limit > 0 {
        if rest <= 256 {
            chunk::<256>(transfer, session, direction, done, rest, skipped, skip_cause, wake);
        } else if rest <= 1024 {
            chunk::<1024>(transfer, session, direction, done, rest, skipped, skip_cause, wake);
        } else if rest <= 4096 {
            chunk::<4096>(transfer, session, direction, done, rest, skipped, skip_cause, wake);
        } else if rest <= 16_384 {
            chunk::<16_384>(transfer, session, direction, done, rest, skipped, skip_cause, wake);
        } else {
            chunk::<LARGEST_TIER>(transfer, session, direction, done, rest, skipped, skip_cause, wake);
        }
    } else {
        session.causes[direction] |= skip_cause;
    }
    session.offsets[direction] += length;
}

/// How many bytes of this transfer are copied, after a look at how it begins, and why not the others.
#[inline(always)]
fn decide(transfer: &Transfer, session: &mut Session, scratch: &mut Scratch, direction: usize) {
    let length = launder(&raw const scratch.length);
    let call_limit = u64::from(settings::call_limit());
    let limit = if length > call_limit { call_limit } else { length };
    scratch.limit = limit;
    scratch.skip_cause = cause::CALL_LIMIT;
    if session.protocol == protocol::LLM {
        return;
    }
    let first_sight = session.protocol == protocol::UNDECIDED;
    if first_sight {
        // Enough to tell what it is, whatever it is; and all of what is too short to tell.
        match first_word(transfer, session, direction, length) {
            None => return,
            Some(word) if word == u32::from_le_bytes(*b"PRI ") => session.protocol = protocol::HTTP2,
            Some(word) if begins_request(word) || word == u32::from_le_bytes(*b"HTTP") => {
                session.protocol = protocol::LLM;
                return;
            }
            Some(_) => session.protocol = protocol::OTHER,
        }
        if limit > PROTOCOL_PROBE_BYTES {
            scratch.limit = PROTOCOL_PROBE_BYTES;
        }
        scratch.skip_cause = cause::NOT_HTTP;
        return;
    }
    // Joined in the middle of a message, perhaps: a request line begins anew.
    if session.protocol == protocol::OTHER
        && length >= 4
        && user_memory::read::<u32>(transfer.buffer).is_some_and(|word| begins_request(u32::from_le(word)))
    {
        session.protocol = protocol::LLM;
        return;
    }
    scratch.limit = 0;
    scratch.skip_cause = cause::NOT_HTTP;
}

/// The first four bytes of a direction's stream, put together from as many calls as it takes; `None` while there are fewer.
#[inline(always)]
fn first_word(transfer: &Transfer, session: &mut Session, direction: usize, length: u64) -> Option<u32> {
    let have = session.offsets[direction] as u32;
    if have >= 4 {
        return Some(u32::from_le_bytes(session.start[direction]));
    }
    let new = if length >= 4 { user_memory::read::<u32>(transfer.buffer).unwrap_or(0) } else { short_word(transfer.buffer, length) };
    let word = u32::from_le_bytes(session.start[direction]) | (u32::from_le(new) << ((have & 3) * 8));
    session.start[direction] = word.to_le_bytes();
    if u64::from(have) + length >= 4 { Some(word) } else { None }
}

/// One to three bytes, little-endian.
#[inline(always)]
fn short_word(buffer: u64, length: u64) -> u32 {
    let byte = |at: u64| if at < length { u32::from(user_memory::read::<u8>(buffer + at).unwrap_or(0)) } else { 0 };
    (byte(0) | (byte(1) << 8) | (byte(2) << 16)).to_le()
}

/// A request line's method.
#[inline(always)]
fn begins_request(word: u32) -> bool {
    word == u32::from_le_bytes(*b"POST")
        || word == u32::from_le_bytes(*b"GET ")
        || word == u32::from_le_bytes(*b"PUT ")
        || word == u32::from_le_bytes(*b"HEAD")
        || word == u32::from_le_bytes(*b"DELE")
        || word == u32::from_le_bytes(*b"PATC")
        || word == u32::from_le_bytes(*b"OPTI")
        || word == u32::from_le_bytes(*b"CONN")
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
        (&raw mut (*record).data).write(data_header(transfer, session, direction, at, payload_len, skipped, causes));
        scratch.faulted += u64::from(skipped);
    }
    session.causes[direction] = 0;
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    true
}

/// Reads back what was just written: volatile, so that the optimiser does not keep the value in a register after all.
#[inline(always)]
fn launder<T: Copy>(place: *const T) -> T {
    // SAFETY: the callers pass members of a live map value.
    unsafe { core::ptr::read_volatile(place) }
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
) -> DataHeader {
    DataHeader {
        header: session::header(RecordKind::Data, session.process, transfer.tid, payload_len),
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
        (&raw mut (*record).data).write(data_header(transfer, session, direction, at, payload_len as u32, skipped, causes));
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
