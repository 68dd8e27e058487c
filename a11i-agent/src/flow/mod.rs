//! Events → bytes in order.
//!
//! Takes data records of one session and direction, each with its absolute offset, in any order. Gives
//! [`Segment`]s: bytes in stream order, gaps as values, the end. Refuses nothing: what cannot be placed is
//! counted. Bounded per flow and in total.

#![warn(clippy::arithmetic_side_effects)]

mod half_stream;
mod reassembly;
mod table;

pub use reassembly::{DataPiece, GAP_WAIT_NANOS, HELD_BYTES, HELD_PIECES, Reassembly};
pub use table::{DEFAULT_FLOWS, IDLE_NANOS, Table};

use a11i_common::{
    decode::SessionId,
    identity::{BootTime, Direction, ProcessId},
};

use crate::call::LossCauses;

/// One TLS session of one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlowId {
    pub process: ProcessId,
    pub session: SessionId,
}

/// The next piece of one direction's stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    pub direction: Direction,
    /// When the call that transferred it returned. For a gap: that of the record that showed it.
    pub time: BootTime,
    pub body: SegmentBody<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentBody<'a> {
    Bytes(&'a [u8]),
    Gap(Gap),
    /// No more bytes will come in this direction.
    End,
}

/// Bytes that were transferred and not seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// `None`: unknown, because the kernel could not even count them (`cause::TABLE_FULL`).
    pub lost: Option<u64>,
    pub causes: LossCauses,
}
