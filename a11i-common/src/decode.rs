//! `&[u8]` from the ring → [`Event`]. Total: any input gives an event or a [`DecodeError`], never a panic.

use core::fmt;

use crate::{
    event::{RecordKind, SocketEnds},
    identity::{AttachmentId, BootTime, Direction, Pid, ProcessId, Tid, TlsSession},
};

/// One record, borrowed from the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    pub time: BootTime,
    pub process: ProcessId,
    pub tid: Tid,
    pub body: EventBody<'a>,
}

/// The session a record belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId {
    pub session: TlsSession,
    pub generation: u16,
}

/// Printed without payloads and names: what programs say does not belong in a log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EventBody<'a> {
    Data {
        session: SessionId,
        attachment: AttachmentId,
        direction: Direction,
        offset: u64,
        skipped: u32,
        causes: u8,
        request: u16,
        payload: &'a [u8],
    },
    SessionEnd {
        session: SessionId,
        attachment: AttachmentId,
        write_offset: u64,
        read_offset: u64,
        causes: [u8; 2],
    },
    WriteShutdown {
        session: SessionId,
        attachment: AttachmentId,
        write_offset: u64,
        read_offset: u64,
        causes: [u8; 2],
    },
    ServerName {
        session: SessionId,
        attachment: AttachmentId,
        name: &'a [u8],
    },
    Exec,
    Fork {
        parent: Pid,
    },
    Exit,
    Peer {
        session: SessionId,
        attachment: AttachmentId,
        socket: SocketEnds,
        path: &'a [u8],
    },
    ClientHello {
        socket: SocketEnds,
        bytes: &'a [u8],
    },
}

