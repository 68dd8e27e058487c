//! Answers of Converse, whole and streamed. Amazon's Nova models answer InvokeModel in the same shapes.

use crate::{
    call::{CallBuilder, Modality, Part, PartKind, PartSlot},
    provider::lenient::{Count, Raw, Shape, Text, Unreadable, clip, lenient_object, parse},
};

lenient_object! {
    struct Answer<'a> {
        "output" => output: Output<'a>,
        "stopReason" => stop_reason: Text<'a>,
    }
}

lenient_object! {
    struct Output<'a> {
        "message" => message: Message<'a>,
    }
}

lenient_object! {
    struct Message<'a> {
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    /// A block, a block's beginning or a piece of one.
    struct Block<'a> {
        "text" => text: Text<'a>,
        "toolUse" => tool_use: ToolUse<'a>,
        "toolResult" => tool_result: Raw<'a>,
        "reasoningContent" => reasoning: Reasoning<'a>,
        "citationsContent" => citations: Citations<'a>,
        "image" => image: File<'a>,
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
        "type" => kind: Text<'a>,
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    /// Within a whole block the text is one level deeper.
    struct Reasoning<'a> {
        "text" => text: Text<'a>,
        "reasoningText" => whole: Words<'a>,
    }
}

lenient_object! {
    struct Words<'a> {
        "text" => text: Text<'a>,
    }
}

lenient_object! {
    struct Citations<'a> {
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    struct File<'a> {
        "format" => format: Text<'a>,
        "source" => source: Bytes<'a>,
    }
}

lenient_object! {
    struct Bytes<'a> {
        "bytes" => base64: Text<'a>,
    }
}

lenient_object! {
    /// Converse's names, and InvokeModel's for Nova.
    struct TokenUsage<'a> {
        "inputTokens" => input: Count,
        "outputTokens" => output: Count,
        "cacheReadInputTokens" => cache_read: Count,
        "cacheReadInputTokenCount" => cache_read_count: Count,
        "cacheWriteInputTokens" => cache_write: Count,
        "cacheWriteInputTokenCount" => cache_write_count: Count,
        "cacheDetails" => cache_details: Raw<'a>,
    }
}

lenient_object! {
    struct CacheDetail<'a> {
        "ttl" => ttl: Text<'a>,
        "inputTokens" => input: Count,
    }
}

lenient_object! {
    struct Trace<'a> {
        "promptRouter" => router: Router<'a>,
    }
}

lenient_object! {
    struct Router<'a> {
        "invokedModelId" => model: Text<'a>,
    }
}

lenient_object! {
    struct Performance<'a> {
        "latency" => latency: Text<'a>,
    }
}

lenient_object! {
    struct Typed<'a> {
        "type" => kind: Text<'a>,
    }
}

lenient_object! {
    /// Any event; each has some of these. What is large is in few, and read there.
    struct Event<'a> {
        "role" => role: Text<'a>,
        "contentBlockIndex" => index: Count,
        "start" => start: Raw<'a>,
        "delta" => delta: Raw<'a>,
        "stopReason" => stop_reason: Text<'a>,
    }
}

lenient_object! {
    /// The last event, and of an answer as a whole what stands beside it.
    struct Metadata<'a> {
        "usage" => usage: TokenUsage<'a>,
        "trace" => trace: Trace<'a>,
        "performanceConfig" => performance: Performance<'a>,
        "serviceTier" => service_tier: Typed<'a>,
    }
}

/// A message is the one answer of a call.
const ANSWER: u32 = 0;
/// Results of tools larger than this are kept as text, not as a tree.
const RESULT_TREE_BYTES: usize = 64 * 1024;

pub(super) fn answer(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let answer: Answer<'_> = parse(body)?;
    call.choice(ANSWER);
    if let Some(role) = answer.output.message.role.filled() {
        call.role(ANSWER, role);
    }
    let mut index = 0_u64;
    answer.output.message.content.for_each(|block: Block<'_>| {
        piece(index, &block, call);
        index = index.saturating_add(1);
    });
    if let Some(reason) = answer.stop_reason.filled() {
        call.finish(ANSWER, reason);
    }
    metadata(&parse(body)?, call);
    Ok(())
}

