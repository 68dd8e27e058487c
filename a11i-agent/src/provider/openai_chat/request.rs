//! Request body of a chat completion.

use serde_json::Value;

use crate::{
    call::{CallBuilder, Message, Modality, Operation, OutputType, Part, ToolDefinition},
    provider::lenient::{Few, Flag, Float, Int, Raw, Shape, Text, Unreadable, clip, lenient_object, parse},
};

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "messages" => messages: Raw<'a>,
        "stream" => stream: Flag,
        "max_completion_tokens" => max_completion_tokens: Int,
        "max_tokens" => max_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "n" => n: Int,
        "stop" => stop: Raw<'a>,
        "seed" => seed: Int,
        "presence_penalty" => presence_penalty: Float,
        "frequency_penalty" => frequency_penalty: Float,
        "reasoning_effort" => reasoning_effort: Text<'a>,
        "reasoning" => reasoning: Reasoning<'a>,
        "response_format" => response_format: Typed<'a>,
        "modalities" => modalities: Few<Text<'a>>,
        "service_tier" => service_tier: Text<'a>,
        "tools" => tools: Raw<'a>,
        "functions" => functions: Raw<'a>,
        // xAI: what is consumed is told where the answer is fetched.
        "deferred" => deferred: Flag,
    }
}

lenient_object! {
    /// OpenRouter's form of `reasoning_effort`.
    struct Reasoning<'a> {
        "effort" => effort: Text<'a>,
    }
}

lenient_object! {
    struct Typed<'a> {
        "type" => kind: Text<'a>,
    }
}

lenient_object! {
    struct ChatMessage<'a> {
        "role" => role: Text<'a>,
        "name" => name: Text<'a>,
        "content" => content: Raw<'a>,
        "refusal" => refusal: Text<'a>,
        "reasoning_content" => reasoning_content: Text<'a>,
        "reasoning" => reasoning: Text<'a>,
        "thinking" => thinking: Text<'a>,
        "tool_plan" => tool_plan: Text<'a>,
        "images" => images: Raw<'a>,
        "tool_calls" => tool_calls: Few<super::ToolCall<'a>>,
        "function_call" => function_call: super::Function<'a>,
        "tool_call_id" => tool_call_id: Text<'a>,
        "tool_name" => tool_name: Text<'a>,
    }
}

lenient_object! {
    struct ContentPart<'a> {
        "type" => kind: Text<'a>,
        "text" => text: Text<'a>,
        "refusal" => refusal: Text<'a>,
        "thinking" => thinking: Raw<'a>,
        "image_url" => image_url: Raw<'a>,
        "input_audio" => input_audio: InputAudio<'a>,
        "file" => file: Attachment<'a>,
        "document" => document: Document<'a>,
    }
}

lenient_object! {
    /// Cohere: what a tool or a search found, as a text or as an object.
    struct Document<'a> {
        "data" => data: Raw<'a>,
    }
}

lenient_object! {
    struct ImageObject<'a> {
        "url" => url: Text<'a>,
    }
}

lenient_object! {
    struct InputAudio<'a> {
        "data" => data: Text<'a>,
        "format" => format: Text<'a>,
    }
}

lenient_object! {
    struct Attachment<'a> {
        "file_id" => file_id: Text<'a>,
        "file_data" => file_data: Text<'a>,
    }
}

lenient_object! {
    struct Tool<'a> {
        "type" => kind: Text<'a>,
        "function" => function: ToolSpec<'a>,
        "custom" => custom: ToolSpec<'a>,
    }
}

lenient_object! {
    struct ToolSpec<'a> {
        "name" => name: Text<'a>,
        "description" => description: Text<'a>,
        "parameters" => parameters: Raw<'a>,
    }
}

/// Stop sequences kept: OpenAI allows four, others sixteen.
pub(in crate::provider) const MAX_STOP_SEQUENCES: usize = 16;
/// Bytes kept of each.
pub(in crate::provider) const STOP_SEQUENCE_BYTES: usize = 256;
/// A tool's schema larger than this is kept as text, not as a tree.
pub(in crate::provider) const SCHEMA_TREE_BYTES: usize = 64 * 1024;

pub(in crate::provider) fn read(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let request: Request<'_> = parse(body)?;
    parameters(&request, call);
    messages(request.messages, call);
    tools(request.tools, call);
    request.functions.for_each(|spec: ToolSpec<'_>| tool_definition("function", &spec, call));
    Ok(())
}

/// The history so far. Ollama's, Cohere's and Mistral's have the same shape, and some fields more.
pub(in crate::provider) fn messages(messages: Raw<'_>, call: &mut CallBuilder) {
    messages.for_each(|message: ChatMessage<'_>| {
        call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
        input_message(&message, call);
    });
}

