//! What holds for every response of a session, and how a request is told from it.

use a11i_common::identity::BootTime;

use super::{Dialect, OpenAiResponses};
use crate::{
    call::{CallBuilder, Operation, OutputType},
    http::RequestHead,
    provider::{
        conversation::append_field,
        lenient::{Few, Raw, Text, lenient_object},
    },
};

/// Bytes kept of instructions, of tools, and of items that no response has taken yet, each.
const KEPT_BYTES: usize = 256 * 1024;

/// Longest name of a model in a handshake's query.
const MODEL_BYTES: usize = 256;

lenient_object! {
    /// Both generations of the API, whose fields do not contradict each other. A response that is asked for has the same ones.
    struct SessionObject<'a> {
        "model" => model: Text<'a>,
        "instructions" => instructions: Raw<'a>,
        "tools" => tools: Raw<'a>,
        "temperature" => temperature: Raw<'a>,
        "max_output_tokens" => max_output_tokens: Raw<'a>,
        "max_response_output_tokens" => max_response_output_tokens: Raw<'a>,
        "reasoning" => reasoning: Raw<'a>,
        "prompt" => prompt: Raw<'a>,
        "input" => input: Raw<'a>,
        "output_modalities" => output_modalities: Few<Text<'a>>,
        "modalities" => modalities: Few<Text<'a>>,
        "input_audio_transcription" => transcription: Transcription<'a>,
        "audio" => audio: Audio<'a>,
    }
}

lenient_object! {
    struct Audio<'a> {
        "input" => input: AudioInput<'a>,
    }
}

lenient_object! {
    struct AudioInput<'a> {
        "transcription" => transcription: Transcription<'a>,
    }
}

lenient_object! {
    struct Transcription<'a> {
        "model" => model: Text<'a>,
    }
}

#[derive(Debug, Default)]
pub(super) struct SessionFacts {
    /// As the server says.
    pub(super) model: Option<String>,
    pub(super) transcription_model: Option<String>,
    /// When the server last took audio for input that is complete, and nothing has answered it yet.
    pub(super) committed: Option<BootTime>,
    output_type: Option<OutputType>,
    /// Fields of a request, as JSON.
    fields: [Option<String>; FIELDS.len()],
    /// Items since the last response, as JSON.
    items: Vec<String>,
    items_bytes: usize,
}

/// Names that the fields have in a request of the Responses API.
const FIELDS: [&str; 6] = ["instructions", "tools", "temperature", "max_output_tokens", "reasoning", "prompt"];

/// Only kept where content is.
const CONTENT_FIELDS: usize = 2;

/// `?model=`, or Azure's `?deployment=`.
pub(super) fn asked_model(head: &RequestHead) -> Option<String> {
    let pairs = || head.query.as_deref().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let parameter = |name: &str| pairs().find(|(key, _)| *key == name).map(|(_, value)| value);
    let model = parameter("model").or_else(|| parameter("deployment"));
    model.filter(|model| !model.is_empty() && model.len() <= MODEL_BYTES).map(str::to_owned)
}

impl SessionFacts {
    /// The server tells the whole session, after every change.
    pub(super) fn update(&mut self, session: Raw<'_>, keep_content: bool) {
        let Some(session) = session.read::<SessionObject<'_>>() else { return };
        session.model.replace(&mut self.model);
        let transcription = [&session.transcription, &session.audio.input.transcription];
        self.transcription_model = transcription.iter().find_map(|it| it.model.name());
        self.output_type = output_type(&session);
        self.fields = fields(&session).map(|value| value.filter(|json| json.len() <= KEPT_BYTES).map(str::to_owned));
        if !keep_content {
            for field in self.fields.iter_mut().take(CONTENT_FIELDS) {
                *field = None;
            }
        }
    }

    /// The client adds to the conversation.
    pub(super) fn add_item(&mut self, item: Raw<'_>) {
        if let Some(json) = item.json()
            && self.items_bytes.saturating_add(json.len()) <= KEPT_BYTES
        {
            self.items_bytes = self.items_bytes.saturating_add(json.len());
            self.items.push(json.to_owned());
        }
    }

    /// What is asked of a response: by the session, by `create` before it, and by what was added since the last one.
    pub(super) fn fill(&mut self, create: Raw<'_>, call: &mut CallBuilder) {
        let create = create.read::<SessionObject<'_>>().unwrap_or_default();
        let own = fields(&create);
        let mut request = String::from("{");
        for ((name, own), general) in FIELDS.iter().zip(own).zip(&self.fields) {
            if let Some(json) = own.or(general.as_deref()) {
                append_field(&mut request, name, json);
            }
        }
        if call.keeps_content() {
            let items = format!("[{}]", self.items.join(","));
            append_field(&mut request, "input", create.input.json().unwrap_or(&items));
        }
        self.items.clear();
        self.items_bytes = 0;
        request.push('}');
        let conversation = call.request.conversation_id.take();
        // It was put together from whole values.
        let _unreadable = OpenAiResponses.request(Operation::Chat, request.as_bytes(), call).is_err();
        call.response.api_type = None;
        let facts = &mut call.request;
        facts.stream = true;
        facts.conversation_id = conversation;
        facts.model = facts.model.take().or_else(|| self.model.clone());
        facts.output_type = output_type(&create).or(self.output_type);
    }
}

/// In the order of [`FIELDS`].
fn fields<'a>(object: &SessionObject<'a>) -> [Option<&'a str>; FIELDS.len()] {
    let most = object.max_output_tokens.json().or_else(|| object.max_response_output_tokens.json());
    [object.instructions.json(), object.tools.json(), object.temperature.json(), most, object.reasoning.json(), object.prompt.json()]
}

/// Speech comes with its transcript, and text alone.
fn output_type(object: &SessionObject<'_>) -> Option<OutputType> {
    let named = |name: &str| object.output_modalities.0.iter().chain(&object.modalities.0).any(|modality| modality.as_str() == Some(name));
    if named("audio") {
        Some(OutputType::Speech)
    } else if named("text") {
        Some(OutputType::Text)
    } else {
        None
    }
}
