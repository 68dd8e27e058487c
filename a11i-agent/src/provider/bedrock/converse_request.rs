//! Requests of Converse, which are Nova's of InvokeModel, too.

use serde_json::Value;

use super::parameters::Parameters;
use crate::{
    call::{CallBuilder, Message, Modality, OutputType, Part, ToolDefinition},
    provider::{
        lenient::{Int, Raw, Shape, Text, Unreadable, clip, lenient_object, parse},
        openai_chat::request::SCHEMA_TREE_BYTES,
    },
};

lenient_object! {
    struct Request<'a> {
        "messages" => messages: Raw<'a>,
        "system" => system: Raw<'a>,
        "inferenceConfig" => inference: Parameters<'a>,
        "additionalModelRequestFields" => additional: Additional<'a>,
        "reasoningConfig" => reasoning_config: ReasoningConfig<'a>,
        "toolConfig" => tools: ToolConfig<'a>,
        "outputConfig" => output: OutputConfig<'a>,
        "serviceTier" => service_tier: Typed<'a>,
        "guardrailConfig" => guardrail: Guardrail<'a>,
    }
}

lenient_object! {
    struct Guardrail<'a> {
        "guardrailIdentifier" => id: Text<'a>,
    }
}

lenient_object! {
    /// What the models take besides, by their own names.
    struct Additional<'a> {
        "top_k" => top_k: Int,
        "topK" => top_k_camel: Int,
        "inferenceConfig" => inference: Parameters<'a>,
        "reasoning_effort" => reasoning_effort: Text<'a>,
        "reasoningConfig" => reasoning_config: ReasoningConfig<'a>,
        "output_config" => output_config: OutputEffort<'a>,
    }
}

lenient_object! {
    struct ReasoningConfig<'a> {
        "maxReasoningEffort" => effort: Text<'a>,
    }
}

lenient_object! {
    struct OutputEffort<'a> {
        "effort" => effort: Text<'a>,
    }
}

lenient_object! {
    struct ToolConfig<'a> {
        "tools" => tools: Raw<'a>,
    }
}

lenient_object! {
    struct OutputConfig<'a> {
        "textFormat" => text: Typed<'a>,
    }
}

lenient_object! {
    struct Typed<'a> {
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
    struct Block<'a> {
        "text" => text: Text<'a>,
        "guardContent" => guarded: Guarded<'a>,
        "reasoningContent" => reasoning: Reasoning<'a>,
        "citationsContent" => citations: Citations<'a>,
        "toolUse" => tool_use: ToolUse<'a>,
        "toolResult" => tool_result: Raw<'a>,
        "image" => image: File<'a>,
        "document" => document: File<'a>,
        "video" => video: File<'a>,
        "audio" => audio: File<'a>,
    }
}

lenient_object! {
    struct Guarded<'a> {
        "text" => text: Words<'a>,
    }
}

lenient_object! {
    struct Words<'a> {
        "text" => text: Text<'a>,
    }
}

lenient_object! {
    struct Reasoning<'a> {
        "reasoningText" => words: Words<'a>,
    }
}

lenient_object! {
    struct Citations<'a> {
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    struct ToolUse<'a> {
        "toolUseId" => id: Text<'a>,
        "name" => name: Text<'a>,
        "input" => input: Raw<'a>,
        "type" => kind: Text<'a>,
    }
}

lenient_object! {
    struct ToolResult<'a> {
        "toolUseId" => id: Text<'a>,
        "content" => content: Raw<'a>,
        "type" => kind: Text<'a>,
    }
}

lenient_object! {
    struct ResultPiece<'a> {
        "text" => text: Text<'a>,
        "json" => json: Raw<'a>,
    }
}

lenient_object! {
    struct File<'a> {
        "format" => format: Text<'a>,
        "source" => source: Source<'a>,
    }
}

lenient_object! {
    struct Source<'a> {
        "bytes" => bytes: Text<'a>,
        "text" => text: Text<'a>,
        "s3Location" => place: Place<'a>,
    }
}

lenient_object! {
    struct Place<'a> {
        "uri" => uri: Text<'a>,
    }
}

lenient_object! {
    struct Tool<'a> {
        "toolSpec" => spec: ToolSpec<'a>,
        "systemTool" => system: ToolSpec<'a>,
    }
}

lenient_object! {
    struct ToolSpec<'a> {
        "name" => name: Text<'a>,
        "description" => description: Text<'a>,
        "inputSchema" => schema: Schema<'a>,
    }
}

lenient_object! {
    struct Schema<'a> {
        "json" => json: Raw<'a>,
    }
}

pub(super) fn read(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let request: Request<'_> = parse(body)?;
    parameters(&request, call);
    request.system.for_each(|block: Block<'_>| {
        let mut parts = Vec::new();
        content(&block, &mut parts, call);
        for part in parts {
            call.system_instruction(part);
        }
    });
    request.messages.for_each(|message: InputMessage<'_>| {
        call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
        let mut parts = Vec::new();
        message.content.for_each(|block: Block<'_>| content(&block, &mut parts, call));
        if !call.keeps_content() {
            return;
        }
        // Tool results travel in the user's messages; a message of nothing else is the tool's.
        let answers_tool = !parts.is_empty() && parts.iter().all(|part| matches!(part, Part::ToolCallResponse { .. }));
        let role = if answers_tool { "tool" } else { clip(message.role.filled().unwrap_or("user"), 64) };
        call.input_message(Message { role: role.to_owned(), parts, ..Message::default() });
    });
    request.tools.tools.for_each(|tool: Tool<'_>| tool_definition(&tool, call));
    Ok(())
}

