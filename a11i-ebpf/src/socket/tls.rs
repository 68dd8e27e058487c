//! What a socket call tells about TLS: the beginning of a connection, and the socket of a session whose library function runs now.

use a11i_common::{
    event::{ClientHelloRecord, Counter, RecordKind},
    limits::CLIENT_HELLO_BYTES,
};
use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;

use super::{
    binding,
    call::{Place, thread_key},
    sock,
    transfer::Finished,
};
use crate::{
    count, decide,
    maps::{IN_FLIGHT, RING},
    session, task, user_memory,
};

/// Content type, version and length (RFC 8446 section 5.1).
pub(super) const HEADER_BYTES: u64 = 5;

/// Content types of RFC 8446 section 5.1: change_cipher_spec 20, alert 21, handshake 22, application_data 23; then the major version 3.
#[inline(always)]
pub(crate) fn is_record(word: u32) -> bool {
    let (kind, major) = (word & 0xff, (word >> 8) & 0xff);
    major == 3 && is_type(kind as u8)
}

#[inline(always)]
pub(super) fn is_type(kind: u8) -> bool {
    kind >= 20 && kind <= 23
}

/// A call that begins with a record. `at`, `length`: where it lies, as far as this call goes in one piece.
#[inline(always)]
pub(crate) fn look(done: &Finished, place: &Place, at: u64, length: u64) {
    if done.family == sock::UNIX {
        return;
    }
    if done.direction == 0 && !done.is_refused && length > HEADER_BYTES {
        client_hello(done, at, length);
    }
    binding::settle(done, place);
}

/// Session of the library call that the thread is in, the innermost of several; 0 = it is in none.
#[inline(always)]
pub(crate) fn innermost_session(tgid: u32, tid: u32) -> u64 {
    let Some(frames) = IN_FLIGHT.get_ptr(&thread_key(tgid, tid)) else {
        return 0;
    };
    let (mut lowest, mut session) = (u64::MAX, 0);
    // SAFETY: a live map value that only this thread touches.
    for frame in unsafe { &(*frames).frames } {
        if frame.stack_pointer != 0 && frame.stack_pointer < lowest {
            (lowest, session) = (frame.stack_pointer, frame.session);
        }
    }
    session
}

/// Handshake record (22) with a ClientHello (1): told at once, so that a program whose library is new is attached before its first request.
#[inline(always)]
fn client_hello(done: &Finished, at: u64, length: u64) {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    let Some(start) = user_memory::read::<[u8; 6]>(at) else {
        return;
    };
    if start[0] != HANDSHAKE || start[5] != CLIENT_HELLO || decide::is_switched_off() {
        return;
    }
    let Some(mut entry) = RING.reserve::<ClientHelloRecord>(0) else {
        count::add(Counter::ClientHellosLost, 1);
        return;
    };
    let record = entry.as_mut_ptr();
    let length = if length > CLIENT_HELLO_BYTES as u64 { CLIENT_HELLO_BYTES as u64 } else { length };
    // SAFETY: `record` is the reservation; its fixed part is written before submit, the bytes by the helper.
    unsafe {
        if !user_memory::copy::<CLIENT_HELLO_BYTES>((&raw mut (*record).bytes).cast(), length, at) {
            entry.discard(0);
            return;
        }
        let process = task::current_process(done.tgid);
        (&raw mut (*record).header).write(session::header(RecordKind::ClientHello, process, done.tid, length as u32));
        (&raw mut (*record).socket).write(sock::ends(done.sock, done.family));
        (&raw mut (*record).reserved).write(0);
    }
    entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
}
