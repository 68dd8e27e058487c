//! Request body of a message.

use serde_json::Value;

use crate::{
    call::{CallBuilder, Message, Modality, OutputType, Part, ToolDefinition},
    provider::{
        lenient::{Flag, Float, Int, Raw, Text, Unreadable, clip, lenient_object, parse},
        openai_chat::request::{SCHEMA_TREE_BYTES, stop_sequences},
    },
};

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "messages" => messages: Raw<'a>,
        "system" => system: Raw<'a>,
        "stream" => stream: Flag,
        "max_tokens" => max_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "stop_sequences" => stop_sequences: Raw<'a>,
        "tools" => tools: Raw<'a>,
        "output_config" => output_config: OutputConfig<'a>,
        "output_format" => output_format: Format<'a>,
        "service_tier" => service_tier: Text<'a>,
    }
}

lenient_object! {
    struct OutputConfig<'a> {
        "effort" => effort: Text<'a>,
        "format" => format: Format<'a>,
    }
}

lenient_object! {
    struct Format<'a> {
        "type" => kind: Text<'a>,
    }
}

lenient_object! {
    struct InputMessage<'a> {
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    struct InputBlock<'a> {
        "type" => kind: Text<'a>,
        "text" => text: Text<'a>,
        "thinking" => thinking: Text<'a>,
        "source" => source: Source<'a>,
        "id" => id: Text<'a>,
        "name" => name: Text<'a>,
        "input" => input: Raw<'a>,
        "tool_use_id" => tool_use_id: Text<'a>,
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    struct Source<'a> {
        "type" => kind: Text<'a>,
        "media_type" => media_type: Text<'a>,
        "data" => data: Text<'a>,
        "url" => url: Text<'a>,
        "file_id" => file_id: Text<'a>,
    }
}

lenient_object! {
    struct Tool<'a> {
        "type" => kind: Text<'a>,
        "name" => name: Text<'a>,
        "description" => description: Text<'a>,
        "input_schema" => input_schema: Raw<'a>,
    }
}

pub(super) fn read(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let request: Request<'_> = parse(body)?;
    let facts = &mut call.request;
    facts.model = request.model.name().or_else(|| facts.model.take());
    facts.stream = request.stream.0.unwrap_or(false);
    facts.max_tokens = request.max_tokens.0;
    facts.temperature = request.temperature.0;
    facts.top_p = request.top_p.0;
    facts.top_k = request.top_k.0;
    facts.stop_sequences = stop_sequences(request.stop_sequences);
    facts.reasoning_level = request.output_config.effort.name();
    facts.service_tier = request.service_tier.name().filter(|tier| tier != "auto");
    let format = request.output_config.format.kind.as_str().or_else(|| request.output_format.kind.as_str());
    facts.output_type = format.filter(|format| format.starts_with("json")).map(|_| OutputType::Json);
    if request.system.0.is_some() {
        let mut parts = Vec::new();
        content(request.system, &mut parts, call);
        for part in parts {
            call.system_instruction(part);
        }
    }
    request.messages.for_each(|message: InputMessage<'_>| {
        call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
        let mut parts = Vec::new();
        content(message.content, &mut parts, call);
        if !call.keeps_content() {
            return;
        }
        // Tool results travel in the user's messages; a message of nothing else is the tool's.
        let answers_tool = !parts.is_empty() && parts.iter().all(|part| matches!(part, Part::ToolCallResponse { .. }));
        let role = if answers_tool { "tool" } else { clip(message.role.filled().unwrap_or("user"), 64) };
        call.input_message(Message { role: role.to_owned(), parts, ..Message::default() });
    });
    request.tools.for_each(|tool: Tool<'_>| tool_definition(&tool, call));
    Ok(())
}

