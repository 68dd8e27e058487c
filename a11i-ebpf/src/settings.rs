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
    SOCKET_SK, socket_sk = UNKNOWN_OFFSET;
    SOCKET_INODE, socket_inode = UNKNOWN_OFFSET;
    SOCK_FAMILY, sock_family = UNKNOWN_OFFSET;
    SOCK_TYPE, sock_type = UNKNOWN_OFFSET;
    SOCK_SOCKET, sock_socket = UNKNOWN_OFFSET;
    SOCK_LOCAL_PORT, sock_local_port = UNKNOWN_OFFSET;
    SOCK_REMOTE_PORT, sock_remote_port = UNKNOWN_OFFSET;
    SOCK_LOCAL_V4, sock_local_v4 = UNKNOWN_OFFSET;
    SOCK_REMOTE_V4, sock_remote_v4 = UNKNOWN_OFFSET;
    SOCK_LOCAL_V6, sock_local_v6 = UNKNOWN_OFFSET;
    SOCK_REMOTE_V6, sock_remote_v6 = UNKNOWN_OFFSET;
    UNIX_ADDRESS, unix_address = UNKNOWN_OFFSET;
    UNIX_PEER, unix_peer = UNKNOWN_OFFSET;
    UNIX_ADDRESS_LENGTH, unix_address_length = UNKNOWN_OFFSET;
    UNIX_ADDRESS_NAME, unix_address_name = UNKNOWN_OFFSET;
    MESSAGE_ITERATOR, message_iterator = UNKNOWN_OFFSET;
    ITERATOR_TYPE, iterator_type = UNKNOWN_OFFSET;
    ITERATOR_OFFSET, iterator_offset = UNKNOWN_OFFSET;
    ITERATOR_SEGMENTS, iterator_segments = UNKNOWN_OFFSET;
    ITERATOR_VECTOR, iterator_vector = UNKNOWN_OFFSET;
    ITERATOR_BUFFER, iterator_buffer = UNKNOWN_OFFSET;
    KIND_VECTOR, kind_vector = UNKNOWN_OFFSET;
    KIND_BUFFER, kind_buffer = UNKNOWN_OFFSET;
    KIND_DIRECTION, kind_direction = 0;
    SEES_SOCKETS, sees_sockets = 0;
    SOCKET_ATTACHMENT, socket_attachment = 0;
    /// Always 0; the compiler does not know.
    NEVER, never = 0;
}
