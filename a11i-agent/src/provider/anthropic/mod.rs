//! Anthropic messages (<https://docs.anthropic.com/en/api/messages>), also behind other hosts.
//!
//! Usage of a stream: `message_start` overlaid by every `message_delta`, never added. The output count of `message_start`
//! is a start value and not used.

pub(super) mod batches;
mod request;

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_failure},
    lenient::{Count, Float, Raw, Shape, Text, Unreadable, lenient_object, parse},
    posted,
};
use crate::{
    call::{CallBuilder, NanoUsd, Operation, Part, PartKind, PartSlot, ProviderName},
    http::RequestHead,
};

pub(super) struct Anthropic;

impl Dialect for Anthropic {
    fn name(&self) -> ProviderName {
        ProviderName::of("anthropic")
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/v1/messages", Operation::Chat), ("/v1/messages/count_tokens", Operation::Other("count_tokens"))]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        posted(head, self.path_ends())
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        request::read(body, call)
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let message: Message<'_> = parse(body)?;
        if message.error.0.is_some() || call.response.has_error_status() {
            read_failure(body, call);
            return Ok(());
        }
        identity(&message, call);
        if call.operation() != Operation::Chat {
            return Ok(()); // a count is not consumption
        }
        call.choice(ANSWER);
        if let Some(reason) = message.stop_reason.filled() {
            call.finish(ANSWER, reason);
        }
        let mut index = 0u64;
        message.content.for_each(|block: Block<'_>| {
            content_block(index, &block, call);
            index = index.saturating_add(1);
        });
        usage(&message.usage, true, call);
        call.cache_apart.input_uncertain = false;
        call.cache_apart.base_seen = message.usage.is_object();
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(event) = parse::<Event<'_>>(frame.data) else { return };
        let index = event.index.0.unwrap_or(0);
        match event.kind.filled().or(frame.event).unwrap_or_default() {
            "message_start" => {
                let message: Message<'_> = event.message.read().unwrap_or_default();
                identity(&message, call);
                call.choice(ANSWER);
                if message.usage.is_object() {
                    usage(&message.usage, false, call);
                    call.cache_apart.base_seen = true;
                }
            }
            "content_block_start" => content_block(index, &event.content_block.read().unwrap_or_default(), call),
            "content_block_delta" => block_delta(index, &event.delta, call),
            "message_delta" => {
                if let Some(reason) = event.delta.stop_reason.filled() {
                    call.finish(ANSWER, reason);
                }
                if let Some(reported) = event.usage.read::<TokenUsage<'_>>().filter(Shape::is_object) {
                    usage(&reported, true, call);
                    call.cache_apart.input_uncertain = false;
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

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        // Server tools raise the input counts after message_start; without the last word they may be too low.
        let final_usage_seen = call.cache_apart.output_tokens.is_some();
        call.cache_apart.input_uncertain = !final_usage_seen && (gap || call.cache_apart.input_uncertain);
    }
}

lenient_object! {
    struct Message<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
        "stop_reason" => stop_reason: Text<'a>,
        "usage" => usage: TokenUsage<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    /// All but the delta is large and in few events: it is read where it is there.
    struct Event<'a> {
        "type" => kind: Text<'a>,
        "index" => index: Count,
        "message" => message: Raw<'a>,
        "content_block" => content_block: Raw<'a>,
        "delta" => delta: Delta<'a>,
        "usage" => usage: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct Block<'a> {
        "type" => kind: Text<'a>,
        "text" => text: Text<'a>,
        "thinking" => thinking: Text<'a>,
        "id" => id: Text<'a>,
        "name" => name: Text<'a>,
        "input" => input: Raw<'a>,
        "tool_use_id" => tool_use_id: Text<'a>,
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    struct Delta<'a> {
        "type" => kind: Text<'a>,
        "text" => text: Text<'a>,
        "thinking" => thinking: Text<'a>,
        "partial_json" => partial_json: Text<'a>,
        "stop_reason" => stop_reason: Text<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "input_tokens" => input_tokens: Count,
        "output_tokens" => output_tokens: Count,
        "cache_creation_input_tokens" => cache_creation_input_tokens: Count,
        "cache_read_input_tokens" => cache_read_input_tokens: Count,
        "cache_creation" => cache_creation: CacheCreation<'a>,
        "output_tokens_details" => output_details: OutputDetails<'a>,
        "server_tool_use" => server_tool_use: ServerToolUse<'a>,
        "service_tier" => service_tier: Text<'a>,
        // OpenRouter.
        "cost" => cost: Float,
        "inference_geo" => inference_geo: Text<'a>,
        "speed" => speed: Text<'a>,
    }
}

lenient_object! {
    struct CacheCreation<'a> {
        "ephemeral_1h_input_tokens" => one_hour: Count,
    }
}

