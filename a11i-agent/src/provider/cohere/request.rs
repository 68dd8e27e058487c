//! Request bodies of all paths.

use serde_json::Value;

use crate::{
    call::{CallBuilder, Message, Operation, Part},
    provider::{
        lenient::{Few, Flag, Float, Int, Raw, Text, Unreadable, clip, lenient_object, parse},
        openai_chat::request::{SCHEMA_TREE_BYTES, messages, output_type, stop_sequences, tools},
    },
};

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "stream" => stream: Flag,
        "messages" => messages: Raw<'a>,
        "message" => message: Text<'a>,
        "chat_history" => chat_history: Raw<'a>,
        "preamble" => preamble: Text<'a>,
        "tool_results" => tool_results: Raw<'a>,
        "conversation_id" => conversation_id: Text<'a>,
        "prompt" => prompt: Text<'a>,
        "text" => text: Text<'a>,
        "texts" => texts: Raw<'a>,
        "inputs" => inputs: Raw<'a>,
        "documents" => documents: Raw<'a>,
        "tools" => tools: Raw<'a>,
        "max_tokens" => max_tokens: Int,
        "temperature" => temperature: Float,
        "p" => p: Float,
        "k" => k: Int,
        "seed" => seed: Int,
        "stop_sequences" => stop_sequences: Raw<'a>,
        "end_sequences" => end_sequences: Raw<'a>,
        "frequency_penalty" => frequency_penalty: Float,
        "presence_penalty" => presence_penalty: Float,
        "num_generations" => num_generations: Int,
        "response_format" => response_format: Typed<'a>,
        "reasoning_effort" => reasoning_effort: Text<'a>,
        "embedding_types" => embedding_types: Few<Text<'a>>,
        "output_dimension" => output_dimension: Int,
    }
}

lenient_object! {
    struct Typed<'a> {
        "type" => kind: Text<'a>,
    }
}

lenient_object! {
    /// A turn of version 1.
    struct Turn<'a> {
        "role" => role: Text<'a>,
        "message" => message: Text<'a>,
        "tool_calls" => tool_calls: Few<PastCall<'a>>,
        "tool_results" => tool_results: Raw<'a>,
    }
}

lenient_object! {
    struct PastCall<'a> {
        "name" => name: Text<'a>,
        "parameters" => parameters: Raw<'a>,
    }
}

lenient_object! {
    struct ToolResult<'a> {
        "call" => call: PastCall<'a>,
        "outputs" => outputs: Raw<'a>,
    }
}

lenient_object! {
    /// A definition of version 1.
    struct Tool<'a> {
        "name" => name: Text<'a>,
        "description" => description: Text<'a>,
        "parameter_definitions" => parameter_definitions: Raw<'a>,
    }
}

lenient_object! {
    /// What is embedded: text and images in one.
    struct EmbedInput<'a> {
        "content" => content: Few<EmbedPart<'a>>,
    }
}

lenient_object! {
    struct EmbedPart<'a> {
        "text" => text: Text<'a>,
    }
}

pub(super) fn read(operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let request: Request<'_> = parse(body)?;
    parameters(&request, call);
    match operation {
        Operation::Embeddings => embedded(&request, call),
        Operation::Chat if request.messages.0.is_some() => {
            messages(request.messages, call);
            tools(request.tools, call);
        }
        Operation::Chat => first_version(&request, call),
        Operation::TextCompletion | Operation::GenerateContent | Operation::FetchResponse | Operation::Other(_) => {
            let text = request.prompt.filled().or_else(|| request.text.filled()).unwrap_or_default();
            said("user", text, Vec::new(), call);
        }
    }
    if operation == Operation::Chat {
        // They become part of the prompt.
        call.estimation.input.push(request.documents.json().unwrap_or_default());
    }
    Ok(())
}

