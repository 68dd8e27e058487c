//! How much of a transfer is copied: by what its bytes begin with, by path and server name, by the agent's verdict, and within budgets.

use a11i_common::{
    decision::verdict,
    event::{Counter, cause},
    limits::{HTTP2_GLANCE_BYTES, PROTOCOL_PROBE_BYTES, UNDECIDED_ANSWER_BYTES, UNDECIDED_BYTES_PER_SECOND, UNDECIDED_OTHER_BYTES},
    session::{Session, SessionKey, flag, protocol},
};

use crate::{
    count,
    emit::{Transfer, launder},
    frames,
    maps::{DECISIONS, NODE_BUDGET, SWITCHED_OFF},
    request_line, session, settings,
    socket::unsent,
    tls::frame::Scratch,
    user_memory,
};

/// Sets how many bytes of this transfer are copied, and why not the others. False: it is of a connection that nobody wants, and is not even
/// counted in the offsets.
#[inline(always)]
pub(crate) fn decide(transfer: &Transfer, session: &mut Session, scratch: &mut Scratch, direction: usize) -> bool {
    let length = launder(&raw const scratch.length);
    let call_limit = u64::from(settings::call_limit());
    scratch.limit = if length > call_limit { call_limit } else { length };
    scratch.skip_cause = cause::CALL_LIMIT;
    scratch.wake = 0;
    let turned = session.last_direction != direction as u8;
    session.last_direction = direction as u8;
    if is_switched_off() {
        skip_all(scratch, cause::SWITCHED_OFF);
        return true;
    }
    // The verdict on what was under way, or on the connection before any request: taken first, so that a request which begins in this very
    // transfer is not taken for a part of what it follows.
    if session::is_counted(session) {
        take_verdict(&transfer.key, session);
    }
    match session.protocol {
        protocol::UNDECIDED => {
            first_sight(transfer, session, scratch, direction, length);
            if session.protocol == protocol::UNDECIDED || session.protocol >= protocol::OTHER {
                return true;
            }
        }
        protocol::IGNORED => {
            count::add(Counter::NotLlmCalls, 1);
            return false;
        }
        protocol::OTHER if session.flags & flag::HTTP2 == 0 => {
            let Some(word) = request_word(transfer, session, direction, length) else {
                count::add(Counter::NotLlmCalls, 1);
                return false;
            };
            session::begin_generation(session);
            session.last_direction = direction as u8;
            begin_request(transfer, session, scratch, direction, word);
        }
        state => {
            // Of an undecided request nobody knows where it ends: the next may be pipelined behind it, and has its own verdict.
            if (turned || state == protocol::REQUEST)
                && session.flags & flag::HTTP2 == 0
                && session.request_direction == direction as u8
                && let Some(word) = request_word(transfer, session, direction, length)
            {
                begin_request(transfer, session, scratch, direction, word);
            }
        }
    }
    if session.flags & flag::HTTP2 != 0 {
        look_for_streams(transfer, session, scratch, direction, length);
    }
    if session.protocol == protocol::REQUEST {
        stay_within_budgets(session, scratch, direction);
    }
    true
}

/// HTTP/2: a request that begins is undecided, whatever those before it were; while none is, what comes is glanced at.
#[inline(always)]
fn look_for_streams(transfer: &Transfer, session: &mut Session, scratch: &mut Scratch, direction: usize, length: u64) {
    // Of a connection to an LLM provider all is copied.
    if session.flags & flag::LLM_HOST != 0 {
        return;
    }
    if frames::request_begins(transfer, session, direction, length) {
        count::add(Counter::Requests, 1);
        scratch.wake = 1;
        session.request = next_request(session.request);
        session.undecided_left = settings::call_limit();
        session.answers_left = UNDECIDED_ANSWER_BYTES as u32;
        if session.protocol == protocol::OTHER {
            session.protocol = protocol::REQUEST;
        }
    }
    if session.protocol == protocol::OTHER {
        let wanted = launder(&raw const scratch.limit);
        let glance = if wanted > HTTP2_GLANCE_BYTES { HTTP2_GLANCE_BYTES } else { wanted };
        let allowed = if node_allows(glance) { glance } else { 0 };
        if allowed < wanted {
            scratch.limit = allowed;
            scratch.skip_cause = cause::NOT_LLM;
        }
    }
}

