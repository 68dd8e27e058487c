//! Request body of generateContent, streamGenerateContent and countTokens.

use super::{
    content::{Blob, FileData, FunctionCall},
    path::model_of_resource,
};
use crate::{
    call::{CallBuilder, Message, OutputType, Part, ToolDefinition},
    provider::{
        lenient::{Few, Flag, Float, Int, Raw, Shape, Text, clip, lenient_object},
        openai_chat::request::{SCHEMA_TREE_BYTES, stop_sequences},
    },
};

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "contents" => contents: Raw<'a>,
        "systemInstruction" | "system_instruction" => system_instruction: Raw<'a>,
        "tools" => tools: Raw<'a>,
        "generationConfig" | "generation_config" => config: Config<'a>,
        "serviceTier" | "service_tier" => service_tier: Text<'a>,
        // countTokens wraps what it counts, Code Assist all that it sends.
        "generateContentRequest" | "generate_content_request" | "request" => wrapped: Raw<'a>,
    }
}

lenient_object! {
    struct Config<'a> {
        "temperature" => temperature: Float,
        "topP" | "top_p" => top_p: Float,
        "topK" | "top_k" => top_k: Int,
        "candidateCount" | "candidate_count" => candidate_count: Int,
        "maxOutputTokens" | "max_output_tokens" => max_output_tokens: Int,
        "stopSequences" | "stop_sequences" => stop_sequences: Raw<'a>,
        "seed" => seed: Int,
        "presencePenalty" | "presence_penalty" => presence_penalty: Float,
        "frequencyPenalty" | "frequency_penalty" => frequency_penalty: Float,
        "responseMimeType" | "response_mime_type" => response_mime_type: Text<'a>,
        "responseModalities" | "response_modalities" => response_modalities: Few<Text<'a>>,
        "thinkingConfig" | "thinking_config" => thinking: Thinking<'a>,
    }
}

lenient_object! {
    struct Thinking<'a> {
        "thinkingLevel" | "thinking_level" => level: Text<'a>,
    }
}

lenient_object! {
    struct Content<'a> {
        "role" => role: Text<'a>,
        "parts" => parts: Raw<'a>,
    }
}

lenient_object! {
    struct PromptPart<'a> {
        "text" => text: Text<'a>,
        "thought" => thought: Flag,
        "inlineData" | "inline_data" => inline_data: Blob<'a>,
        "fileData" | "file_data" => file_data: FileData<'a>,
        "functionCall" | "function_call" => function_call: FunctionCall<'a>,
        "functionResponse" | "function_response" => function_response: FunctionResponse<'a>,
        "executableCode" | "executable_code" => executable_code: Raw<'a>,
        "codeExecutionResult" | "code_execution_result" => code_execution_result: Raw<'a>,
        "toolCall" | "tool_call" => tool_call: Raw<'a>,
        "toolResponse" | "tool_response" => tool_response: Raw<'a>,
    }
}

lenient_object! {
    struct FunctionResponse<'a> {
        "id" => id: Text<'a>,
        "response" => response: Raw<'a>,
    }
}

lenient_object! {
    struct ServerTool<'a> {
        "id" => id: Text<'a>,
        "toolType" | "tool_type" => tool_type: Text<'a>,
    }
}

lenient_object! {
    struct FunctionDeclaration<'a> {
        "name" => name: Text<'a>,
        "description" => description: Text<'a>,
        "parameters" => parameters: Raw<'a>,
        "parametersJsonSchema" | "parameters_json_schema" => parameters_json_schema: Raw<'a>,
    }
}

pub(super) fn read(request: &Request<'_>, call: &mut CallBuilder) {
    if let Some(wrapped) = request.wrapped.read::<Request<'_>>().filter(Shape::is_object) {
        read_one(&wrapped, call);
        if let Some(model) = model_name(&request.model) {
            call.request.model = Some(model);
        }
    } else {
        read_one(request, call);
    }
}

fn read_one(request: &Request<'_>, call: &mut CallBuilder) {
    parameters(request, call);
    if let Some(text) = request.system_instruction.text() {
        system_part(&text, call);
    } else if let Some(content) = request.system_instruction.read::<Content<'_>>() {
        each_part(content.parts, |part| system_part(part.text.as_str().unwrap_or_default(), call));
    }
    if let Some(text) = request.contents.text() {
        message(None, |parts, call| text_part(&text, false, parts, call), call);
    }
    request.contents.for_each(|content: Content<'_>| {
        message(content.role.filled(), |parts, call| each_part(content.parts, |part| prompt_part(&part, parts, call)), call);
    });
    tools(request.tools, call);
}

