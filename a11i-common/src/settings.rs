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
