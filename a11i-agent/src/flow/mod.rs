//! Events → bytes in order.
//!
//! Takes data records of one session and direction, each with its absolute offset, in any order. Gives
//! [`Segment`]s: bytes in stream order, gaps as values, the end. Refuses nothing: what cannot be placed is
//! counted. Bounded per flow and in total.

#![warn(clippy::arithmetic_side_effects)]

mod ended;
mod half_stream;
mod reassembly;
mod table;

pub use ended::{ENDS, Ended};
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

/// Printed without its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SegmentBody<'a> {
    Bytes(&'a [u8]),
    Gap(Gap),
    /// No more bytes will come in this direction.
    End,
}

impl std::fmt::Debug for SegmentBody<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Gap(gap) => f.debug_tuple("Gap").field(gap).finish(),
            Self::End => f.write_str("End"),
        }
    }
}

/// Bytes that were transferred and not seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// `None`: unknown, because the kernel could not even count them (`cause::TABLE_FULL`).
    pub lost: Option<u64>,
    pub causes: LossCauses,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_of_bytes_is_their_number() {
        let segment = Segment { direction: Direction::Read, time: BootTime(1), body: SegmentBody::Bytes(b"secret") };
        let piece = DataPiece {
            direction: Direction::Read,
            offset: 0,
            time: BootTime(1),
            skipped: 0,
            causes: LossCauses::default(),
            payload: b"secret",
        };
        for printed in [format!("{segment:?}"), format!("{piece:?}")] {
            assert!(printed.contains('6') && !printed.contains("secret") && !printed.contains("115, 101"), "{printed}");
        }
    }
}
