//! OpenAI Responses over a WebSocket: one answer at a time, many on one connection.
//!
//! The client's `response.create` has the fields of a request, the server's events are those of the SSE stream.

use super::{
    Dialect, StreamFrame,
    conversation::{Format, Heard, MessageDialect, Session, Turns},
    lenient::{Text, lenient_object, parse},
    openai_responses::OpenAiResponses,
};
use crate::{
    call::{Operation, ProviderName},
    http::{RequestHead, SocketPeer},
};

pub(super) struct OpenAiResponsesSocket;

impl MessageDialect for OpenAiResponsesSocket {
    fn name(&self) -> ProviderName {
        ProviderName::of("openai")
    }

    fn operation(&self) -> Operation {
        Operation::Chat
    }

    /// The kernel half knows those of the requests, which are the same.
    fn path_ends(&self) -> &'static [&'static str] {
        &[]
    }

    fn claims(&self, head: &RequestHead) -> bool {
        head.path.trim_end_matches('/').ends_with("/responses")
    }

    fn begin(&self) -> Box<dyn Session> {
        Box::new(Responses)
    }
}

/// Nothing has to be remembered but the call under way.
#[derive(Debug)]
struct Responses;

lenient_object! {
    struct Event<'a> {
        "type" => kind: Text<'a>,
        "response" => response: Identified<'a>,
        "error" => error: Failure<'a>,
    }
}

lenient_object! {
    struct Failure<'a> {
        "code" => code: Text<'a>,
    }
}

/// What is told of a connection that has lived for as long as it may: nothing was refused.
const CONNECTION_LIMIT: &str = "websocket_connection_limit_reached";

lenient_object! {
    struct Identified<'a> {
        "id" => id: Text<'a>,
    }
}

impl Session for Responses {
    fn hear(&mut self, message: &Heard<'_>, turns: &mut Turns) -> Format {
        let Ok(event) = parse::<Event<'_>>(message.data) else { return Format::Other };
        let Some(kind) = event.kind.filled() else { return Format::Other };
        match message.from {
            SocketPeer::Client => {
                // One at a time: what has failed by now is over.
                for turn in turns.iter_mut().filter(|turn| kind == "response.create" && turn.call.has_failed()) {
                    turn.end();
                }
                turns.finish();
                // Failures name no event here.
                if kind == "response.create"
                    && let Some(turn) = turns.ask(None, message.first_byte)
                {
                    turn.mark(message.missing);
                    let conversation = turn.call.request.conversation_id.take();
                    // What was readable is an object.
                    let _unreadable = OpenAiResponses.request(Operation::Chat, message.data, &mut turn.call).is_err();
                    turn.call.request.stream = true;
                    turn.call.request.conversation_id = turn.call.request.conversation_id.take().or(conversation);
                }
                turns.finish();
            }
            SocketPeer::Server => answer(kind, &event, message, turns),
        }
        match kind {
            "error" => Format::Any,
            _ if kind.starts_with("response.") => Format::This,
            _ => Format::Other,
        }
    }
}

fn answer(kind: &str, event: &Event<'_>, message: &Heard<'_>, turns: &mut Turns) {
    let id = event.response.id.filled();
    if kind == "response.created"
        && let Some(id) = id
    {
        // One at a time: what had not ended by now has ended unseen.
        turns.finish_unseen(|turn| turn.is_answering() && turn.is_lossy());
        turns.answer(id, message.time, false);
    }
    // Without an id it says of nothing that it is over.
    let is_last = id.is_some() && matches!(kind, "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled");
    let turn = match id {
        // What began unseen ends all the same.
        Some(id) if is_last => turns.answer(id, message.time, false),
        // What is refused has no id.
        None if kind == "error" => turns.iter_mut().next(),
        Some(_) | None => turns.answering(id),
    };
    let frame = StreamFrame { event: None, data: message.data };
    let Some(turn) = turn else {
        if kind == "error" {
            let is_calls = event.error.code.filled() != Some(CONNECTION_LIMIT);
            turns.refuse(None, is_calls, message.time, |call| OpenAiResponses.chunk(&frame, call));
        }
        return;
    };
    turn.mark(message.missing);
    OpenAiResponses.chunk(&frame, &mut turn.call);
    turn.heard(message.time);
    // A last event that is not whole has not said how it ended. Of an answer that has begun, the failure comes before its last event.
    if (is_last || kind == "error" && !turn.is_answering()) && message.missing.is_whole() {
        turn.end();
        turns.finish();
    }
}

#[cfg(test)]
mod tests;
