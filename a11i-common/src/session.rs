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
    /// Of HTTP/2, whose fields refer to earlier ones: counted, and of each transfer the beginning is copied; a new request is looked at as a whole.
    pub const OTHER: u8 = 4;
    /// Nobody can read it, or it carries no LLM traffic and can begin nothing else: nothing more is copied for as long as it lives.
    pub const IGNORED: u8 = 5;
}

/// Bits of [`Session::flags`].
pub mod flag {
    /// The server name is that of an LLM provider: every request is taken for LLM traffic until the agent says otherwise.
    pub const LLM_HOST: u8 = 1;
    /// The agent knows the ends of the session's socket.
    pub const PEER_TOLD: u8 = 2;
    /// [`super::Session::socket`] was seen to be the session's inside of a call of its own, or by the lengths of two records.
    pub const PEER_PROVEN: u8 = 16;
    /// HTTP/2: requests and answers go side by side.
    pub const HTTP2: u8 = 8;
    /// Go: a call that reads was seen to begin. One that returns without was under way before there were probes, which happens once.
    pub const READER_SEEN: u8 = 4;
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
    /// Counts requests, modulo 65,536; of HTTP/2, transfers in which one begins.
    pub request: u16,
    /// [`crate::decision::Decision::serial`] of the last decision that was looked at.
    pub decision: u16,
    /// Bytes of the present request and its answer that may still be copied while it is undecided.
    pub undecided_left: u32,
    /// Bytes counted in the offset of writes that GnuTLS has taken into its own buffer while their call failed with *try again*: the call
    /// that succeeds says how many they really were.
    pub queued: u16,
    /// When the session was first seen, of a clock that goes round in a minute: tells it from an earlier one at its address, as `generation` does
    /// until a request begins it anew.
    pub born: u16,
    /// HTTP/2: bytes of requests that still belong to the frame under way.
    pub frame_left: u32,
    /// HTTP/2: bytes of answers that may still be copied while nobody has said what the present requests are.
    pub answers_left: u32,
    /// Of the socket that carries a TLS session: a part of its kernel address, by which it is known again; 0 = unknown.
    pub socket: u32,
}

/// Key of the map `GO_CALLS`: a call of a Go function between its entry and its return. The thread is no part of it (goroutines change
/// threads), nor is an address on the stack (the runtime moves stacks): the distance from the stack's upper end stays.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GoCallKey {
    /// Address of the runtime's `g`.
    pub goroutine: u64,
    /// Bytes from the stack pointer at entry up to the stack's end.
    pub depth: u32,
    pub tgid: u32,
}

/// Value of the map `GO_CALLS`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GoCall {
    pub session: u64,
    pub buffer: u64,
    /// Bytes from the buffer up to the stack's end, of a buffer on the goroutine's own stack: it moves with it. 0: it lies elsewhere.
    pub buffer_depth: u64,
    /// Bytes the buffer has.
    pub capacity: u64,
    pub attachment: u64,
    /// [`crate::identity::Direction`].
    pub direction: u8,
    /// Not 0: what is written was copied when the call began.
    pub is_copied: u8,
    pub reserved: [u8; 6],
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<SessionKey>() == 16);
    assert!(size_of::<Session>() == 64);
    assert!(size_of::<GoCallKey>() == 16);
    assert!(size_of::<GoCall>() == 48);
    assert!(offset_of!(Session, process) == 16);
    assert!(offset_of!(Session, generation) == 24);
    assert!(offset_of!(Session, start) == 32);
    assert!(offset_of!(Session, request) == 40);
};
