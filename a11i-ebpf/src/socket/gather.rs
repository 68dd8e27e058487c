//! Small pieces of one socket call, in one record.

use a11i_common::{
    event::DataRecord,
    limits::{SOCKET_GATHERED, SOCKET_GATHERED_BYTES},
    session::{Session, SessionKey, flag, protocol},
};

use super::call::{self, Call, shape};
use crate::{
    decide,
    emit::{self, launder},
    maps::RING,
    settings, user_memory,
};

/// Of the record: room for the gathered bytes behind any of them, so that the verifier sees that no copy leaves it.
const ROOM: usize = 2 * SOCKET_GATHERED_BYTES as usize;

/// Copies the next pieces of the call, if they are small and belong to what is copied as a whole. False: nothing was done. What begins
/// something new is decided on its own, and so is the first piece of a call.
///
/// Its place is kept in memory, and read back at each turn: else the verifier would walk the loop, and all that follows it, once for every way
/// that leads there.
#[inline(always)]
pub(super) fn several(call: &mut Call, session: &mut Session, key: &SessionKey, tid: u32, direction: usize) -> bool {
    let (index, left) = (launder(&raw const call.index), launder(&raw const call.left));
    if index == 0
        || call.rest.shape == u64::from(shape::BUFFER)
        || index + 1 >= call.rest.segments
        || !is_copied_as_a_whole(session, direction)
    {
        return false;
    }
    let Some((_, first)) = call::piece(&call.rest, index, left) else {
        return false;
    };
    if first > SOCKET_GATHERED_BYTES / 2 || first >= left {
        return false;
    }
    // Without room, the piece's own record finds none either, and says so.
    let Some(mut entry) = RING.reserve::<DataRecord<ROOM>>(0) else {
        return false;
    };
    let record = entry.as_mut_ptr();
    let is_request = session.request_direction == direction as u8;
    let is_http2 = session.flags & flag::HTTP2 != 0;
    // Inside of one frame no request begins; of HTTP/1 each piece is looked at, while the request is undecided.
    call.scratch.follows_frames = (is_http2 && is_request && session.flags & flag::LLM_HOST == 0) as u8;
    call.scratch.looks_for_request = (!is_http2 && is_request && session.protocol == protocol::REQUEST) as u8;
    call.scratch.cursor = 0;
    for _ in 0..SOCKET_GATHERED {
        let (index, left) = (launder(&raw const call.index), launder(&raw const call.left));
        let length = launder(&raw const call.scratch.cursor);
        let frame_left = u64::from(launder(&raw const session.frame_left));
        let follows_frames = launder(&raw const call.scratch.follows_frames) != 0;
        let Some((buffer, size)) = call::piece(&call.rest, index, left) else {
            break;
        };
        let size = if size > left { left } else { size };
        if size == 0 || length + size > SOCKET_GATHERED_BYTES || (follows_frames && size > frame_left) {
            break;
        }
        if launder(&raw const call.scratch.looks_for_request) != 0
            && user_memory::read::<u32>(buffer).is_some_and(|word| decide::begins_request(u32::from_le(word)))
        {
            break;
        }
        // SAFETY: the reservation; the mask changes nothing, and shows the bound.
        let copied = unsafe {
            let payload = (&raw mut (*record).payload).cast::<u8>();
            user_memory::copy::<{ SOCKET_GATHERED_BYTES as usize }>(
                payload.add((length & (SOCKET_GATHERED_BYTES - 1)) as usize),
                size,
                buffer,
            )
        };
        if !copied {
            break;
        }
        call.index = index + 1;
        call.left = left - size;
        call.scratch.cursor = length + size;
        if follows_frames {
            session.frame_left = (frame_left - size) as u32;
        }
    }
    let length = launder(&raw const call.scratch.cursor);
    if length == 0 {
        entry.discard(0);
        return false;
    }
    if session.protocol == protocol::REQUEST {
        // What exceeds the node's budget now is left out of what comes next.
        let _ = decide::node_allows(length);
        session.undecided_left = session.undecided_left.saturating_sub(length as u32);
        if session.request_direction != direction as u8 {
            session.answers_left = session.answers_left.saturating_sub(length as u32);
        }
    }
    let transfer = emit::Transfer { key: *key, tid, attachment: u64::from(settings::socket_attachment()), buffer: 0 };
    // SAFETY: the reservation, of which so much was written.
    unsafe { emit::written(record, &transfer, session, direction, length, launder(&raw const call.scratch.began)) };
    entry.submit(emit::wake_by_volume());
    true
}

/// What is known to be LLM traffic, or undecided with budgets that are far from used up.
#[inline(always)]
fn is_copied_as_a_whole(session: &Session, direction: usize) -> bool {
    if decide::is_switched_off() || (session.flags & flag::HTTP2 != 0 && session.request_direction == 2) {
        return false;
    }
    match session.protocol {
        protocol::LLM | protocol::PRESUMED_LLM => true,
        protocol::REQUEST => {
            let is_answer = session.request_direction != direction as u8;
            let is_limited = session.flags & flag::HTTP2 != 0 && is_answer && u64::from(session.answers_left) < SOCKET_GATHERED_BYTES;
            !is_limited && u64::from(session.undecided_left) >= SOCKET_GATHERED_BYTES && decide::node_has_room()
        }
        _ => false,
    }
}
