//! What a finished socket call transferred: of interest or not, and piece by piece to the ring.

use a11i_common::{
    event::{Counter, cause},
    limits::SOCKET_RUNS,
    probe::NEXT_SEGMENT,
    session::{Session, SessionKey, protocol},
};
use aya_ebpf::{EbpfContext, maps::ProgramArray};

use super::{
    call::{self, Call, Place, shape},
    gather, peer, sock, tls,
};
use crate::{
    count, decide,
    emit::{self, launder},
    maps::{SESSIONS, SOCKETS},
    session, settings, user_memory,
};

/// A call on a socket, and what it did.
pub(crate) struct Finished {
    pub(crate) tgid: u32,
    pub(crate) tid: u32,
    pub(crate) sock: u64,
    pub(crate) family: u16,
    /// 0 = sent, 1 = received.
    pub(crate) direction: u8,
    /// Not 0.
    pub(crate) bytes: u64,
    /// When a call that sends began; 0 = unknown, or it receives.
    pub(crate) began: u64,
}

/// Copies what is HTTP. Most calls end at the look at their first bytes.
#[inline(always)]
pub(crate) fn finish<C: EbpfContext>(ctx: &C, programs: &ProgramArray, done: &Finished, place: &Place) {
    let key = session::key(done.tgid, sock::session_of(done.sock, done.family));
    if let Some(session) = SESSIONS.get_ptr_mut(&key) {
        // SAFETY: a live map value; a single byte.
        if unsafe { (*session).protocol } == protocol::IGNORED {
            count::add(Counter::NotLlmCalls, 1);
            return;
        }
        if place.shape == u64::from(shape::UNREADABLE) {
            // SAFETY: a live map value; one direction is used by one thread at a time.
            leave_out(unsafe { &mut *session }, usize::from(done.direction), done.bytes);
            return;
        }
    } else if !is_wanted(done, place, &key) {
        return;
    }
    let Some(call) = call::of_thread(done.tgid, done.tid) else {
        session::note_uncounted_call(&key, usize::from(done.direction));
        return;
    };
    // SAFETY: a live map value that only this thread touches.
    let call = unsafe { &mut *call };
    call.rest = *place;
    call.sock = done.sock;
    call.session = key.session;
    call.left = done.bytes;
    call.scratch.began = done.began;
    call.index = 0;
    call.runs = 0;
    call.family = done.family;
    call.direction = done.direction;
    go_on(ctx, programs, call, &key);
}

/// The first look at a socket: whether what it carries may be HTTP. Its session is made then, and its ends are told.
#[inline(always)]
fn is_wanted(done: &Finished, place: &Place, key: &SessionKey) -> bool {
    if place.shape == u64::from(shape::UNREADABLE) {
        return false;
    }
    let Some((at, length)) = call::piece(place, 0, done.bytes) else {
        return false;
    };
    if length < 4 || done.bytes < 4 {
        return false;
    }
    let Some(word) = user_memory::read::<u32>(at).map(u32::from_le) else {
        return false;
    };
    if !decide::begins_http(word) {
        if tls::is_record(word) {
            tls::look(done, place, at, if length < done.bytes { length } else { done.bytes });
        }
        return false;
    }
    // Kernel TLS: the library's own functions tell these bytes.
    if decide::is_switched_off() || tls::innermost_session(done.tgid, done.tid) != 0 {
        return false;
    }
    let Some(session) = session::find_or_insert(key) else {
        return false;
    };
    if done.family != sock::UNIX && SOCKETS.insert(&done.sock, &done.tgid, 0).is_err() {
        // Its end will not be told: then it is not begun either.
        count::add(Counter::SessionsFull, 1);
        let _ = SESSIONS.remove(key);
        return false;
    }
    // SAFETY: a live map value.
    peer::tell(key, unsafe { &mut *session }, done.tid, done.sock, done.family);
    true
}

/// The next piece; the program ends here.
#[inline(always)]
fn go_on<C: EbpfContext>(ctx: &C, programs: &ProgramArray, call: &mut Call, key: &SessionKey) {
    let left = launder(&raw const call.left);
    if left == 0 {
        return;
    }
    if launder(&raw const call.runs) < SOCKET_RUNS {
        call.runs += 1;
        // SAFETY: nothing here has to be dropped.
        unsafe { programs.tail_call(ctx, NEXT_SEGMENT) };
    }
    let Some(session) = SESSIONS.get_ptr_mut(key) else {
        return;
    };
    // SAFETY: a live map value; one direction is used by one thread at a time.
    let session = unsafe { &mut *session };
    if session::is_counted(session) {
        let direction = usize::from(launder(&raw const call.direction) & 1);
        session.causes[direction] |= cause::CALL_LIMIT;
        session.offsets[direction] += left;
        session.frame_left = 0; // frames are looked for anew
        count::add(Counter::CallLimitBytes, left);
    }
}

/// The next piece of a call, or several small ones: at most one record reaches the ring in a run, since the verifier walks the copying once for
/// each.
#[inline(always)]
pub(crate) fn segment<C: EbpfContext>(ctx: &C, programs: &ProgramArray, call: &mut Call, tgid: u32, tid: u32) {
    let key = session::key(tgid, call.session);
    let Some(session) = SESSIONS.get_ptr_mut(&key) else {
        return;
    };
    // SAFETY: a live map value; one direction is used by one thread at a time.
    let session = unsafe { &mut *session };
    let direction = usize::from(launder(&raw const call.direction) & 1);
    if gather::several(call, session, &key, tid, direction) {
        go_on(ctx, programs, call, &key);
        return;
    }
    let (index, left) = (launder(&raw const call.index), launder(&raw const call.left));
    let Some((buffer, length)) = call::piece(&call.rest, index, left) else {
        leave_out(session, direction, left);
        return;
    };
    let length = if length > left { left } else { length };
    call.index = index + 1;
    call.left = left - length;
    if length > 0 {
        call.scratch.length = length;
        call.scratch.direction = direction as u8;
        let transfer = emit::Transfer { key, tid, attachment: u64::from(settings::socket_attachment()), buffer };
        emit::transfer(ctx, programs, &transfer, session, &mut call.scratch);
    }
    go_on(ctx, programs, call, &key);
}

/// The rest of a piece that takes several records, and then the next piece.
#[inline(always)]
pub(crate) fn long<C: EbpfContext>(ctx: &C, programs: &ProgramArray, call: &mut Call, tgid: u32, tid: u32) {
    emit::long_transfer(tgid, tid, &mut call.scratch);
    let key = session::key(tgid, call.session);
    go_on(ctx, programs, call, &key);
}

/// Bytes that nobody can read from here.
#[inline(always)]
fn leave_out(session: &mut Session, direction: usize, bytes: u64) {
    if session.protocol == protocol::UNDECIDED || !session::is_counted(session) {
        return;
    }
    count::add(Counter::SocketShapeUnreadable, 1);
    count::add(Counter::UserFaultBytes, bytes);
    session.causes[direction & 1] |= cause::USER_FAULT;
    session.offsets[direction & 1] += bytes;
    session.frame_left = 0;
}
