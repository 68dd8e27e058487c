//! One direction of a session: what came so far, what waits for an earlier piece.

use std::collections::BTreeMap;

use a11i_common::{
    event::cause,
    identity::{BootTime, Direction},
};

use super::{
    Gap, Segment, SegmentBody,
    reassembly::{DataPiece, GAP_WAIT_NANOS, HELD_BYTES, HELD_PIECES},
};
use crate::call::LossCauses;

#[derive(Debug)]
pub(super) struct HalfStream {
    direction: Direction,
    /// Offset of the next byte to give on.
    next: u64,
    ended: bool,
    /// Early pieces by offset. They may overlap; what overlaps is trimmed when it is given on.
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    discarded: u64,
}

struct Held {
    time: BootTime,
    skipped: u32,
    causes: LossCauses,
    payload: Box<[u8]>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("time", &self.time).field("payload_len", &self.payload.len()).finish_non_exhaustive()
    }
}

impl HalfStream {
    pub(super) const fn new(direction: Direction) -> Self {
        Self { direction, next: 0, ended: false, held: BTreeMap::new(), held_bytes: 0, discarded: 0 }
    }

    pub(super) const fn discarded_bytes(&self) -> u64 {
        self.discarded
    }

    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn push(&mut self, piece: DataPiece<'_>, sink: &mut dyn FnMut(Segment<'_>)) {
        // An offset that no stream reaches comes from a broken record: there is no place for it.
        if self.ended || end_of(&piece).is_none() {
            self.discard(piece.payload.len());
            return;
        }
        loop {
            if piece.offset <= self.next || explains_its_hole(&piece) {
                if piece.offset > self.next {
                    self.drain_up_to(piece.offset, sink);
                }
                self.place(&piece, sink);
                self.drain(sink);
                return;
            }
            if self.has_room_for(&piece) {
                self.hold(&piece);
                return;
            }
            // No room: the hole before the lowest piece has been waited for long enough.
            if !self.give_up_hole(piece.offset, sink) {
                self.place(&piece, sink);
                self.drain(sink);
                return;
            }
        }
    }

    pub(super) fn end(&mut self, final_offset: u64, causes: LossCauses, time: BootTime, sink: &mut dyn FnMut(Segment<'_>)) {
        if self.ended {
            return;
        }
        self.give_up_holes(sink);
        let lost = final_offset.saturating_sub(self.next);
        if uncounted(causes) {
            self.gap(None, causes, time, sink);
        } else if lost > 0 {
            self.gap(Some(lost), causes, time, sink);
        }
        self.next = self.next.max(final_offset);
        self.ended = true;
        sink(Segment { direction: self.direction, time, body: SegmentBody::End });
    }

    pub(super) fn interrupt(&mut self, causes: LossCauses, time: BootTime, sink: &mut dyn FnMut(Segment<'_>)) {
        if self.ended {
            return;
        }
        while self.give_up_hole(u64::MAX, sink) {}
        self.gap(None, causes, time, sink);
        self.ended = true;
        sink(Segment { direction: self.direction, time, body: SegmentBody::End });
    }

    /// Gives on everything that waits, its holes as gaps.
    pub(super) fn give_up_holes(&mut self, sink: &mut dyn FnMut(Segment<'_>)) {
        while self.give_up_hole(u64::MAX, sink) {}
    }

    pub(super) fn handle_timeout(&mut self, now: BootTime, sink: &mut dyn FnMut(Segment<'_>)) {
        while self.next_timeout().is_some_and(|at| at <= now) && self.give_up_hole(u64::MAX, sink) {}
    }

    pub(super) fn next_timeout(&self) -> Option<BootTime> {
        self.held.first_key_value().map(|(_, held)| held.time.plus_nanos(GAP_WAIT_NANOS))
    }

    /// Gives on a piece that begins at or before `next`, or whose hole is to become a gap now.
    fn place(&mut self, piece: &DataPiece<'_>, sink: &mut dyn FnMut(Segment<'_>)) {
        let (Some(end), Some(payload_end)) = (end_of(piece), piece.offset.checked_add(len_u64(piece.payload))) else { return };
        if end <= self.next && !(end == self.next && piece.offset == end) {
            // Everything of it was given on, or called a gap, before: its causes were told then.
            self.discard(piece.payload.len());
            return;
        }
        let hole = piece.offset.saturating_sub(self.next);
        if uncounted(piece.causes) {
            self.gap(None, piece.causes, piece.time, sink);
        } else if hole > 0 {
            self.gap(Some(hole), piece.causes, piece.time, sink);
        }
        self.next = self.next.max(piece.offset);

        let old = usize::try_from(self.next.saturating_sub(piece.offset)).unwrap_or(usize::MAX);
        self.discard(old.min(piece.payload.len()));
        let fresh = piece.payload.get(old..).unwrap_or_default();
        if !fresh.is_empty() {
            sink(Segment { direction: self.direction, time: piece.time, body: SegmentBody::Bytes(fresh) });
        }
        self.next = self.next.max(payload_end);

        let skipped = end.saturating_sub(self.next);
        if skipped > 0 {
            self.gap(Some(skipped), piece.causes, piece.time, sink);
            self.next = end;
        }
    }

    /// Gives on every held piece that has become contiguous.
    fn drain(&mut self, sink: &mut dyn FnMut(Segment<'_>)) {
        while self.held.first_key_value().is_some_and(|(&offset, _)| offset <= self.next) {
            self.place_first(sink);
        }
    }

    /// Gives on every held piece below `offset`, gaps before them included.
    fn drain_up_to(&mut self, offset: u64, sink: &mut dyn FnMut(Segment<'_>)) {
        while self.held.first_key_value().is_some_and(|(&held, _)| held < offset) {
            self.place_first(sink);
        }
    }

    /// Makes the first hole a gap and gives on the held pieces behind it. False when no held piece lies below `limit`.
    fn give_up_hole(&mut self, limit: u64, sink: &mut dyn FnMut(Segment<'_>)) -> bool {
        if self.held.first_key_value().is_none_or(|(&offset, _)| offset >= limit) {
            return false;
        }
        self.place_first(sink);
        self.drain(sink);
        true
    }

    fn place_first(&mut self, sink: &mut dyn FnMut(Segment<'_>)) {
        let Some((offset, held)) = self.held.pop_first() else { return };
        self.held_bytes = self.held_bytes.saturating_sub(held.payload.len());
        let Held { time, skipped, causes, payload } = held;
        self.place(&DataPiece { direction: self.direction, offset, time, skipped, causes, payload: &payload }, sink);
    }

    fn has_room_for(&self, piece: &DataPiece<'_>) -> bool {
        self.held.len() < HELD_PIECES && self.held_bytes.saturating_add(piece.payload.len()) <= HELD_BYTES
    }

    fn hold(&mut self, piece: &DataPiece<'_>) {
        if let Some(same) = self.held.get(&piece.offset)
            && same.payload.len() >= piece.payload.len()
        {
            self.discard(piece.payload.len());
            return;
        }
        let held = Held { time: piece.time, skipped: piece.skipped, causes: piece.causes, payload: piece.payload.into() };
        self.held_bytes = self.held_bytes.saturating_add(held.payload.len());
        if let Some(shorter) = self.held.insert(piece.offset, held) {
            self.held_bytes = self.held_bytes.saturating_sub(shorter.payload.len());
            self.discard(shorter.payload.len());
        }
    }

    fn gap(&self, lost: Option<u64>, causes: LossCauses, time: BootTime, sink: &mut dyn FnMut(Segment<'_>)) {
        sink(Segment { direction: self.direction, time, body: SegmentBody::Gap(Gap { lost, causes }) });
    }

    fn discard(&mut self, bytes: usize) {
        self.discarded = self.discarded.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

/// The offset after a piece and what was skipped behind it.
fn end_of(piece: &DataPiece<'_>) -> Option<u64> {
    piece.offset.checked_add(len_u64(piece.payload))?.checked_add(u64::from(piece.skipped))
}

fn len_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A loss that the offsets do not show.
const fn uncounted(causes: LossCauses) -> bool {
    causes.has(LossCauses::of_kernel(cause::TABLE_FULL).with(LossCauses::END_UNSEEN))
}

/// The kernel says that it lost something before this piece: nobody need wait for it. With `skipped` the
/// causes may be those of the skipped bytes alone, so that the hole is waited for as any other.
const fn explains_its_hole(piece: &DataPiece<'_>) -> bool {
    piece.causes.0 != 0 && piece.skipped == 0
}
