//! A record as the bytes of a connection, framed one way or another.

use a11i_common::identity::Direction;

use super::{
    Coding, bystanders,
    http1::{self, Length},
    http2::{self, Course},
    record::Record,
    seed::Seed,
};

/// Both directions of one connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Framed {
    /// What the client says.
    pub request: Vec<u8>,
    pub response: Vec<u8>,
    /// Who speaks when: in sum all of both.
    pub turns: Vec<Turn>,
}

/// Bytes that one side says before the other does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    pub direction: Direction,
    pub length: usize,
}

/// What carries an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// HTTP/1.1, the answer's length told beforehand.
    ContentLength,
    /// HTTP/1.1, the answer in chunks.
    Chunked,
    /// HTTP/2, alone on its connection.
    Http2,
    /// HTTP/2, among seven others that are no calls.
    Http2Interleaved,
}

impl Framing {
    pub const ALL: [Self; 4] = [Self::ContentLength, Self::Chunked, Self::Http2, Self::Http2Interleaved];
}

/// What there is to choose.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub framing: Framing,
    /// Of the answer, and now and then of the question.
    pub coding: Option<Coding>,
    /// The answer breaks off where the record ends.
    pub is_cut: bool,
}

impl Framed {
    /// One question and one answer.
    pub fn exchange(request: Vec<u8>, response: Vec<u8>) -> Self {
        let turns =
            vec![Turn { direction: Direction::Write, length: request.len() }, Turn { direction: Direction::Read, length: response.len() }];
        Self { request, response, turns }
    }

    pub(super) fn push(&mut self, direction: Direction, bytes: &[u8]) {
        match direction {
            Direction::Write => self.request.extend_from_slice(bytes),
            Direction::Read => self.response.extend_from_slice(bytes),
        }
        match self.turns.last_mut() {
            Some(turn) if turn.direction == direction => turn.length = turn.length.saturating_add(bytes.len()),
            _ => self.turns.push(Turn { direction, length: bytes.len() }),
        }
    }
}

/// As HTTP/1.1, framed and coded by seed.
pub fn frame(record: &Record, seed: &mut Seed) -> Framed {
    let framing = if seed.below(2) == 0 { Framing::ContentLength } else { Framing::Chunked };
    let coding = Coding::pick(seed);
    frame_as(record, Plan { framing, coding, is_cut: false }, seed)
}

/// As the plan says; what it leaves open is decided by the seed.
pub fn frame_as(record: &Record, plan: Plan, seed: &mut Seed) -> Framed {
    let Plan { framing, coding, is_cut } = plan;
    let length = match framing {
        Framing::ContentLength => Length::Counted,
        Framing::Chunked => Length::Chunked,
        Framing::Http2 => return http2::connection(&[record], Course { side_by_side: 1, coding, is_cut }, seed),
        Framing::Http2Interleaved => {
            let others = bystanders::seven(seed);
            let mut records: Vec<&Record> = others.iter().collect();
            records.insert(seed.size(others.len()), record);
            return http2::connection(&records, Course { side_by_side: records.len(), coding, is_cut }, seed);
        }
    };
    // Requests are framed by their length as a rule, and seldom coded; streams are chunked.
    let request_length = if seed.below(8) == 0 { Length::Chunked } else { Length::Counted };
    let request_coding = coding.filter(|_| seed.below(4) == 0);
    let request = http1::request(record, request_length, request_coding, seed);
    Framed::exchange(request, http1::response(record, length, coding, is_cut, seed))
}

/// Several exchanges on one HTTP/2 connection, begun in this order, so many at a time.
pub fn multiplex(records: &[&Record], side_by_side: usize, coding: Option<Coding>, seed: &mut Seed) -> Framed {
    http2::connection(records, Course { side_by_side, coding, is_cut: false }, seed)
}