lenient_object! {
    struct OutputDetails<'a> {
        "thinking_tokens" => thinking_tokens: Count,
    }
}

lenient_object! {
    struct ServerToolUse<'a> {
        "web_search_requests" => web_search_requests: Count,
    }
}

/// A message is the one answer of a call.
const ANSWER: u32 = 0;

/// Results of server tools larger than this are kept as text, not as a tree.
const RESULT_TREE_BYTES: usize = 64 * 1024;

fn identity(message: &Message<'_>, call: &mut CallBuilder) {
    if let Some(id) = message.id.name() {
        call.response.id = Some(id);
    }
    if let Some(model) = message.model.name() {
        call.response.model = Some(model);
    }
    if let Some(role) = message.role.filled() {
        call.role(ANSWER, role);
    }
}

/// Overwrites what is present and not null. `output`: the output count is final.
fn usage(reported: &TokenUsage<'_>, output: bool, call: &mut CallBuilder) {
    fn overlay(known: &mut Option<u64>, said: Count) {
        if said.0.is_some() {
            *known = said.0;
        }
    }
    let counts = &mut call.cache_apart;
    overlay(&mut counts.input_tokens, reported.input_tokens);
    overlay(&mut counts.cache_read_input_tokens, reported.cache_read_input_tokens);
    overlay(&mut counts.cache_write_input_tokens, reported.cache_creation_input_tokens);
    overlay(&mut counts.cache_write_1h_input_tokens, reported.cache_creation.one_hour);
    overlay(&mut counts.web_search_requests, reported.server_tool_use.web_search_requests);
    if output {
        overlay(&mut counts.output_tokens, reported.output_tokens);
        overlay(&mut counts.reasoning_output_tokens, reported.output_details.thinking_tokens);
    }
    if let Some(cost) = reported.cost.0.and_then(NanoUsd::from_usd) {
        call.response.stated_cost = Some(cost);
    }
    for (known, said) in [
        (&mut call.response.service_tier, &reported.service_tier),
        (&mut call.response.inference_geo, &reported.inference_geo),
        (&mut call.response.speed, &reported.speed),
    ] {
        if let Some(word) = said.name() {
            *known = Some(word);
        }
    }
}

/// A block that begins in a stream, or a whole one.
fn content_block(index: u64, block: &Block<'_>, call: &mut CallBuilder) {
    let slot = PartSlot(index);
    match block.kind.filled().unwrap_or_default() {
        "text" => call.append(ANSWER, slot, PartKind::Text, block.text.as_str().unwrap_or_default()),
        "thinking" => call.append(ANSWER, slot, PartKind::Reasoning, block.thinking.as_str().unwrap_or_default()),
        // In a stream `input` is {} and comes in pieces; only then an empty object says nothing.
        "tool_use" => tool_use(slot, block, PartKind::ToolCall, call),
        "server_tool_use" | "mcp_tool_use" => tool_use(slot, block, PartKind::ServerToolCall, call),
        kind if kind.ends_with("_tool_result") => {
            let Some(json) = block.content.json() else { return };
            let (id, name) = (block.tool_use_id.name(), kind.strip_suffix("_tool_result").unwrap_or(kind).to_owned());
            call.whole_part(ANSWER, slot, json.len(), || Part::ServerToolCallResponse {
                id,
                server_tool_call_response: serde_json::json!({"type": name, "result": block.content.value(RESULT_TREE_BYTES)}),
            });
        }
        "" => {}
        kind => {
            let generic_type = kind.to_owned();
            call.whole_part(ANSWER, slot, generic_type.len(), || Part::Generic { generic_type });
        }
    }
}

fn tool_use(slot: PartSlot, block: &Block<'_>, kind: PartKind, call: &mut CallBuilder) {
    let input = block.input.json().filter(|json| json.trim() != "{}").unwrap_or_default();
    call.tool_call(ANSWER, slot, kind, block.id.filled(), block.name.filled(), input);
    // What a server tool finds is input too, told only at the end.
    call.cache_apart.input_uncertain |= kind == PartKind::ServerToolCall;
}

fn block_delta(index: u64, delta: &Delta<'_>, call: &mut CallBuilder) {
    let slot = PartSlot(index);
    if let Some(piece) = delta.text.as_str() {
        call.append(ANSWER, slot, PartKind::Text, piece);
    } else if let Some(piece) = delta.thinking.as_str() {
        call.append(ANSWER, slot, PartKind::Reasoning, piece);
    } else if let Some(piece) = delta.partial_json.as_str() {
        // The block's start has decided whose tool it is; without it (lost) it is taken for the client's.
        call.tool_call(ANSWER, slot, PartKind::ToolCall, None, None, piece);
    }
}

#[cfg(test)]
mod tests;
