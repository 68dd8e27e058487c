//! Heads of HTTP/2 frames (RFC 9113 sections 4.1 and 6): where a request begins. Nothing else of them is read here.

use a11i_common::{limits::HTTP2_FRAMES, session::Session};

use crate::{emit::Transfer, user_memory};

/// What a client sends before its first frame (section 3.4).
pub(crate) const PREFACE_BYTES: u32 = 24;

const HEAD_BYTES: u64 = 9;

/// `SETTINGS_MAX_FRAME_SIZE` at the beginning.
const LARGEST_FRAME: u64 = 16_384;

/// Frames of data are larger where the server allows it: Go's allow so much.
const LARGEST_DATA: u64 = 1024 * 1024;

/// Sixteen settings of six bytes.
const MOST_SETTINGS: u64 = 96;

mod kind {
    pub(super) const DATA: u64 = 0;
    pub(super) const HEADERS: u64 = 1;
    pub(super) const PRIORITY: u64 = 2;
    pub(super) const RST_STREAM: u64 = 3;
    pub(super) const SETTINGS: u64 = 4;
    pub(super) const PING: u64 = 6;
    pub(super) const WINDOW_UPDATE: u64 = 8;
    /// PRIORITY_UPDATE (RFC 9218), the highest that clients send.
    pub(super) const LAST: u64 = 16;
}

const PADDED: u64 = 0x8;
const PRIORITIZED: u64 = 0x20;

struct Head {
    size: u64,
    kind: u64,
    flags: u64,
    of_connection: bool,
    /// Clients' streams have odd numbers.
    of_client: bool,
}

#[inline(always)]
fn head(at: u64) -> Option<Head> {
    // One after the other: of two results that are looked at together, verifiers before 6.2 do not see that both are good.
    let word = u64::from_le(user_memory::read::<u64>(at)?);
    let last = user_memory::read::<u8>(at + 8)?;
    let size = ((word & 0xff) << 16) | (word & 0xff00) | ((word >> 16) & 0xff);
    // The highest bit of a stream's number is reserved, and zero.
    if (word >> 40) & 0x80 != 0 {
        return None;
    }
    Some(Head {
        size,
        kind: (word >> 24) & 0xff,
        flags: (word >> 32) & 0xff,
        of_connection: word >> 40 == 0 && last == 0,
        of_client: last & 1 != 0,
    })
}

/// Whether a transfer begins with the head of a frame, as peers send them first.
#[inline(always)]
pub(crate) fn begins_frame(transfer: &Transfer, length: u64) -> bool {
    if length < HEAD_BYTES {
        return false;
    }
    let Some(Head { size, kind, flags, of_connection, .. }) = head(transfer.buffer) else {
        return false;
    };
    if size > LARGEST_FRAME {
        return false;
    }
    match kind {
        kind::DATA => !of_connection && flags & !0x9 == 0,
        kind::HEADERS => !of_connection && flags & !0x2d == 0 && size > 0,
        kind::RST_STREAM => !of_connection && flags == 0 && size == 4,
        kind::SETTINGS => of_connection && flags & !1 == 0 && size <= MOST_SETTINGS,
        kind::PING => of_connection && flags & !1 == 0 && size == 8,
        kind::WINDOW_UPDATE => flags == 0 && size == 4,
        _ => false,
    }
}

/// Whether a frame with these can follow another.
#[inline(always)]
fn is_plausible(head: &Head) -> bool {
    match head.kind {
        kind::DATA => !head.of_connection && head.flags & !0x9 == 0 && head.size <= LARGEST_DATA,
        kind::HEADERS => head.of_client && head.flags & !0x2d == 0 && head.size > 0 && head.size <= LARGEST_FRAME,
        kind::PRIORITY => head.size == 5,
        kind::RST_STREAM => head.size == 4,
        kind::SETTINGS => head.of_connection && head.size <= MOST_SETTINGS,
        kind::PING => head.of_connection && head.size == 8,
        kind::WINDOW_UPDATE => head.size == 4,
        other => other <= kind::LAST && head.size <= LARGEST_FRAME,
    }
}

/// Whether the fields of a request begin in this transfer. Follows the frames of the direction that requests come in; where their heads cannot be
/// found, each transfer is taken to begin with one.
#[inline(always)]
pub(crate) fn request_begins(transfer: &Transfer, session: &mut Session, direction: usize, length: u64) -> bool {
    if session.request_direction == 2 && length >= 4 && user_memory::read::<u32>(transfer.buffer) == Some(u32::from_ne_bytes(*b"PRI ")) {
        // The server was seen to speak first.
        session.request_direction = direction as u8;
        session.frame_left = PREFACE_BYTES;
    }
    if session.request_direction == 1 - direction as u8 {
        return false;
    }
    let mut at = u64::from(session.frame_left);
    let mut found = false;
    for _ in 0..HTTP2_FRAMES {
        if at + HEAD_BYTES > length {
            break;
        }
        let Some(head) = head(transfer.buffer + at) else {
            at = length;
            break;
        };
        if !is_plausible(&head) {
            at = length;
            break;
        }
        if head.kind == kind::HEADERS {
            if session.request_direction == 2 {
                match sender(transfer.buffer + at, &head) {
                    Sender::Server => {
                        session.request_direction = 1 - direction as u8;
                        session.frame_left = 0;
                        return false;
                    }
                    Sender::Client => session.request_direction = direction as u8,
                    Sender::Unknown => {}
                }
            }
            found = true;
        }
        at += HEAD_BYTES + head.size;
    }
    // Of a direction that may be either, nothing is remembered.
    session.frame_left = if at > length && session.request_direction != 2 { (at - length) as u32 } else { 0 };
    found
}

enum Sender {
    Client,
    Server,
    Unknown,
}

/// Who sends these fields: their first is `:status` (RFC 9113 section 8.3.2), or one of a request, where it stands in the static table
/// (RFC 7541 appendix A).
#[inline(always)]
fn sender(frame: u64, head: &Head) -> Sender {
    let mut at = frame + HEAD_BYTES;
    if head.flags & PADDED != 0 {
        at += 1;
    }
    if head.flags & PRIORITIZED != 0 {
        at += 5;
    }
    match user_memory::read::<u8>(at) {
        Some(0x88..=0x8e | 0x48 | 0x08 | 0x18) => Sender::Server,
        Some(0x81..=0x87 | 0x41..=0x47 | 0x01..=0x07 | 0x11..=0x17) => Sender::Client,
        _ => Sender::Unknown,
    }
}
