//! TLS sessions as the kernel knows them: how far each direction's stream has come, and whether it is HTTP.

use a11i_common::{
    event::{Counter, RecordHeader, RecordKind, SessionRecord, cause},
    identity::ProcessId,
    session::{Session, SessionKey, flag, protocol},
};
use aya_ebpf::{bindings::BPF_NOEXIST, helpers::generated::bpf_ktime_get_boot_ns};

use crate::{count, maps::SESSIONS, task};

#[inline(always)]
pub(crate) fn key(tgid: u32, session: u64) -> SessionKey {
    SessionKey { session, tgid, reserved: 0 }
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
        process: task::current_process(key.tgid),
        // From the clock, in units of about a microsecond: the next session at an address has another number all but surely.
        generation: (now() >> 10) as u16,
        causes: [0; 2],
        protocol: protocol::UNDECIDED,
        last_direction: 2,
        request_direction: 2,
        flags: 0,
        start: [[0; 4]; 2],
        request: 0,
        decision: 0,
        undecided_left: 0,
        queued: 0,
        born: birth(),
        frame_left: 0,
        answers_left: 0,
        socket: 0,
    };
    // Another thread may be faster; then its entry counts.
    let _ = SESSIONS.insert(key, &fresh, u64::from(BPF_NOEXIST));
    let found = SESSIONS.get_ptr_mut(key);
    if found.is_none() {
        count::add(Counter::SessionsFull, 1);
    }
    found
}

/// Milliseconds of the present minute: see [`Session::born`].
#[inline(always)]
fn birth() -> u16 {
    (now() >> 20) as u16
}

/// Another connection at the address of one whose end was not seen.
#[inline(always)]
pub(crate) fn begin_connection(session: &mut Session) {
    begin_generation(session);
    session.born = birth();
    session.socket = 0;
}

/// What follows has nothing to do with what was seen before: a request after traffic that nobody followed. Nobody else counts in the session
/// now: OpenSSL's family allows one thread in it at a time. Where a reader may run beside a writer (GnuTLS, Go), it counts when it returns;
/// of traffic that is not followed nothing is counted, and a request that follows one that was does not begin before that one's answer has
/// returned.
#[inline(always)]
pub(crate) fn begin_generation(session: &mut Session) {
    session.generation = session.generation.wrapping_add(1);
    session.offsets = [0; 2];
    session.causes = [0; 2];
    session.start = [[0; 4]; 2];
    session.last_direction = 2;
    session.flags &= !flag::HTTP2;
    session.queued = 0;
    session.frame_left = 0;
}

/// Whether what a session transfers counts in its offsets.
#[inline(always)]
pub(crate) fn is_counted(session: &Session) -> bool {
    session.protocol < protocol::OTHER || (session.protocol == protocol::OTHER && session.flags & flag::HTTP2 != 0)
}

#[inline(always)]
pub(crate) fn header(kind: RecordKind, process: ProcessId, tid: u32, payload_len: u32) -> RecordHeader {
    header_at(now(), kind, process, tid, payload_len)
}

#[inline(always)]
pub(crate) fn header_at(time_ns: u64, kind: RecordKind, process: ProcessId, tid: u32, payload_len: u32) -> RecordHeader {
    RecordHeader { kind: kind as u16, request: 0, payload_len, time_ns, process, tid, reserved2: 0 }
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

/// Remembers that a call is missing without being counted in the offsets, until a record can tell it.
#[inline(always)]
pub(crate) fn note_uncounted_call(key: &SessionKey, direction: usize) {
    if let Some(session) = SESSIONS.get_ptr_mut(key) {
        // SAFETY: a live map value; one byte of one direction, and an aligned word.
        unsafe {
            (&mut (*session).causes)[direction & 1] |= cause::TABLE_FULL;
            // Where frames begin now nobody knows: the next transfer is taken to begin with one.
            (*session).frame_left = 0;
        };
    }
}
