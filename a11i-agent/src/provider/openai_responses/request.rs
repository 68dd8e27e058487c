//! Request body of a response.

use serde_json::Value;

use crate::{
    call::{CallBuilder, Message, Modality, Part, ToolDefinition},
    provider::{
        lenient::{Flag, Float, Int, Raw, Text, Unreadable, clip, lenient_object, parse},
        openai_chat::request::{SCHEMA_TREE_BYTES, output_type, tree_or_text, url_part},
    },
};

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "input" => input: Raw<'a>,
        "instructions" => instructions: Raw<'a>,
        "stream" => stream: Flag,
        "previous_response_id" => previous_response_id: Text<'a>,
        "conversation" => conversation: Raw<'a>,
        "max_output_tokens" => max_output_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "reasoning" => reasoning: Reasoning<'a>,
        "text" => text: TextOptions<'a>,
        "service_tier" => service_tier: Text<'a>,
        "prompt" => prompt: Prompt<'a>,
        "tools" => tools: Raw<'a>,
    }
}

lenient_object! {
    struct Reasoning<'a> {
        "effort" => effort: Text<'a>,
    }
}

lenient_object! {
    struct TextOptions<'a> {
        "format" => format: Format<'a>,
    }
}

lenient_object! {
    struct Format<'a> {
        "type" => kind: Text<'a>,
    }
}

lenient_object! {
    struct Prompt<'a> {
        "id" => id: Text<'a>,
        "version" => version: Text<'a>,
    }
}

lenient_object! {
    struct InputItem<'a> {
        "type" => kind: Text<'a>,
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
        "summary" => summary: Raw<'a>,
        "call_id" => call_id: Text<'a>,
        "name" => name: Text<'a>,
        "arguments" => arguments: Text<'a>,
        "input" => input: Text<'a>,
        "output" => output: Raw<'a>,
    }
}

lenient_object! {
    struct InputPart<'a> {
        "type" => kind: Text<'a>,
        "text" => text: Text<'a>,
        "refusal" => refusal: Text<'a>,
        "image_url" => image_url: Text<'a>,
        "file_id" => file_id: Text<'a>,
        "file_url" => file_url: Text<'a>,
        "file_data" => file_data: Text<'a>,
    }
}

lenient_object! {
    struct Tool<'a> {
        "type" => kind: Text<'a>,
        "name" => name: Text<'a>,
        "server_label" => server_label: Text<'a>,
        "description" => description: Text<'a>,
        "parameters" => parameters: Raw<'a>,
    }
}

pub(super) fn read(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let request: Request<'_> = parse(body)?;
    let facts = &mut call.request;
    facts.model = request.model.name().or_else(|| facts.model.take());
    facts.stream = request.stream.0.unwrap_or(false);
    facts.previous_response_id = request.previous_response_id.name();
    facts.conversation_id = super::conversation_id(request.conversation);
    facts.max_tokens = request.max_output_tokens.0;
    facts.temperature = request.temperature.0;
    facts.top_p = request.top_p.0;
    facts.reasoning_level = request.reasoning.effort.name();
    facts.output_type = output_type(request.text.format.kind.as_str());
    facts.service_tier = request.service_tier.name().filter(|tier| tier != "auto");
    facts.prompt_name = request.prompt.id.name();
    facts.prompt_version = request.prompt.version.name();
    if let Some(text) = request.instructions.text() {
        call.estimation.input.push(&text);
        if call.keeps_content() {
            let content = call.clip_input(&text);
            call.system_instruction(Part::Text { content });
        }
    }
    if let Some(text) = request.input.text() {
        call.estimation.input_messages = 1;
        call.estimation.input.push(&text);
        if call.keeps_content() {
            let parts = vec![Part::Text { content: call.clip_input(&text) }];
            call.input_message(Message { role: "user".to_owned(), parts, ..Message::default() });
        }
    }
    request.input.for_each(|item: InputItem<'_>| {
        call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
        input_item(&item, call);
    });
    request.tools.for_each(|tool: Tool<'_>| tool_definition(&tool, call));
    Ok(())
}

