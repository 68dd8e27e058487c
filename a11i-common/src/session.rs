//! The table of live TLS sessions (`SESSIONS`): written by the kernel half, read by the agent when a session ends without saying so.

use crate::identity::ProcessId;

/// A session among those alive. 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SessionKey {
    /// [`crate::identity::TlsSession`].
    pub session: u64,
    /// [`crate::identity::Pid`].
    pub tgid: u32,
    /// Zero: the table compares every byte of a key.
    pub reserved: u32,
}

impl SessionKey {
    #[inline(always)]
    pub const fn new(tgid: u32, session: u64) -> Self {
        Self { session, tgid, reserved: 0 }
    }
}

/// How far a session has come. 32 bytes, of which the last two are padding.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Session {
    /// Bytes transferred so far, indexed by [`crate::identity::Direction`]: the absolute offset of the next byte.
    pub offsets: [u64; 2],
    pub process: ProcessId,
    /// Tells this session from an earlier one at the same address.
    pub generation: u16,
    /// Bits of [`crate::event::cause`] not yet told to the agent, indexed by direction.
    pub causes: [u8; 2],
    /// What the first bytes showed; the kernel half's business.
    pub protocol: u8,
    /// Direction of the last transfer; 2 = none yet.
    pub last_direction: u8,
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<SessionKey>() == 16);
    assert!(offset_of!(SessionKey, tgid) == 8);
    assert!(size_of::<Session>() == 32);
    assert!(offset_of!(Session, process) == 16);
    assert!(offset_of!(Session, generation) == 24);
    assert!(offset_of!(Session, causes) == 26);
};
