//! An AWS event stream on its way to the dialect: failures end here, and a stream that is carried in pieces is put together again.

use super::answer::EventFeed;
use crate::http::{
    aws_event_stream::{EventStreamMessage, EventStreamParser, MessageKind},
    ndjson::NdjsonParser,
    sse::SseParser,
};

/// The type of events whose payloads are pieces of the model server's own stream, cut anywhere (SageMaker).
const PAYLOAD_PART: &str = "PayloadPart";

#[derive(Debug, Default)]
pub(super) struct EventStream {
    parser: EventStreamParser,
    carried: Carried,
}

/// The stream within.
#[derive(Debug, Default)]
enum Carried {
    /// No byte of it but blanks.
    #[default]
    Awaited,
    Sse(SseParser),
    Ndjson(NdjsonParser),
}

impl EventStream {
    pub(super) fn push(&mut self, bytes: &[u8], feed: &mut EventFeed<'_>) {
        let Self { parser, carried } = self;
        parser.push(bytes, |message| match message.kind {
            MessageKind::Event if message.name == Some(PAYLOAD_PART) => carried.push(&message, feed),
            MessageKind::Event => feed.take(message.name, message.payload),
            MessageKind::Exception | MessageKind::Error => feed.fail(message.name, message.error_message, message.payload),
        });
    }

    pub(super) fn finish(&mut self, feed: &mut EventFeed<'_>) {
        self.parser.finish();
        match &mut self.carried {
            Carried::Awaited => {}
            Carried::Sse(parser) => parser.finish(|event| feed.take(event.event, event.data)),
            Carried::Ndjson(parser) => parser.finish(|line| feed.take(None, line)),
        }
    }

    pub(super) fn reset_after_gap(&mut self) {
        // The stream within learns of it with the next message.
        self.parser.reset_after_gap();
    }

    pub(super) const fn dropped(&self) -> u64 {
        let carried = match &self.carried {
            Carried::Awaited => 0,
            Carried::Sse(parser) => parser.dropped_events(),
            Carried::Ndjson(parser) => parser.dropped_lines(),
        };
        self.parser.dropped_messages().saturating_add(carried)
    }

    pub(super) const fn damaged(&self) -> u64 {
        self.parser.damaged_messages()
    }
}

impl Carried {
    fn push(&mut self, message: &EventStreamMessage<'_>, feed: &mut EventFeed<'_>) {
        if matches!(self, Self::Awaited) {
            let Some(first) = message.payload.iter().find(|byte| !byte.is_ascii_whitespace()) else { return };
            *self = if *first == b'{' { Self::Ndjson(NdjsonParser::default()) } else { Self::Sse(SseParser::new()) };
        }
        match self {
            Self::Awaited => {}
            Self::Sse(parser) => {
                if message.after_loss {
                    parser.reset_after_gap();
                }
                parser.push(message.payload, |event| feed.take(event.event, event.data));
            }
            Self::Ndjson(parser) => {
                if message.after_loss {
                    parser.reset_after_gap();
                }
                parser.push(message.payload, |line| feed.take(None, line));
            }
        }
    }
}
