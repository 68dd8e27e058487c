//! Recorded exchanges → what the kernel half would have sent of them.
//!
//! Takes one record (a line of a recorded corpus, or of an own recording in its format). Gives both directions as bytes of HTTP/1.1, or of an
//! HTTP/2 connection, and those bytes cut at random into data events with absolute offsets and increasing times. Everything is decided
//! by a seed: the same record and seed give the same bytes. Reading files and running the pipeline is the caller's.

#![warn(clippy::arithmetic_side_effects)]

mod bystanders;
mod coding;
mod framing;
mod hpack;
mod http1;
mod http2;
mod record;
mod seed;

pub use coding::Coding;
pub use framing::{Framed, Framing, Plan, Turn, frame, frame_as, multiplex};
pub use record::{Message, Record, RecordError, Request, Response};
pub use seed::Seed;

use a11i_common::{
    decode::{Event, EventBody, SessionId},
    identity::{AttachmentId, BootTime, Direction, ProcessId, Tid, TlsSession},
};

/// Where the replayed bytes seem to come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    pub process: ProcessId,
    pub session: TlsSession,
    /// Of the first event; the others follow at intervals of some microseconds to milliseconds.
    pub start: BootTime,
}

/// Largest piece of one library call: a TLS record.
const LARGEST_PIECE: usize = 16_384;

/// The connection as the kernel half would have reported it, in order of time: server name, turns, end of the session.
pub fn events<'a>(framed: &'a Framed, server_name: &'a str, origin: Origin, seed: &mut Seed) -> Vec<Event<'a>> {
    let session = SessionId { session: origin.session, generation: 0 };
    let attachment = AttachmentId(0);
    let mut time = origin.start;
    let mut out = Vec::new();
    let mut emit = |time: BootTime, body| {
        out.push(Event { time, process: origin.process, tid: Tid(origin.process.pid.0), body });
    };
    emit(time, EventBody::ServerName { session, attachment, name: server_name.as_bytes() });
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let (mut write_offset, mut read_offset) = (0, 0);
    let (mut written, mut read) = (framed.request.as_slice(), framed.response.as_slice());
    for turn in &framed.turns {
        let (rest, offset) = match turn.direction {
            Direction::Write => (&mut written, &mut write_offset),
            Direction::Read => (&mut read, &mut read_offset),
        };
        let (said, later) = rest.split_at_checked(turn.length).unwrap_or((rest, &[]));
        *rest = later;
        for payload in pieces(said, seed) {
            time = time.plus_nanos(seed.below(1_000_000).saturating_add(1_000));
            let (direction, offset_now) = (turn.direction, *offset);
            emit(time, EventBody::Data { session, attachment, direction, offset: offset_now, skipped: 0, causes: 0, request: 0, payload });
            *offset = offset_now.saturating_add(length(payload));
        }
    }
    time = time.plus_nanos(1_000);
    emit(time, EventBody::SessionEnd { session, attachment, write_offset, read_offset, causes: [0; 2] });
    out
}

/// `bytes` cut at random: small pieces mostly, some of a record's size. Nothing of nothing.
pub fn pieces<'a>(bytes: &'a [u8], seed: &mut Seed) -> Vec<&'a [u8]> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let largest = match seed.below(4) {
            0 => 16,
            1 => 256,
            2 => 2_048,
            _ => LARGEST_PIECE,
        };
        let cut = seed.size(largest).clamp(1, rest.len());
        let (piece, tail) = rest.split_at_checked(cut).unwrap_or((rest, &[]));
        out.push(piece);
        rest = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::Pid;

    use super::*;

    const RECORD: &str = r#"{"id":"x","request":{"method":"POST","host":"api.openai.com","path":"/v1/chat/completions?a=b",
        "headers":[["Host","api.openai.com"],["Content-Type","application/json"]],"body":"{\"model\":\"m\"}"},
        "response":{"status":200,"headers":[["content-type","application/json"]],"body_b64":"eyJpZCI6IsO8In0="}}"#;

    #[test]
    fn pieces_join_to_the_whole_for_any_seed() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
        for seed in 0..50 {
            let pieces = pieces(&bytes, &mut Seed::new(seed));
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
            assert_eq!(pieces.concat(), bytes);
        }
    }

    #[test]
    fn events_have_offsets_without_holes_and_increasing_times() {
        let record = Record::parse(RECORD).unwrap();
        for (number, framing) in (0..50).zip(Framing::ALL.into_iter().cycle()) {
            let mut seed = Seed::new(number);
            let framed = frame_as(&record, Plan { framing, coding: None, is_cut: false }, &mut seed);
            let origin = Origin { process: ProcessId { pid: Pid(7), start_ticks: 1 }, session: TlsSession(9), start: BootTime(5) };
            let events = events(&framed, "api.openai.com", origin, &mut seed);
            assert!(events.is_sorted_by_key(|event| event.time));
            for (direction, whole) in [(Direction::Write, &framed.request), (Direction::Read, &framed.response)] {
                let mut joined = Vec::new();
                for event in &events {
                    if let EventBody::Data { direction: of, offset, payload, .. } = event.body
                        && of == direction
                    {
                        assert_eq!(offset, joined.len() as u64);
                        joined.extend_from_slice(payload);
                    }
                }
                assert_eq!(&joined, whole);
            }
        }
    }

    #[test]
    fn a_record_is_framed_as_http() {
        let record = Record::parse(RECORD).unwrap();
        let request = String::from_utf8(frame(&record, &mut Seed::new(1)).request).unwrap();
        assert!(request.starts_with("POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: api.openai.com\r\n"), "{request}");
        assert_eq!(record.response.message.body.as_slice(), "{\"id\":\"\u{fc}\"}".as_bytes());
    }

    #[test]
    fn a_line_that_is_no_record_says_what_is_wrong() {
        for (line, want) in [("", "not a record"), ("{}", "not a record"), (&RECORD.replace("eyJp", "ey*p"), "base64")] {
            let error = Record::parse(line).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
