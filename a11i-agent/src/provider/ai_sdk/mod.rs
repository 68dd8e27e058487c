//! The AI SDK's own language between it and its gateway (<https://vercel.com/docs/ai-gateway>, <https://ai-sdk.dev>), versions 2 to 4 of its
//! specification: the model is in a header, content comes as parts, and counts are objects of counts since version 3.

mod usage;

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_refusal},
    lenient::{Float, Int, Raw, Text, Unreadable, clip, lenient_object, parse},
    names,
    openai_chat::request::{output_type, stop_sequences, tree_or_text},
    posted,
};
use crate::{
    call::{CallBuilder, Message, Operation, Part, PartKind, PartSlot, ProviderName},
    http::RequestHead,
};

pub(super) struct AiSdk;

const PATHS: [(&str, Operation); 6] = [
    ("/language-model", Operation::Chat),
    ("/embedding-model", Operation::Embeddings),
    ("/image-model", Operation::Other("image_generation")),
    ("/reranking-model", Operation::Other("rerank")),
    ("/speech-model", Operation::Other("speech")),
    ("/transcription-model", Operation::Other("transcription")),
];

/// Fields that name the model. No other client sends them.
const MODEL_FIELDS: [&str; 4] = ["ai-language-model-id", "ai-model-id", "ai-embedding-model-id", "ai-image-model-id"];

impl Dialect for AiSdk {
    fn name(&self) -> ProviderName {
        ProviderName::of("vercel_ai_gateway")
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        posted(head, &PATHS).filter(|_| model(head).is_some())
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.model = model(head).map(names::in_field);
        call.request.stream = head.headers.text("ai-language-model-streaming") == Some("true");
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.max_tokens = request.max_output_tokens.0;
        facts.temperature = request.temperature.0;
        facts.top_p = request.top_p.0;
        facts.top_k = request.top_k.0;
        facts.seed = request.seed.0;
        facts.presence_penalty = request.presence_penalty.0;
        facts.frequency_penalty = request.frequency_penalty.0;
        facts.stop_sequences = stop_sequences(request.stop_sequences);
        facts.output_type = output_type(request.response_format.kind.as_str());
        request.prompt.for_each(|message: PastMessage<'_>| {
            call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
            past_message(&message, call);
        });
        request.tools.for_each(|tool: Tool<'_>| tool_definition(&tool, call));
        // Of the other models: texts, or one.
        for texts in [request.input, request.values] {
            if let Some(text) = texts.text() {
                call.estimation.input.push(&text);
            }
            texts.for_each(|text: Text<'_>| call.estimation.input.push(text.as_str().unwrap_or_default()));
        }
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        let answer: Answer<'_> = parse(body)?;
        metadata(&answer.response, call);
        if call.operation() == Operation::Chat {
            call.choice(ANSWER);
            let mut at = 0u64;
            answer.content.for_each(|part: Said<'_>| {
                said(PartSlot(at), &part, call);
                at = at.saturating_add(1);
            });
        }
        finish(&answer, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(event) = parse::<Said<'_>>(frame.data) else { return };
        let delta = event.delta.as_str().unwrap_or_default();
        match event.kind.filled().unwrap_or_default() {
            "response-metadata" => {
                event.id.replace(&mut call.response.id);
                event.model_id.replace(&mut call.response.model);
            }
            "text-delta" => call.append(ANSWER, TEXT, PartKind::Text, delta),
            "reasoning-delta" => call.append(ANSWER, REASONING, PartKind::Reasoning, delta),
            "stream-start" => call.choice(ANSWER),
            "tool-call" => said(next_tool(call), &event, call),
            "finish" => {
                if let Ok(answer) = parse::<Answer<'_>>(frame.data) {
                    call.choice(ANSWER);
                    finish(&answer, call);
                }
            }
            "error" => {
                read_error(event.error, call);
                if !call.has_failed() {
                    call.fail(Some("error"), None);
                }
            }
            _ => {}
        }
    }
}

lenient_object! {
    struct Request<'a> {
        "prompt" => prompt: Raw<'a>,
        "maxOutputTokens" => max_output_tokens: Int,
        "temperature" => temperature: Float,
        "topP" => top_p: Float,
        "topK" => top_k: Int,
        "seed" => seed: Int,
        "presencePenalty" => presence_penalty: Float,
        "frequencyPenalty" => frequency_penalty: Float,
        "stopSequences" => stop_sequences: Raw<'a>,
        "responseFormat" => response_format: Format<'a>,
        "tools" => tools: Raw<'a>,
        "input" => input: Raw<'a>,
        "values" => values: Raw<'a>,
    }
}

lenient_object! {
    struct Format<'a> {
        "type" => kind: Text<'a>,
    }
}

lenient_object! {
    struct PastMessage<'a> {
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    struct Tool<'a> {
        "type" => kind: Text<'a>,
        "name" => name: Text<'a>,
        "description" => description: Text<'a>,
        "inputSchema" => schema: Raw<'a>,
    }
}

