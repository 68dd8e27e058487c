//! The kernel half's table of TLS sessions, which the agent reads when a process ends.

use crate::identity::{Pid, ProcessId, TlsSession};

/// Key of the map `SESSIONS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SessionKey {
    pub session: u64,
    pub tgid: u32,
    pub reserved: u32,
}

impl SessionKey {
    pub const fn new(pid: Pid, session: TlsSession) -> Self {
        Self { session: session.0, tgid: pid.0, reserved: 0 }
    }
}

/// What the first bytes of a session showed: values of [`Session::protocol`].
pub mod protocol {
    /// Too little was seen.
    pub const UNDECIDED: u8 = 0;
    pub const HTTP: u8 = 1;
    /// Counted, not copied, until bytes begin like a request.
    pub const OTHER: u8 = 2;
    /// HTTP/2: its preface is copied, so that the agent can tell; the rest is counted, since this version does not decode it.
    pub const HTTP2: u8 = 3;
}

/// Value of the map `SESSIONS`. Two threads may read and write one session at the same time, so what belongs to one direction is apart.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Bytes transferred so far, by direction: the absolute offset of the next byte.
    pub offsets: [u64; 2],
    pub process: ProcessId,
    /// Tells this session from an earlier one at the same address.
    pub generation: u16,
    /// [`crate::event::cause`] bits not yet told to the agent, by direction.
    pub causes: [u8; 2],
    /// [`protocol`].
    pub protocol: u8,
    /// Direction of the last transfer, to find the first event of a request; 2 = none yet.
    pub last_direction: u8,
    pub reserved: [u8; 2],
    /// First bytes of a direction whose first transfers were shorter than a method, by direction.
    pub start: [[u8; 4]; 2],
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<SessionKey>() == 16);
    assert!(size_of::<Session>() == 40);
    assert!(offset_of!(Session, process) == 16);
    assert!(offset_of!(Session, generation) == 24);
    assert!(offset_of!(Session, start) == 32);
};