/// A text, or blocks.
fn content(content: Raw<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    if let Some(text) = content.text() {
        call.estimation.input.push(&text);
        if call.keeps_content() {
            parts.push(Part::Text { content: call.clip_input(&text) });
        }
    }
    content.for_each(|block: InputBlock<'_>| input_block(&block, parts, call));
}

fn input_block(block: &InputBlock<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    let kind = block.kind.filled().unwrap_or_default();
    match kind {
        "text" | "thinking" => {
            let text = block.text.as_str().or_else(|| block.thinking.as_str()).unwrap_or_default();
            call.estimation.input.push(text);
            if call.keeps_content() {
                let content = call.clip_input(text);
                parts.push(if kind == "text" { Part::Text { content } } else { Part::Reasoning { content } });
            }
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            let json = block.input.json().unwrap_or_default();
            call.estimation.input.push(block.name.as_str().unwrap_or_default());
            call.estimation.input.push(json);
            if !call.keeps_content() || !call.admit_input(json.len()) {
                return;
            }
            let (id, name, arguments) = (block.id.name(), block.name.name().unwrap_or_default(), block.input.value(SCHEMA_TREE_BYTES));
            parts.push(if kind == "tool_use" {
                Part::ToolCall { id, name, arguments }
            } else {
                let server_tool_call = serde_json::json!({"type": name, "arguments": arguments});
                Part::ServerToolCall { id, name, server_tool_call }
            });
        }
        _ if kind.ends_with("tool_result") => tool_result(kind, block, parts, call),
        _ if call.keeps_content() => {
            let modality = if kind == "image" { Modality::Image } else { Modality::Document };
            parts.extend(file(modality, &block.source, call).or_else(|| Some(Part::Generic { generic_type: clip(kind, 64).to_owned() })));
        }
        _ => {}
    }
}

fn tool_result(kind: &str, block: &InputBlock<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    let text = block.content.text();
    let sample = text.as_deref().or_else(|| block.content.json()).unwrap_or_default();
    call.estimation.input.push(sample);
    if !call.keeps_content() || !call.admit_input(sample.len()) {
        return;
    }
    let id = block.tool_use_id.name();
    let response = match &text {
        Some(text) => Value::String(text.clone().into_owned()),
        None => block.content.value(SCHEMA_TREE_BYTES).unwrap_or_default(),
    };
    parts.push(if kind == "tool_result" {
        Part::ToolCallResponse { id, response }
    } else {
        let name = clip(kind, 64).trim_end_matches("_tool_result").to_owned();
        let server_tool_call_response = serde_json::json!({"type": name, "result": response});
        Part::ServerToolCallResponse { id, server_tool_call_response }
    });
}

fn file(modality: Modality, source: &Source<'_>, call: &mut CallBuilder) -> Option<Part> {
    let mime_type = source.media_type.name();
    if let Some(data) = source.data.filled() {
        return call.admit_input(data.len()).then(|| Part::Blob { modality, mime_type, content: data.to_owned() });
    }
    if let Some(url) = source.url.filled() {
        return call.admit_input(url.len()).then(|| Part::Uri { modality, mime_type, uri: url.to_owned() });
    }
    source.file_id.name().map(|file_id| Part::File { modality, mime_type, file_id })
}

fn tool_definition(tool: &Tool<'_>, call: &mut CallBuilder) {
    call.estimation.tool_definitions = call.estimation.tool_definitions.saturating_add(1);
    for text in [tool.name.as_str(), tool.description.as_str(), tool.input_schema.json()].into_iter().flatten() {
        call.estimation.input.push(text);
    }
    if !call.keeps_content() {
        return;
    }
    // Server tools have a dated type, the client's own have `custom` or none: the conventions call those functions.
    let kind = tool.kind.filled().filter(|kind| *kind != "custom").unwrap_or("function");
    let description = tool.description.filled().map(|text| call.clip_input(text));
    let admitted = call.admit_input(tool.input_schema.json().map_or(0, str::len));
    let parameters = admitted.then(|| tool.input_schema.value(SCHEMA_TREE_BYTES)).flatten();
    call.tool_definition(ToolDefinition {
        r#type: clip(kind, 64).to_owned(),
        name: tool.name.name().unwrap_or_default(),
        description,
        parameters,
    });
}
