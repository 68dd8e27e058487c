//! Answers that are seen before their requests.
//!
//! What is written is told when the call that writes returns. Where another thread reads, the answer may have been read by then, so that its
//! record comes first. Such an answer is held as it came, and given on behind its request. The n-th response answers the n-th request:
//! while both are counted without a doubt, nothing else is needed. At the beginning of what is seen, the request may have gone before anybody
//! looked: there the clock decides, since no answer is older than its request.

use std::collections::VecDeque;

use a11i_common::identity::BootTime;

use super::H1;
use crate::http::{ConnectionNotice, MalformedReason, RequestHead, context::Context, detect};

/// Most that is held: such requests come within a few messages, or never.
const EARLY_BYTES: usize = 256 * 1024;

/// Pieces that are held with a time of their own; what comes behind them joins the last, so that single bytes cost no more than long ones.
const EARLY_PIECES: usize = 256;

/// How much later than its answer a request may be told: a thread that has written may have to wait for a processor before its call returns.
const EARLY_NANOS: u64 = 1_000_000_000;

/// What begins an answer that hands the connection to another protocol.
const SWITCH: &[u8] = b"HTTP/1.1 101";

/// What came of responses while no request waited for one.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// In order; the first begins a response.
    pieces: VecDeque<Piece>,
    /// In all buffers, with what was used of them already.
    bytes: usize,
}

#[derive(Debug)]
struct Piece {
    /// When it came, whatever it turns out to answer.
    time: BootTime,
    bytes: Vec<u8>,
    /// So much of it answered requests before.
    used: usize,
}

/// An answer that is given on as soon as its request has been told as far as it came.
#[derive(Debug)]
pub(super) struct Due {
    early: Early,
    /// When its request came.
    asked: BootTime,
}

impl Early {
    fn push(&mut self, bytes: &[u8], time: BootTime) {
        self.bytes = self.bytes.saturating_add(bytes.len());
        let is_full = self.pieces.len() >= EARLY_PIECES;
        match self.pieces.back_mut().filter(|last| is_full || last.time == time) {
            Some(last) => last.bytes.extend_from_slice(bytes),
            None => self.pieces.push_back(Piece { time, bytes: bytes.to_vec(), used: 0 }),
        }
    }

    fn pop(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        self.bytes = self.bytes.saturating_sub(piece.bytes.len());
        Some(piece)
    }

    /// The first bytes, as many as tell what begins here.
    fn begin(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(Piece::left).copied().take(SWITCH.len()).collect()
    }
}

impl Piece {
    fn left(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }
}

impl H1 {
    /// Bytes of responses that nobody has asked for yet. `bytes` may begin a response, or follow one that is held.
    pub(super) fn hold_early(&mut self, bytes: &[u8], time: BootTime, context: &mut Context<'_>) {
        let mut early = self.early.take().unwrap_or_default();
        early.push(bytes, time);
        self.keep_early(early, time, context);
        if self.early.as_ref().is_some_and(|early| early.bytes > EARLY_BYTES) {
            self.early_is_nobodys(context);
        }
    }

    /// What is held stays so, as long as it may begin a response.
    fn keep_early(&mut self, early: Early, time: BootTime, context: &mut Context<'_>) {
        if detect::may_begin_response(&early.begin()) {
            self.early = Some(early);
        } else {
            self.begins_no_response(time, context);
        }
    }

    /// What nobody asked for does not even begin a response: it answers no request, not the next one either.
    pub(super) fn begins_no_response(&mut self, time: BootTime, context: &mut Context<'_>) {
        context.notices.push(ConnectionNotice::Malformed(MalformedReason::Head));
        self.pairing.response_bytes(time);
        self.pairing.responses_lost();
        self.responses.lose(false, false);
    }

    /// A request has come: what of its answer is here already. What cannot be its answer is nobody's.
    pub(super) fn take_early(&mut self, request: &RequestHead, context: &mut Context<'_>) -> Option<Due> {
        let early = self.early.as_ref()?;
        let first = early.pieces.front()?.time;
        let asked = request.first_byte;
        let is_known = self.pairing.is_certain() && (self.next_id > 0 || asked <= first);
        // By its kind, whoever sent it: a connection is handed over once.
        let is_switch = request.headers.text("upgrade").is_some() && early.begin().starts_with(SWITCH);
        if is_known && asked.nanos_since(first) <= EARLY_NANOS || is_switch {
            return self.early.take().map(|early| Due { early, asked });
        }
        self.early_is_nobodys(context);
        None
    }

    /// The request of what is due has been told, as far as it came: nothing of its answer can have come before. What is left answers others.
    pub(super) fn answer_early(&mut self, context: &mut Context<'_>) {
        let Some(Due { mut early, asked }) = self.due.take() else { return };
        while let Some(mut piece) = early.pop() {
            if let Some(accepted) = &mut self.accepted {
                accepted.rest.extend_from_slice(piece.left());
            } else if let Some(upgraded) = &mut self.upgraded {
                upgraded.rest.extend_from_slice(piece.left());
            } else {
                let time = piece.time.max(asked);
                let left = self.take_response_bytes(piece.left(), true, time, context).len();
                if left > 0 {
                    piece.used = piece.bytes.len().saturating_sub(left);
                    early.bytes = early.bytes.saturating_add(piece.bytes.len());
                    early.pieces.push_front(piece);
                    // Those that are behind it were held before anybody knew that something begins here.
                    return self.keep_early(early, time, context);
                }
            }
        }
    }

    /// No request will come that asked for these.
    pub(super) fn early_is_nobodys(&mut self, context: &mut Context<'_>) {
        for piece in self.early.take().into_iter().flat_map(|early| early.pieces) {
            self.take_response_bytes(piece.left(), false, piece.time, context);
        }
    }
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::Direction;

    use super::*;
    use crate::{
        call::Completeness,
        http::{HttpSettings, Interest},
    };

    #[test]
    fn single_bytes_are_held_in_few_pieces_and_in_order() {
        let mut early = Early::default();
        let text: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for (byte, time) in text.iter().zip(0..) {
            early.push(&[*byte], BootTime(time));
        }
        assert_eq!((early.pieces.len(), early.bytes), (EARLY_PIECES, 1000));
        assert_eq!(early.pieces.iter().flat_map(Piece::left).copied().collect::<Vec<_>>(), text);
        let mut early = Early::default();
        early.push(b"a", BootTime(1));
        early.push(b"b", BootTime(1));
        assert_eq!(early.pieces.len(), 1);
    }

    #[test]
    fn what_is_left_for_later_requests_stays_where_it_is_with_its_time() {
        let settings = HttpSettings::new(&[7; 32]);
        let mut context = Context { settings: &settings, notices: &mut Vec::new(), decoders: &mut 0, sink: &mut |_| Interest::Wanted };
        let mut h1 = H1::new(Direction::Write, [false; 2], [Completeness::Whole; 2]);
        let answers = b"HTTP/1.1 204 No\r\n\r\n".repeat(3);
        h1.hold_early(&answers, BootTime(50), &mut context);
        let held = |h1: &H1| h1.early.as_ref().and_then(|early| early.pieces.front()).map(|it| (it.bytes.as_ptr(), it.time, it.used));
        let before = held(&h1).map(|(at, ..)| at);
        for (time, used) in [(10, 19), (20, 38)] {
            h1.request_bytes(b"GET / HTTP/1.1\r\n\r\n", true, BootTime(time), &mut context);
            h1.answer_early(&mut context);
            assert_eq!(held(&h1), before.map(|at| (at, BootTime(50), used)));
        }
    }
}