/// Zero is before the first.
#[inline(always)]
fn next_request(request: u16) -> u16 {
    let next = request.wrapping_add(1);
    if next == 0 { 1 } else { next }
}

/// Whether the call that is entered will be of no interest, whatever it transfers: decided here, most calls of other programs cost a look at
/// two tables. What begins a request when it is written lies in the buffer already.
///
/// `waits_beside`: the library lets one thread read while another writes, so that this read may return the answer to a request that is
/// written after it was entered.
#[inline(always)]
pub(crate) fn is_of_no_interest(key: &SessionKey, direction: usize, buffer: u64, capacity: u64, waits_beside: bool) -> bool {
    let Some(session) = crate::maps::SESSIONS.get_ptr(key) else {
        return false;
    };
    // SAFETY: a live map value; single bytes, and an aligned word.
    let (protocol, request_direction, flags, socket) =
        unsafe { ((*session).protocol, (*session).request_direction, (*session).flags, (*session).socket) };
    let uninteresting = match protocol {
        protocol::IGNORED => true,
        protocol::OTHER if flags & flag::HTTP2 != 0 => false,
        // Requests of a client are written, of a server read; of a program that was not seen to do either, nobody knows.
        protocol::OTHER if request_direction == 1 - direction as u8 => !waits_beside,
        protocol::OTHER if direction == 0 => !may_begin_request(buffer, capacity),
        _ => false,
    };
    if uninteresting {
        count::add(Counter::NotLlmCalls, 1);
        if direction == 0 && socket == 0 {
            unsent::passed_over(key.tgid, capacity);
        }
    }
    uninteresting
}

/// What cannot be read yet is looked at when the call returns: the library will have touched it by then.
#[inline(always)]
fn may_begin_request(buffer: u64, capacity: u64) -> bool {
    capacity >= 4 && user_memory::read::<u32>(buffer).is_none_or(|word| begins_request(u32::from_le(word)))
}

#[inline(always)]
fn skip_all(scratch: &mut Scratch, cause: u8) {
    scratch.limit = 0;
    scratch.skip_cause = cause;
}

/// The counter of bytes that were left out for this cause.
#[inline(always)]
pub(crate) fn counter_of(skip_cause: u8) -> Counter {
    match skip_cause {
        cause::CALL_LIMIT => Counter::CallLimitBytes,
        cause::UNDECIDED_BUDGET => Counter::UndecidedBudgetBytes,
        cause::SWITCHED_OFF => Counter::SwitchedOffBytes,
        _ => Counter::NotHttpBytes,
    }
}

/// The emergency brake is on.
#[inline(always)]
pub(crate) fn is_switched_off() -> bool {
    // SAFETY: a live map value, one aligned word.
    SWITCHED_OFF.get_ptr(0).is_some_and(|off| launder(off) != 0)
}

