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
    /// The socket had no room, and nothing was sent. What would have been says as well whose the socket is, and the program may send it when
    /// others have written.
    pub(crate) is_refused: bool,
}

/// Copies what is HTTP. Most calls end at the look at their first bytes.
#[inline(always)]
pub(crate) fn finish<C: EbpfContext>(ctx: &C, programs: &ProgramArray, done: &Finished, place: &Place) {
    let key = session::key(done.tgid, sock::session_of(done.sock, done.family));
    let known = SESSIONS.get_ptr_mut(&key);
    let first = first_word(done, place);
    if let Some(First { at, length, word }) = first
        && tls::is_record(word)
    {
        tls::look(done, place, at, if length < done.bytes { length } else { done.bytes });
        // On a socket of its own, or through a tunnel that a request has made. What is counted is followed whatever it begins with: a frame of
        // HTTP/2 may have come to such bytes.
        // SAFETY: a live map value; single bytes.
        if known.is_none_or(|session| !session::is_counted(unsafe { &*session })) {
            return;
        }
    }
    if done.is_refused {
        return;
    }
    if let Some(session) = known {
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
    } else if !first.is_some_and(|first| is_wanted(done, first.word, &key)) {
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

/// Empty pieces that may come first: all writes of Erlang's have one.
const EMPTY_PIECES: u64 = 1;

/// What a call begins with.
#[derive(Clone, Copy)]
struct First {
    at: u64,
    /// Of the first piece.
    length: u64,
    word: u32,
}

#[inline(always)]
fn first_word(done: &Finished, place: &Place) -> Option<First> {
    if place.shape == u64::from(shape::UNREADABLE) || done.bytes < 4 {
        return None;
    }
    for index in 0..=EMPTY_PIECES {
        let (at, length) = call::piece(place, index, done.bytes)?;
        if length != 0 {
            return if length < 4 { None } else { Some(First { at, length, word: user_memory::read::<u32>(at).map(u32::from_le)? }) };
        }
    }
    None
}

/// The first look at a socket: whether what it carries may be HTTP. Its session is made then, and its ends are told.
#[inline(always)]
fn is_wanted(done: &Finished, word: u32, key: &SessionKey) -> bool {
    if !decide::begins_http(word) {
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
    let attachment = u64::from(settings::socket_attachment());
    // SAFETY: a live map value.
    peer::tell(key, unsafe { &mut *session }, done.tid, done.sock, done.family, attachment);
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
