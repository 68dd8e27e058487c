//! The records on the ring buffer.

use crate::{
    identity::ProcessId,
    limits::{CLIENT_HELLO_BYTES, SERVER_NAME_BYTES, UNIX_PATH_BYTES},
};

/// Every record starts with this. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordHeader {
    /// [`RecordKind`].
    pub kind: u16,
    /// Of data records: counts the requests of a session, modulo 65,536; else 0. A verdict names it ([`crate::decision::Decision`]).
    pub request: u16,
    /// Valid bytes after the record's fixed part.
    pub payload_len: u32,
    /// `CLOCK_BOOTTIME` in nanoseconds (`bpf_ktime_get_boot_ns`, 5.8+): when the call returned; of what is written,
    /// when it began, where that was seen.
    pub time_ns: u64,
    pub process: ProcessId,
    pub tid: u32,
    pub reserved2: u32,
}

#[repr(u16)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordKind {
    /// [`DataHeader`] and plaintext.
    Data = 1,
    /// [`SessionRecord`]: the session was freed, cleared, or its process ended. Final offsets of both directions.
    SessionEnd = 2,
    /// [`SessionRecord`]: `SSL_shutdown`; the process writes no more, but may read.
    WriteShutdown = 3,
    /// [`ServerNameRecord`]: the name the process asked for (SNI).
    ServerName = 4,
    /// [`ProcessRecord`], `other` = 0.
    Exec = 5,
    /// [`ProcessRecord`]: `process` is the child, `other` the parent's pid.
    Fork = 6,
    /// [`ProcessRecord`], `other` = 0.
    Exit = 7,
    /// [`PeerRecord`]: which ends the session's socket has.
    Peer = 8,
    /// [`ClientHelloRecord`]: a process begins a TLS connection.
    ClientHello = 9,
}

/// Why bytes of a direction were not copied: bits of `causes`.
pub mod cause {
    /// The ring had no room: the reader was too slow.
    pub const RING_FULL: u8 = 1;
    /// The process's memory could not be read.
    pub const USER_FAULT: u8 = 2;
    /// The call was longer than the limit per call.
    pub const CALL_LIMIT: u8 = 4;
    /// A call is missing **without being counted in the offsets**: a kernel table was full, or its count could not be read.
    pub const TABLE_FULL: u8 = 8;
    /// The connection does not look like HTTP/1: nothing of it is copied until bytes begin like a request.
    pub const NOT_HTTP: u8 = 16;
    /// Nobody had said yet whether the exchange is LLM traffic, and what is kept of such ones was used up.
    pub const UNDECIDED_BUDGET: u8 = 32;
    /// The exchange is no LLM traffic: left out by intention.
    pub const NOT_LLM: u8 = 64;
    /// The user switched copying off (`a11i control detach`).
    pub const SWITCHED_OFF: u8 = 128;

    /// Left out because nobody wants it: no loss.
    pub const BY_INTENTION: u8 = NOT_HTTP | NOT_LLM;
}

/// Fixed part of a data record. 64 bytes, so that a payload is aligned as the ring's records are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DataHeader {
    pub header: RecordHeader,
    pub session: u64,
    /// Attach cookie of the probe.
    pub attachment: u64,
    /// Offset of the payload's first byte in this direction's stream.
    pub offset: u64,
    /// Bytes directly after the payload that were transferred but not copied (0 in most records).
    pub skipped: u32,
    /// Counts `SSL_clear` and reuse of the address, modulo 65,536.
    pub generation: u16,
    /// [`crate::identity::Direction`].
    pub direction: u8,
    /// Bits of [`cause`]: losses on this direction since its last record, `skipped` included.
    pub causes: u8,
}

/// A data record as reserved: header and a payload of one of the [`crate::limits::TIERS`].
#[repr(C)]
pub struct DataRecord<const N: usize> {
    pub data: DataHeader,
    pub payload: [u8; N],
}

/// End or half-end of a session. 72 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionRecord {
    pub header: RecordHeader,
    pub session: u64,
    pub attachment: u64,
    /// Bytes transferred in all, indexed by [`crate::identity::Direction`].
    pub offsets: [u64; 2],
    pub generation: u16,
    /// Bits of [`cause`] not yet reported, indexed by direction.
    pub causes: [u8; 2],
    pub reserved: u32,
}

