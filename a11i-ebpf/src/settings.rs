//! Read-only globals: set by the agent before load, constants for the verifier (names in `a11i_common::settings`).

use a11i_common::{limits, settings::UNKNOWN_OFFSET};

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident, $reader:ident = $default:expr;)*) => {$(
        #[unsafe(no_mangle)]
        static $name: u32 = $default;
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $reader() -> u32 {
            // SAFETY: a valid static; volatile because the agent replaces the value in the object before load.
            unsafe { core::ptr::read_volatile(&raw const $name) }
        }
    )*};
}

settings! {
    TASK_GROUP_LEADER, task_group_leader = UNKNOWN_OFFSET;
    TASK_START_BOOTTIME, task_start_boottime = UNKNOWN_OFFSET;
    TASK_PID, task_pid = UNKNOWN_OFFSET;
    TASK_TGID, task_tgid = UNKNOWN_OFFSET;
    TASK_SIGNAL, task_signal = UNKNOWN_OFFSET;
    SIGNAL_LIVE, signal_live = UNKNOWN_OFFSET;
    HAS_ATTACH_COOKIE, has_attach_cookie = 0;
    OWN_PID, own_pid = 0;
    ONLY_WATCHED, only_watched = 0;
    CALL_LIMIT, call_limit = limits::DEFAULT_CALL_LIMIT as u32;
    WAKE_BYTES, wake_bytes = 256 * 1024;
    /// Always 0; the compiler does not know.
    NEVER, never = 0;
}
