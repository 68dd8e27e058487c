//! Answers on streams whose request has not been seen yet.
//!
//! Where another thread reads, the record of an answer may come before that of its request (as in `h1::early`). Streams are numbered, so that
//! no pair is in doubt; clients open them in order, so that a request with a higher number says of an answer that its own will not come.

use std::collections::BTreeMap;

use a11i_common::identity::{BootTime, Direction};

use super::{H2, head::Lines};
use crate::{call::Completeness, http::context::Context};

/// Most that is held of all streams: their requests come within a few messages, or never.
const EARLY_BYTES: usize = 256 * 1024;

/// Streams, and pieces of them, that are held at once: as many as servers allow side by side, with some messages each.
const EARLY_STREAMS: usize = 128;
const EARLY_PIECES: usize = 4096;

/// What came of answers, by stream.
#[derive(Debug, Default)]
pub(super) struct Early {
    streams: BTreeMap<u32, Vec<Piece>>,
    bytes: usize,
    pieces: usize,
    /// What is given on as soon as its request has been told as far as it came. Nothing is due between two segments.
    due: Vec<Due>,
}

#[derive(Debug)]
struct Due {
    stream: u32,
    /// When its request came.
    asked: BootTime,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
pub(super) enum Piece {
    Head { lines: Box<Lines>, missing: Completeness, first_byte: BootTime },
    Data { bytes: Vec<u8>, time: BootTime },
    Gap { missing: Completeness, time: BootTime },
    End { time: BootTime },
    Reset { time: BootTime },
}

impl Piece {
    /// Bytes of memory behind it.
    fn held(&self) -> usize {
        match self {
            Self::Head { lines, .. } => lines.held(),
            Self::Data { bytes, .. } => bytes.len(),
            Self::Gap { .. } | Self::End { .. } | Self::Reset { .. } => 0,
        }
    }
}

impl Early {
    /// The head of an answer that nobody is known to have asked for.
    pub(super) fn begin(&mut self, stream: u32, piece: Piece) {
        if self.streams.len() < EARLY_STREAMS {
            self.streams.entry(stream).or_default();
            self.push(stream, piece);
        }
    }

    /// More of an answer that is held; of others, nothing.
    pub(super) fn push(&mut self, stream: u32, piece: Piece) {
        let Some(pieces) = self.streams.get_mut(&stream) else { return };
        self.bytes = self.bytes.saturating_add(piece.held());
        self.pieces = self.pieces.saturating_add(1);
        pieces.push(piece);
        if self.bytes > EARLY_BYTES || self.pieces > EARLY_PIECES {
            *self = Self { due: std::mem::take(&mut self.due), ..Self::default() };
        }
    }

    pub(super) fn holds(&self, stream: u32) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Something of each of them is missing.
    pub(super) fn lose(&mut self, missing: Completeness, time: BootTime) {
        for stream in self.streams.keys().copied().collect::<Vec<_>>() {
            self.push(stream, Piece::Gap { missing, time });
        }
    }

    /// The request of this stream has come, at `asked`: what is held of its answer is due. Those before it had theirs before anybody looked.
    pub(super) fn release(&mut self, stream: u32, asked: BootTime) {
        if self.streams.is_empty() {
            return;
        }
        let later = self.streams.split_off(&stream.saturating_add(1));
        let mut gone = std::mem::replace(&mut self.streams, later);
        for piece in gone.values().flatten() {
            self.bytes = self.bytes.saturating_sub(piece.held());
            self.pieces = self.pieces.saturating_sub(1);
        }
        if let Some(pieces) = gone.remove(&stream) {
            self.due.push(Due { stream, asked, pieces });
        }
    }
}

impl H2 {
    /// Gives every answer that is due on behind what was told of its request.
    pub(super) fn answer_all_early(&mut self, context: &mut Context<'_>) {
        for due in std::mem::take(&mut self.early.due) {
            self.give_on(due, context);
        }
    }

    /// Gives this stream's answer on, if it is due.
    pub(super) fn answer_early(&mut self, id: u32, context: &mut Context<'_>) {
        if let Some(at) = self.early.due.iter().position(|due| due.stream == id) {
            let due = self.early.due.remove(at);
            self.give_on(due, context);
        }
    }

    /// Nothing of an answer can have come before its request.
    fn give_on(&mut self, Due { stream: id, asked, pieces }: Due, context: &mut Context<'_>) {
        let Some(direction) = self.client.map(Direction::opposite) else { return };
        for piece in pieces {
            match piece {
                Piece::Head { lines, missing, first_byte } => self.response(id, *lines, missing, first_byte.max(asked), context),
                Piece::Data { bytes, time } => {
                    if let Some(stream) = self.streams.get_mut(&id) {
                        stream.data(false, &bytes, time.max(asked), context);
                    }
                }
                Piece::Gap { missing, time } => {
                    if let Some(stream) = self.streams.get_mut(&id) {
                        stream.gap(false, missing, time.max(asked), context);
                    }
                }
                Piece::End { time } => self.end_stream(direction, id, time.max(asked), context),
                Piece::Reset { time } => self.reset(id, time.max(asked), context),
            }
        }
    }
}
