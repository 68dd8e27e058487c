//! What calls of GnuTLS transferred.
//!
//! A send that fails with *try again* has encrypted its data all the same: they wait in the library for the socket. The caller asks again
//! with the same arguments or with none (`NULL, 0`), and what the call then returns is the count of the data taken before. Their buffer is
//! the program's own by then. So they are copied when they are taken, and the later call only says how many they were.

use a11i_common::session::SessionKey;

use super::{
    buffer_call,
    frame::{Frame, Scratch},
    operation,
};
use crate::{maps::SESSIONS, session};

/// `GNUTLS_E_AGAIN` and `GNUTLS_E_INTERRUPTED` of GnuTLS's public `gnutls.h`.
const AGAIN: i64 = -28;
const INTERRUPTED: i64 = -52;

/// Most that one call takes, unless it is corked: the plaintext of one TLS record (RFC 8446 section 5.1).
const RECORD_BYTES: u64 = 16_384;

/// Functions of this library that are followed to their return.
#[inline(always)]
pub(super) fn is_of(operation: u8) -> bool {
    operation >= operation::GNUTLS_SEND && operation < operation::GNUTLS_SERVER_NAME
}

/// Their second and third argument are no buffer.
#[inline(always)]
pub(super) fn has_no_buffer(operation: u8) -> bool {
    operation == operation::GNUTLS_UNCORK || operation == operation::GNUTLS_RECV_PACKET
}

/// Bytes the call transferred that were not counted yet; `None` if there are none.
#[inline(always)]
pub(super) fn transferred(key: &SessionKey, frame: &Frame, result: i64, scratch: &mut Scratch) -> Option<u64> {
    match frame.operation {
        // What it sends was counted when it was taken.
        operation::GNUTLS_UNCORK => None,
        operation::GNUTLS_SEND_EARLY_DATA => {
            if result == 0 && frame.capacity > 0 {
                Some(frame.capacity)
            } else {
                None
            }
        }
        operation::GNUTLS_SEND | operation::GNUTLS_SEND2 => sent(key, frame, result, scratch),
        _ if result <= 0 => None,
        // The data lie in an object whose layout is the library's own: they are counted, and cannot be read at this address.
        operation::GNUTLS_RECV_PACKET => Some(result as u64),
        _ => buffer_call::within_capacity(key, frame, result as u64),
    }
}

#[inline(always)]
fn sent(key: &SessionKey, frame: &Frame, result: i64, scratch: &mut Scratch) -> Option<u64> {
    let is_queued = result == AGAIN || result == INTERRUPTED;
    if result <= 0 && !is_queued {
        return None;
    }
    if let Some(session) = SESSIONS.get_ptr_mut(key) {
        // SAFETY: a live map value; what belongs to writes is touched by one thread at a time.
        let session = unsafe { &mut *session };
        // In a session that nobody wants any more nothing is counted; the next request begins anew.
        if session.queued != 0 && session::is_counted(session) {
            if !is_queued {
                session.offsets[0] = session.offsets[0].wrapping_sub(u64::from(session.queued)).wrapping_add(result as u64);
                session.queued = 0;
            }
            return None;
        }
        session.queued = 0;
    }
    if !is_queued {
        return buffer_call::within_capacity(key, frame, result as u64);
    }
    scratch.queued = 1;
    if frame.capacity > RECORD_BYTES {
        Some(RECORD_BYTES)
    } else if frame.capacity > 0 {
        Some(frame.capacity)
    } else {
        None
    }
}
