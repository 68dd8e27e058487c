//! What calls say for and against functions that were found without names.

use crate::{count, maps::EVIDENCE, user_memory};

/// A call that is what the function's would be.
#[inline(always)]
pub(crate) fn fits(attachment: u64, direction: usize) {
    if let Some(evidence) = EVIDENCE.get_ptr_mut(&attachment) {
        // SAFETY: a live map value, and an index below 2.
        unsafe { count::add_to(&raw mut (*evidence).fitting[direction & 1], 1) };
    }
}

/// A call that the function cannot have had.
#[inline(always)]
pub(crate) fn contradicts(attachment: u64, direction: usize) {
    if let Some(evidence) = EVIDENCE.get_ptr_mut(&attachment) {
        // SAFETY: as above.
        unsafe { count::add_to(&raw mut (*evidence).contradicting[direction & 1], 1) };
    }
}

/// A call that says it transferred bytes: they lie in its buffer now.
#[inline(always)]
pub(crate) fn transferred(attachment: u64, direction: usize, buffer: u64) {
    if EVIDENCE.get_ptr(&attachment).is_none() {
        return;
    }
    if user_memory::read::<u8>(buffer).is_some() {
        fits(attachment, direction);
    } else {
        contradicts(attachment, direction);
    }
}
