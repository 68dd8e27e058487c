//! Request body of an interaction.

use crate::{
    call::{CallBuilder, Message, Operation, OutputType, Part, ToolDefinition},
    provider::{
        gemini::{content::modality, request::model_name},
        lenient::{Few, Flag, Float, Int, Raw, Shape, Text, Unreadable, clip, lenient_object, parse},
        openai_chat::request::{SCHEMA_TREE_BYTES, stop_sequences},
    },
};

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "agent" => agent: Text<'a>,
        "background" => background: Flag,
        "input" => input: Raw<'a>,
        "system_instruction" | "systemInstruction" => system_instruction: Text<'a>,
        "tools" => tools: Raw<'a>,
        "stream" => stream: Flag,
        "previous_interaction_id" | "previousInteractionId" => previous_interaction_id: Text<'a>,
        "generation_config" | "generationConfig" => config: Config<'a>,
        "response_format" | "responseFormat" => response_format: Raw<'a>,
        "response_mime_type" | "responseMimeType" => response_mime_type: Text<'a>,
        "response_modalities" | "responseModalities" => response_modalities: Few<Text<'a>>,
        "service_tier" | "serviceTier" => service_tier: Text<'a>,
    }
}

lenient_object! {
    struct Config<'a> {
        "temperature" => temperature: Float,
        "top_p" | "topP" => top_p: Float,
        "top_k" | "topK" => top_k: Int,
        "max_output_tokens" | "maxOutputTokens" => max_output_tokens: Int,
        "stop_sequences" | "stopSequences" => stop_sequences: Raw<'a>,
        "seed" => seed: Int,
        "presence_penalty" | "presencePenalty" => presence_penalty: Float,
        "frequency_penalty" | "frequencyPenalty" => frequency_penalty: Float,
        "thinking_level" | "thinkingLevel" => thinking_level: Text<'a>,
    }
}

lenient_object! {
    struct Format<'a> {
        "type" => kind: Text<'a>,
        "mime_type" | "mimeType" => mime_type: Text<'a>,
    }
}

lenient_object! {
    /// A turn, a step or a content.
    struct Item<'a> {
        "type" => kind: Text<'a>,
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
        "summary" => summary: Raw<'a>,
        "text" => text: Text<'a>,
        "id" => id: Text<'a>,
        "call_id" | "callId" => call_id: Text<'a>,
        "name" => name: Text<'a>,
        "arguments" => arguments: Raw<'a>,
        "result" => result: Raw<'a>,
        "mime_type" | "mimeType" => mime_type: Text<'a>,
        "data" => data: Text<'a>,
        "uri" => uri: Text<'a>,
    }
}

lenient_object! {
    struct Tool<'a> {
        "type" => kind: Text<'a>,
        "name" => name: Text<'a>,
        "description" => description: Text<'a>,
        "parameters" => parameters: Raw<'a>,
    }
}

pub(super) fn read(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let request: Request<'_> = parse(body)?;
    let config = &request.config;
    let facts = &mut call.request;
    facts.model = model_name(&request.model).or_else(|| facts.model.take());
    facts.agent_id = request.agent.name();
    facts.stream = request.stream.0.unwrap_or(false);
    facts.previous_response_id = request.previous_interaction_id.name();
    facts.temperature = config.temperature.0;
    facts.top_p = config.top_p.0;
    facts.top_k = config.top_k.0;
    facts.max_tokens = config.max_output_tokens.0;
    facts.stop_sequences = stop_sequences(config.stop_sequences);
    facts.seed = config.seed.0;
    facts.presence_penalty = config.presence_penalty.0;
    facts.frequency_penalty = config.frequency_penalty.0;
    facts.reasoning_level = config.thinking_level.name();
    facts.service_tier = request.service_tier.name().filter(|tier| tier != "auto");
    facts.output_type = output_type(&request);
    if request.background.0 == Some(true) {
        call.response.deferred = Some(Operation::GenerateContent);
    }
    if let Some(text) = request.system_instruction.filled() {
        call.estimation.input.push(text);
        if call.keeps_content() {
            let content = call.clip_input(text);
            call.system_instruction(Part::Text { content });
        }
    }
    input(request.input, call);
    request.tools.for_each(|tool: Tool<'_>| tool_definition(&tool, call));
    Ok(())
}

fn output_type(request: &Request<'_>) -> Option<OutputType> {
    let mut format = request.response_format.read::<Format<'_>>().filter(Shape::is_object);
    request.response_format.for_each(|one: Format<'_>| {
        format.get_or_insert(one);
    });
    let asks_for = |word: &str| {
        request.response_modalities.0.iter().filter_map(Text::as_str).any(|modality| modality.eq_ignore_ascii_case(word))
            || format.as_ref().is_some_and(|format| format.kind.as_str() == Some(word))
    };
    if asks_for("audio") {
        return Some(OutputType::Speech);
    }
    if asks_for("image") {
        return Some(OutputType::Image);
    }
    let mime_type = request.response_mime_type.filled().or_else(|| format.as_ref().and_then(|format| format.mime_type.filled()));
    match mime_type {
        Some("application/json") => Some(OutputType::Json),
        Some(mime) if mime.starts_with("text/") => Some(OutputType::Text),
        _ if asks_for("text") => Some(OutputType::Text),
        // A schema alone.
        _ => format.map(|_| OutputType::Json),
    }
}

