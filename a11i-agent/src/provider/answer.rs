//! A response's body on its way to the dialect: whole, in one of the framings of streams, or passed over.

use a11i_common::identity::BootTime;

use super::{
    Route, StreamFrame,
    body::BodyBuffer,
    error_body::read_failure,
    event_stream::EventStream,
    lenient::{BYTE_ORDER_MARK, mended},
};
use crate::{
    call::{CallBuilder, Timing},
    http::{BodyEnd, FramingEnd, ResponseHead, grpc::GrpcParser, json_array::JsonArrayParser, ndjson::NdjsonParser, sse::SseParser},
};

/// How the events of a streamed answer are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// One JSON value a line.
    Ndjson,
    /// The elements of one JSON array.
    JsonArray,
    /// gRPC's length-prefixed messages.
    Grpc,
    /// Messages of an AWS event stream.
    AwsEventStream,
}

/// By media type, for those that are nothing but streams.
const MEDIA_TYPES: [(&str, Framing); 8] = [
    ("text/event-stream", Framing::Sse),
    ("application/x-ndjson", Framing::Ndjson),
    ("application/ndjson", Framing::Ndjson),
    ("application/jsonl", Framing::Ndjson),
    ("application/x-jsonlines", Framing::Ndjson),
    ("application/stream+json", Framing::Ndjson),
    ("application/grpc", Framing::Grpc), // and +proto
    ("application/vnd.amazon.eventstream", Framing::AwsEventStream),
];

/// Nothing of such a body is read: it is what was generated, or what was asked for, not what is said of it.
const MEDIA: [&str; 3] = ["audio/", "image/", "video/"];

#[derive(Debug)]
pub(super) enum Answer {
    /// No byte of the body but blanks, and of a mark before it so many.
    Awaited(Label, usize),
    Whole(BodyBuffer),
    Events(Box<Events>),
    Media,
}

/// What `content-type` says of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Label {
    /// A stream, and which.
    Stream(Framing),
    /// Something else.
    Other,
    Absent,
}

/// A streamed answer under way.
#[derive(Debug)]
pub(super) enum Events {
    Sse(SseParser),
    Ndjson(NdjsonParser),
    JsonArray(JsonArrayParser),
    Grpc(GrpcParser),
    AwsEventStream(EventStream),
}

/// Where events go.
pub(super) struct EventFeed<'e> {
    pub(super) route: &'e Route,
    pub(super) call: &'e mut CallBuilder,
    pub(super) timing: &'e mut Timing,
    pub(super) time: BootTime,
}

/// What became of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct AnswerEnd {
    /// All of it was understood.
    pub(super) readable: bool,
    pub(super) streamed: bool,
    /// Events that were dropped for their size.
    pub(super) dropped_events: u64,
    /// Events that did not arrive as they were sent.
    pub(super) damaged_events: u64,
}

impl Answer {
    /// By the response's head.
    pub(super) fn begin(head: &ResponseHead) -> Self {
        let media_type = head.headers.text("content-type").unwrap_or_default().trim_start();
        let is = |name: &str| media_type.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        if MEDIA.iter().any(|kind| is(kind)) {
            return Self::Media;
        }
        let stream = MEDIA_TYPES.iter().find(|(name, _)| is(name)).map(|(_, framing)| Label::Stream(*framing));
        Self::Awaited(stream.unwrap_or(if media_type.is_empty() { Label::Absent } else { Label::Other }), 0)
    }

    /// `gap`: bytes of the body are missing before these.
    pub(super) fn push(&mut self, bytes: &[u8], gap: bool, feed: &mut EventFeed<'_>) {
        let Self::Awaited(label, marked) = self else { return self.take(bytes, feed) };
        let mut text = bytes;
        if gap {
            // Whatever this is, it is not the beginning.
            *marked = 0;
        }
        // Space before anything else says nothing, in whatever pieces it comes.
        if *marked == 0 {
            text = text.trim_ascii_start();
        }
        while let Some((first, rest)) = text.split_first()
            && !gap
            && BYTE_ORDER_MARK.get(*marked) == Some(first)
        {
            *marked = marked.saturating_add(1);
            text = rest;
        }
        // What began like a mark and is none belongs to the text.
        let unmarked = BYTE_ORDER_MARK.get(..*marked).filter(|begun| begun.len() < BYTE_ORDER_MARK.len() && !text.is_empty());
        let unmarked = unmarked.unwrap_or_default();
        if unmarked.is_empty() {
            text = text.trim_ascii_start();
        }
        let Some(first) = unmarked.iter().chain(text).next() else { return };
        *self = Self::choose(*first, *label, gap, feed);
        if gap {
            self.gap();
        }
        for piece in [unmarked, text] {
            if !piece.is_empty() {
                self.take(piece, feed);
            }
        }
    }