/// A resource's name, or the model alone.
pub(super) fn model_name(model: &Text<'_>) -> Option<String> {
    model.name().map(|name| model_of_resource(&name).unwrap_or(name))
}

fn parameters(request: &Request<'_>, call: &mut CallBuilder) {
    let config = &request.config;
    let facts = &mut call.request;
    // The path decides; a body names a model only where the path does not.
    facts.model = facts.model.take().or_else(|| model_name(&request.model));
    facts.temperature = config.temperature.0;
    facts.top_p = config.top_p.0;
    facts.top_k = config.top_k.0;
    facts.choice_count = config.candidate_count.0.filter(|n| *n != 1);
    facts.max_tokens = config.max_output_tokens.0;
    facts.stop_sequences = stop_sequences(config.stop_sequences);
    facts.seed = config.seed.0;
    facts.presence_penalty = config.presence_penalty.0;
    facts.frequency_penalty = config.frequency_penalty.0;
    facts.reasoning_level = config.thinking.level.name();
    facts.service_tier = request.service_tier.name().filter(|tier| tier != "auto");
    facts.output_type = output_type(config);
}

fn output_type(config: &Config<'_>) -> Option<OutputType> {
    let asks_for = |name: &str, number: &str| {
        config.response_modalities.0.iter().filter_map(Text::as_str).any(|word| word.eq_ignore_ascii_case(name) || word == number)
    };
    // By number where enums are sent so: TEXT 1, IMAGE 2, AUDIO 3.
    if asks_for("audio", "3") {
        return Some(OutputType::Speech);
    }
    if asks_for("image", "2") {
        return Some(OutputType::Image);
    }
    match config.response_mime_type.filled() {
        Some("application/json") => Some(OutputType::Json),
        // Also one of a list of words (text/x.enum).
        Some(mime) if mime.starts_with("text/") => Some(OutputType::Text),
        _ => asks_for("text", "1").then_some(OutputType::Text),
    }
}

fn system_part(text: &str, call: &mut CallBuilder) {
    call.estimation.input.push(text);
    if call.keeps_content() && !text.is_empty() {
        let content = call.clip_input(text);
        call.system_instruction(Part::Text { content });
    }
}

/// An array as a rule; a part alone is taken too, as the servers do.
fn each_part(parts: Raw<'_>, mut act: impl FnMut(PromptPart<'_>)) {
    parts.for_each(|part: PromptPart<'_>| act(part));
    if let Some(part) = parts.read::<PromptPart<'_>>().filter(Shape::is_object) {
        act(part);
    }
}

fn message(role: Option<&str>, read: impl FnOnce(&mut Vec<Part>, &mut CallBuilder), call: &mut CallBuilder) {
    call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
    let mut parts = Vec::new();
    read(&mut parts, call);
    if !call.keeps_content() {
        return;
    }
    // Results of functions travel in the user's messages; a message of nothing else is the tool's.
    let answers_tool = !parts.is_empty() && parts.iter().all(|part| matches!(part, Part::ToolCallResponse { .. }));
    let role = match role.unwrap_or("user") {
        _ if answers_tool => "tool",
        "model" => "assistant",
        "function" => "tool",
        role => clip(role, 64),
    };
    call.input_message(Message { role: role.to_owned(), parts, ..Message::default() });
}

fn text_part(text: &str, thought: bool, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    call.estimation.input.push(text);
    if call.keeps_content() && !text.is_empty() {
        let content = call.clip_input(text);
        parts.push(if thought { Part::Reasoning { content } } else { Part::Text { content } });
    }
}