/// The first bytes of a session that were seen, which need not be its first.
#[inline(always)]
fn first_sight(transfer: &Transfer, session: &mut Session, scratch: &mut Scratch, direction: usize, length: u64) {
    // Enough to tell what it is, whatever it is; and all of what is too short to tell.
    let Some(word) = first_word(transfer, session, direction, length) else {
        return;
    };
    if begins_request(word) {
        begin_request(transfer, session, scratch, direction, word);
    } else if word == u32::from_le_bytes(*b"HTTP") {
        // Joined before an answer, to a request that nobody saw.
        session.request_direction = 1 - direction as u8;
        session.protocol = if session.flags & flag::LLM_HOST != 0 { protocol::PRESUMED_LLM } else { protocol::REQUEST };
        session.undecided_left = UNDECIDED_OTHER_BYTES;
    } else if word == u32::from_le_bytes(*b"PRI ") {
        begin_http2(session, scratch, direction as u8);
        session.frame_left = frames::PREFACE_BYTES;
    } else if session.offsets[direction] == 0 && frames::begins_frame(transfer, length) {
        // A server's first frame, or a connection that was there before us. Who asks, the agent finds out.
        begin_http2(session, scratch, 2);
    } else {
        session.protocol = protocol::OTHER;
        if scratch.limit > PROTOCOL_PROBE_BYTES {
            scratch.limit = PROTOCOL_PROBE_BYTES;
        }
        scratch.skip_cause = cause::NOT_HTTP;
    }
}

/// Until the agent has said what the connection is, it is copied within budgets, as one request.
#[inline(always)]
fn begin_http2(session: &mut Session, scratch: &mut Scratch, request_direction: u8) {
    scratch.wake = 1;
    session.flags |= flag::HTTP2;
    session.request_direction = request_direction;
    session.undecided_left = settings::call_limit();
    session.answers_left = UNDECIDED_ANSWER_BYTES as u32;
    session.frame_left = 0;
    session.protocol = if session.flags & flag::LLM_HOST != 0 { protocol::PRESUMED_LLM } else { protocol::REQUEST };
}

#[inline(always)]
fn begin_request(transfer: &Transfer, session: &mut Session, scratch: &mut Scratch, direction: usize, word: u32) {
    count::add(Counter::Requests, 1);
    scratch.wake = 1;
    session.request = next_request(session.request);
    session.request_direction = direction as u8;
    session.undecided_left = if has_body(word) { settings::call_limit() } else { UNDECIDED_OTHER_BYTES };
    if session.flags & flag::LLM_HOST != 0 || request_line::path_is_known(transfer.buffer, scratch) {
        count::add(Counter::DecidedInKernel, 1);
        session.protocol = protocol::PRESUMED_LLM;
    } else {
        session.protocol = protocol::REQUEST;
    }
}

/// The verdict on this request, or on the whole connection, if there is one that was not taken yet. It stays in the table until the session
/// ends: if it were removed here, a newer one could go with it unread.
#[inline(always)]
fn take_verdict(key: &SessionKey, session: &mut Session) {
    let Some(decision) = DECISIONS.get_ptr(key) else {
        return;
    };
    // SAFETY: a live map value; the agent writes a new one and never changes this.
    let decision = unsafe { *decision };
    if decision.serial == session.decision || decision.generation != session.generation {
        return;
    }
    session.decision = decision.serial;
    let is_multiplexed = session.flags & flag::HTTP2 != 0;
    if decision.verdict == verdict::LLM_HOST {
        session.flags |= flag::LLM_HOST;
        if session.protocol == protocol::REQUEST || is_multiplexed {
            session.protocol = protocol::PRESUMED_LLM;
        }
    } else if decision.verdict == verdict::IGNORE {
        session.protocol = protocol::IGNORED;
    } else if decision.verdict == verdict::LLM && is_multiplexed {
        // A call is under way, whatever has begun beside it.
        session.protocol = protocol::LLM;
    } else if decision.request != session.request {
        return;
    } else if decision.verdict == verdict::LLM {
        session.protocol = protocol::LLM;
    } else if decision.verdict == verdict::GLANCE {
        // Also where it began as HTTP/1.
        session.flags |= flag::HTTP2;
        session.protocol = protocol::OTHER;
    } else {
        // What began like frames, and is none.
        session.flags &= !flag::HTTP2;
        session.protocol = protocol::OTHER;
    }
    count::add(Counter::VerdictsTaken, 1);
}

