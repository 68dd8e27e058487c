//! Both directions of one session.

use a11i_common::identity::{BootTime, Direction};

use super::{Segment, half_stream::HalfStream};
use crate::call::LossCauses;

/// Pieces of one direction that may wait for an earlier one. Records of one direction are submitted in
/// order, so that even one waiting piece is rare; 64 bound the work of an insertion.
pub const HELD_PIECES: usize = 64;

/// Bytes of one direction that may wait: four records of the largest tier.
pub const HELD_BYTES: usize = 256 * 1024;

/// How long a hole may stay open before it is called a gap. Longer than any reordering between the
/// kernel's buffers, shorter than anyone waits for a finished call.
pub const GAP_WAIT_NANOS: u64 = 200_000_000;

/// One data record, as decoded. Printed without its payload.
#[derive(Clone, Copy)]
pub struct DataPiece<'a> {
    pub direction: Direction,
    /// Of the payload's first byte in its direction's stream.
    pub offset: u64,
    pub time: BootTime,
    /// Bytes directly after the payload that were transferred and not copied.
    pub skipped: u32,
    /// Losses since the direction's last record, those of `skipped` included.
    pub causes: LossCauses,
    pub payload: &'a [u8],
}

impl std::fmt::Debug for DataPiece<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataPiece")
            .field("direction", &self.direction)
            .field("offset", &self.offset)
            .field("time", &self.time)
            .field("skipped", &self.skipped)
            .field("causes", &self.causes)
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

/// Puts the pieces of one session in order. Pure: the sink is called before the method returns.
#[derive(Debug)]
pub struct Reassembly {
    write: HalfStream,
    read: HalfStream,
}

impl Default for Reassembly {
    fn default() -> Self {
        Self::new()
    }
}

impl Reassembly {
    /// A session from its first byte on. Allocates nothing until a piece has to wait.
    pub const fn new() -> Self {
        Self { write: HalfStream::new(Direction::Write), read: HalfStream::new(Direction::Read) }
    }

    /// Gives on what is in order, without copying it; keeps what is early; drops what was given already.
    pub fn push(&mut self, piece: DataPiece<'_>, sink: &mut dyn FnMut(Segment<'_>)) {
        self.half(piece.direction).push(piece, sink);
    }

    /// The process writes no more (`SSL_shutdown`). `write_offset`: bytes it wrote in all; `causes`: of a loss at the end.
    pub fn write_shutdown(&mut self, write_offset: u64, causes: LossCauses, time: BootTime, sink: &mut dyn FnMut(Segment<'_>)) {
        self.write.end(write_offset, causes, time, sink);
    }

    /// The session is over. The final offsets show a loss at the end; `causes` are indexed by [`Direction`].
    pub fn end(&mut self, write_offset: u64, read_offset: u64, causes: [LossCauses; 2], time: BootTime, sink: &mut dyn FnMut(Segment<'_>)) {
        let [write_causes, read_causes] = causes;
        self.write.end(write_offset, write_causes, time, sink);
        self.read.end(read_offset, read_causes, time, sink);
    }

    /// Gives on what waits, behind its gaps: nothing earlier will come.
    pub fn give_up_holes(&mut self, sink: &mut dyn FnMut(Segment<'_>)) {
        self.write.give_up_holes(sink);
        self.read.give_up_holes(sink);
    }

    /// The session is over and nobody knows its final offsets (its process is gone, the flow was evicted): what waits is given on behind
    /// its gaps. `unseen`: its end is missing, since something was under way.
    pub fn abandon(&mut self, unseen: bool, time: BootTime, sink: &mut dyn FnMut(Segment<'_>)) {
        let causes = if unseen { LossCauses::END_UNSEEN } else { LossCauses::default() };
        self.end(0, 0, [causes; 2], time, sink);
    }

    /// Nothing more will be seen, whatever is still said: a gap of unknown size, then the end.
    pub fn interrupt(&mut self, causes: LossCauses, time: BootTime, sink: &mut dyn FnMut(Segment<'_>)) {
        self.write.interrupt(causes, time, sink);
        self.read.interrupt(causes, time, sink);
    }

    /// Calls holes that are older than [`GAP_WAIT_NANOS`] gaps. `now` on the records' clock.
    pub fn handle_timeout(&mut self, now: BootTime, sink: &mut dyn FnMut(Segment<'_>)) {
        self.write.handle_timeout(now, sink);
        self.read.handle_timeout(now, sink);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<BootTime> {
        match (self.write.next_timeout(), self.read.next_timeout()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Bytes that arrived and were not given on: duplicates, and what came after its gap or the end.
    pub const fn discarded_bytes(&self) -> u64 {
        self.write.discarded_bytes().saturating_add(self.read.discarded_bytes())
    }

    /// Bytes that wait for earlier ones.
    pub const fn held_bytes(&self) -> usize {
        self.write.held_bytes().saturating_add(self.read.held_bytes())
    }

    const fn half(&mut self, direction: Direction) -> &mut HalfStream {
        match direction {
            Direction::Write => &mut self.write,
            Direction::Read => &mut self.read,
        }
    }
}

#[cfg(test)]
#[path = "reassembly_tests.rs"]
#[expect(clippy::arithmetic_side_effects, reason = "tests count small numbers")]
mod tests;
