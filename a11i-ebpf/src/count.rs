//! Loss and volume counters.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use a11i_common::event::Counter;

use crate::maps::COUNTERS;

/// Adds to a per-CPU counter. Atomic although per CPU: these programs preempt each other.
#[inline(always)]
pub(crate) fn add(counter: Counter, n: u64) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the kernel hands out a valid, aligned slot that lives as long as the map.
        unsafe { add_to(slot, n) };
    }
}

/// The target has no compare-and-swap, so core offers no `fetch_add` for it; the plain addition (no result wanted) exists on every kernel.
///
/// # Safety
/// `slot` is a live map value.
#[inline(always)]
pub(crate) unsafe fn add_to(slot: *mut u64, n: u64) {
    // SAFETY: by contract.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(slot, n) };
}