fn parameters(request: &Request<'_>, call: &mut CallBuilder) {
    let facts = &mut call.request;
    facts.model = request.model.name();
    facts.stream = request.stream.0.unwrap_or(false);
    facts.max_tokens = request.max_tokens.0;
    facts.temperature = request.temperature.0;
    facts.top_p = request.p.0;
    facts.top_k = request.k.0;
    facts.seed = request.seed.0;
    facts.frequency_penalty = request.frequency_penalty.0;
    facts.presence_penalty = request.presence_penalty.0;
    facts.stop_sequences = stop_sequences(if request.stop_sequences.0.is_some() { request.stop_sequences } else { request.end_sequences });
    facts.choice_count = request.num_generations.0.filter(|n| *n != 1);
    facts.output_type = output_type(request.response_format.kind.as_str());
    facts.reasoning_level = request.reasoning_effort.name();
    facts.conversation_id = request.conversation_id.name();
    facts.encoding_formats = request.embedding_types.0.iter().filter_map(Text::name).collect();
    facts.embedding_dimensions = request.output_dimension.0;
}

fn embedded(request: &Request<'_>, call: &mut CallBuilder) {
    request.texts.for_each(|text: Text<'_>| call.estimation.input.push(text.as_str().unwrap_or_default()));
    request.inputs.for_each(|input: EmbedInput<'_>| {
        for part in &input.content.0 {
            call.estimation.input.push(part.text.as_str().unwrap_or_default());
        }
    });
}

fn first_version(request: &Request<'_>, call: &mut CallBuilder) {
    if let Some(preamble) = request.preamble.filled() {
        call.estimation.input.push(preamble);
        let content = call.clip_input(preamble);
        call.system_instruction(Part::Text { content });
    }
    request.chat_history.for_each(|turn: Turn<'_>| {
        let mut parts = Vec::new();
        for past in &turn.tool_calls.0 {
            past_call(past, &mut parts, call);
        }
        tool_results(turn.tool_results, &mut parts, call);
        said(role(turn.role.filled().unwrap_or("USER")), turn.message.filled().unwrap_or_default(), parts, call);
    });
    let mut results = Vec::new();
    tool_results(request.tool_results, &mut results, call);
    if !results.is_empty() {
        call.input_message(Message { role: "tool".to_owned(), parts: results, ..Message::default() });
    }
    if let Some(message) = request.message.filled() {
        said("user", message, Vec::new(), call);
    }
    request.tools.for_each(|tool: Tool<'_>| tool_definition(&tool, call));
}

/// Version 1's roles in the words that everybody else has for them.
fn role(word: &str) -> &str {
    match word {
        _ if word.eq_ignore_ascii_case("chatbot") => "assistant",
        _ if word.eq_ignore_ascii_case("system") => "system",
        _ if word.eq_ignore_ascii_case("tool") => "tool",
        _ if word.eq_ignore_ascii_case("user") => "user",
        other => clip(other, 64),
    }
}

fn said(role: &str, text: &str, mut parts: Vec<Part>, call: &mut CallBuilder) {
    call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
    call.estimation.input.push(text);
    if !call.keeps_content() {
        return;
    }
    if !text.is_empty() {
        parts.insert(0, Part::Text { content: call.clip_input(text) });
    }
    call.input_message(Message { role: role.to_owned(), parts, ..Message::default() });
}

fn past_call(past: &PastCall<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    let json = past.parameters.json().unwrap_or_default();
    call.estimation.input.push(past.name.as_str().unwrap_or_default());
    call.estimation.input.push(json);
    if call.keeps_content() && call.admit_input(json.len()) {
        let arguments = past.parameters.value(SCHEMA_TREE_BYTES);
        parts.push(Part::ToolCall { id: None, name: past.name.name().unwrap_or_default(), arguments });
    }
}

fn tool_results(results: Raw<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    results.for_each(|result: ToolResult<'_>| {
        let json = result.outputs.json().unwrap_or_default();
        call.estimation.input.push(json);
        if call.keeps_content() && call.admit_input(json.len()) {
            let response: Value = result.outputs.value(SCHEMA_TREE_BYTES).unwrap_or_default();
            parts.push(Part::ToolCallResponse { id: result.call.name.name(), response });
        }
    });
}

fn tool_definition(tool: &Tool<'_>, call: &mut CallBuilder) {
    let (name, schema) = (tool.name.name().unwrap_or_default(), tool.parameter_definitions.json().unwrap_or_default());
    call.offer_tool("function", &name, tool.description.as_str().unwrap_or_default(), schema);
}
