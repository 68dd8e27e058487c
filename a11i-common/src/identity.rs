//! Names for the numbers that identify things, shared by both sides.

/// Thread-group id in the initial pid namespace: what user space calls the process id.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Pid(pub u32);

/// Thread id in the initial pid namespace.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Tid(pub u32);

/// A process that cannot be mistaken for a later one with the same pid.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ProcessId {
    pub pid: Pid,
    /// Start of the thread-group leader in clock ticks (1/100 s, `USER_HZ`) since boot, as in field 22
    /// of `/proc/PID/stat`. 0 where the kernel's BTF does not tell it.
    pub start_ticks: u32,
}

impl ProcessId {
    /// Nanoseconds in a `USER_HZ` tick: `/proc` reports start times in these units on every architecture we build for.
    pub const NANOS_PER_TICK: u64 = 10_000_000;

    /// `start_ns`: nanoseconds of `CLOCK_BOOTTIME` at the start of the process, as in `task_struct.start_boottime` (5.5+).
    pub const fn from_boot_nanos(pid: Pid, start_ns: u64) -> Self {
        // 2^32 ticks are 497 days of uptime; wrapping is harmless because both sides wrap alike.
        #[expect(clippy::cast_possible_truncation, reason = "wraps alike on both sides")]
        Self { pid, start_ticks: (start_ns / Self::NANOS_PER_TICK) as u32 }
    }
}

/// Address of the library's session object (`SSL *`), unique among the live sessions of one process.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TlsSession(pub u64);

/// Which attachment (file and function set) a record came through: the attach cookie the agent chose.
/// 0 on kernels without attach cookies (before 5.15).
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AttachmentId(pub u64);

/// As seen from the observed process.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// The process sends (`SSL_write`).
    Write = 0,
    /// The process receives (`SSL_read`).
    Read = 1,
}

impl Direction {
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Write),
            1 => Some(Self::Read),
            _ => None,
        }
    }

    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Write => Self::Read,
            Self::Read => Self::Write,
        }
    }
}

/// Nanoseconds of `CLOCK_BOOTTIME`: the kernel's timestamp of a record. The agent maps it to wall time only at export.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BootTime(pub u64);

impl BootTime {
    /// Nanoseconds from `earlier` to `self`; 0 when the order is reversed.
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    #[must_use]
    pub const fn plus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}
