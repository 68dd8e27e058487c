//! Output items of a response, whole and in deltas.

use std::borrow::Cow;

use super::{Event, PartKind};
use crate::{
    call::{CallBuilder, Part, PartSlot},
    provider::lenient::{Count, Few, Raw, Text, lenient_object},
};

lenient_object! {
    /// All item types in one: their fields do not contradict each other.
    struct Item<'a> {
        "type" => kind: Text<'a>,
        "id" => id: Text<'a>,
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
        "summary" => summary: Few<ContentPart<'a>>,
        "call_id" => call_id: Text<'a>,
        "name" => name: Text<'a>,
        "arguments" => arguments: Raw<'a>,
        "input" => input: Text<'a>,
        "action" => action: Raw<'a>,
        "code" => code: Text<'a>,
        "queries" => queries: Raw<'a>,
        "output" => output: Raw<'a>,
        "results" => results: Raw<'a>,
    }
}

lenient_object! {
    struct ContentPart<'a> {
        "type" => kind: Text<'a>,
        "text" => text: Text<'a>,
        "refusal" => refusal: Text<'a>,
        "transcript" => transcript: Text<'a>,
        "index" => index: Count,
    }
}

/// Results of server tools larger than this are kept as text, not as a tree.
const RESULT_TREE_BYTES: usize = 64 * 1024;

/// Parts of one item that a slot tells apart: content parts, reasoning summaries, a call and its result.
const PARTS_PER_ITEM: u64 = 1 << 16;
const SUMMARY_OFFSET: u64 = 1 << 15;

/// A response has one answer.
const ANSWER: u32 = 0;

/// What kind of tool call an item type is, if it is one.
fn tool_kind(item_type: &str) -> Option<PartKind> {
    match item_type {
        // The client runs these and sends an output item back.
        "function_call" | "custom_tool_call" | "computer_call" | "local_shell_call" | "apply_patch_call" | "shell_call" => {
            Some(PartKind::ToolCall)
        }
        _ if item_type.ends_with("_call") => Some(PartKind::ServerToolCall),
        _ => None,
    }
}

fn slot(output_index: u64, part: u64) -> PartSlot {
    PartSlot(output_index.saturating_mul(PARTS_PER_ITEM).saturating_add(part.min(PARTS_PER_ITEM - 1)))
}

/// A finished item, from the response's `output` or from `response.output_item.done`.
pub(super) fn whole_item(output_index: u64, item: &Item<'_>, call: &mut CallBuilder) {
    let kind = item.kind.filled().unwrap_or_default();
    match kind {
        "message" => {
            if let Some(role) = item.role.filled() {
                call.role(ANSWER, role);
            }
            content(output_index, 0, item, PartKind::Text, call);
        }
        "reasoning" => {
            for (n, part) in (SUMMARY_OFFSET..).zip(&item.summary.0) {
                call.append(ANSWER, slot(output_index, n), PartKind::Reasoning, part.text.as_str().unwrap_or_default());
            }
            content(output_index, 0, item, PartKind::Reasoning, call);
        }
        _ => {
            let Some(tool) = tool_kind(kind) else {
                if !kind.is_empty() {
                    let generic_type = item.kind.name().unwrap_or_default();
                    call.whole_part(ANSWER, slot(output_index, 0), generic_type.len(), || Part::Generic { generic_type });
                }
                return;
            };
            count_search(kind, call);
            let arguments = item_arguments(item);
            call.tool_call(ANSWER, slot(output_index, 0), tool, tool_id(item, tool), Some(tool_name(item, kind)), &arguments);
            let result = if item.output.0.is_some() { item.output } else { item.results };
            if tool == PartKind::ServerToolCall
                && let Some(json) = result.json()
            {
                let (id, name) = (item.id.name(), tool_name(item, kind).to_owned());
                call.whole_part(ANSWER, slot(output_index, 1), json.len(), || Part::ServerToolCallResponse {
                    id,
                    server_tool_call_response: serde_json::json!({"type": name, "result": result.value(RESULT_TREE_BYTES)}),
                });
            }
        }
    }
}

