//! Which processes are followed at all: decided before anything else is looked at.

use crate::{maps::WATCHED, settings};

/// Whether plaintext of this process may be copied.
#[inline(always)]
pub(crate) fn follows(tgid: u32) -> bool {
    if tgid == settings::own_pid() {
        return false;
    }
    if settings::only_watched() != 0 {
        return WATCHED.get_ptr(&tgid).is_some();
    }
    true
}
