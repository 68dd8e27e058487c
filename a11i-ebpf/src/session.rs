//! TLS sessions as the kernel knows them: how far each direction's stream has come, and whether it is HTTP.

use a11i_common::{
    event::{Counter, RecordHeader, RecordKind, SessionRecord, cause},
    identity::ProcessId,
};
use aya_ebpf::{bindings::BPF_NOEXIST, helpers::generated::bpf_ktime_get_boot_ns};

use crate::{count, maps::SESSIONS, task};

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct SessionKey {
    pub(crate) session: u64,
    pub(crate) tgid: u32,
    pub(crate) reserved: u32,
}

impl SessionKey {
    #[inline(always)]
    pub(crate) fn new(tgid: u32, session: u64) -> Self {
        Self { session, tgid, reserved: 0 }
    }
}

/// What the first bytes showed.
pub(crate) mod protocol {
    /// Too little seen.
    pub(crate) const UNDECIDED: u8 = 0;
    pub(crate) const HTTP: u8 = 1;
    /// Counted, not copied, until bytes begin like a request.
    pub(crate) const OTHER: u8 = 2;
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Session {
    /// Bytes transferred so far, by direction: the absolute offset of the next byte.
    pub(crate) offsets: [u64; 2],
    /// Scratch of `emit::transfer`: of the running call the bytes transferred, the bytes to copy, the bytes copied so far.
    pub(crate) length: u64,
    pub(crate) limit: u64,
    pub(crate) cursor: u64,
    pub(crate) process: ProcessId,
    /// Tells this session from an earlier one at the same address.
    pub(crate) generation: u16,
    /// `cause` bits not yet told to the agent, by direction.
    pub(crate) causes: [u8; 2],
    /// [`protocol`].
    pub(crate) protocol: u8,
    /// Direction of the last transfer, to find the first event of a request; 2 = none yet.
    pub(crate) last_direction: u8,
    /// Scratch of `emit::transfer`: the running call begins a request.
    pub(crate) wake: u8,
    pub(crate) reserved: u8,
}

/// Monotonic time that counts suspension, as `/proc` start times do.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The session's entry, made on first sight. `None` if the table is full (counted).
#[inline(always)]
pub(crate) fn find_or_insert(key: &SessionKey) -> Option<*mut Session> {
    if let Some(session) = SESSIONS.get_ptr_mut(key) {
        return Some(session);
    }
    let fresh = Session {
        offsets: [0; 2],
        length: 0,
        limit: 0,
        cursor: 0,
        process: task::current_process(key.tgid),
        // Microseconds of the clock: an address is not reused 65,536 generations later within one.
        generation: (now() >> 10) as u16,
        causes: [0; 2],
        protocol: protocol::UNDECIDED,
        last_direction: 2,
        wake: 0,
        reserved: 0,
    };
    // Another thread may be faster; then its entry counts.
    let _ = SESSIONS.insert(key, &fresh, u64::from(BPF_NOEXIST));
    let found = SESSIONS.get_ptr_mut(key);
    if found.is_none() {
        count::add(Counter::SessionsFull, 1);
    }
    found
}

#[inline(always)]
pub(crate) fn header(kind: RecordKind, process: ProcessId, tid: u32, payload_len: u32) -> RecordHeader {
    RecordHeader { kind: kind as u16, reserved: 0, payload_len, time_ns: now(), process, tid, reserved2: 0 }
}

/// The record that says how far both directions came.
#[inline(always)]
pub(crate) fn record(kind: RecordKind, key: &SessionKey, session: &Session, tid: u32, attachment: u64) -> SessionRecord {
    SessionRecord {
        header: header(kind, session.process, tid, 0),
        session: key.session,
        attachment,
        offsets: session.offsets,
        generation: session.generation,
        causes: session.causes,
        reserved: 0,
    }
}

/// Remembers a loss until a record can tell it.
#[inline(always)]
pub(crate) fn note_uncounted_call(key: &SessionKey, direction: usize) {
    if let Some(session) = SESSIONS.get_ptr_mut(key) {
        // SAFETY: a live map value; a session's direction is used by one thread at a time (the library demands it).
        unsafe { (&mut (*session).causes)[direction & 1] |= cause::TABLE_FULL };
    }
}