fn input_item(item: &InputItem<'_>, call: &mut CallBuilder) {
    let mut parts = Vec::new();
    let kind = item.kind.filled().unwrap_or("message");
    let role = match kind {
        "message" => {
            content(item.content, &mut parts, call);
            item.role.filled().unwrap_or("user")
        }
        "reasoning" => {
            let mut texts = Vec::new();
            content(item.summary, &mut texts, call);
            content(item.content, &mut texts, call);
            let reasoning = texts
                .into_iter()
                .filter_map(|part| if let Part::Text { content } = part { Some(Part::Reasoning { content }) } else { None });
            parts.extend(reasoning);
            "assistant"
        }
        "function_call" | "custom_tool_call" => {
            let arguments = item.arguments.as_str().or_else(|| item.input.as_str()).unwrap_or_default();
            call.estimation.input.push(item.name.as_str().unwrap_or_default());
            call.estimation.input.push(arguments);
            if call.keeps_content() && call.admit_input(arguments.len()) {
                let arguments = (!arguments.is_empty()).then(|| tree_or_text(arguments));
                parts.push(Part::ToolCall { id: item.call_id.name(), name: item.name.name().unwrap_or_default(), arguments });
            }
            "assistant"
        }
        _ if kind.ends_with("_output") => {
            tool_output(item, &mut parts, call);
            "tool"
        }
        _ => {
            parts.push(Part::Generic { generic_type: clip(kind, 64).to_owned() });
            "assistant"
        }
    };
    if call.keeps_content() && !parts.is_empty() {
        call.input_message(Message { role: clip(role, 64).to_owned(), parts, ..Message::default() });
    }
}

fn tool_output(item: &InputItem<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    let text = item.output.text();
    let sample = text.as_deref().or_else(|| item.output.json()).unwrap_or_default();
    call.estimation.input.push(sample);
    if call.keeps_content() && call.admit_input(sample.len()) {
        let response = match &text {
            Some(text) => Value::String(text.clone().into_owned()),
            None => item.output.value(SCHEMA_TREE_BYTES).unwrap_or_default(),
        };
        parts.push(Part::ToolCallResponse { id: item.call_id.name(), response });
    }
}

fn content(content: Raw<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    if let Some(text) = content.text() {
        call.estimation.input.push(&text);
        if call.keeps_content() {
            parts.push(Part::Text { content: call.clip_input(&text) });
        }
    }
    content.for_each(|part: InputPart<'_>| {
        if let Some(text) = part.text.as_str().or_else(|| part.refusal.as_str()) {
            call.estimation.input.push(text);
            if call.keeps_content() {
                parts.push(Part::Text { content: call.clip_input(text) });
            }
            return;
        }
        if !call.keeps_content() {
            return;
        }
        let modality = if part.kind.as_str() == Some("input_image") { Modality::Image } else { Modality::Document };
        if let Some(url) = part.image_url.filled().or_else(|| part.file_url.filled()).or_else(|| part.file_data.filled()) {
            parts.extend(url_part(url, modality, call));
        } else if let Some(file_id) = part.file_id.name() {
            parts.push(Part::File { modality, mime_type: None, file_id });
        } else {
            parts.push(Part::Generic { generic_type: part.kind.name().unwrap_or_else(|| "unknown".to_owned()) });
        }
    });
}

fn tool_definition(tool: &Tool<'_>, call: &mut CallBuilder) {
    call.estimation.tool_definitions = call.estimation.tool_definitions.saturating_add(1);
    for text in [tool.name.as_str(), tool.description.as_str(), tool.parameters.json()].into_iter().flatten() {
        call.estimation.input.push(text);
    }
    if !call.keeps_content() {
        return;
    }
    let kind = tool.kind.filled().unwrap_or("function");
    let name = tool.name.name().or_else(|| tool.server_label.name()).unwrap_or_else(|| clip(kind, 64).to_owned());
    let description = tool.description.filled().map(|text| call.clip_input(text));
    let admitted = call.admit_input(tool.parameters.json().map_or(0, str::len));
    let parameters = admitted.then(|| tool.parameters.value(SCHEMA_TREE_BYTES)).flatten();
    call.tool_definition(ToolDefinition { r#type: clip(kind, 64).to_owned(), name, description, parameters });
}
