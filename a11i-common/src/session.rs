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

/// What is done with a session's bytes: values of [`Session::protocol`].
pub mod protocol {
    /// Too little was seen.
    pub const UNDECIDED: u8 = 0;
    /// A request has begun; nobody has said yet whether it is LLM traffic. Copied within budgets.
    pub const REQUEST: u8 = 1;
    /// LLM traffic: everything is copied.
    pub const LLM: u8 = 2;
    /// Taken for LLM traffic by its path or server name; the agent may say otherwise. Everything is copied.
    pub const PRESUMED_LLM: u8 = 3;
    /// Not HTTP, or no LLM traffic: neither copied nor counted until bytes begin like a request. What then begins has a new generation.
    pub const OTHER: u8 = 4;
    /// Nobody can read it: nothing more is copied for as long as it lives. HTTP/2 after its preface, since this version does not decode
    /// it, and what the agent said so of.
    pub const IGNORED: u8 = 5;
}

/// Bits of [`Session::flags`].
pub mod flag {
    /// The server name is that of an LLM provider: every request is taken for LLM traffic until the agent says otherwise.
    pub const LLM_HOST: u8 = 1;
}

/// Value of the map `SESSIONS`. Two threads may read and write one session at the same time, so what belongs to one direction is apart.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Bytes transferred so far, by direction: the absolute offset of the next byte.
    pub offsets: [u64; 2],
    pub process: ProcessId,
    /// Tells this session from an earlier one at the same address, and a connection's requests after traffic that nobody followed from
    /// those before it.
    pub generation: u16,
    /// [`crate::event::cause`] bits not yet told to the agent, by direction.
    pub causes: [u8; 2],
    /// [`protocol`].
    pub protocol: u8,
    /// Direction of the last transfer, to find the first event of a request; 2 = none yet.
    pub last_direction: u8,
    /// Direction that requests come in; 2 = none was seen yet.
    pub request_direction: u8,
    /// [`flag`].
    pub flags: u8,
    /// First bytes of a direction whose first transfers were shorter than a method, by direction.
    pub start: [[u8; 4]; 2],
    /// Counts requests, modulo 65,536.
    pub request: u16,
    /// [`crate::decision::Decision::serial`] of the last decision that was looked at.
    pub decision: u16,
    /// Bytes of the present request and its answer that may still be copied while it is undecided.
    pub undecided_left: u32,
    /// Bytes counted in the offset of writes that GnuTLS has taken into its own buffer while their call failed with *try again*: the call
    /// that succeeds says how many they really were.
    pub queued: u16,
    pub reserved: [u16; 3],
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<SessionKey>() == 16);
    assert!(size_of::<Session>() == 56);
    assert!(offset_of!(Session, process) == 16);
    assert!(offset_of!(Session, generation) == 24);
    assert!(offset_of!(Session, start) == 32);
    assert!(offset_of!(Session, request) == 40);
};
