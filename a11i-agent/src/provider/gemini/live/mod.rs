//! Gemini Live (<https://ai.google.dev/api/live>): a conversation over a WebSocket, as the Gemini API and Vertex AI serve it.
//!
//! A call is one answer of the model: asked for by `clientContent` or by results of functions, or made by the server when it has heard that
//! somebody stopped to speak. It ends with `turnComplete`, or with the functions that it calls. What was said before is kept by the server,
//! so that nothing is counted here: usage is what `usageMetadata` reports of this answer, or absent. It may come in a message of its own,
//! also behind the end: until then, or until the next answer, the call waits for it.

mod setup;

use a11i_common::identity::BootTime;

use self::setup::Setup;
use super::{
    content::FunctionCall,
    response,
    usage::{self, UsageMetadata},
};
use crate::{
    call::{CallBuilder, EstimationText, Operation, ProviderName},
    http::{RequestHead, SocketPeer},
    provider::{
        conversation::{Format, Heard, MessageDialect, Session, Turns},
        error_body::read_error,
        lenient::{Few, Flag, Raw, Shape, Text, lenient_object, parse},
    },
};

pub(in crate::provider) struct GeminiLive;

/// The Gemini API's, the same with a token for one session, Vertex AI's.
const PATHS: [&str; 3] =
    [".GenerativeService.BidiGenerateContent", ".GenerativeService.BidiGenerateContentConstrained", ".LlmBidiService/BidiGenerateContent"];

impl MessageDialect for GeminiLive {
    fn name(&self) -> ProviderName {
        ProviderName::of("gcp.gemini")
    }

    fn operation(&self) -> Operation {
        Operation::GenerateContent
    }

    fn path_ends(&self) -> &'static [&'static str] {
        &PATHS
    }

    fn claims(&self, head: &RequestHead) -> bool {
        PATHS.iter().any(|end| head.path.trim_end_matches('/').ends_with(end))
    }

    fn begin(&self) -> Box<dyn Session> {
        Box::new(Live::default())
    }
}

#[derive(Debug, Default)]
struct Live {
    setup: Setup,
    /// The server hears something all the time, and answers when it likes.
    is_spoken_to: bool,
    /// When what the client says was last marked as complete, and nothing has answered it yet.
    heard: Option<BootTime>,
    /// Answers so far: they have no ids.
    answers: u64,
    /// The answer under way.
    current: Option<Current>,
    /// The last answer ended with calls of functions, after which the server may still say that the turn is complete.
    ended_in_functions: bool,
}

#[derive(Debug)]
struct Current {
    id: String,
    /// It has ended and has not said what it used.
    is_over: bool,
}

lenient_object! {
    struct Asked<'a> {
        "setup" => setup: Raw<'a>,
        "clientContent" | "client_content" => content: ClientContent<'a>,
        "realtimeInput" | "realtime_input" => input: RealtimeInput<'a>,
        "toolResponse" | "tool_response" => tools: ToolResponse<'a>,
    }
}

lenient_object! {
    struct ClientContent<'a> {
        "turns" => turns: Raw<'a>,
        "turnComplete" | "turn_complete" => is_complete: Flag,
    }
}

lenient_object! {
    struct RealtimeInput<'a> {
        "text" => text: Raw<'a>,
        "activityEnd" | "activity_end" => activity_end: Raw<'a>,
        "audioStreamEnd" | "audio_stream_end" => stream_end: Flag,
    }
}

lenient_object! {
    struct ToolResponse<'a> {
        "functionResponses" | "function_responses" => functions: Raw<'a>,
    }
}

