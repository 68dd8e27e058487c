//! OpenAI Realtime over a WebSocket (<https://platform.openai.com/docs/api-reference/realtime>), also as Azure and others serve it.
//!
//! A call is one response: asked for by `response.create`, or made by the server when it has heard that somebody stopped to speak. What was
//! said before is kept by the server, so that nothing of it is counted here: usage is what `response.done` reports, or absent. Input that is
//! transcribed on the side is a call of its own, with its own usage.

mod session;
mod transcription;

use self::{
    session::{SessionFacts, asked_model},
    transcription::Transcriptions,
};
use super::{
    Dialect,
    conversation::{Format, Heard, MessageDialect, Session, Turn, Turns},
    error_body::read_error,
    lenient::{Count, Raw, Shape, Text, lenient_object, parse},
    openai_responses::{OpenAiResponses, answer_event, whole_output},
};
use crate::{
    call::{CallBuilder, EstimationText, ModalityTokens, Operation, ProviderName, RequestFacts, Usage},
    http::{RequestHead, SocketPeer},
};

pub(super) struct OpenAiRealtime;

impl MessageDialect for OpenAiRealtime {
    fn name(&self) -> ProviderName {
        ProviderName::of("openai")
    }

    fn operation(&self) -> Operation {
        Operation::Chat
    }

    fn path_ends(&self) -> &'static [&'static str] {
        // `/realtime` alone is what any program may call its own.
        &["/v1/realtime", "/openai/realtime", "/openai/v1/realtime"]
    }

    fn claims(&self, head: &RequestHead) -> bool {
        head.path.trim_end_matches('/').ends_with("/realtime")
    }

    fn handshake(&self, head: &RequestHead, request: &mut RequestFacts) {
        request.model = asked_model(head);
    }

    fn begin(&self) -> Box<dyn Session> {
        Box::new(Realtime::default())
    }
}

#[derive(Debug, Default)]
struct Realtime {
    facts: SessionFacts,
    transcriptions: Transcriptions,
}

lenient_object! {
    struct Event<'a> {
        "type" => kind: Text<'a>,
        "event_id" => id: Text<'a>,
        "session" => session: Raw<'a>,
        "response" => response: Raw<'a>,
        "response_id" => response_id: Text<'a>,
        "item" => item: Raw<'a>,
        "item_id" => item_id: Text<'a>,
        "transcript" => transcript: Text<'a>,
        // Large, and of transcriptions alone: read where it is there.
        "usage" => usage: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct Response<'a> {
        "id" => id: Text<'a>,
        "status" => status: Text<'a>,
        "status_details" => details: StatusDetails<'a>,
        "conversation_id" => conversation_id: Text<'a>,
        "output" => output: Raw<'a>,
        "usage" => usage: TokenUsage<'a>,
    }
}

lenient_object! {
    struct StatusDetails<'a> {
        "reason" => reason: Text<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "input_tokens" => input_tokens: Count,
        "output_tokens" => output_tokens: Count,
        "input_token_details" => input: TokenDetails<'a>,
        "output_token_details" => output: TokenDetails<'a>,
    }
}

lenient_object! {
    struct TokenDetails<'a> {
        "text_tokens" => text_tokens: Count,
        "audio_tokens" => audio_tokens: Count,
        "image_tokens" => image_tokens: Count,
        "cached_tokens" => cached_tokens: Count,
        "cached_tokens_details" => cached: CachedDetails<'a>,
        "reasoning_tokens" => reasoning_tokens: Count,
    }
}

lenient_object! {
    struct CachedDetails<'a> {
        "text_tokens" => text_tokens: Count,
        "audio_tokens" => audio_tokens: Count,
        "image_tokens" => image_tokens: Count,
    }
}

lenient_object! {
    struct Refusal<'a> {
        "event_id" => event_id: Text<'a>,
    }
}

