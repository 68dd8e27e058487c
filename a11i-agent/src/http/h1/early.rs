//! Answers that are seen before their requests.
//!
//! What is written is told when the call that writes returns. Where another thread reads, the answer may have been read by then, so that its
//! record comes first. Such an answer is held as it came, and given on behind its request. The n-th response answers the n-th request:
//! while both are counted without a doubt, nothing else is needed. At the beginning of what is seen, the request may have gone before anybody
//! looked: there the clock decides, since no answer is older than its request.

use a11i_common::identity::BootTime;

use super::H1;
use crate::http::{RequestHead, context::Context};

/// Most that is held: such requests come within a few messages, or never.
const EARLY_BYTES: usize = 256 * 1024;

/// How much later than its answer a request may be told: a thread that has written may have to wait for a processor before its call returns.
const EARLY_NANOS: u64 = 1_000_000_000;

/// What begins an answer that hands the connection to another protocol.
const SWITCH: &[u8] = b"HTTP/1.1 101";

/// What came of responses while no request waited for one.
#[derive(Debug)]
pub(super) struct Early {
    /// In order, each with its time; the first begins a response.
    pieces: Vec<(BootTime, Vec<u8>)>,
    bytes: usize,
}

impl H1 {
    /// Bytes of responses that nobody has asked for yet. `bytes` begin a response, or follow one that is held.
    pub(super) fn hold_early(&mut self, bytes: &[u8], time: BootTime, context: &mut Context<'_>) {
        let early = self.early.get_or_insert(Early { pieces: Vec::new(), bytes: 0 });
        early.bytes = early.bytes.saturating_add(bytes.len());
        early.pieces.push((time, bytes.to_vec()));
        if early.bytes > EARLY_BYTES {
            self.early_is_nobodys(context);
        }
    }

    /// A request has come: what of its answer is here already. What cannot be its answer is nobody's.
    pub(super) fn take_early(&mut self, request: &RequestHead, context: &mut Context<'_>) -> Option<Early> {
        let (first, begin) = self.early.as_ref()?.pieces.first()?;
        let is_known = self.pairing.is_certain() && (self.next_id > 0 || request.first_byte <= *first);
        // By its kind, whoever sent it: a connection is handed over once.
        let is_switch = begin.starts_with(SWITCH) && request.headers.text("upgrade").is_some();
        if is_known && request.first_byte.nanos_since(*first) <= EARLY_NANOS || is_switch {
            return self.early.take();
        }
        self.early_is_nobodys(context);
        None
    }

    /// The request of these has come, at `asked`: nothing of its answer can have come before.
    pub(super) fn answer_early(&mut self, early: Early, asked: BootTime, context: &mut Context<'_>) {
        for (time, bytes) in early.pieces {
            if let Some(accepted) = &mut self.accepted {
                accepted.rest.extend_from_slice(&bytes);
            } else if let Some(upgraded) = &mut self.upgraded {
                upgraded.rest.extend_from_slice(&bytes);
            } else {
                self.response_bytes(&bytes, time.max(asked), context);
            }
        }
    }

    /// No request will come that asked for these.
    pub(super) fn early_is_nobodys(&mut self, context: &mut Context<'_>) {
        for (time, bytes) in self.early.take().into_iter().flat_map(|early| early.pieces) {
            self.take_response_bytes(&bytes, false, time, context);
        }
    }
}
