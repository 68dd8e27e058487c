//! What a connection carries, from its first bytes; and where a message begins, from a segment's first bytes.

use a11i_common::identity::{BootTime, Direction};

use super::h2;
use crate::{
    call::Completeness,
    flow::{Segment, SegmentBody},
};

/// A direction that has not shown itself within so many bytes is something else. The kernel half stops at the same number.
const PROBE_BYTES: usize = 64;

/// Longest method in the IANA registry (`UPDATEREDIRECTREF`) and some room.
const METHOD_BYTES: usize = 20;

const STATUS_START: &[u8] = b"HTTP/1.";

/// Bytes of HTTP/2's preface that no other method begins with.
const METHOD_START: usize = 13;

/// Frame headers in a row that make an HTTP/2 connection joined in the middle; a frame that ends with its segment counts double.
const H2_SCORE: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Undecided,
    Http1 {
        client: Direction,
    },
    /// `client`: the connection is seen from its beginning. `None`: frames were recognised in the middle.
    Http2 {
        client: Option<Direction>,
    },
    /// Neither direction begins like HTTP. Message starts are looked for all the same: it may have been joined in the middle.
    NotHttp,
}

/// Watches a connection until it shows itself.
#[derive(Debug, Default)]
pub(super) struct Detector {
    write: Prefix,
    read: Prefix,
    last_direction: Option<Direction>,
    h2_score: u32,
}

/// The first bytes of one direction's present turn.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    pub(super) bytes: Vec<u8>,
    pub(super) time: BootTime,
    /// How many of `bytes` came before the segment observed last.
    pub(super) before: usize,
    /// Bytes that are no message start were seen.
    pub(super) joined_late: bool,
    pub(super) missing: Completeness,
}

impl Detector {
    pub(super) fn observe(&mut self, segment: &Segment<'_>) -> Verdict {
        let direction = segment.direction;
        let new_turn = self.last_direction != Some(direction);
        match segment.body {
            SegmentBody::Bytes(bytes) => {
                self.last_direction = Some(direction);
                let prefix = self.prefix_mut(direction);
                if new_turn && prefix.joined_late {
                    prefix.bytes.clear();
                }
                if prefix.bytes.is_empty() {
                    prefix.time = segment.time;
                }
                prefix.before = prefix.bytes.len();
                let room = PROBE_BYTES.saturating_sub(prefix.bytes.len());
                prefix.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                self.judge(direction, bytes)
            }
            // The kernel half copies nothing more until bytes begin like a request. What it left out was no message of ours.
            SegmentBody::Gap(gap) if gap.causes.are_by_intention() => {
                let prefix = self.prefix_mut(direction);
                prefix.joined_late = true;
                prefix.bytes.clear();
                Verdict::NotHttp
            }
            SegmentBody::Gap(gap) => {
                let prefix = self.prefix_mut(direction);
                prefix.joined_late |= !prefix.bytes.is_empty();
                prefix.bytes.clear();
                prefix.missing = prefix.missing.join(Completeness::Gap { lost: gap.lost, causes: gap.causes });
                Verdict::Undecided
            }
            SegmentBody::End => Verdict::Undecided,
        }
    }

    pub(super) fn into_prefixes(self) -> [Prefix; 2] {
        [self.write, self.read]
    }

    /// Bytes of a direction may become a message's start.
    pub(super) fn awaits_more(&self) -> bool {
        [&self.write, &self.read].iter().any(|prefix| !prefix.bytes.is_empty() && !prefix.joined_late)
    }

    pub(super) const fn is_unrecognised(&self) -> bool {
        self.write.joined_late || self.read.joined_late
    }

    fn judge(&mut self, direction: Direction, segment: &[u8]) -> Verdict {
        let bytes = &self.prefix_mut(direction).bytes;
        if let Some(preface) = bytes.get(..h2::PREFACE.len().min(bytes.len()))
            && preface.len() > METHOD_START
            && h2::PREFACE.starts_with(preface)
        {
            return Verdict::Http2 { client: Some(direction) };
        }
        if begins_request(bytes) {
            return Verdict::Http1 { client: direction };
        }
        if bytes.starts_with(STATUS_START) {
            return Verdict::Http1 { client: direction.opposite() };
        }
        if may_begin_request(bytes) || may_begin_response(bytes) || h2::PREFACE.starts_with(bytes) {
            return Verdict::Undecided;
        }
        let (begins_server, may_begin_server) = (h2::begins_server(bytes), h2::may_begin_server(bytes));
        if begins_server && !self.is_unrecognised() {
            return Verdict::Http2 { client: Some(direction.opposite()) };
        }
        if may_begin_server && !self.is_unrecognised() {
            return Verdict::Undecided;
        }
        self.h2_score = self.h2_score.saturating_add(h2::chain(segment));
        if self.h2_score >= H2_SCORE {
            return Verdict::Http2 { client: None };
        }
        self.prefix_mut(direction).joined_late = true;
        if self.write.joined_late && self.read.joined_late { Verdict::NotHttp } else { Verdict::Undecided }
    }

    fn prefix_mut(&mut self, direction: Direction) -> &mut Prefix {
        match direction {
            Direction::Write => &mut self.write,
            Direction::Read => &mut self.read,
        }
    }
}

/// A method, a space, and the first byte of a target.
pub fn begins_request(bytes: &[u8]) -> bool {
    let Some((method, target)) = split_method(bytes) else { return false };
    match target.first() {
        Some(b'/' | b'*') => method != b"PRI",
        Some(b'h' | b'H') => target.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"http")),
        Some(byte) => method == b"CONNECT" && (byte.is_ascii_alphanumeric() || *byte == b'['),
        None => false,
    }
}

/// Nothing in these bytes speaks against a request line; more may.
pub(super) fn may_begin_request(bytes: &[u8]) -> bool {
    match split_method(bytes) {
        Some((_, target)) => {
            target.is_empty()
                || begins_request(bytes)
                || (target.len() < 4 && target.iter().zip(b"http").all(|(a, b)| a.eq_ignore_ascii_case(b)))
        }
        None => bytes.len() <= METHOD_BYTES && bytes.iter().all(|b| is_method_byte(*b)),
    }
}

/// Nothing in these bytes speaks against a status line; more may.
pub(super) fn may_begin_response(bytes: &[u8]) -> bool {
    bytes.starts_with(STATUS_START) || STATUS_START.starts_with(bytes)
}

fn split_method(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().take(METHOD_BYTES.saturating_add(1)).position(|b| *b == b' ')?;
    let (method, rest) = bytes.split_at_checked(space)?;
    (space >= 3 && method.iter().all(|b| is_method_byte(*b))).then(|| (method, rest.get(1..).unwrap_or_default()))
}

/// Registered methods are upper case letters and hyphens.
const fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-'
}