/// The server name set on a client session. The name is the payload: no terminating zero is promised.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ServerNameRecord {
    pub header: RecordHeader,
    pub session: u64,
    pub attachment: u64,
    pub generation: u16,
    pub reserved: [u16; 3],
    pub name: [u8; SERVER_NAME_BYTES],
}

/// Fork, exec, exit. 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessRecord {
    pub header: RecordHeader,
    pub other: u32,
    pub reserved: u32,
}

/// Both ends of a session's socket. The path of a Unix socket is the payload: that of the server, whichever end this is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PeerRecord {
    pub header: RecordHeader,
    pub session: u64,
    pub attachment: u64,
    pub generation: u16,
    pub socket: SocketEnds,
    pub path: [u8; UNIX_PATH_BYTES],
}

/// Addresses as the socket has them; an IPv4 address is in the first four bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SocketEnds {
    /// `AF_UNIX` 1, `AF_INET` 2, `AF_INET6` 10.
    pub family: u16,
    /// In host byte order.
    pub local_port: u16,
    pub remote_port: u16,
    pub local: [u8; 16],
    pub remote: [u8; 16],
}

/// First bytes of an outgoing stream that begins a TLS handshake: they are the payload.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ClientHelloRecord {
    pub header: RecordHeader,
    pub socket: SocketEnds,
    pub reserved: u16,
    pub bytes: [u8; CLIENT_HELLO_BYTES],
}

/// Kernel-side counters: indexes into the map `COUNTERS` (per-CPU, u64).
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    /// Data records that could not be reserved.
    RingFullRecords = 0,
    /// Plaintext bytes that were not copied because of that.
    RingFullBytes = 1,
    UserFaultBytes = 2,
    CallLimitBytes = 3,
    /// Calls not followed because `IN_FLIGHT` was full.
    InFlightFull = 4,
    /// Calls not followed because their session found no room in `SESSIONS`.
    SessionsFull = 5,
    /// Bytes of connections that are not HTTP: seen, not copied.
    NotHttpBytes = 6,
    /// Second hits of one call (nested entry points, two attachments of one file).
    DuplicateHits = 7,
    /// Calls found abandoned: their return never came.
    AbandonedFrames = 8,
    /// Plaintext bytes copied.
    CopiedBytes = 9,
    /// Library calls followed to their return.
    Calls = 10,
    /// Process-life records that could not be reserved.
    ProcessRecordsLost = 11,
    /// Entries of `WATCHED` that could not be added.
    ProcessesFull = 12,
    /// Calls that transferred bytes whose number could not be read: missing without being counted in the offsets.
    CountUnreadable = 13,
    /// Ends and names of sessions that could not be told.
    SessionRecordsLost = 14,
    /// Bytes of requests (and of their answers) that were not copied because nobody had said yet whether they are LLM traffic.
    UndecidedBudgetBytes = 15,
    /// Library calls of exchanges that are no LLM traffic: neither followed nor copied, or of HTTP/2 glanced at.
    NotLlmCalls = 16,
    /// Bytes that were not copied because the user switched copying off.
    SwitchedOffBytes = 17,
    /// Hits of entry probes: what the bystander guard looks at first.
    Hits = 18,
    /// Pairs of file and process that found no room in `HITS`: the guard does not see them.
    HitsFull = 19,
    /// Requests seen to begin.
    Requests = 20,
    /// Requests that were LLM traffic by their path or server name, before the agent said so.
    DecidedInKernel = 21,
    /// Verdicts of the agent that were taken.
    VerdictsTaken = 22,
    /// Socket calls that carried bytes of a followed connection in a shape that cannot be read (`sendfile`, `splice`, `sendmmsg`, kernel memory).
    SocketShapeUnreadable = 23,
    /// Beginnings of TLS connections that could not be told.
    ClientHellosLost = 24,
    /// rustls keys whose other direction was not found beside them: their connection is seen as two halves.
    RustlsUnjoined = 25,
    /// rustls records whose arguments did not have the expected layout, or that failed to decrypt: not copied.
    RustlsLayout = 26,
    /// rustls records not followed because `RUSTLS_KEYS` or `RUSTLS_CALLS` was full.
    RustlsFull = 27,
    /// TLS sessions whose socket was found by the length of a record.
    PeersByLength = 28,
    /// Records on sockets of unknown sessions that several sessions of the thread may have written: nobody's peer is told.
    PeersAmbiguous = 29,
    /// TLS sessions that were seen on another socket than the one they were taken to be on, or sockets of another session.
    PeersContradicted = 30,
}

