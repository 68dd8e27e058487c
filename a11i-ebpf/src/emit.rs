//! Reserve, copy, submit; and count what cannot be sent.

use a11i_common::{
    event::{Counter, DataHeader, DataRecord, RecordKind, cause},
    limits::{CHUNKS_PER_CALL, LARGEST_TIER, PROTOCOL_PROBE_BYTES},
};
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};

use crate::{
    count,
    maps::RING,
    session::{self, Session, SessionKey, protocol},
    settings, user_memory,
};

/// One finished call of a buffer function.
pub(crate) struct Transfer {
    pub(crate) key: SessionKey,
    pub(crate) tid: u32,
    pub(crate) attachment: u64,
    /// 0 = write, 1 = read.
    pub(crate) direction: usize,
    pub(crate) buffer: u64,
    pub(crate) length: u64,
}

/// Copies a transfer out in chunks and advances the session's offset, whatever could be copied.
#[inline(always)]
pub(crate) fn transfer(transfer: &Transfer, session: &mut Session) {
    let direction = transfer.direction & 1;
    // The first bytes sent after a response are a request's beginning.
    session.wake = (session.last_direction != direction as u8 && direction == 0) as u8;
    session.last_direction = direction as u8;

    // These pass through the map entry, where the verifier forgets what it knew of them. Otherwise it walks the loop below, and all that
    // follows each of its turns, once for every way that led here.
    session.limit = copy_limit(transfer, session);
    session.length = transfer.length;
    session.cursor = 0;
    let direction = usize::from(launder(&raw const session.last_direction) & 1);
    let (length, limit) = (launder(&raw const session.length), launder(&raw const session.limit));
    let limit = if limit > length { length } else { limit };
    let skipped = length - limit;
    for _ in 0..CHUNKS_PER_CALL {
        let done = launder(&raw const session.cursor);
        if limit <= done || limit - done <= LARGEST_TIER as u64 {
            break;
        }
        // The first record that finds no room ends the copying of this call: the rest is one gap.
        if !full_chunk(transfer, session, direction, done) {
            count::add(Counter::RingFullRecords, 1);
            count::add(Counter::RingFullBytes, length - done);
            count::add(Counter::CopiedBytes, done);
            session.causes[direction] |= cause::RING_FULL;
            session.offsets[direction] += length;
            return;
        }
        session.cursor = done + LARGEST_TIER as u64;
    }
    let wake = launder(&raw const session.wake) != 0;
    let done = launder(&raw const session.cursor);
    count::add(Counter::CopiedBytes, done);
    let rest = if limit > done { (limit - done) & 0x1_ffff } else { 0 };
    let skip_cause = if session.protocol == protocol::OTHER {
        cause::NOT_HTTP
    } else if skipped > 0 {
        count::add(Counter::CallLimitBytes, skipped);
        cause::CALL_LIMIT
    } else {
        0
    };
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
        count::add(Counter::NotHttpBytes, skipped);
        session.causes[direction] |= skip_cause;
    }
    session.offsets[direction] += length;
}

/// How many bytes of this transfer are copied, after a look at how it begins.
#[inline(always)]
fn copy_limit(transfer: &Transfer, session: &mut Session) -> u64 {
    let call_limit = u64::from(settings::call_limit());
    let limit = if transfer.length > call_limit { call_limit } else { transfer.length };
    if session.protocol == protocol::HTTP {
        return limit;
    }
    let first_sight = session.protocol == protocol::UNDECIDED;
    // Shorter than any method: the next call decides.
    if transfer.length < 4 {
        return if first_sight { limit } else { 0 };
    }
    let begins_http = match user_memory::read::<[u8; 4]>(transfer.buffer) {
        Some(start) => begins_like_http(start, first_sight),
        None => first_sight,
    };
    if begins_http {
        session.protocol = protocol::HTTP;
        return limit;
    }
    session.protocol = protocol::OTHER;
    if first_sight && limit > PROTOCOL_PROBE_BYTES {
        PROTOCOL_PROBE_BYTES
    } else if first_sight {
        limit
    } else {
        0
    }
}

/// A request line's method, the HTTP/2 preface, or (on first sight only) a status line.
#[inline(always)]
fn begins_like_http(start: [u8; 4], first_sight: bool) -> bool {
    let word = u32::from_le_bytes(start);
    word == u32::from_le_bytes(*b"POST")
        || word == u32::from_le_bytes(*b"GET ")
        || word == u32::from_le_bytes(*b"PUT ")
        || word == u32::from_le_bytes(*b"HEAD")
        || word == u32::from_le_bytes(*b"DELE")
        || word == u32::from_le_bytes(*b"PATC")
        || word == u32::from_le_bytes(*b"OPTI")
        || word == u32::from_le_bytes(*b"CONN")
        || word == u32::from_le_bytes(*b"PRI ")
        || (first_sight && word == u32::from_le_bytes(*b"HTTP"))
}

/// Sends a whole largest chunk from `at`; false if the ring has no room. The verifier walks this once per chunk of the longest call,
/// so it has as few branches as can be: no counters, no waking (the call's last record does both).
#[inline(always)]
fn full_chunk(transfer: &Transfer, session: &mut Session, direction: usize, at: u64) -> bool {
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
fn data_header(transfer: &Transfer, session: &Session, direction: usize, at: u64, payload_len: u32, skipped: u32, causes: u8) -> DataHeader {
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
fn chunk<const N: usize>(transfer: &Transfer, session: &mut Session, direction: usize, at: u64, length: u64, skipped: u64, skip_cause: u8, wake: bool) {
    let Some(mut entry) = RING.reserve::<DataRecord<N>>(0) else {
        count::add(Counter::RingFullRecords, 1);
        count::add(Counter::RingFullBytes, length + skipped);
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

/// Submits a record without payload. Not waking: the reader looks often enough for these.
#[inline(always)]
pub(crate) fn fixed<T: Copy + 'static>(record: &T) -> bool {
    let Some(mut entry) = RING.reserve::<T>(0) else {
        count::add(Counter::RingFullRecords, 1);
        return false;
    };
    entry.write(*record);
    entry.submit(wake_by_volume());
    true
}

/// Wakes the reader only when enough is waiting: it also looks on its own every few milliseconds.
#[inline(always)]
pub(crate) fn wake_by_volume() -> u64 {
    if RING.query(u64::from(BPF_RB_AVAIL_DATA)) >= u64::from(settings::wake_bytes()) {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}