/// First words of the types of events, by which they are known.
const KINDS: [&str; 8] = [
    "session.",
    "response.",
    "conversation.",
    "input_audio_buffer.",
    "output_audio_buffer.",
    "transcription_session.",
    "rate_limits.",
    "mcp_list_tools.",
];

impl Session for Realtime {
    fn hear(&mut self, message: &Heard<'_>, turns: &mut Turns) -> Format {
        let Ok(event) = parse::<Event<'_>>(message.data) else { return Format::Other };
        let Some(kind) = event.kind.filled() else { return Format::Other };
        if !message.missing.is_whole() && message.from == SocketPeer::Server {
            // Whose it is, the rest would perhaps have said.
            for turn in turns.iter_mut() {
                turn.mark(message.missing);
            }
        }
        match message.from {
            SocketPeer::Client => self.asked(kind, &event, message, turns),
            SocketPeer::Server => self.answered(kind, &event, message, turns),
        }
        match kind {
            "error" => Format::Any,
            _ if KINDS.iter().any(|start| kind.starts_with(start)) => Format::This,
            _ => Format::Other,
        }
    }
}

impl Realtime {
    fn asked(&mut self, kind: &str, event: &Event<'_>, message: &Heard<'_>, turns: &mut Turns) {
        match kind {
            "response.create" => {
                self.facts.committed = None;
                // Where the provider has refused what was asked before, it said so by now.
                for turn in turns.iter_mut().filter(|turn| !turn.is_answering() && turn.call.has_failed()) {
                    turn.end();
                }
                turns.finish();
                if let Some(turn) = turns.ask(event.id.name(), message.first_byte) {
                    turn.mark(message.missing);
                    self.facts.fill(event.response, &mut turn.call);
                }
                turns.finish();
            }
            "conversation.item.create" if turns.keeps_content() => self.facts.add_item(event.item),
            _ => {}
        }
    }

