//! Input that is transcribed on the side: a model of its own, whose usage is its own.

use std::collections::VecDeque;

use a11i_common::identity::BootTime;

use super::{Event, Heard, TokenUsage, Turns, usage};
use crate::{
    call::{CallBuilder, Operation},
    provider::{
        error_body::read_error,
        lenient::{Shape, clip},
    },
};

/// How the types of its events begin.
pub(super) const KINDS: &str = "conversation.item.input_audio_transcription.";

/// Input that waits for its transcript: the server transcribes as it hears.
const WAITING: usize = 64;

/// Longest id of an item.
const ID_BYTES: usize = 128;

const TRANSCRIPTION: Operation = Operation::Other("transcription");

#[derive(Debug, Default)]
pub(super) struct Transcriptions {
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    item: String,
    /// When the input was complete.
    since: BootTime,
    pieces: u64,
}

impl Transcriptions {
    /// The server has taken this input.
    pub(super) fn begin(&mut self, item: Option<&str>, time: BootTime) {
        let Some(item) = item.map(|id| clip(id, ID_BYTES)) else { return };
        if self.waiting.iter().any(|waiting| waiting.item == item) {
            return;
        }
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { item: item.to_owned(), since: time, pieces: 0 });
    }

    pub(super) fn hear(&mut self, kind: &str, event: &Event<'_>, message: &Heard<'_>, model: Option<&str>, turns: &mut Turns) {
        let Some(item) = event.item_id.filled().map(|id| clip(id, ID_BYTES)) else { return };
        match kind.strip_prefix(KINDS) {
            Some("delta" | "segment") => {
                self.begin(Some(item), message.time);
                if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.item == item) {
                    waiting.pieces = waiting.pieces.saturating_add(1);
                }
            }
            Some(end @ ("completed" | "failed")) => {
                let place = self.waiting.iter().position(|waiting| waiting.item == item);
                let waiting = place.and_then(|place| self.waiting.remove(place));
                let start = waiting.as_ref().map_or(message.time, |waiting| waiting.since);
                turns.single(TRANSCRIPTION, start, message.time, |call| {
                    fill(event, end == "failed", model, call);
                    let pieces = waiting.map_or(0, |waiting| waiting.pieces);
                    call.request.stream = pieces > 0;
                    call.response.stream_chunks = pieces;
                });
            }
            Some(_) | None => {}
        }
    }
}

fn fill(event: &Event<'_>, failed: bool, model: Option<&str>, call: &mut CallBuilder) {
    call.request.model = model.map(str::to_owned);
    if failed {
        read_error(event.error, call);
        call.fail(Some("failed"), None);
    }
    // By the second, where the model is billed so: those are no tokens.
    if let Some(reported) = event.usage.read::<TokenUsage<'_>>().filter(Shape::is_object) {
        call.usage = usage(&reported);
    }
    if call.keeps_content()
        && let Some(text) = event.transcript.filled()
    {
        call.append(0, crate::call::PartSlot(0), crate::call::PartKind::Text, text);
    }
}