/// What the model may ask for, by the client's own definitions.
pub(in crate::provider) fn tools(tools: Raw<'_>, call: &mut CallBuilder) {
    tools.for_each(|tool: Tool<'_>| {
        let spec = if tool.custom.is_object() { &tool.custom } else { &tool.function };
        tool_definition(tool.kind.filled().unwrap_or("function"), spec, call);
    });
}

fn parameters(request: &Request<'_>, call: &mut CallBuilder) {
    let facts = &mut call.request;
    facts.model = request.model.name().or_else(|| facts.model.take());
    facts.stream = request.stream.0.unwrap_or(false);
    facts.max_tokens = request.max_completion_tokens.0.or(request.max_tokens.0);
    facts.temperature = request.temperature.0;
    facts.top_p = request.top_p.0;
    facts.top_k = request.top_k.0;
    facts.choice_count = request.n.0.filter(|n| *n != 1);
    facts.seed = request.seed.0;
    facts.presence_penalty = request.presence_penalty.0;
    facts.frequency_penalty = request.frequency_penalty.0;
    facts.reasoning_level = request.reasoning_effort.name().or_else(|| request.reasoning.effort.name());
    facts.service_tier = request.service_tier.name().filter(|tier| tier != "auto");
    facts.stop_sequences = stop_sequences(request.stop);
    if request.deferred.0 == Some(true) {
        call.response.deferred = Some(Operation::Chat);
    }
    facts.output_type = if request.modalities.0.iter().any(|modality| modality.as_str() == Some("audio")) {
        Some(OutputType::Speech)
    } else if request.modalities.0.iter().any(|modality| modality.as_str() == Some("image")) {
        Some(OutputType::Image)
    } else {
        output_type(request.response_format.kind.as_str())
    };
}

/// `text`, `json_object`, `json_schema`.
pub(in crate::provider) fn output_type(format: Option<&str>) -> Option<OutputType> {
    match format? {
        "text" => Some(OutputType::Text),
        format if format.starts_with("json") => Some(OutputType::Json),
        _ => None,
    }
}

/// A string or an array of strings.
pub(in crate::provider) fn stop_sequences(stop: Raw<'_>) -> Vec<String> {
    if let Some(text) = stop.text() {
        // An empty one is none, in the words of clients that write out every field.
        return Some(clip(&text, STOP_SEQUENCE_BYTES).to_owned()).filter(|text| !text.is_empty()).into_iter().collect();
    }
    let mut out = Vec::new();
    stop.for_each(|text: Text<'_>| {
        if let Some(text) = text.as_str()
            && out.len() < MAX_STOP_SEQUENCES
        {
            out.push(clip(text, STOP_SEQUENCE_BYTES).to_owned());
        }
    });
    out
}

fn input_message(message: &ChatMessage<'_>, call: &mut CallBuilder) {
    let mut parts = Vec::new();
    let role = message.role.filled().unwrap_or("user");
    let answers_tool = matches!(role, "tool" | "function");
    // DeepSeek's name and many others', OpenRouter's where it does not repeat the other, Ollama's, Cohere's.
    let thought = message.reasoning_content.filled().or_else(|| message.reasoning.filled());
    for reasoning in [thought, message.thinking.filled(), message.tool_plan.filled()].into_iter().flatten() {
        call.estimation.input.push(reasoning);
        if call.keeps_content() {
            parts.push(Part::Reasoning { content: call.clip_input(reasoning) });
        }
    }
    if let Some(text) = message.content.text() {
        call.estimation.input.push(&text);
        if call.keeps_content() && !text.is_empty() {
            parts.push(Part::Text { content: call.clip_input(&text) });
        }
    } else {
        message.content.for_each(|part: ContentPart<'_>| content_part(&part, &mut parts, call));
    }
    if let Some(refusal) = message.refusal.filled() {
        call.estimation.input.push(refusal);
        if call.keeps_content() {
            parts.push(Part::Text { content: call.clip_input(refusal) });
        }
    }
    if answers_tool && call.keeps_content() {
        let text: Vec<String> =
            parts.drain(..).filter_map(|part| if let Part::Text { content } = part { Some(content) } else { None }).collect();
        let id = message.tool_call_id.name().or_else(|| message.name.name()).or_else(|| message.tool_name.name());
        parts.push(Part::ToolCallResponse { id, response: Value::String(text.join("\n")) });
    }
    message.images.for_each(|image: Text<'_>| {
        // Ollama: the bytes in base64, nothing else said of them.
        if let Some(data) = image.filled().filter(|data| call.keeps_content() && call.admit_input(data.len())) {
            parts.push(Part::Blob { modality: Modality::Image, mime_type: None, content: data.to_owned() });
        }
    });
    for tool in &message.tool_calls.0 {
        past_tool_call(tool.id.name(), tool.called(), &mut parts, call);
    }
    if message.function_call.says_something() {
        past_tool_call(None, &message.function_call, &mut parts, call);
    }
    if !call.keeps_content() {
        return;
    }
    // System messages stay where they stand: the conventions' system_instructions are those given apart from the history.
    call.input_message(Message {
        role: clip(role, 64).to_owned(),
        parts,
        name: message.name.name().filter(|_| !answers_tool),
        finish_reason: None,
    });
}

