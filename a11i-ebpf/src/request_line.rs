//! The path of a request, known by its end.

use a11i_common::{
    decision::{PATH_TAIL_BYTES, PathTail},
    limits::REQUEST_LINE_BYTES,
};

use crate::{emit::launder, maps::LLM_PATHS, tls::frame::Scratch, user_memory};

/// Whether the request that begins at `buffer` goes where LLM requests go.
#[inline(always)]
pub(crate) fn path_is_known(buffer: u64, scratch: &mut Scratch) -> bool {
    let mut line = [0u8; REQUEST_LINE_BYTES];
    let length = launder(&raw const scratch.length);
    let have = if length > REQUEST_LINE_BYTES as u64 { REQUEST_LINE_BYTES as u64 } else { length };
    // SAFETY: `line` has that many bytes.
    if !unsafe { user_memory::copy::<REQUEST_LINE_BYTES>(line.as_mut_ptr(), have, buffer) } {
        return false;
    }
    find_path(&line, scratch);
    let (start, end) = (u64::from(launder(&raw const scratch.path_start)), u64::from(launder(&raw const scratch.path_end)));
    if start == 0 || end <= start {
        return false;
    }
    match tail(buffer, start, end) {
        Some(tail) => LLM_PATHS.get_ptr(&tail).is_some(),
        None => false,
    }
}

/// The path lies between the first space and the next one or a question mark. Its bounds go to memory: in registers each of them would be a
/// way of its own to the verifier.
#[inline(always)]
fn find_path(line: &[u8; REQUEST_LINE_BYTES], scratch: &mut Scratch) {
    scratch.path_start = 0;
    scratch.path_end = 0;
    for (at, byte) in line.iter().enumerate() {
        // SAFETY: a reference; volatile so that the loop stays one.
        let byte = unsafe { core::ptr::read_volatile(byte) };
        if byte == b' ' || byte == b'?' {
            if launder(&raw const scratch.path_start) != 0 {
                scratch.path_end = at as u8;
                return;
            }
            scratch.path_start = at as u8 + 1;
        }
    }
}

/// The last bytes of the path, with zeros before a short one. Two big-endian words, because the verifier follows shifts better than indexes.
#[inline(always)]
fn tail(buffer: u64, start: u64, end: u64) -> Option<PathTail> {
    let bits = |bytes: u64| (bytes & 7) * 8;
    let have = end - start;
    let low = u64::from_be(user_memory::read::<u64>((buffer + end).wrapping_sub(8))?);
    let (high, low) = if have >= 8 {
        let high = u64::from_be(user_memory::read::<u64>((buffer + end).wrapping_sub(16))?);
        (if have >= 16 { high } else { high & !(u64::MAX << bits(have)) }, low)
    } else {
        (0, low & !(u64::MAX << bits(have)))
    };
    let mut tail = [0; PATH_TAIL_BYTES];
    tail[..8].copy_from_slice(&high.to_be_bytes());
    tail[8..].copy_from_slice(&low.to_be_bytes());
    Some(PathTail(tail))
}
