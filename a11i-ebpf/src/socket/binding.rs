//! Which socket a TLS session is on. Best first:
//!
//! 1. a socket call inside the library's own call on the same thread; of Go, by the goroutine that is in `Write`;
//! 2. the record that a socket sends is as long as what one session of the thread has just written ([`super::unsent`]);
//! 3. unknown. Never the thread's last connection.
//!
//! A binding holds as long as both sides say so, the socket's entry and the session's mark. One that a length has told is tried once more by the next
//! record; one that is contradicted is dropped.

use a11i_common::{
    event::Counter,
    limits::{RECORDS_LOOKED_AT, TELLING_RECORD_BYTES},
    session::{Session, flag, protocol},
};
use aya_ebpf::bindings::BPF_ANY;

use super::{
    call::{self, Place, thread_key},
    peer, sock, system_call, tls,
    transfer::Finished,
    unsent,
};
use crate::{
    count,
    maps::{GO_WRITERS, IN_FLIGHT, SESSIONS, TLS_SOCKETS},
    session, settings,
    tls::operation,
    user_memory,
};

/// Value of the map `TLS_SOCKETS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Binding {
    session: u64,
    tgid: u32,
    reserved: u32,
}

/// Key of the map `GO_WRITERS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct GoWriterKey {
    goroutine: u64,
    tgid: u32,
    reserved: u32,
}

/// Its value: the connection that the goroutine writes on, and since when.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct GoWriter {
    session: u64,
    time: u64,
}

/// Bytes of stack between a library's function and its system call: more than libraries use, less than a fiber's stack has.
const CALL_DEPTH: u64 = 64 * 1024;

/// A goroutine in `Write` sends at once; one that was left there by a panic is another by then.
const GO_FRESH_NS: u64 = 1_000_000_000;

/// `application_data` of RFC 8446 section 5.1, and the version that its records have.
const APPLICATION_DATA: u8 = 23;
const VERSION: [u8; 2] = [3, 3];

/// A call on an Internet socket that begins with a TLS record, done or refused by a full socket: finds the session, and tells its peer once.
#[inline(always)]
pub(super) fn settle(done: &Finished, place: &Place) {
    let session = owner(done, place);
    if session == 0 {
        return;
    }
    let key = session::key(done.tgid, session);
    let Some(found) = SESSIONS.get_ptr_mut(&key) else {
        return;
    };
    // SAFETY: a live map value of a session that this call is about.
    let found = unsafe { &mut *found };
    let is_told = found.flags & flag::PEER_TOLD != 0;
    let is_bound = found.socket != 0;
    if is_bound == is_told || found.protocol == protocol::UNDECIDED || !session::is_counted(found) {
        return;
    }
    // Of one that was told wrong, that nothing is known.
    let (sock, family) = if is_bound { (done.sock, done.family) } else { (0, 0) };
    if peer::tell(&key, found, done.tid, sock, family, 0) && !is_bound {
        found.flags &= !flag::PEER_TOLD;
    }
}

/// The session of the socket: known, or found now. 0 = unknown.
#[inline(always)]
fn owner(done: &Finished, place: &Place) -> u64 {
    let (known, is_proven) = known(done);
    if is_proven {
        return known;
    }
    let inside = caller(done);
    if inside != 0 {
        if known != 0 && known != inside {
            contradict(done, known);
            return known;
        }
        return if bind(done, inside, true) { inside } else { 0 };
    }
    if done.direction != 0 {
        return known;
    }
    let length = telling_record(done, place);
    if length == 0 {
        return known;
    }
    if known != 0 {
        if unsent::is_of(done, length, known) {
            bind(done, known, true);
        }
        return known;
    }
    let writer = go_writer(done);
    if writer != 0 {
        return if bind(done, writer, true) { writer } else { 0 };
    }
    let writer = unsent::taken(done, length);
    if writer == 0 {
        return 0;
    }
    if bind(done, writer, false) {
        count::add(Counter::PeersByLength, 1);
        return writer;
    }
    // Its records come from two sockets.
    contradict(done, writer);
    writer
}

/// The session that the socket was found to be of, and whether this was proven. 0 = none.
#[inline(always)]
fn known(done: &Finished) -> (u64, bool) {
    let Some(binding) = TLS_SOCKETS.get_ptr(&done.sock) else {
        return (0, false);
    };
    // SAFETY: a live map value.
    let Binding { session, tgid, .. } = unsafe { *binding };
    let Some(bound) = SESSIONS.get_ptr(&session::key(done.tgid, session)) else {
        return (0, false);
    };
    // SAFETY: a live map value; an aligned word and a single byte.
    let (socket, flags) = unsafe { ((*bound).socket, (*bound).flags) };
    if tgid == done.tgid && socket == sock::mark(done.sock) { (session, flags & flag::PEER_PROVEN != 0) } else { (0, false) }
}

/// What was taken to be the session's socket is not.
#[inline(always)]
fn contradict(done: &Finished, session: u64) {
    count::add(Counter::PeersContradicted, 1);
    if let Some(found) = SESSIONS.get_ptr_mut(&session::key(done.tgid, session)) {
        // SAFETY: a live map value, an aligned word.
        unsafe { (*found).socket = 0 };
    }
}

