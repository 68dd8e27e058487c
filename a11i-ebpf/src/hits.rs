//! Who is hit how often, and through which attachments at once: what the agent needs to spare bystanders and to attach each file once.

use a11i_common::{
    decision::{DuplicateKey, HitKey},
    event::Counter,
};
use aya_ebpf::bindings::BPF_NOEXIST;

use crate::{
    count,
    maps::{DUPLICATES, HITS},
};

/// One hit of an entry probe.
#[inline(always)]
pub(crate) fn add(attachment: u64, tgid: u32) {
    count::add(Counter::Hits, 1);
    let key = HitKey { attachment, tgid, reserved: 0 };
    if let Some(hits) = HITS.get_ptr_mut(&key) {
        // SAFETY: a live map value.
        unsafe { count::add_to(hits, 1) };
    } else if HITS.insert(&key, &1, u64::from(BPF_NOEXIST)).is_err() && HITS.get_ptr(&key).is_none() {
        count::add(Counter::HitsFull, 1);
    }
}

/// One call came through both. Without attach cookies (before 5.15) nobody can tell them apart.
#[inline(always)]
pub(crate) fn duplicate(first: u64, second: u64) {
    if first == 0 || second == 0 || first == second {
        return;
    }
    let (one, other) = if first < second { (first, second) } else { (second, first) };
    // Known already, or told when there is room: it happens with every call.
    let _ = DUPLICATES.insert(&DuplicateKey { one, other }, &1, u64::from(BPF_NOEXIST));
}