/// An event by its type.
pub(super) fn event(name: &str, body: &[u8], call: &mut CallBuilder) {
    let Ok(event) = parse::<Event<'_>>(body) else { return };
    let index = event.index.0.unwrap_or(0);
    match name {
        "messageStart" => {
            call.choice(ANSWER);
            if let Some(role) = event.role.filled() {
                call.role(ANSWER, role);
            }
        }
        "contentBlockStart" => piece(index, &event.start.read().unwrap_or_default(), call),
        "contentBlockDelta" => delta(index, event.delta, call),
        "messageStop" => {
            if let Some(reason) = event.stop_reason.filled() {
                call.finish(ANSWER, reason);
            }
        }
        "metadata" => {
            if let Ok(told) = parse(body) {
                metadata(&told, call);
            }
        }
        _ => {}
    }
}

fn delta(index: u64, delta: Raw<'_>, call: &mut CallBuilder) {
    let Some(block) = delta.read::<Block<'_>>() else { return };
    if block.tool_result.0.is_some() {
        // Pieces of what a tool of the provider's found: the result as such was noted when it began.
        if call.keeps_content() {
            call.mark_content_truncated();
        }
        return;
    }
    piece(index, &block, call);
}

/// A whole block, its beginning, or the next piece of it.
fn piece(index: u64, block: &Block<'_>, call: &mut CallBuilder) {
    let slot = PartSlot(index);
    if let Some(text) = block.text.as_str() {
        call.append(ANSWER, slot, PartKind::Text, text);
    } else if block.tool_use.is_object() {
        tool_use(slot, &block.tool_use, call);
    } else if block.reasoning.is_object() {
        let words = block.reasoning.text.as_str().or_else(|| block.reasoning.whole.text.as_str());
        call.append(ANSWER, slot, PartKind::Reasoning, words.unwrap_or_default());
    } else if block.citations.is_object() {
        block.citations.content.for_each(|words: Words<'_>| {
            call.append(ANSWER, slot, PartKind::Text, words.text.as_str().unwrap_or_default());
        });
    } else if block.image.is_object() {
        if let Some(data) = block.image.source.base64.filled() {
            let mime_type = block.image.format.filled().map(|format| format!("image/{}", clip(format, 32)));
            call.whole_part(ANSWER, slot, data.len(), || Part::Blob { modality: Modality::Image, mime_type, content: data.to_owned() });
        }
    } else if let Some(result) = block.tool_result.read::<ToolResult<'_>>().filter(Shape::is_object) {
        let (id, kind) = (result.id.name(), result.kind.filled().unwrap_or("tool_result"));
        let name = clip(kind, 64).trim_end_matches("_result").to_owned();
        call.whole_part(ANSWER, slot, block.tool_result.json().map_or(0, str::len), || Part::ServerToolCallResponse {
            id,
            server_tool_call_response: serde_json::json!({"type": name, "result": result.content.value(RESULT_TREE_BYTES)}),
        });
    }
}

/// The input comes as an object, or in a stream as pieces of its JSON.
fn tool_use(slot: PartSlot, tool: &ToolUse<'_>, call: &mut CallBuilder) {
    let kind = if tool.kind.as_str() == Some("server_tool_use") { PartKind::ServerToolCall } else { PartKind::ToolCall };
    let piece = tool.input.text();
    let input = piece.as_deref().or_else(|| tool.input.json()).unwrap_or_default();
    call.tool_call(ANSWER, slot, kind, tool.id.filled(), tool.name.filled(), input);
}

/// `inputTokens` excludes what was read from and written to the cache.
fn usage(reported: &TokenUsage<'_>, call: &mut CallBuilder) {
    if !reported.is_object() {
        return;
    }
    let counts = &mut call.cache_apart;
    counts.input_tokens = reported.input.0.or(counts.input_tokens);
    counts.output_tokens = reported.output.0.or(counts.output_tokens);
    counts.cache_read_input_tokens = reported.cache_read.0.or(reported.cache_read_count.0).or(counts.cache_read_input_tokens);
    counts.cache_write_input_tokens = reported.cache_write.0.or(reported.cache_write_count.0).or(counts.cache_write_input_tokens);
    counts.base_seen = true;
    let mut one_hour = None;
    reported.cache_details.for_each(|detail: CacheDetail<'_>| {
        if detail.ttl.as_str() == Some("1h") {
            one_hour = detail.input.0.and_then(|tokens| tokens.checked_add(one_hour.unwrap_or(0)));
        }
    });
    counts.cache_write_1h_input_tokens = one_hour.or(counts.cache_write_1h_input_tokens);
}

fn metadata(told: &Metadata<'_>, call: &mut CallBuilder) {
    usage(&told.usage, call);
    let response = &mut call.response;
    told.trace.router.model.replace(&mut response.model);
    told.service_tier.kind.replace(&mut response.service_tier);
    told.performance.latency.replace(&mut response.speed);
}
