//! Cloudflare Workers AI by its own path (<https://developers.cloudflare.com/workers-ai/>): the model is in the path, the answer in an envelope.

use super::{
    Dialect, StreamFrame,
    error_body::read_failure,
    hosts::is_for,
    lenient::{Count, Few, Flag, Raw, Shape, Text, Unreadable, lenient_object, parse},
    names,
    openai_chat::{OpenAiChat, request::read as read_chat},
};
use crate::{
    call::{CallBuilder, Operation, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct WorkersAi;

impl Dialect for WorkersAi {
    fn name(&self) -> ProviderName {
        ProviderName::of("cloudflare")
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let model = model(head).filter(|_| head.method == "POST")?;
        // What a model is for stands in no place but its name.
        let family = model.to_ascii_lowercase();
        let any = |marks: &[&str]| marks.iter().any(|mark| family.contains(mark));
        Some(if any(&["/bge-", "embed"]) && !family.contains("reranker") {
            Operation::Embeddings
        } else if family.contains("reranker") {
            Operation::Other("rerank")
        } else if any(&["whisper", "/nova-3", "deepgram/flux"]) {
            Operation::Other("transcription")
        } else if any(&["flux-", "stable-diffusion", "dreamshaper", "lucid-origin", "phoenix-"]) {
            Operation::Other("image_generation")
        } else {
            Operation::Chat
        })
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.model = model(head).map(names::in_path);
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let model = call.request.model.take();
        read_chat(body, call)?;
        call.request.model = model.or_else(|| call.request.model.take());
        let request: Prompted<'_> = parse(body)?;
        let text = request.text.text();
        if let Some(text) = request.prompt.filled().or(text.as_deref()) {
            if operation == Operation::Chat {
                call.prompt(text);
            } else {
                call.estimation.input.push(text);
            }
        }
        request.text.for_each(|text: Text<'_>| call.estimation.input.push(text.as_str().unwrap_or_default()));
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let envelope: Envelope<'_> = parse(body)?;
        if call.response.has_error_status() || envelope.success.0 == Some(false) {
            read_failure(body, call);
            if envelope.success.0 == Some(false) && !call.has_failed() {
                call.fail(Some("_OTHER"), None);
            }
            return Ok(());
        }
        let Some(result) = envelope.result.json() else { return Ok(()) };
        said(result.as_bytes(), call)
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        // `[DONE]` and what else is not JSON says nothing of the call.
        let _nothing_to_read = said(frame.data, call).is_err();
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        OpenAiChat.stream_end(gap, call);
    }
}

/// Behind `/ai/run/`, or behind `/workers-ai/` of the vendor's gateway.
fn model(head: &RequestHead) -> Option<&str> {
    let path = head.path.trim_end_matches('/');
    let behind = |mark: &str| path.split_once(mark).map(|(_, model)| model).filter(|model| model.starts_with('@'));
    if is_for(head, "cloudflare") {
        return behind("/ai/run/");
    }
    behind("/workers-ai/").filter(|_| is_for(head, "cloudflare_ai_gateway"))
}

lenient_object! {
    struct Prompted<'a> {
        "prompt" => prompt: Text<'a>,
        "text" => text: Raw<'a>,
    }
}

lenient_object! {
    struct Envelope<'a> {
        "result" => result: Raw<'a>,
        "success" => success: Flag,
    }
}

lenient_object! {
    /// A result, or an event of a stream. Newer models answer in OpenAI's format instead.
    struct Said<'a> {
        "response" => response: Raw<'a>,
        "choices" => choices: Raw<'a>,
        "tool_calls" => tool_calls: Few<ToolCall<'a>>,
        "usage" => usage: TokenUsage<'a>,
    }
}

lenient_object! {
    struct ToolCall<'a> {
        "id" => id: Text<'a>,
        "name" => name: Text<'a>,
        "arguments" => arguments: Raw<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "prompt_tokens" => prompt_tokens: Count,
        "completion_tokens" => completion_tokens: Count,
    }
}

const ANSWER: u32 = 0;

fn said(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let said: Said<'_> = parse(body)?;
    if said.choices.0.is_some() {
        OpenAiChat.chunk(&StreamFrame { event: None, data: body }, call);
        return Ok(());
    }
    if call.operation() == Operation::Chat {
        call.choice(ANSWER);
        // A text, or the object that a schema asked for.
        let text = said.response.text();
        let answer = text.as_deref().or_else(|| said.response.json().filter(|json| json.starts_with('{'))).unwrap_or_default();
        call.append(ANSWER, PartSlot(0), PartKind::Text, answer);
        for (slot, tool) in (1u64..).zip(&said.tool_calls.0) {
            let text = tool.arguments.text();
            let arguments = text.as_deref().or_else(|| tool.arguments.json()).unwrap_or_default();
            call.tool_call(ANSWER, PartSlot(slot), PartKind::ToolCall, tool.id.filled(), tool.name.filled(), arguments);
        }
    }
    if said.usage.is_object() {
        let output = said.usage.completion_tokens.0.filter(|_| call.operation() == Operation::Chat);
        call.usage = Usage { input_tokens: said.usage.prompt_tokens.0, output_tokens: output, ..Usage::default() };
        // Some models count in every event; whether this is the last one, none says.
        call.usage_is_running = true;
    }
    Ok(())
}