fn prompt_part(part: &PromptPart<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    if let Some(text) = part.text.as_str() {
        text_part(text, part.thought.0 == Some(true), parts, call);
    }
    let function = &part.function_call;
    if function.is_object() {
        let json = function.args.json().unwrap_or_default();
        call.estimation.input.push(function.name.as_str().unwrap_or_default());
        call.estimation.input.push(json);
        if call.keeps_content() && call.admit_input(json.len()) {
            let (id, name) = (function.id.name(), function.name.name().unwrap_or_default());
            parts.push(Part::ToolCall { id, name, arguments: function.args.value(SCHEMA_TREE_BYTES) });
        }
    }
    let answer = &part.function_response;
    if answer.is_object() {
        let json = answer.response.json().unwrap_or_default();
        call.estimation.input.push(json);
        if call.keeps_content() && call.admit_input(json.len()) {
            let response = answer.response.value(SCHEMA_TREE_BYTES).unwrap_or_default();
            parts.push(Part::ToolCallResponse { id: answer.id.name(), response });
        }
    }
    if call.keeps_content() {
        media_part(part, parts, call);
    }
    for (value, fixed, is_result) in [
        (part.executable_code, Some("code_execution"), false),
        (part.code_execution_result, Some("code_execution"), true),
        (part.tool_call, None, false),
        (part.tool_response, None, true),
    ] {
        server_tool(value, fixed, is_result, parts, call);
    }
}

fn media_part(part: &PromptPart<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    if let Some(data) = part.inline_data.data.filled().filter(|data| call.admit_input(data.len())) {
        let (modality, mime_type) = part.inline_data.media();
        parts.push(Part::Blob { modality, mime_type, content: data.to_owned() });
    }
    if let Some(uri) = part.file_data.uri.filled().filter(|uri| call.admit_input(uri.len())) {
        let (modality, mime_type) = part.file_data.media();
        parts.push(Part::Uri { modality, mime_type, uri: uri.to_owned() });
    }
}

fn server_tool(value: Raw<'_>, fixed: Option<&str>, is_result: bool, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    let Some(json) = value.json() else { return };
    call.estimation.input.push(json);
    if !call.keeps_content() || !call.admit_input(json.len()) {
        return;
    }
    let tool: ServerTool<'_> = value.read().unwrap_or_default();
    let id = tool.id.name();
    let name =
        fixed.or_else(|| tool.tool_type.filled()).map_or_else(|| "server_tool".to_owned(), |name| clip(name, 64).to_ascii_lowercase());
    let content = value.value(SCHEMA_TREE_BYTES);
    parts.push(if is_result {
        Part::ServerToolCallResponse { id, server_tool_call_response: serde_json::json!({"type": name, "result": content}) }
    } else {
        Part::ServerToolCall { id, server_tool_call: serde_json::json!({"type": name, "arguments": content}), name }
    });
}

/// Functions of the client, and the provider's tools by their key: `{"googleSearch": {}}`.
fn tools(tools: Raw<'_>, call: &mut CallBuilder) {
    tools.for_each(|tool: Raw<'_>| {
        let Some(fields) = tool.read::<std::collections::BTreeMap<std::borrow::Cow<'_, str>, &serde_json::value::RawValue>>() else {
            return;
        };
        for (key, value) in fields {
            if matches!(&*key, "functionDeclarations" | "function_declarations") {
                Raw(Some(value)).for_each(|function: FunctionDeclaration<'_>| function_declaration(&function, call));
                continue;
            }
            call.estimation.tool_definitions = call.estimation.tool_definitions.saturating_add(1);
            if call.keeps_content() {
                let name = clip(&key, 64).to_owned();
                call.tool_definition(ToolDefinition { r#type: name.clone(), name, description: None, parameters: None });
            }
        }
    });
}

fn function_declaration(function: &FunctionDeclaration<'_>, call: &mut CallBuilder) {
    call.estimation.tool_definitions = call.estimation.tool_definitions.saturating_add(1);
    let schema = if function.parameters.0.is_some() { function.parameters } else { function.parameters_json_schema };
    for text in [function.name.as_str(), function.description.as_str(), schema.json()].into_iter().flatten() {
        call.estimation.input.push(text);
    }
    if !call.keeps_content() {
        return;
    }
    let description = function.description.filled().map(|text| call.clip_input(text));
    let admitted = call.admit_input(schema.json().map_or(0, str::len));
    call.tool_definition(ToolDefinition {
        r#type: "function".to_owned(),
        name: function.name.name().unwrap_or_default(),
        description,
        parameters: admitted.then(|| schema.value(SCHEMA_TREE_BYTES)).flatten(),
    });
}