    fn take(&mut self, bytes: &[u8], feed: &mut EventFeed<'_>) {
        match self {
            Self::Awaited(..) | Self::Media => {}
            Self::Whole(body) => body.push(bytes),
            Self::Events(events) => events.push(bytes, feed),
        }
    }

    /// The body itself knows better than its label: failures come as JSON under any label, and labels get lost.
    fn choose(first: u8, label: Label, gap: bool, feed: &EventFeed<'_>) -> Self {
        let failed = feed.call.response.has_error_status();
        let streams = feed.call.request.stream && !failed;
        let usual = feed.route.dialect.stream_framing();
        let framing = match (first, label) {
            // An array's elements can be found again in its middle; what has no label and no beginning might be anything.
            (_, Label::Stream(framing)) if gap => Some(framing),
            // Other framings would take lines of events for theirs.
            (_, Label::Absent) if gap => (streams && usual == Framing::Sse).then_some(usual),
            (_, Label::Other) if gap => (streams && matches!(usual, Framing::JsonArray | Framing::AwsEventStream)).then_some(usual),
            (b'[', Label::Other | Label::Absent) if streams => Some(Framing::JsonArray),
            (b'{', Label::Other | Label::Absent) => (streams && usual == Framing::Ndjson).then_some(usual),
            // A message that begins with a bracket would have two gigabytes.
            (b'{' | b'[', Label::Stream(Framing::Sse | Framing::AwsEventStream)) => None,
            (0, Label::Other) if streams && usual == Framing::AwsEventStream => Some(usual),
            (b'd' | b'e' | b'i' | b'r' | b':', Label::Other | Label::Absent) if streams => Some(Framing::Sse),
            // No JSON begins so. The label may only be unseen, and with it the path that asked for a stream.
            (b'd' | b'e' | b'i' | b'r' | b':', Label::Absent) if usual == Framing::Sse && !failed => Some(Framing::Sse),
            (_, Label::Stream(framing)) => Some(framing),
            (_, Label::Absent) => streams.then_some(usual),
            (_, Label::Other) => None,
        };
        framing.map_or_else(|| Self::Whole(BodyBuffer::default()), |framing| Self::Events(Box::new(Events::new(framing))))
    }

    /// Bytes are missing here.
    pub(super) fn gap(&mut self) {
        match self {
            Self::Awaited(..) | Self::Media => {}
            Self::Whole(body) => body.gap(),
            Self::Events(events) => events.reset_after_gap(),
        }
    }

    /// The rest of the response. `lost`: bytes of it are missing.
    pub(super) fn finish(&mut self, end: BodyEnd, lost: bool, mut feed: EventFeed<'_>) -> AnswerEnd {
        let dialect = feed.route.dialect;
        match self {
            Self::Awaited(label, _) => {
                let streamed = matches!(label, Label::Stream(_)) || *label == Label::Absent && feed.call.request.stream;
                AnswerEnd { readable: false, streamed, ..AnswerEnd::default() }
            }
            Self::Media => AnswerEnd { readable: true, ..AnswerEnd::default() },
            Self::Whole(body) => {
                let whole = if lost { None } else { body.whole() };
                let readable = whole.is_some_and(|body| dialect.response(&mended(body), feed.call).is_ok());
                if !readable {
                    if body.is_over_cap() {
                        feed.call.mark_content_truncated();
                    }
                    let salvaged = body.salvage(end.framing == FramingEnd::Finished);
                    let _nothing_to_read = dialect.response(&mended(&salvaged), feed.call).is_err();
                }
                AnswerEnd { readable, ..AnswerEnd::default() }
            }
            Self::Events(events) => {
                // Of a stream that broke off, the event that broke off with it is none.
                if end.framing == FramingEnd::Finished {
                    events.finish(&mut feed);
                }
                let (dropped_events, damaged_events) = (events.dropped(), events.damaged());
                dialect.stream_end(lost || dropped_events > 0 || damaged_events > 0, feed.call);
                AnswerEnd { readable: true, streamed: true, dropped_events, damaged_events }
            }
        }
    }
}