/// Session of the library call that makes this call, the innermost of several; 0 = there is none, or it does not explain this call: what is sent
/// while a library reads may be another session's, since programs are called back when a handshake ends.
///
/// Programs that change stacks inside of a library's call (fibers, in functions that it calls to read and write) have several under way side by
/// side: that which makes this call is the nearest above the stack pointer.
#[inline(always)]
fn caller(done: &Finished) -> u64 {
    let Some(frames) = IN_FLIGHT.get_ptr_mut(&thread_key(done.tgid, done.tid)) else {
        return 0;
    };
    let (stack_pointer, depth) = match system_call::stack_pointer() {
        Some(stack_pointer) => (stack_pointer, CALL_DEPTH),
        None => (0, u64::MAX),
    };
    let (mut nearest, mut session, mut direction) = (depth, 0, 0);
    // SAFETY: a live map value that only this thread touches.
    for frame in unsafe { &mut (*frames).frames } {
        let above = frame.stack_pointer.wrapping_sub(stack_pointer);
        if frame.stack_pointer != 0 && above < depth {
            // Of TLS inside TLS, the outer session's bytes are sent as the inner one's.
            frame.has_sent = 1;
            if above < nearest {
                (nearest, session, direction) = (above, frame.session, operation::direction(frame.operation));
            }
        }
    }
    if done.direction == 0 && direction != 0 { 0 } else { session }
}

/// The connection that the goroutine which sends is in `Write` of.
#[inline(always)]
fn go_writer(done: &Finished) -> u64 {
    let Some(goroutine) = system_call::goroutine() else {
        return 0;
    };
    let key = GoWriterKey { goroutine, tgid: done.tgid, reserved: 0 };
    let Some(writer) = GO_WRITERS.get_ptr(&key) else {
        return 0;
    };
    // SAFETY: a live map value of the goroutine that runs here.
    let GoWriter { session, time } = unsafe { *writer };
    if session::now() - time < GO_FRESH_NS { session } else { 0 }
}

/// A goroutine begins to write on a connection, whose socket may not be known.
#[inline(always)]
pub(crate) fn go_writes(goroutine: u64, tgid: u32, session: u64, known: *const Session) {
    // SAFETY: a live map value, an aligned word.
    if settings::sees_sockets() == 0 || unsafe { (*known).socket } != 0 {
        return;
    }
    let writer = GoWriter { session, time: session::now() };
    let _ = GO_WRITERS.insert(&GoWriterKey { goroutine, tgid, reserved: 0 }, &writer, u64::from(BPF_ANY));
}

/// The call is over.
#[inline(always)]
pub(crate) fn go_has_written(goroutine: u64, tgid: u32) {
    if settings::sees_sockets() != 0 {
        let _ = GO_WRITERS.remove(&GoWriterKey { goroutine, tgid, reserved: 0 });
    }
}

/// False: the session is unknown, or by the lengths of its records it is on two sockets.
#[inline(always)]
fn bind(done: &Finished, session: u64, is_proven: bool) -> bool {
    let Some(found) = SESSIONS.get_ptr_mut(&session::key(done.tgid, session)) else {
        return false;
    };
    // SAFETY: a live map value of a session that this call is about.
    let found = unsafe { &mut *found };
    let mark = sock::mark(done.sock);
    if found.socket != mark {
        if found.socket != 0 {
            if !is_proven {
                return false;
            }
            count::add(Counter::PeersContradicted, 1);
        }
        found.socket = mark;
        found.flags &= !(flag::PEER_TOLD | flag::PEER_PROVEN);
    }
    if is_proven {
        found.flags |= flag::PEER_PROVEN;
    }
    // Also where its own calls tell it: a session that sends before it is decided is told when the socket receives, which may be in no call of it.
    let _ = TLS_SOCKETS.insert(&done.sock, &Binding { session, tgid: done.tgid, reserved: 0 }, u64::from(BPF_ANY));
    true
}

/// The socket is closed: what its session sends from now on is sent on another.
#[inline(always)]
pub(super) fn closed(sock: u64) {
    let Some(binding) = TLS_SOCKETS.get_ptr(&sock) else {
        return;
    };
    // SAFETY: a live map value.
    let Binding { session, tgid, .. } = unsafe { *binding };
    let _ = TLS_SOCKETS.remove(&sock);
    if let Some(bound) = SESSIONS.get_ptr_mut(&session::key(tgid, session)) {
        // SAFETY: a live map value; an aligned word.
        unsafe {
            if (*bound).socket == sock::mark(sock) {
                (*bound).socket = 0;
            }
        }
    }
}

/// Length of the first record of application data that can be told by it, behind shorter ones; 0 = there is none.
#[inline(always)]
fn telling_record(done: &Finished, place: &Place) -> u64 {
    let (mut index, mut at, mut left) = (0, 0, 0);
    for _ in 0..RECORDS_LOOKED_AT {
        if left == 0 {
            let Some((piece, length)) = call::piece(place, index, done.bytes) else {
                return 0;
            };
            index += 1;
            at = piece;
            left = length;
        }
        let Some([kind, major, minor, high, low]) = user_memory::read::<[u8; tls::HEADER_BYTES as usize]>(at) else {
            return 0;
        };
        if left < tls::HEADER_BYTES || !tls::is_type(kind) || [major, minor] != VERSION {
            return 0;
        }
        let length = (u64::from(high) << 8) | u64::from(low);
        if length >= TELLING_RECORD_BYTES + unsent::LEAST_ADDED {
            return if kind == APPLICATION_DATA { length } else { 0 };
        }
        // A header that lies apart from its record is not followed.
        if left < tls::HEADER_BYTES + length {
            return 0;
        }
        at += tls::HEADER_BYTES + length;
        left -= tls::HEADER_BYTES + length;
    }
    0
}