lenient_object! {
    /// A part of a message, of an answer, or an event of a stream.
    struct Said<'a> {
        "type" => kind: Text<'a>,
        "id" => id: Text<'a>,
        "modelId" => model_id: Text<'a>,
        "text" => text: Text<'a>,
        "delta" => delta: Text<'a>,
        "toolCallId" => tool_call_id: Text<'a>,
        "toolName" => tool_name: Text<'a>,
        "input" => input: Raw<'a>,
        "output" => output: Raw<'a>,
        "providerExecuted" => provider_executed: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    /// An answer as a whole, or the last event.
    struct Answer<'a> {
        "content" => content: Raw<'a>,
        "finishReason" => finish_reason: Raw<'a>,
        "usage" => usage: Raw<'a>,
        "response" => response: Metadata<'a>,
        "providerMetadata" => provider: Raw<'a>,
    }
}

lenient_object! {
    struct Metadata<'a> {
        "id" => id: Text<'a>,
        "modelId" => model_id: Text<'a>,
    }
}

lenient_object! {
    struct FinishReason<'a> {
        "unified" => unified: Text<'a>,
    }
}

/// There is one answer a call.
const ANSWER: u32 = 0;
/// Slots of a stream; of a whole answer, its parts have their places.
const REASONING: PartSlot = PartSlot(0);
const TEXT: PartSlot = PartSlot(1);
const FIRST_TOOL_CALL: PartSlot = PartSlot(2);

fn model(head: &RequestHead) -> Option<&str> {
    MODEL_FIELDS.iter().find_map(|name| head.headers.text(name)).filter(|model| !model.is_empty())
}

/// Tool calls come whole, one after the other.
fn next_tool(call: &CallBuilder) -> PartSlot {
    call.last_slot(ANSWER).map_or(FIRST_TOOL_CALL, |last| PartSlot(last.0.saturating_add(1)).max(FIRST_TOOL_CALL))
}

/// Part of an answer.
fn said(slot: PartSlot, part: &Said<'_>, call: &mut CallBuilder) {
    let text = part.text.as_str().unwrap_or_default();
    match part.kind.filled().unwrap_or_default() {
        "text" => call.append(ANSWER, slot, PartKind::Text, text),
        "reasoning" => call.append(ANSWER, slot, PartKind::Reasoning, text),
        "tool-call" => {
            let kind = if part.provider_executed.json() == Some("true") { PartKind::ServerToolCall } else { PartKind::ToolCall };
            let input = part.input.text();
            let arguments = input.as_deref().or_else(|| part.input.json()).unwrap_or_default();
            call.tool_call(ANSWER, slot, kind, part.tool_call_id.filled(), part.tool_name.filled(), arguments);
        }
        _ => {}
    }
}

fn metadata(said: &Metadata<'_>, call: &mut CallBuilder) {
    said.id.replace(&mut call.response.id);
    said.model_id.replace(&mut call.response.model);
}

fn finish(answer: &Answer<'_>, call: &mut CallBuilder) {
    let word = answer.finish_reason.text();
    let object = answer.finish_reason.read::<FinishReason<'_>>().unwrap_or_default();
    if let Some(reason) = word.as_deref().or_else(|| object.unified.filled()) {
        call.finish(ANSWER, reason);
    }
    usage::read(answer.usage, answer.provider, call);
}

fn past_message(message: &PastMessage<'_>, call: &mut CallBuilder) {
    let mut parts = Vec::new();
    if let Some(text) = message.content.text() {
        past_text(&text, &mut parts, call, |content| Part::Text { content });
    }
    message.content.for_each(|part: Said<'_>| past_part(&part, &mut parts, call));
    if call.keeps_content() {
        let role = message.role.filled().unwrap_or("user");
        call.input_message(Message { role: clip(role, 64).to_owned(), parts, ..Message::default() });
    }
}

fn past_part(part: &Said<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    let text = part.text.as_str().unwrap_or_default();
    match part.kind.filled().unwrap_or_default() {
        "text" => past_text(text, parts, call, |content| Part::Text { content }),
        "reasoning" => past_text(text, parts, call, |content| Part::Reasoning { content }),
        "tool-call" => {
            let arguments = part.input.json().unwrap_or_default();
            call.estimation.input.push(part.tool_name.as_str().unwrap_or_default());
            call.estimation.input.push(arguments);
            if call.keeps_content() && call.admit_input(arguments.len()) {
                let arguments = (!arguments.is_empty()).then(|| tree_or_text(arguments));
                parts.push(Part::ToolCall { id: part.tool_call_id.name(), name: part.tool_name.name().unwrap_or_default(), arguments });
            }
        }
        "tool-result" => {
            let result = part.output.json().unwrap_or_default();
            call.estimation.input.push(result);
            if call.keeps_content() && call.admit_input(result.len()) {
                parts.push(Part::ToolCallResponse { id: part.tool_call_id.name(), response: tree_or_text(result) });
            }
        }
        _ => {}
    }
}

fn past_text(text: &str, parts: &mut Vec<Part>, call: &mut CallBuilder, part: impl FnOnce(String) -> Part) {
    call.estimation.input.push(text);
    if call.keeps_content() && !text.is_empty() {
        parts.push(part(call.clip_input(text)));
    }
}

fn tool_definition(tool: &Tool<'_>, call: &mut CallBuilder) {
    let (kind, name) = (clip(tool.kind.filled().unwrap_or("function"), 64), tool.name.name().unwrap_or_default());
    call.offer_tool(kind, &name, tool.description.as_str().unwrap_or_default(), tool.schema.json().unwrap_or_default());
}

#[cfg(test)]
mod tests;