impl Counter {
    /// Its label.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(counter, _)| *counter == self).map_or("", |(_, name)| name)
    }

    pub const COUNT: u32 = 31;
    pub const ALL: [(Self, &'static str); Self::COUNT as usize] = [
        (Self::RingFullRecords, "ring_full_records"),
        (Self::RingFullBytes, "ring_full_bytes"),
        (Self::UserFaultBytes, "user_fault_bytes"),
        (Self::CallLimitBytes, "call_limit_bytes"),
        (Self::InFlightFull, "in_flight_full"),
        (Self::SessionsFull, "sessions_full"),
        (Self::NotHttpBytes, "not_http_bytes"),
        (Self::DuplicateHits, "duplicate_hits"),
        (Self::AbandonedFrames, "abandoned_frames"),
        (Self::CopiedBytes, "copied_bytes"),
        (Self::Calls, "calls"),
        (Self::ProcessRecordsLost, "process_records_lost"),
        (Self::ProcessesFull, "processes_full"),
        (Self::CountUnreadable, "count_unreadable"),
        (Self::SessionRecordsLost, "session_records_lost"),
        (Self::UndecidedBudgetBytes, "undecided_budget_bytes"),
        (Self::NotLlmCalls, "not_llm_calls"),
        (Self::SwitchedOffBytes, "switched_off_bytes"),
        (Self::Hits, "hits"),
        (Self::HitsFull, "hits_full"),
        (Self::Requests, "requests"),
        (Self::DecidedInKernel, "decided_in_kernel"),
        (Self::VerdictsTaken, "verdicts_taken"),
        (Self::SocketShapeUnreadable, "socket_shape_unreadable"),
        (Self::ClientHellosLost, "client_hellos_lost"),
        (Self::RustlsUnjoined, "rustls_unjoined"),
        (Self::RustlsLayout, "rustls_layout"),
        (Self::RustlsFull, "rustls_full"),
        (Self::PeersByLength, "peers_by_length"),
        (Self::PeersAmbiguous, "peers_ambiguous"),
        (Self::PeersContradicted, "peers_contradicted"),
    ];
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<RecordHeader>() == 32);
    assert!(offset_of!(RecordHeader, payload_len) == 4);
    assert!(offset_of!(RecordHeader, time_ns) == 8);
    assert!(offset_of!(RecordHeader, process) == 16);
    assert!(offset_of!(RecordHeader, tid) == 24);
    assert!(size_of::<DataHeader>() == 64);
    assert!(offset_of!(DataHeader, session) == 32);
    assert!(offset_of!(DataHeader, offset) == 48);
    assert!(offset_of!(DataHeader, skipped) == 56);
    assert!(offset_of!(DataHeader, direction) == 62);
    assert!(size_of::<DataRecord<256>>() == 64 + 256);
    assert!(size_of::<SessionRecord>() == 72);
    assert!(offset_of!(SessionRecord, offsets) == 48);
    assert!(offset_of!(SessionRecord, generation) == 64);
    assert!(offset_of!(ServerNameRecord, name) == 56);
    assert!(size_of::<ServerNameRecord>() == 56 + SERVER_NAME_BYTES);
    assert!(size_of::<ProcessRecord>() == 40);
    assert!(size_of::<SocketEnds>() == 38);
    assert!(offset_of!(PeerRecord, socket) == 50);
    assert!(offset_of!(PeerRecord, path) == 88);
    assert!(size_of::<PeerRecord>() == 88 + UNIX_PATH_BYTES);
    assert!(offset_of!(ClientHelloRecord, bytes) == 72);
    assert!(size_of::<ClientHelloRecord>() == 72 + CLIENT_HELLO_BYTES);
};