fn parameters(request: &Request<'_>, call: &mut CallBuilder) {
    request.additional.inference.tell(call);
    request.inference.tell(call);
    let (facts, additional) = (&mut call.request, &request.additional);
    facts.top_k = facts.top_k.or(additional.top_k.0).or(additional.top_k_camel.0);
    facts.reasoning_level = [
        &additional.reasoning_effort,
        &additional.reasoning_config.effort,
        &request.reasoning_config.effort,
        &additional.output_config.effort,
    ]
    .into_iter()
    .find_map(Text::name);
    request.service_tier.kind.replace(&mut facts.service_tier);
    request.guardrail.id.replace(&mut facts.guardrail_id);
    facts.output_type = request.output.text.kind.filled().filter(|format| format.starts_with("json")).map(|_| OutputType::Json);
}

fn content(block: &Block<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    if let Some(text) = block.text.as_str().or_else(|| block.guarded.text.text.as_str()) {
        words(text, parts, call, |content| Part::Text { content });
    } else if let Some(text) = block.reasoning.words.text.as_str() {
        words(text, parts, call, |content| Part::Reasoning { content });
    } else if block.citations.is_object() {
        block.citations.content.for_each(|piece: Words<'_>| {
            words(piece.text.as_str().unwrap_or_default(), parts, call, |content| Part::Text { content });
        });
    } else if block.tool_use.is_object() {
        tool_use(&block.tool_use, parts, call);
    } else if let Some(result) = block.tool_result.read::<ToolResult<'_>>().filter(Shape::is_object) {
        tool_result(&result, parts, call);
    } else {
        let files = [
            (Modality::Image, &block.image),
            (Modality::Document, &block.document),
            (Modality::Video, &block.video),
            (Modality::Audio, &block.audio),
        ];
        for (modality, found) in files {
            if found.is_object() {
                file(modality, found, parts, call);
            }
        }
    }
}

fn words(text: &str, parts: &mut Vec<Part>, call: &mut CallBuilder, part: impl FnOnce(String) -> Part) {
    call.estimation.input.push(text);
    if call.keeps_content() {
        parts.push(part(call.clip_input(text)));
    }
}

fn tool_use(tool: &ToolUse<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    let json = tool.input.json().unwrap_or_default();
    call.estimation.input.push(tool.name.as_str().unwrap_or_default());
    call.estimation.input.push(json);
    if !call.keeps_content() || !call.admit_input(json.len()) {
        return;
    }
    let (id, name, arguments) = (tool.id.name(), tool.name.name().unwrap_or_default(), tool.input.value(SCHEMA_TREE_BYTES));
    parts.push(if tool.kind.as_str() == Some("server_tool_use") {
        let server_tool_call = serde_json::json!({"type": name, "arguments": arguments});
        Part::ServerToolCall { id, name, server_tool_call }
    } else {
        Part::ToolCall { id, name, arguments }
    });
}

fn tool_result(result: &ToolResult<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    let json = result.content.json().unwrap_or_default();
    call.estimation.input.push(json);
    if !call.keeps_content() || !call.admit_input(json.len()) {
        return;
    }
    // Mostly one text or one value: then it is that, and not a list of one.
    let (mut pieces, mut single) = (0_usize, None);
    result.content.for_each(|piece: ResultPiece<'_>| {
        pieces = pieces.saturating_add(1);
        let text = piece.text.as_str().map(|text| Value::String(text.to_owned()));
        single = text.or_else(|| piece.json.value(SCHEMA_TREE_BYTES));
    });
    let response = single.filter(|_| pieces == 1).or_else(|| result.content.value(SCHEMA_TREE_BYTES)).unwrap_or_default();
    let id = result.id.name();
    parts.push(match result.kind.filled() {
        Some(kind) if kind != "tool_result" => {
            let name = clip(kind, 64).trim_end_matches("_result").to_owned();
            let server_tool_call_response = serde_json::json!({"type": name, "result": response});
            Part::ServerToolCallResponse { id, server_tool_call_response }
        }
        _ => Part::ToolCallResponse { id, response },
    });
}

fn file(modality: Modality, file: &File<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    if let Some(text) = file.source.text.as_str() {
        return words(text, parts, call, |content| Part::Text { content });
    }
    if !call.keeps_content() {
        return;
    }
    let kind = match modality {
        Modality::Image => "image",
        Modality::Document => "application",
        Modality::Video => "video",
        Modality::Audio => "audio",
    };
    let mime_type = file.format.filled().map(|format| format!("{kind}/{}", clip(format, 32)));
    if let Some(data) = file.source.bytes.filled() {
        if call.admit_input(data.len()) {
            parts.push(Part::Blob { modality, mime_type, content: data.to_owned() });
        }
    } else if let Some(uri) = file.source.place.uri.filled()
        && call.admit_input(uri.len())
    {
        parts.push(Part::Uri { modality, mime_type, uri: uri.to_owned() });
    }
}

fn tool_definition(tool: &Tool<'_>, call: &mut CallBuilder) {
    let (kind, spec) = if tool.system.is_object() { ("system_tool", &tool.system) } else { ("function", &tool.spec) };
    if !spec.is_object() {
        return; // a cache point
    }
    call.estimation.tool_definitions = call.estimation.tool_definitions.saturating_add(1);
    for text in [spec.name.as_str(), spec.description.as_str(), spec.schema.json.json()].into_iter().flatten() {
        call.estimation.input.push(text);
    }
    if !call.keeps_content() {
        return;
    }
    let description = spec.description.filled().map(|text| call.clip_input(text));
    let admitted = call.admit_input(spec.schema.json.json().map_or(0, str::len));
    call.tool_definition(ToolDefinition {
        r#type: kind.to_owned(),
        name: spec.name.name().unwrap_or_default(),
        description,
        parameters: admitted.then(|| spec.schema.json.value(SCHEMA_TREE_BYTES)).flatten(),
    });
}