lenient_object! {
    struct Told<'a> {
        "setupComplete" | "setup_complete" => setup_complete: Raw<'a>,
        "serverContent" | "server_content" => content: ServerContent<'a>,
        "toolCall" | "tool_call" => tools: ToolCall<'a>,
        "toolCallCancellation" | "tool_call_cancellation" => cancellation: Raw<'a>,
        "usageMetadata" | "usage_metadata" => usage: UsageMetadata<'a>,
        "goAway" | "go_away" => go_away: Raw<'a>,
        "sessionResumptionUpdate" | "session_resumption_update" => resumption: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct ServerContent<'a> {
        "modelTurn" | "model_turn" => model_turn: ModelTurn<'a>,
        "outputTranscription" | "output_transcription" => transcription: Transcription<'a>,
        "turnComplete" | "turn_complete" => is_complete: Flag,
        "turnCompleteReason" | "turn_complete_reason" => reason: Text<'a>,
        "interrupted" => is_interrupted: Flag,
        "groundingMetadata" | "grounding_metadata" => grounding: Grounding<'a>,
    }
}

lenient_object! {
    struct ModelTurn<'a> {
        "parts" => parts: Raw<'a>,
    }
}

lenient_object! {
    struct Transcription<'a> {
        "text" => text: Text<'a>,
    }
}

lenient_object! {
    struct Grounding<'a> {
        "webSearchQueries" | "web_search_queries" => queries: Few<Text<'a>>,
    }
}

lenient_object! {
    struct ToolCall<'a> {
        "functionCalls" | "function_calls" => functions: Raw<'a>,
    }
}

/// An answer is the one choice of its call.
const ANSWER: u32 = 0;

/// How answers end, in the API's own words.
const COMPLETE: &str = "turnComplete";
const INTERRUPTED: &str = "interrupted";
const FUNCTIONS: &str = "toolCall";

impl Session for Live {
    fn hear(&mut self, message: &Heard<'_>, turns: &mut Turns) -> Format {
        if !message.missing.is_whole() && message.from == SocketPeer::Server {
            // Whose it is, the rest would perhaps have said.
            for turn in turns.iter_mut() {
                turn.mark(message.missing);
            }
        }
        match message.from {
            SocketPeer::Client => parse(message.data).map_or(Format::Other, |asked| self.asked(&asked, message, turns)),
            SocketPeer::Server => parse(message.data).map_or(Format::Other, |told| self.told(&told, message, turns)),
        }
    }
}

impl Live {
    fn asked(&mut self, asked: &Asked<'_>, message: &Heard<'_>, turns: &mut Turns) -> Format {
        let is_known = asked.setup.0.is_some() || asked.content.is_object() || asked.input.is_object() || asked.tools.is_object();
        if asked.setup.0.is_some() {
            self.setup.read(asked.setup, turns.keeps_content());
        }
        if asked.content.is_object() {
            self.setup.add(asked.content.turns);
            if asked.content.is_complete.0 == Some(true) {
                self.ask(message, turns);
            }
        }
        if asked.tools.is_object() {
            self.setup.add_results(asked.tools.functions);
            self.ask(message, turns);
        }
        if asked.input.is_object() {
            self.is_spoken_to = true;
            self.setup.add_text(asked.input.text);
            if asked.input.text.0.is_some() || asked.input.activity_end.0.is_some() || asked.input.stream_end.0 == Some(true) {
                self.heard = Some(message.time);
            }
        }
        if is_known { Format::This } else { Format::Other }
    }

    fn ask(&mut self, message: &Heard<'_>, turns: &mut Turns) {
        if self.current.as_ref().is_some_and(|current| current.is_over) {
            self.end(turns);
        }
        // Of an answer whose end may have been missed, nothing more comes.
        turns.finish_unseen(|turn| turn.is_answering() && turn.is_lossy());
        self.forget_ended(turns);
        if let Some(open) = turns.iter_mut().find(|turn| !turn.is_answering()) {
            // Results of several functions may come one by one: one answer is asked for.
            open.mark(message.missing);
        } else if let Some(turn) = turns.ask(None, message.first_byte) {
            turn.mark(message.missing);
            self.setup.fill(&mut turn.call);
        }
        turns.finish();
    }