impl fmt::Debug for EventBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { session, attachment, direction, offset, skipped, causes, request, payload } => f
                .debug_struct("Data")
                .field("session", session)
                .field("attachment", attachment)
                .field("direction", direction)
                .field("offset", offset)
                .field("skipped", skipped)
                .field("causes", causes)
                .field("request", request)
                .field("payload_len", &payload.len())
                .finish(),
            Self::SessionEnd { session, attachment, write_offset, read_offset, causes } => f
                .debug_struct("SessionEnd")
                .field("session", session)
                .field("attachment", attachment)
                .field("write_offset", write_offset)
                .field("read_offset", read_offset)
                .field("causes", causes)
                .finish(),
            Self::WriteShutdown { session, attachment, write_offset, read_offset, causes } => f
                .debug_struct("WriteShutdown")
                .field("session", session)
                .field("attachment", attachment)
                .field("write_offset", write_offset)
                .field("read_offset", read_offset)
                .field("causes", causes)
                .finish(),
            Self::ServerName { session, attachment, name } => f
                .debug_struct("ServerName")
                .field("session", session)
                .field("attachment", attachment)
                .field("name_len", &name.len())
                .finish(),
            Self::Exec => f.write_str("Exec"),
            Self::Fork { parent } => f.debug_struct("Fork").field("parent", parent).finish(),
            Self::Exit => f.write_str("Exit"),
            Self::Peer { session, attachment, socket, path } => f
                .debug_struct("Peer")
                .field("session", session)
                .field("attachment", attachment)
                .field("socket", socket)
                .field("path_len", &path.len())
                .finish(),
            Self::ClientHello { socket, bytes } => {
                f.debug_struct("ClientHello").field("socket", socket).field("length", &bytes.len()).finish()
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The record ends before its fixed part does.
    Short {
        have: usize,
    },
    /// `payload_len` points past the record.
    PayloadBeyondRecord {
        claimed: u32,
        have: usize,
    },
    UnknownKind(u16),
    UnknownDirection(u8),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { have } => write!(f, "record of {have} bytes ends inside its fixed part"),
            Self::PayloadBeyondRecord { claimed, have } => write!(f, "record claims {claimed} payload bytes and has {have}"),
            Self::UnknownKind(kind) => write!(f, "unknown record kind {kind}"),
            Self::UnknownDirection(direction) => write!(f, "unknown direction {direction}"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Decodes one record as submitted by the kernel half (layouts in [`crate::event`]).
pub fn decode(record: &[u8]) -> Result<Event<'_>, DecodeError> {
    let mut r = Reader { rest: record, len: record.len() };
    let kind = r.u16()?;
    let request = r.u16()?;
    let payload_len = r.u32()?;
    let time = BootTime(r.u64()?);
    let process = ProcessId { pid: Pid(r.u32()?), start_ticks: r.u32()? };
    let tid = Tid(r.u32()?);
    r.u32()?;

    let body = match kind {
        k if k == RecordKind::Data as u16 => {
            let session = TlsSession(r.u64()?);
            let attachment = AttachmentId(r.u64()?);
            let offset = r.u64()?;
            let skipped = r.u32()?;
            let generation = r.u16()?;
            let direction = r.u8()?;
            let causes = r.u8()?;
            EventBody::Data {
                session: SessionId { session, generation },
                attachment,
                direction: Direction::from_u8(direction).ok_or(DecodeError::UnknownDirection(direction))?,
                offset,
                skipped,
                causes,
                request,
                payload: r.payload(payload_len)?,
            }
        }
        k if k == RecordKind::SessionEnd as u16 || k == RecordKind::WriteShutdown as u16 => {
            let session = TlsSession(r.u64()?);
            let attachment = AttachmentId(r.u64()?);
            let write_offset = r.u64()?;
            let read_offset = r.u64()?;
            let session = SessionId { session, generation: r.u16()? };
            let causes = [r.u8()?, r.u8()?];
            if k == RecordKind::SessionEnd as u16 {
                EventBody::SessionEnd { session, attachment, write_offset, read_offset, causes }
            } else {
                EventBody::WriteShutdown { session, attachment, write_offset, read_offset, causes }
            }
        }
        k if k == RecordKind::ServerName as u16 => {
            let session = TlsSession(r.u64()?);
            let attachment = AttachmentId(r.u64()?);
            let generation = r.u16()?;
            r.u16()?;
            r.u32()?;
            EventBody::ServerName { session: SessionId { session, generation }, attachment, name: r.payload(payload_len)? }
        }
        k if k == RecordKind::Exec as u16 => EventBody::Exec,
        k if k == RecordKind::Fork as u16 => EventBody::Fork { parent: Pid(r.u32()?) },
        k if k == RecordKind::Exit as u16 => EventBody::Exit,
        k if k == RecordKind::Peer as u16 => {
            let session = TlsSession(r.u64()?);
            let attachment = AttachmentId(r.u64()?);
            let session = SessionId { session, generation: r.u16()? };
            EventBody::Peer { session, attachment, socket: r.socket()?, path: r.payload(payload_len)? }
        }
        k if k == RecordKind::ClientHello as u16 => {
            let socket = r.socket()?;
            r.u16()?;
            EventBody::ClientHello { socket, bytes: r.payload(payload_len)? }
        }
        other => return Err(DecodeError::UnknownKind(other)),
    };
    Ok(Event { time, process, tid, body })
}

/// Takes from the front; cannot read past the end.
struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Short { have: self.len })?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[b]| b)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_ne_bytes)
    }

    fn socket(&mut self) -> Result<SocketEnds, DecodeError> {
        Ok(SocketEnds {
            family: self.u16()?,
            local_port: self.u16()?,
            remote_port: self.u16()?,
            local: self.array()?,
            remote: self.array()?,
        })
    }

    fn payload(&self, len: u32) -> Result<&'a [u8], DecodeError> {
        usize::try_from(len)
            .ok()
            .and_then(|n| self.rest.get(..n))
            .ok_or(DecodeError::PayloadBeyondRecord { claimed: len, have: self.rest.len() })
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use alloc::vec::Vec;

    use super::*;

    fn data_record(payload: &[u8], capacity: usize) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend((RecordKind::Data as u16).to_ne_bytes());
        out.extend(0u16.to_ne_bytes());
        out.extend(u32::try_from(payload.len()).unwrap().to_ne_bytes());
        out.extend(77u64.to_ne_bytes());
        out.extend(10u32.to_ne_bytes());
        out.extend(20u32.to_ne_bytes());
        out.extend(11u32.to_ne_bytes());
        out.extend(0u32.to_ne_bytes());
        out.extend(0xabcdu64.to_ne_bytes());
        out.extend(5u64.to_ne_bytes());
        out.extend(1000u64.to_ne_bytes());
        out.extend(3u32.to_ne_bytes());
        out.extend(2u16.to_ne_bytes());
        out.extend([1u8, 4u8]);
        assert_eq!(out.len(), size_of::<crate::event::DataHeader>());
        out.extend(payload);
        out.resize(64 + capacity, 0xee);
        out
    }

    #[test]
    fn a_data_record_yields_its_payload_and_not_the_rest_of_its_tier() {
        let record = data_record(b"hello", 256);
        let event = decode(&record).unwrap();
        assert_eq!(event.time, BootTime(77));
        assert_eq!(event.process, ProcessId { pid: Pid(10), start_ticks: 20 });
        let EventBody::Data { session, attachment, direction, offset, skipped, causes, payload, .. } = event.body else {
            panic!("not data")
        };
        assert_eq!(session, SessionId { session: TlsSession(0xabcd), generation: 2 });
        assert_eq!((attachment.0, direction, offset, skipped, causes), (5, Direction::Read, 1000, 3, 4));
        assert_eq!(payload, b"hello");
    }

    #[test]
    fn a_printed_event_tells_the_length_of_its_payload_and_nothing_of_it() {
        let record = data_record(b"hello", 8);
        let printed = alloc::format!("{:?}", decode(&record).unwrap());
        assert!(printed.contains("payload_len: 5") && !printed.contains("104, 101"), "{printed}");
    }

    #[test]
    fn every_truncation_of_a_record_is_an_error_or_a_shorter_tier_and_never_a_panic() {
        let record = data_record(b"hello", 8);
        for cut in 0..record.len() {
            let result = decode(record.get(..cut).unwrap());
            assert_eq!(result.is_ok(), cut >= 64 + 5, "cut at {cut}");
        }
    }

    #[test]
    fn a_payload_length_beyond_the_record_is_refused() {
        let mut record = data_record(b"hello", 8);
        record[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(decode(&record), Err(DecodeError::PayloadBeyondRecord { claimed: u32::MAX, have: 8 }));
    }

    fn socket_record(kind: RecordKind, fixed: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut out = data_record(b"", 0);
        out.truncate(32);
        out[0..2].copy_from_slice(&(kind as u16).to_ne_bytes());
        out[4..8].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_ne_bytes());
        out.extend(fixed);
        for word in [2_u16, 4_000, 443] {
            out.extend(word.to_ne_bytes());
        }
        out.extend([1; 16]);
        out.extend([2; 16]);
        out
    }

    const ENDS: SocketEnds = SocketEnds { family: 2, local_port: 4_000, remote_port: 443, local: [1; 16], remote: [2; 16] };

    #[test]
    fn both_ends_of_a_socket_are_told_and_truncations_are_errors() {
        let mut fixed = Vec::new();
        fixed.extend(0xabcd_u64.to_ne_bytes());
        fixed.extend(5_u64.to_ne_bytes());
        fixed.extend(9_u16.to_ne_bytes());
        let mut record = socket_record(RecordKind::Peer, &fixed, b"/run/x");
        record.extend(b"/run/x");
        let session = SessionId { session: TlsSession(0xabcd), generation: 9 };
        let expected = EventBody::Peer { session, attachment: AttachmentId(5), socket: ENDS, path: b"/run/x" };
        assert_eq!(decode(&record).unwrap().body, expected);
        for cut in 0..record.len() {
            assert!(decode(record.get(..cut).unwrap()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn the_beginning_of_a_handshake_is_told_with_its_socket() {
        let mut record = socket_record(RecordKind::ClientHello, &[], b"\x16\x03\x01");
        record.extend([0; 2]);
        record.extend(b"\x16\x03\x01rest");
        assert_eq!(decode(&record).unwrap().body, EventBody::ClientHello { socket: ENDS, bytes: b"\x16\x03\x01" });
        assert!(decode(&record[..74]).is_err());
    }

    #[test]
    fn unknown_kinds_and_directions_are_named() {
        let mut record = data_record(b"", 0);
        record[0..2].copy_from_slice(&99u16.to_ne_bytes());
        assert_eq!(decode(&record), Err(DecodeError::UnknownKind(99)));
        let mut record = data_record(b"", 0);
        record[62] = 7;
        assert_eq!(decode(&record), Err(DecodeError::UnknownDirection(7)));
        assert_eq!(decode(&[0; 3]), Err(DecodeError::Short { have: 3 }));
    }
}