/// What may be copied of an undecided exchange, by what is left for it and for the node.
#[inline(always)]
fn stay_within_budgets(session: &mut Session, scratch: &mut Scratch, direction: usize) {
    let wanted = launder(&raw const scratch.limit);
    let mut left = u64::from(session.undecided_left);
    // Of several requests side by side, less is copied of what is answered.
    let is_answer = session.flags & flag::HTTP2 != 0 && session.request_direction != direction as u8;
    if is_answer && u64::from(session.answers_left) < left {
        left = u64::from(session.answers_left);
    }
    let mut allowed = if wanted > left { left } else { wanted };
    if !node_allows(allowed) {
        allowed = 0;
    }
    // The other direction may have taken of it since it was read.
    session.undecided_left = session.undecided_left.saturating_sub(allowed as u32);
    if is_answer {
        session.answers_left = session.answers_left.saturating_sub(allowed as u32);
    }
    if allowed < wanted {
        scratch.limit = allowed;
        scratch.skip_cause = cause::UNDECIDED_BUDGET;
    }
}

/// Something is left of the node's budget of this second, or nothing was taken of it yet.
#[inline(always)]
pub(crate) fn node_has_room() -> bool {
    // One after the other: verifiers before 6.2 do not see in one test that both are good.
    let Some(used) = NODE_BUDGET.get_ptr_mut(0) else {
        return true;
    };
    let Some(second) = NODE_BUDGET.get_ptr_mut(1) else {
        return true;
    };
    launder(second) != session::now() >> 30 || launder(used) < UNDECIDED_BYTES_PER_SECOND
}

/// Takes `bytes` from the node's budget of this second. Programs on several CPUs may begin the second together: then some of what the
/// first of them took is forgotten, which is some transfers' worth.
#[inline(always)]
pub(crate) fn node_allows(bytes: u64) -> bool {
    // One after the other: verifiers before 6.2 do not see in one test that both are good.
    let Some(used) = NODE_BUDGET.get_ptr_mut(0) else {
        return true;
    };
    let Some(second) = NODE_BUDGET.get_ptr_mut(1) else {
        return true;
    };
    let now = session::now() >> 30;
    // SAFETY: live map values, aligned words.
    unsafe {
        if launder(second) != now {
            core::ptr::write_volatile(second, now);
            core::ptr::write_volatile(used, 0);
        }
        if launder(used) + bytes > UNDECIDED_BYTES_PER_SECOND {
            return false;
        }
        count::add_to(used, bytes);
    }
    true
}

/// The first word of a transfer that begins like a request, in the direction that requests come in. Nobody writes a method in pieces.
#[inline(always)]
fn request_word(transfer: &Transfer, session: &Session, direction: usize, length: u64) -> Option<u32> {
    if length < 4 || session.request_direction == 1 - direction as u8 {
        return None;
    }
    let Some(word) = user_memory::read::<u32>(transfer.buffer) else {
        // Nobody knows what it was: copied within budgets, where it cannot be read either and is a gap that is counted.
        return Some(0);
    };
    let word = u32::from_le(word);
    if begins_request(word) { Some(word) } else { None }
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

/// Whether a stream that begins so may be HTTP: a request, an answer to one that was not seen, or the preface of HTTP/2.
#[inline(always)]
pub(crate) fn begins_http(word: u32) -> bool {
    begins_request(word) || word == u32::from_le_bytes(*b"HTTP") || word == u32::from_le_bytes(*b"PRI ")
}

/// A request line's method.
#[inline(always)]
pub(crate) fn begins_request(word: u32) -> bool {
    has_body(word)
        || word == u32::from_le_bytes(*b"GET ")
        || word == u32::from_le_bytes(*b"HEAD")
        || word == u32::from_le_bytes(*b"DELE")
        || word == u32::from_le_bytes(*b"PATC")
        || word == u32::from_le_bytes(*b"OPTI")
        || word == u32::from_le_bytes(*b"CONN")
}

#[inline(always)]
fn has_body(word: u32) -> bool {
    word == u32::from_le_bytes(*b"POST") || word == u32::from_le_bytes(*b"PUT ")
}