/// Billed per search, once: not again when the response is fetched.
fn count_search(kind: &str, call: &mut CallBuilder) {
    if kind == "web_search_call" && super::consumes(call) {
        call.usage.web_search_requests = Some(call.usage.web_search_requests.unwrap_or(0).saturating_add(1));
    }
}

fn content(output_index: u64, first: u64, item: &Item<'_>, kind: PartKind, call: &mut CallBuilder) {
    let mut n = first;
    item.content.for_each(|part: ContentPart<'_>| {
        let text = part.text.as_str().or_else(|| part.refusal.as_str()).or_else(|| part.transcript.as_str());
        call.append(ANSWER, slot(output_index, n), kind, text.unwrap_or_default());
        n = n.saturating_add(1);
    });
}

/// The id that the client answers with.
fn tool_id<'a>(item: &'a Item<'_>, tool: PartKind) -> Option<&'a str> {
    match tool {
        PartKind::ServerToolCall => item.id.filled(),
        PartKind::ToolCall | PartKind::Text | PartKind::Reasoning => item.call_id.filled().or_else(|| item.id.filled()),
    }
}

/// `web_search_call` has no name: its type says it.
fn tool_name<'a>(item: &'a Item<'_>, kind: &'a str) -> &'a str {
    item.name.filled().unwrap_or_else(|| kind.strip_suffix("_call").unwrap_or(kind))
}

fn item_arguments<'a>(item: &'a Item<'_>) -> Cow<'a, str> {
    if let Some(text) = item.arguments.text() {
        return text;
    }
    let text = item.input.as_str().or_else(|| item.code.as_str());
    let json = || item.arguments.json().or_else(|| item.action.json()).or_else(|| item.queries.json());
    text.or_else(json).unwrap_or_default().into()
}

/// Events between the first and the terminal one.
pub(super) fn delta(kind: &str, event: &Event<'_>, call: &mut CallBuilder) {
    let output_index = event.output_index.0.unwrap_or(0);
    let content_slot = slot(output_index, event.content_index.0.unwrap_or(0));
    let piece = event.delta.as_str().unwrap_or_default();
    match kind {
        "response.output_text.delta"
        | "response.refusal.delta"
        | "response.audio.transcript.delta"
        | "response.output_audio_transcript.delta" => {
            call.append(ANSWER, content_slot, PartKind::Text, piece);
        }
        "response.reasoning_summary_text.delta" => {
            let n = SUMMARY_OFFSET.saturating_add(event.summary_index.0.unwrap_or(0));
            call.append(ANSWER, slot(output_index, n), PartKind::Reasoning, piece);
        }
        "response.reasoning_text.delta" => call.append(ANSWER, content_slot, PartKind::Reasoning, piece),
        "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
            call.tool_call(ANSWER, slot(output_index, 0), PartKind::ToolCall, None, None, piece);
        }
        "response.mcp_call_arguments.delta" | "response.code_interpreter_call_code.delta" => {
            call.tool_call(ANSWER, slot(output_index, 0), PartKind::ServerToolCall, None, None, piece);
        }
        "response.output_item.added" | "response.output_item.done" => {
            let Some(item) = event.item.read::<Item<'_>>() else { return };
            announced(output_index, &item, kind.ends_with("done"), call);
        }
        // Sound, images, commands, patches: what comes whole with its item, and has begun to come.
        _ if matches!(kind.rsplit('.').next(), Some("delta" | "partial_image")) => call.output_arrived(),
        _ => {}
    }
}

/// An item's beginning or end within the stream: texts came as deltas, names and ids only come here.
fn announced(output_index: u64, item: &Item<'_>, done: bool, call: &mut CallBuilder) {
    let kind = item.kind.filled().unwrap_or_default();
    let Some(tool) = tool_kind(kind) else {
        if kind == "message"
            && let Some(role) = item.role.filled()
        {
            call.role(ANSWER, role);
        }
        return;
    };
    call.tool_call(ANSWER, slot(output_index, 0), tool, tool_id(item, tool), Some(tool_name(item, kind)), "");
    if done {
        call.set_arguments(ANSWER, slot(output_index, 0), tool, &item_arguments(item));
        count_search(kind, call);
    }
}