/// A text, a content, contents, turns of a conversation, or steps.
fn input(input: Raw<'_>, call: &mut CallBuilder) {
    let mut prompt = Vec::new();
    let mut any = false;
    if let Some(text) = input.text() {
        any = true;
        text_part(&text, false, &mut prompt, call);
    } else if let Some(item) = input.read::<Item<'_>>().filter(Shape::is_object) {
        any = true;
        content_part(&item, &mut prompt, call);
    }
    input.for_each(|item: Item<'_>| {
        let kind = item.kind.as_str().unwrap_or_default();
        let role = match kind {
            "user_input" => Some("user"),
            "model_output" | "thought" | "function_call" => Some("assistant"),
            "function_result" => Some("tool"),
            _ => item.role.filled().map(|role| if role == "model" { "assistant" } else { role }),
        };
        let Some(role) = role else {
            any = true;
            return content_part(&item, &mut prompt, call);
        };
        let mut parts = Vec::new();
        if matches!(kind, "" | "user_input" | "model_output") {
            contents(item.content, &mut parts, call);
        } else {
            content_part(&item, &mut parts, call);
        }
        message(role, parts, call);
    });
    if any {
        message("user", prompt, call);
    }
}

fn message(role: &str, parts: Vec<Part>, call: &mut CallBuilder) {
    call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
    if call.keeps_content() {
        call.input_message(Message { role: clip(role, 64).to_owned(), parts, ..Message::default() });
    }
}

fn contents(content: Raw<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    if let Some(text) = content.text() {
        return text_part(&text, false, parts, call);
    }
    if let Some(item) = content.read::<Item<'_>>().filter(Shape::is_object) {
        content_part(&item, parts, call);
    }
    content.for_each(|item: Item<'_>| content_part(&item, parts, call));
}

fn text_part(text: &str, thought: bool, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    call.estimation.input.push(text);
    if call.keeps_content() && !text.is_empty() {
        let content = call.clip_input(text);
        parts.push(if thought { Part::Reasoning { content } } else { Part::Text { content } });
    }
}

fn content_part(item: &Item<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    let kind = item.kind.filled().unwrap_or("text");
    match kind {
        "text" => text_part(item.text.as_str().unwrap_or_default(), false, parts, call),
        "thought" => item.summary.for_each(|one: Item<'_>| text_part(one.text.as_str().unwrap_or_default(), true, parts, call)),
        "image" | "audio" | "video" | "document" if call.keeps_content() => {
            let (modality, mime_type) = (modality(item.mime_type.as_str().or(Some(kind))), item.mime_type.name());
            if let Some(data) = item.data.filled().filter(|data| call.admit_input(data.len())) {
                parts.push(Part::Blob { modality, mime_type, content: data.to_owned() });
            } else if let Some(uri) = item.uri.filled().filter(|uri| call.admit_input(uri.len())) {
                parts.push(Part::Uri { modality, mime_type, uri: uri.to_owned() });
            }
        }
        "image" | "audio" | "video" | "document" => {}
        "function_call" => {
            let json = item.arguments.json().unwrap_or_default();
            call.estimation.input.push(item.name.as_str().unwrap_or_default());
            call.estimation.input.push(json);
            if call.keeps_content() && call.admit_input(json.len()) {
                let (id, name) = (item.id.name(), item.name.name().unwrap_or_default());
                parts.push(Part::ToolCall { id, name, arguments: item.arguments.value(SCHEMA_TREE_BYTES) });
            }
        }
        "function_result" => {
            let json = item.result.json().unwrap_or_default();
            call.estimation.input.push(json);
            if call.keeps_content() && call.admit_input(json.len()) {
                let response = item.result.value(SCHEMA_TREE_BYTES).unwrap_or_default();
                parts.push(Part::ToolCallResponse { id: item.call_id.name().or_else(|| item.id.name()), response });
            }
        }
        _ if call.keeps_content() => parts.push(Part::Generic { generic_type: clip(kind, 64).to_owned() }),
        _ => {}
    }
}

fn tool_definition(tool: &Tool<'_>, call: &mut CallBuilder) {
    call.estimation.tool_definitions = call.estimation.tool_definitions.saturating_add(1);
    for text in [tool.name.as_str(), tool.description.as_str(), tool.parameters.json()].into_iter().flatten() {
        call.estimation.input.push(text);
    }
    if !call.keeps_content() {
        return;
    }
    let kind = clip(tool.kind.filled().unwrap_or("function"), 64).to_owned();
    let description = tool.description.filled().map(|text| call.clip_input(text));
    let admitted = call.admit_input(tool.parameters.json().map_or(0, str::len));
    let parameters = admitted.then(|| tool.parameters.value(SCHEMA_TREE_BYTES)).flatten();
    // The provider's own tools have a type and no name.
    let name = tool.name.name().unwrap_or_else(|| kind.clone());
    call.tool_definition(ToolDefinition { r#type: kind, name, description, parameters });
}
