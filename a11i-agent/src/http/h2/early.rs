//! Answers on streams whose request has not been seen yet.
//!
//! Where another thread reads, the record of an answer may come before that of its request (as in `h1::early`). Streams are numbered, so that
//! no pair is in doubt; clients open them in order, so that a request with a higher number says of an answer that its own will not come.

use std::collections::BTreeMap;

use a11i_common::identity::BootTime;

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
}

#[derive(Debug)]
pub(super) enum Piece {
    Head { lines: Box<Lines>, missing: Completeness, first_byte: BootTime },
    Data { bytes: Vec<u8>, time: BootTime },
    Gap { missing: Completeness, time: BootTime },
    End { time: BootTime },
    Reset { time: BootTime },
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
        self.bytes = self.bytes.saturating_add(if let Piece::Data { bytes, .. } = &piece { bytes.len() } else { 0 });
        self.pieces = self.pieces.saturating_add(1);
        pieces.push(piece);
        if self.bytes > EARLY_BYTES || self.pieces > EARLY_PIECES {
            *self = Self::default();
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

    /// The request of this stream has come. Those before it had theirs before anybody looked.
    fn take(&mut self, stream: u32) -> Vec<Piece> {
        if self.streams.is_empty() {
            return Vec::new();
        }
        let later = self.streams.split_off(&stream.saturating_add(1));
        let found = std::mem::replace(&mut self.streams, later).remove(&stream).unwrap_or_default();
        if self.streams.is_empty() {
            (self.bytes, self.pieces) = (0, 0);
        }
        found
    }
}

impl H2 {
    /// Gives what is held of this stream's answer on behind its request, which came at `asked`: nothing of it can have come before.
    pub(super) fn answer_early(&mut self, id: u32, asked: BootTime, context: &mut Context<'_>) {
        let Some(direction) = self.client.map(a11i_common::identity::Direction::opposite) else { return };
        for piece in self.early.take(id) {
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