fn past_tool_call(id: Option<String>, function: &super::Function<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    let arguments = super::arguments(function);
    call.estimation.input.push(function.name.as_str().unwrap_or_default());
    call.estimation.input.push(&arguments);
    if call.keeps_content() && call.admit_input(arguments.len()) {
        let arguments = (!arguments.is_empty()).then(|| tree_or_text(&arguments));
        parts.push(Part::ToolCall { id, name: function.name.name().unwrap_or_default(), arguments });
    }
}

/// JSON text as a tree where it is JSON and small.
pub(in crate::provider) fn tree_or_text(text: &str) -> Value {
    let tree = (text.len() <= SCHEMA_TREE_BYTES).then(|| serde_json::from_str(text).ok()).flatten();
    tree.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn content_part(part: &ContentPart<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    if let Some(text) = part.text.as_str().or_else(|| part.refusal.as_str()) {
        call.estimation.input.push(text);
        if call.keeps_content() {
            parts.push(Part::Text { content: call.clip_input(text) });
        }
        return;
    }
    if let Some(json) = part.document.data.json() {
        let text = part.document.data.text();
        let text = text.as_deref().unwrap_or(json);
        call.estimation.input.push(text);
        if call.keeps_content() {
            parts.push(Part::Text { content: call.clip_input(text) });
        }
        return;
    }
    // Cohere: a text. Mistral: parts with texts.
    if let Some(text) = part.thinking.text() {
        return past_thought(&text, parts, call);
    }
    if part.thinking.0.is_some() {
        return part.thinking.for_each(|thought: ContentPart<'_>| past_thought(thought.text.as_str().unwrap_or_default(), parts, call));
    }
    if !call.keeps_content() {
        return;
    }
    let image = part.image_url.text().or_else(|| part.image_url.read::<ImageObject<'_>>().and_then(|url| url.url.0));
    if let Some(url) = image {
        parts.extend(url_part(&url, Modality::Image, call));
    } else if let Some(data) = part.input_audio.data.filled() {
        if call.admit_input(data.len()) {
            let mime_type = part.input_audio.format.filled().map(|format| format!("audio/{}", clip(format, 32)));
            parts.push(Part::Blob { modality: Modality::Audio, mime_type, content: data.to_owned() });
        }
    } else if let Some(file_id) = part.file.file_id.name() {
        parts.push(Part::File { modality: Modality::Document, mime_type: None, file_id });
    } else if let Some(data) = part.file.file_data.filled() {
        parts.extend(url_part(data, Modality::Document, call));
    } else {
        parts.push(Part::Generic { generic_type: part.kind.name().unwrap_or_else(|| "unknown".to_owned()) });
    }
}

fn past_thought(text: &str, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    call.estimation.input.push(text);
    if call.keeps_content() && !text.is_empty() {
        parts.push(Part::Reasoning { content: call.clip_input(text) });
    }
}

/// A link, or the bytes themselves in a `data:` URL (RFC 2397).
pub(in crate::provider) fn url_part(url: &str, modality: Modality, call: &mut CallBuilder) -> Option<Part> {
    if !call.admit_input(url.len()) {
        return None;
    }
    let Some(rest) = url.strip_prefix("data:") else {
        return Some(Part::Uri { modality, mime_type: None, uri: url.to_owned() });
    };
    let (media, content) = rest.split_once(',').unwrap_or(("", rest));
    let mime_type = media.split(';').next().filter(|mime| !mime.is_empty()).map(|mime| clip(mime, 128).to_owned());
    Some(Part::Blob { modality, mime_type, content: content.to_owned() })
}

fn tool_definition(kind: &str, spec: &ToolSpec<'_>, call: &mut CallBuilder) {
    call.estimation.tool_definitions = call.estimation.tool_definitions.saturating_add(1);
    for text in [spec.name.as_str(), spec.description.as_str(), spec.parameters.json()].into_iter().flatten() {
        call.estimation.input.push(text);
    }
    if !call.keeps_content() {
        return;
    }
    let description = spec.description.filled().map(|text| call.clip_input(text));
    let admitted = call.admit_input(spec.parameters.json().map_or(0, str::len));
    call.tool_definition(ToolDefinition {
        r#type: clip(kind, 64).to_owned(),
        name: spec.name.name().unwrap_or_default(),
        description,
        parameters: admitted.then(|| spec.parameters.value(SCHEMA_TREE_BYTES)).flatten(),
    });
}