impl Events {
    fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sse => Self::Sse(SseParser::new()),
            Framing::Ndjson => Self::Ndjson(NdjsonParser::default()),
            Framing::JsonArray => Self::JsonArray(JsonArrayParser::default()),
            Framing::Grpc => Self::Grpc(GrpcParser::default()),
            Framing::AwsEventStream => Self::AwsEventStream(EventStream::default()),
        }
    }

    fn push(&mut self, bytes: &[u8], feed: &mut EventFeed<'_>) {
        match self {
            Self::Sse(parser) => parser.push(bytes, |event| feed.take(event.event, event.data)),
            Self::Ndjson(parser) => parser.push(bytes, |line| feed.take_line(line)),
            Self::JsonArray(parser) => parser.push(bytes, |element| feed.take(None, element)),
            Self::Grpc(parser) => parser.push(bytes, |message| feed.tell(None, message)),
            Self::AwsEventStream(stream) => stream.push(bytes, feed),
        }
    }

    fn finish(&mut self, feed: &mut EventFeed<'_>) {
        match self {
            Self::Sse(parser) => parser.finish(|event| feed.take(event.event, event.data)),
            Self::Ndjson(parser) => parser.finish(|line| feed.take_line(line)),
            // An element ends with its own bracket, a message by its length.
            Self::JsonArray(_) | Self::Grpc(_) => {}
            Self::AwsEventStream(stream) => stream.finish(feed),
        }
    }

    fn reset_after_gap(&mut self) {
        match self {
            Self::Sse(parser) => parser.reset_after_gap(),
            Self::Ndjson(parser) => parser.reset_after_gap(),
            Self::JsonArray(parser) => parser.reset_after_gap(),
            Self::Grpc(parser) => parser.reset_after_gap(),
            Self::AwsEventStream(stream) => stream.reset_after_gap(),
        }
    }

    const fn dropped(&self) -> u64 {
        match self {
            Self::Sse(parser) => parser.dropped_events(),
            Self::Ndjson(parser) => parser.dropped_lines(),
            Self::JsonArray(parser) => parser.dropped_elements(),
            Self::Grpc(parser) => parser.dropped_messages(),
            Self::AwsEventStream(stream) => stream.dropped(),
        }
    }

    /// Only this framing has checksums.
    const fn damaged(&self) -> u64 {
        match self {
            Self::Sse(_) | Self::Ndjson(_) | Self::JsonArray(_) | Self::Grpc(_) => 0,
            Self::AwsEventStream(stream) => stream.damaged(),
        }
    }
}

impl EventFeed<'_> {
    /// An event that is JSON.
    pub(super) fn take(&mut self, event: Option<&str>, data: &[u8]) {
        self.tell(event, &mended(data));
    }

    fn tell(&mut self, event: Option<&str>, data: &[u8]) {
        self.count();
        self.route.dialect.chunk(&StreamFrame { event, data }, self.call);
        if self.call.take_new_output() {
            self.timing.first_token.get_or_insert(self.time);
            self.timing.last_token = Some(self.time);
            self.timing.gaps.content(self.time);
        }
    }

    /// All formats' lines are objects. What is none comes of a content coding that was not seen.
    fn take_line(&mut self, line: &[u8]) {
        if line.starts_with(b"{") {
            self.take(None, line);
        }
    }

    /// The framing itself says that the answer failed; the dialects see nothing of it.
    pub(super) fn fail(&mut self, error_type: Option<&str>, message: Option<&str>, body: &[u8]) {
        self.count();
        self.call.fail(Some(error_type.unwrap_or("_OTHER")), message);
        read_failure(body, self.call);
    }

    fn count(&mut self) {
        self.call.response.stream_chunks = self.call.response.stream_chunks.saturating_add(1);
        self.timing.first_chunk.get_or_insert(self.time);
    }
}