    fn told(&mut self, told: &Told<'_>, message: &Heard<'_>, turns: &mut Turns) -> Format {
        self.forget_ended(turns);
        let (content, calls) = (&told.content, told.tools.functions.0.is_some());
        let is_generated = content.model_turn.parts.0.is_some() || calls;
        let is_complete = content.is_complete.0 == Some(true);
        let is_answered = is_complete && !self.ended_in_functions && turns.iter_mut().any(|turn| !turn.is_answering());
        let is_over = self.current.as_ref().is_none_or(|current| current.is_over);
        if is_over && (is_generated || is_answered && self.current.is_none()) {
            self.begin(message, turns);
        }
        let current = self.current.as_ref().and_then(|current| turns.answering(Some(&current.id)));
        let says_something = is_generated || content.is_object() || told.usage.is_object();
        if let Some(turn) = current.filter(|_| says_something) {
            if told.error.0.is_some() {
                read_error(told.error, &mut turn.call);
            }
            answer(told, &mut turn.call);
            turn.heard(message.time);
            let is_over = is_over && !is_generated || is_complete || calls;
            if is_over {
                turn.end();
            }
            self.ended_in_functions = calls || self.ended_in_functions && !is_generated;
            if let Some(current) = &mut self.current {
                current.is_over = is_over;
            }
            if is_over && told.usage.is_object() {
                self.end(turns);
            }
        } else if told.error.0.is_some() {
            turns.refuse(None, false, message.time, |call| read_error(told.error, call));
        }
        let others = [told.setup_complete, told.cancellation, told.go_away, told.resumption];
        match told.error.0 {
            _ if says_something || others.iter().any(|it| it.0.is_some()) => Format::This,
            Some(_) => Format::Any,
            None => Format::Other,
        }
    }

    /// The next answer.
    fn begin(&mut self, message: &Heard<'_>, turns: &mut Turns) {
        self.end(turns);
        self.answers = self.answers.saturating_add(1);
        let id = self.answers.to_string();
        let was_asked = turns.iter_mut().any(|turn| !turn.is_answering());
        let heard = self.heard.take_if(|_| !was_asked);
        if let Some(turn) = turns.answer(&id, heard.unwrap_or(message.time), self.is_spoken_to)
            && !was_asked
            && !turn.is_owed()
        {
            self.setup.fill(&mut turn.call);
        }
        self.ended_in_functions = false;
        self.current = Some(Current { id, is_over: false });
    }

    /// What was under way may have ended elsewhere: its end was missed, or there was too much at once.
    fn forget_ended(&mut self, turns: &mut Turns) {
        self.current.take_if(|current| turns.answering(Some(&current.id)).is_none());
    }

    /// Nothing more is expected of the answer under way.
    fn end(&mut self, turns: &mut Turns) {
        let Some(current) = self.current.take() else { return };
        if let Some(turn) = turns.answering(Some(&current.id)) {
            turn.end();
        }
        turns.finish();
    }
}

fn answer(told: &Told<'_>, call: &mut CallBuilder) {
    let content = &told.content;
    call.choice(ANSWER);
    response::parts(ANSWER, content.model_turn.parts, call);
    if let Some(piece) = content.transcription.text.filled() {
        response::text(ANSWER, piece, false, true, call);
    }
    told.tools.functions.for_each(|function: FunctionCall<'_>| response::function_call(ANSWER, &function, call));
    let queries = u64::try_from(content.grounding.queries.0.len()).unwrap_or(0);
    if queries > 0 {
        usage::searches(queries, call);
    }
    usage::read(&told.usage, call);
    if content.is_interrupted.0 == Some(true) {
        call.finish(ANSWER, INTERRUPTED);
    } else if told.tools.functions.0.is_some() {
        call.finish(ANSWER, FUNCTIONS);
    } else if content.is_complete.0 == Some(true) && !call.has_finished_with(INTERRUPTED) && !call.has_finished_with(FUNCTIONS) {
        call.finish(ANSWER, content.reason.filled().unwrap_or(COMPLETE));
    }
    // A part of the conversation is kept by the server: texts seen here are no measure of what was used.
    call.estimation = EstimationText::default();
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests count small numbers")]
mod tests;
