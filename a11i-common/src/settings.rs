//! Read-only globals that the agent sets before load. Names here are the symbol names in the kernel object.

/// A structure member that the running kernel's BTF does not have.
pub const UNKNOWN_OFFSET: u32 = u32::MAX;

/// Byte offset of `task_struct.group_leader`.
pub const TASK_GROUP_LEADER: &str = "TASK_GROUP_LEADER";
/// Byte offset of `task_struct.start_boottime` (`real_start_time` before 5.5).
pub const TASK_START_BOOTTIME: &str = "TASK_START_BOOTTIME";
/// Byte offset of `task_struct.pid`.
pub const TASK_PID: &str = "TASK_PID";
/// Byte offset of `task_struct.tgid`.
pub const TASK_TGID: &str = "TASK_TGID";
/// Byte offset of `task_struct.signal`.
pub const TASK_SIGNAL: &str = "TASK_SIGNAL";
/// Byte offset of `signal_struct.live`, the number of live threads.
pub const SIGNAL_LIVE: &str = "SIGNAL_LIVE";

/// u32: 1 where `bpf_get_attach_cookie` exists (5.15+).
pub const HAS_ATTACH_COOKIE: &str = "HAS_ATTACH_COOKIE";
/// u32: the agent's own process id; its traffic is never copied.
pub const OWN_PID: &str = "OWN_PID";
/// u32: 1 = only processes in the map `WATCHED` and their descendants (`a11i exec`); 0 = all.
pub const ONLY_WATCHED: &str = "ONLY_WATCHED";
/// u32: bytes copied of one library call at most.
pub const CALL_LIMIT: &str = "CALL_LIMIT";
/// u32: unread bytes in the ring from which the reader is woken.
pub const WAKE_BYTES: &str = "WAKE_BYTES";

/// Byte offset of `socket.sk`.
pub const SOCKET_SK: &str = "SOCKET_SK";
/// Byte offset of `inode.i_ino` from the `socket` that lies before it in `socket_alloc`.
pub const SOCKET_INODE: &str = "SOCKET_INODE";
/// Byte offsets in `struct sock` (those of its `__sk_common` included).
pub const SOCK_FAMILY: &str = "SOCK_FAMILY";
pub const SOCK_TYPE: &str = "SOCK_TYPE";
pub const SOCK_SOCKET: &str = "SOCK_SOCKET";
pub const SOCK_LOCAL_PORT: &str = "SOCK_LOCAL_PORT";
pub const SOCK_REMOTE_PORT: &str = "SOCK_REMOTE_PORT";
pub const SOCK_LOCAL_V4: &str = "SOCK_LOCAL_V4";
pub const SOCK_REMOTE_V4: &str = "SOCK_REMOTE_V4";
pub const SOCK_LOCAL_V6: &str = "SOCK_LOCAL_V6";
pub const SOCK_REMOTE_V6: &str = "SOCK_REMOTE_V6";
/// Byte offsets in `struct unix_sock` and `struct unix_address`.
pub const UNIX_ADDRESS: &str = "UNIX_ADDRESS";
pub const UNIX_PEER: &str = "UNIX_PEER";
pub const UNIX_ADDRESS_LENGTH: &str = "UNIX_ADDRESS_LENGTH";
pub const UNIX_ADDRESS_NAME: &str = "UNIX_ADDRESS_NAME";
/// Byte offset of `msghdr.msg_iter`.
pub const MESSAGE_ITERATOR: &str = "MESSAGE_ITERATOR";
/// Byte offsets in `struct iov_iter`; its type is one byte (of a `u8`, or of a little-endian word before 5.14).
pub const ITERATOR_TYPE: &str = "ITERATOR_TYPE";
pub const ITERATOR_OFFSET: &str = "ITERATOR_OFFSET";
pub const ITERATOR_SEGMENTS: &str = "ITERATOR_SEGMENTS";
/// `__iov`; `iov` before 6.4.
pub const ITERATOR_VECTOR: &str = "ITERATOR_VECTOR";
/// `ubuf` (6.0+).
pub const ITERATOR_BUFFER: &str = "ITERATOR_BUFFER";
/// Values of `enum iter_type`; they differ between kernels. [`UNKNOWN_OFFSET`]: this kernel has no such kind.
pub const KIND_VECTOR: &str = "KIND_VECTOR";
pub const KIND_BUFFER: &str = "KIND_BUFFER";
/// u32: a bit of the type that says the direction (before 5.14); 0 where there is none.
pub const KIND_DIRECTION: &str = "KIND_DIRECTION";
/// u32: 1 = socket calls are seen.
pub const SEES_SOCKETS: &str = "SEES_SOCKETS";
/// u32: attachment id of everything that sockets tell.
pub const SOCKET_ATTACHMENT: &str = "SOCKET_ATTACHMENT";