    fn answered(&mut self, kind: &str, event: &Event<'_>, message: &Heard<'_>, turns: &mut Turns) {
        match kind {
            "session.created" | "session.updated" | "transcription_session.created" | "transcription_session.updated" => {
                self.facts.update(event.session, turns.keeps_content());
            }
            "input_audio_buffer.committed" => {
                self.facts.committed = Some(message.time);
                self.transcriptions.begin(event.item_id.filled(), message.time);
            }
            "response.created" => self.begin(event, message, turns),
            "response.done" => self.end(event, message, turns),
            "error" => refused(event, message, turns),
            _ if kind.starts_with(transcription::KINDS) => {
                self.transcriptions.hear(kind, event, message, self.facts.transcription_model.as_deref(), turns);
            }
            _ if kind.starts_with("response.") => {
                if let Some(turn) = turns.answering(event.response_id.filled()) {
                    progress(kind, message.data, &mut turn.call);
                    turn.heard(message.time);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, event: &Event<'_>, message: &Heard<'_>, turns: &mut Turns) {
        let Some(response) = event.response.read::<Response<'_>>() else { return };
        let Some(id) = response.id.filled() else { return };
        if response.conversation_id.filled().is_some() {
            // A conversation has one answer at a time: what had not ended by now has ended unseen.
            turns.finish_unseen(|turn| turn.is_answering() && turn.is_lossy() && turn.call.request.conversation_id.is_some());
        }
        if let Some(turn) = self.turn(id, message, turns) {
            identity(&response, &mut turn.call);
            turn.heard(message.time);
        }
    }

    /// The call that this answer is of.
    fn turn<'t>(&mut self, id: &str, message: &Heard<'_>, turns: &'t mut Turns) -> Option<&'t mut Turn> {
        let is_new = turns.answering(Some(id)).is_none();
        let was_asked = turns.iter_mut().any(|turn| !turn.is_answering());
        // Without having been asked, the server answers what it heard.
        let heard = self.facts.committed.take_if(|_| is_new && !was_asked);
        let turn = turns.answer(id, heard.unwrap_or(message.time), heard.is_some())?;
        if is_new {
            if was_asked {
                // What was taken for a refusal of it was none.
                turn.forgive();
            } else if !turn.is_owed() {
                self.facts.fill(Raw::default(), &mut turn.call);
            }
            turn.call.response.model.clone_from(&self.facts.model);
        }
        Some(turn)
    }

    fn end(&mut self, event: &Event<'_>, message: &Heard<'_>, turns: &mut Turns) {
        let response = event.response.read::<Response<'_>>().filter(Shape::is_object);
        let Some((response, id)) = response.as_ref().and_then(|response| Some((response, response.id.filled()?))) else { return };
        let Some(turn) = self.turn(id, message, turns) else { return };
        identity(response, &mut turn.call);
        whole(response, &mut turn.call);
        turn.heard(message.time);
        // A part of the conversation is kept by the server: texts seen here are no measure of what was used.
        turn.call.estimation = EstimationText::default();
        turn.end();
        turns.finish();
    }
}

/// An event of an answer under way.
fn progress(kind: &str, event: &[u8], call: &mut CallBuilder) {
    match kind {
        // Audio itself: large, and not kept.
        "response.output_audio.delta" | "response.audio.delta" => call.output_arrived(),
        // The names of the beta.
        "response.text.delta" => answer_event("response.output_text.delta", event, call),
        "response.audio_transcript.delta" => answer_event("response.output_audio_transcript.delta", event, call),
        _ => answer_event(kind, event, call),
    }
    call.estimation = EstimationText::default();
}

fn identity(response: &Response<'_>, call: &mut CallBuilder) {
    response.id.replace(&mut call.response.id);
    response.conversation_id.replace(&mut call.request.conversation_id);
    call.choice(0);
}

fn whole(response: &Response<'_>, call: &mut CallBuilder) {
    let status = response.status.filled();
    if let Some(reason) = response.details.reason.filled().or(status) {
        call.finish(0, reason);
    }
    if response.details.error.0.is_some() {
        read_error(response.details.error, call);
    }
    if status == Some("failed") && !call.has_failed() {
        call.fail(Some("failed"), None);
    }
    whole_output(response.output, call);
    if response.usage.is_object() {
        call.usage = usage(&response.usage);
    }
}

fn usage(reported: &TokenUsage<'_>) -> Usage {
    let modalities = |text: Count, image: Count, audio: Count| ModalityTokens { text: text.0, image: image.0, audio: audio.0 };
    let (input, output, cached) = (&reported.input, &reported.output, &reported.input.cached);
    Usage {
        input_tokens: reported.input_tokens.0,
        output_tokens: reported.output_tokens.0,
        cache_read_input_tokens: input.cached_tokens.0,
        reasoning_output_tokens: output.reasoning_tokens.0,
        input_by_modality: modalities(input.text_tokens, input.image_tokens, input.audio_tokens),
        output_by_modality: modalities(output.text_tokens, output.image_tokens, output.audio_tokens),
        cache_read_by_modality: modalities(cached.text_tokens, cached.image_tokens, cached.audio_tokens),
        ..Usage::default()
    }
}

/// The provider refuses something that the client sent. Which it was, only an id of the client's can say: where a call that was asked for
/// without one waits for its answer, it is that one's failure if no answer comes. It may be seen before what it refuses.
fn refused(event: &Event<'_>, message: &Heard<'_>, turns: &mut Turns) {
    let named = event.error.read::<Refusal<'_>>().and_then(|refusal| refusal.event_id.name());
    let is_meant = |turn: &Turn| match &named {
        Some(id) => turn.was_asked_by(id),
        None => !turn.asked_with_id(),
    };
    if let Some(turn) = turns.iter_mut().find(|turn| !turn.is_answering() && is_meant(turn)) {
        read_error(event.error, &mut turn.call);
        turn.heard(message.time);
        if named.is_some() {
            turn.end();
        }
    } else {
        turns.refuse(named, false, message.time, |call| read_error(event.error, call));
    }
    turns.finish();
}

#[cfg(test)]
mod tests;
