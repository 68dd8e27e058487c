//! Steps of an interaction: whole, or begun, continued and ended by events. Outputs of the older revision are steps of one content each.

use super::{ANSWER, Event, Interaction};
use crate::{
    call::{CallBuilder, Part, PartKind, PartSlot},
    provider::{
        gemini::{content::modality, usage::searches},
        lenient::{Few, Raw, Text, clip, lenient_object},
    },
};

lenient_object! {
    /// A step, a content or a delta: they share their fields.
    struct Step<'a> {
        "type" => kind: Text<'a>,
        "content" => content: Raw<'a>,
        "summary" => summary: Raw<'a>,
        "text" => text: Text<'a>,
        "id" => id: Text<'a>,
        "call_id" | "callId" => call_id: Text<'a>,
        "name" => name: Text<'a>,
        "arguments" => arguments: Raw<'a>,
        "partial_arguments" | "partialArguments" => partial_arguments: Text<'a>,
        "result" => result: Raw<'a>,
        "mime_type" | "mimeType" => mime_type: Text<'a>,
        "data" => data: Text<'a>,
        "uri" => uri: Text<'a>,
    }
}

lenient_object! {
    struct SearchArguments<'a> {
        "queries" => queries: Few<Text<'a>>,
    }
}

/// Larger results of the provider's tools are kept as text, not as a tree.
const RESULT_TREE_BYTES: usize = 64 * 1024;

/// Places of the parts that one step may have.
const PLACES: u64 = 8;
const TEXT: u64 = 0;
const THOUGHT: u64 = 1;
const CALL: u64 = 2;
const RESULT: u64 = 3;
const MEDIA: u64 = 4;

const fn slot(index: u64, place: u64) -> PartSlot {
    PartSlot(index.saturating_mul(PLACES).saturating_add(place))
}

/// Of an interaction that came whole.
pub(super) fn steps(interaction: &Interaction<'_>, call: &mut CallBuilder) {
    for list in [interaction.outputs, interaction.steps] {
        let mut index = 0_u64;
        list.for_each(|step: Step<'_>| {
            piece(index, &step, call);
            index = index.saturating_add(1);
        });
    }
}

pub(super) fn event(kind: &str, event: &Event<'_>, call: &mut CallBuilder) {
    let index = event.index.0.unwrap_or(0);
    let content = match kind {
        "step.start" => event.step,
        "content.start" => event.content,
        "step.delta" | "content.delta" => event.delta,
        _ => return,
    };
    if let Some(content) = content.read::<Step<'_>>() {
        piece(index, &content, call);
    }
}

fn piece(index: u64, step: &Step<'_>, call: &mut CallBuilder) {
    let kind = step.kind.filled().unwrap_or_default();
    match kind {
        // What the client said, repeated.
        "user_input" => {}
        "model_output" => step.content.for_each(|content: Step<'_>| piece(index, &content, call)),
        "text" => call.append(ANSWER, slot(index, TEXT), PartKind::Text, step.text.as_str().unwrap_or_default()),
        "thought" | "thought_summary" => {
            for list in [step.summary, step.content] {
                if let Some(content) = list.read::<Step<'_>>() {
                    thought(index, &content, call);
                }
                list.for_each(|content: Step<'_>| thought(index, &content, call));
            }
        }
        "image" | "audio" | "video" | "document" => media(index, step, call),
        "function_call" => {
            let arguments = step.arguments.json().filter(|json| begins_whole(json)).unwrap_or_default();
            call.tool_call(ANSWER, slot(index, CALL), PartKind::ToolCall, step.id.filled(), step.name.filled(), arguments);
        }
        // The step's start has decided whose tool it is; without it (lost) it is taken for the client's.
        "arguments_delta" => {
            let text = step.partial_arguments.as_str().unwrap_or_default();
            call.tool_call(ANSWER, slot(index, CALL), PartKind::ToolCall, None, None, text);
        }
        _ => server_tool(index, kind, step, call),
    }
}

/// In a stream a call begins with `{}`, and its arguments come in pieces.
fn begins_whole(json: &str) -> bool {
    json.trim() != "{}"
}

fn thought(index: u64, content: &Step<'_>, call: &mut CallBuilder) {
    call.append(ANSWER, slot(index, THOUGHT), PartKind::Reasoning, content.text.as_str().unwrap_or_default());
}

fn media(index: u64, step: &Step<'_>, call: &mut CallBuilder) {
    let (modality, mime_type) = (modality(step.mime_type.as_str().or_else(|| step.kind.as_str())), step.mime_type.name());
    if let Some(data) = step.data.filled() {
        call.whole_part(ANSWER, slot(index, MEDIA), data.len(), || Part::Blob { modality, mime_type, content: data.to_owned() });
    } else if let Some(uri) = step.uri.filled() {
        call.whole_part(ANSWER, slot(index, MEDIA), uri.len(), || Part::Uri { modality, mime_type, uri: uri.to_owned() });
    }
}

/// `google_search_call`, `code_execution_result` and their like.
fn server_tool(index: u64, kind: &str, step: &Step<'_>, call: &mut CallBuilder) {
    if let Some(tool) = kind.strip_suffix("_call") {
        let name = step.name.filled().unwrap_or(tool);
        let arguments = step.arguments.json().filter(|json| begins_whole(json)).unwrap_or_default();
        call.tool_call(ANSWER, slot(index, CALL), PartKind::ServerToolCall, step.id.filled(), Some(name), arguments);
        if tool == "google_search" {
            let queries = step.arguments.read::<SearchArguments<'_>>().map_or(0, |arguments| arguments.queries.0.len());
            if let Some(queries) = u64::try_from(queries).ok().filter(|queries| *queries > 0) {
                searches(call.usage.web_search_requests.unwrap_or(0).saturating_add(queries), call);
            }
        }
    } else if let Some(tool) = kind.strip_suffix("_result") {
        let name = clip(step.name.filled().unwrap_or(tool), 64).to_owned();
        let id = step.call_id.name().or_else(|| step.id.name());
        call.whole_part(ANSWER, slot(index, RESULT), step.result.json().map_or(0, str::len), || Part::ServerToolCallResponse {
            id,
            server_tool_call_response: serde_json::json!({"type": name, "result": step.result.value(RESULT_TREE_BYTES)}),
        });
    }
}
