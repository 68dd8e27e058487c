//! What is asked for.

use super::{IMAGES, SPEECH, TRANSCRIPTION};
use crate::{
    call::{CallBuilder, Operation},
    provider::{
        lenient::{Flag, Float, Int, Raw, Text, Unreadable, lenient_object, parse},
        openai_chat::request::{messages, output_type, stop_sequences, tools},
    },
};

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "input" => input: Raw<'a>,
        "parameters" => parameters: Parameters<'a>,
        "stream" => stream: Flag,
    }
}

lenient_object! {
    struct Input<'a> {
        "messages" => messages: Raw<'a>,
        "prompt" => prompt: Text<'a>,
        "session_id" => session_id: Text<'a>,
        "texts" => texts: Raw<'a>,
        "contents" => contents: Raw<'a>,
        "query" => query: Raw<'a>,
        "documents" => documents: Raw<'a>,
        "text" => text: Text<'a>,
    }
}

lenient_object! {
    struct Parameters<'a> {
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "max_tokens" => max_tokens: Int,
        "n" => n: Int,
        "seed" => seed: Int,
        "stop" => stop: Raw<'a>,
        "presence_penalty" => presence_penalty: Float,
        "frequency_penalty" => frequency_penalty: Float,
        "response_format" => response_format: Format<'a>,
        "tools" => tools: Raw<'a>,
        "incremental_output" => incremental_output: Flag,
        "dimension" => dimension: Int,
    }
}

lenient_object! {
    struct Format<'a> {
        "type" => kind: Text<'a>,
    }
}

lenient_object! {
    /// What is embedded or ranked, where it is no text alone.
    struct Content<'a> {
        "text" => text: Text<'a>,
    }
}

pub(super) fn read(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let request: Request<'_> = parse(body)?;
    let input = request.input.read::<Input<'_>>().unwrap_or_default();
    let asked = &request.parameters;
    let facts = &mut call.request;
    facts.model = request.model.name();
    facts.stream |= request.stream.0 == Some(true);
    facts.conversation_id = input.session_id.name();
    facts.temperature = asked.temperature.0;
    facts.top_p = asked.top_p.0;
    facts.top_k = asked.top_k.0;
    facts.max_tokens = asked.max_tokens.0;
    facts.choice_count = asked.n.0.filter(|n| *n != 1);
    facts.seed = asked.seed.0;
    facts.stop_sequences = stop_sequences(asked.stop);
    facts.presence_penalty = asked.presence_penalty.0;
    facts.frequency_penalty = asked.frequency_penalty.0;
    facts.output_type = output_type(asked.response_format.kind.as_str());
    facts.embedding_dimensions = asked.dimension.0;
    call.output_is_incremental = asked.incremental_output.0 == Some(true);
    if call.operation() == Operation::Chat
        && let Some(operation) = call.request.model.as_deref().and_then(purpose)
    {
        call.become_operation(operation);
    }
    messages(input.messages, call);
    tools(asked.tools, call);
    if let Some(prompt) = input.prompt.filled() {
        call.prompt(prompt);
    }
    // Embeddings take one text too, and rankings a query and what is ranked: texts, or objects with one.
    for text in [input.text.filled(), request.input.text().as_deref()].into_iter().flatten() {
        call.estimation.input.push(text);
    }
    content(input.query, call);
    for list in [input.texts, input.contents, input.documents] {
        list.for_each(|one: Raw<'_>| content(one, call));
    }
    Ok(())
}

fn content(content: Raw<'_>, call: &mut CallBuilder) {
    let text = content.text().or_else(|| content.read::<Content<'_>>().and_then(|content| content.text.0));
    call.estimation.input.push(&text.unwrap_or_default());
}

/// The path of models of several kinds is one: what a model is for stands in its name.
fn purpose(model: &str) -> Option<Operation> {
    let has = |mark: &str| model.contains(mark);
    if has("-tts") {
        Some(SPEECH)
    } else if has("-asr") {
        Some(TRANSCRIPTION)
    } else {
        has("-image").then_some(IMAGES)
    }
}
