//! The answer of generateContent, whole or one piece of its stream; of embedContent and countTokens as far as it says anything.

use super::{
    content::{Blob, FileData, FunctionCall},
    usage::{self, UsageMetadata},
};
use crate::{
    call::{CallBuilder, Operation, Part, PartKind, PartSlot},
    provider::{
        error_body::{read_error, read_failure},
        lenient::{Count, Few, Flag, Raw, Shape, Text, Unreadable, clip, lenient_object, parse},
    },
};

lenient_object! {
    struct Answer<'a> {
        "candidates" => candidates: Few<Candidate<'a>>,
        "promptFeedback" | "prompt_feedback" => prompt_feedback: PromptFeedback<'a>,
        "usageMetadata" | "usage_metadata" => usage: UsageMetadata<'a>,
        "modelVersion" | "model_version" => model_version: Text<'a>,
        "responseId" | "response_id" => response_id: Text<'a>,
        "error" => error: Raw<'a>,
        // Code Assist wraps all of it.
        "response" => response: Raw<'a>,
    }
}

lenient_object! {
    struct PromptFeedback<'a> {
        "blockReason" | "block_reason" => block_reason: Text<'a>,
    }
}

lenient_object! {
    struct Candidate<'a> {
        "index" => index: Count,
        "content" => content: Content<'a>,
        "finishReason" | "finish_reason" => finish_reason: Text<'a>,
        "groundingMetadata" | "grounding_metadata" => grounding: Grounding<'a>,
    }
}

lenient_object! {
    struct Content<'a> {
        "parts" => parts: Raw<'a>,
    }
}

lenient_object! {
    struct Grounding<'a> {
        "webSearchQueries" | "web_search_queries" => web_search_queries: Few<Text<'a>>,
    }
}

lenient_object! {
    struct AnswerPart<'a> {
        "text" => text: Text<'a>,
        "thought" => thought: Flag,
        "functionCall" | "function_call" => function_call: FunctionCall<'a>,
        "inlineData" | "inline_data" => inline_data: Blob<'a>,
        "fileData" | "file_data" => file_data: FileData<'a>,
        "executableCode" | "executable_code" => executable_code: Raw<'a>,
        "codeExecutionResult" | "code_execution_result" => code_execution_result: Raw<'a>,
        "toolCall" | "tool_call" => tool_call: Raw<'a>,
        "toolResponse" | "tool_response" => tool_response: Raw<'a>,
    }
}

lenient_object! {
    /// What the provider's own tools have in common.
    struct ServerTool<'a> {
        "id" => id: Text<'a>,
        "toolType" | "tool_type" => tool_type: Text<'a>,
        "args" => args: Raw<'a>,
    }
}

/// Larger results of the provider's tools are kept as text, not as a tree.
const RESULT_TREE_BYTES: usize = 64 * 1024;

/// An answer that came as one document: a response, or an array of what would have been a stream's pieces.
pub(in crate::provider) fn whole(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let document: Raw<'_> = parse(body)?;
    if document.json().is_some_and(|json| json.starts_with('[')) {
        document.for_each(|element: Raw<'_>| document_of(element, call));
    } else {
        document_of(document, call);
    }
    call.usage_is_running = false;
    Ok(())
}

fn document_of(document: Raw<'_>, call: &mut CallBuilder) {
    let json = document.json().unwrap_or_default().as_bytes();
    if call.response.has_error_status() {
        read_failure(json, call);
    } else {
        chunk(json, call);
    }
}

/// The next piece. What is no JSON says nothing of the call.
pub(in crate::provider) fn chunk(data: &[u8], call: &mut CallBuilder) {
    let Ok(piece) = parse::<Answer<'_>>(data) else { return };
    if let Some(wrapped) = piece.response.read::<Answer<'_>>().filter(Shape::is_object) {
        answer(&wrapped, call);
    }
    answer(&piece, call);
}

fn answer(piece: &Answer<'_>, call: &mut CallBuilder) {
    if piece.error.0.is_some() {
        read_error(piece.error, call);
    }
    let operation = call.operation();
    if matches!(operation, Operation::Other(_) | Operation::FetchResponse) {
        return; // a count is no consumption
    }
    let response = &mut call.response;
    piece.model_version.replace(&mut response.model);
    piece.response_id.replace(&mut response.id);
    let mut searches = 0_u64;
    for (position, candidate) in piece.candidates.0.iter().enumerate() {
        let index = candidate.index.0.and_then(|index| u32::try_from(index).ok()).or_else(|| u32::try_from(position).ok()).unwrap_or(0);
        call.choice(index);
        parts(index, candidate.content.parts, call);
        if let Some(reason) = candidate.finish_reason.filled().filter(|reason| is_reason(reason)) {
            call.finish(index, reason);
        }
        searches = searches.saturating_add(u64::try_from(candidate.grounding.web_search_queries.0.len()).unwrap_or(0));
    }
    // A prompt that was blocked has no candidate: the answer that did not come ended for this reason.
    if let Some(reason) = piece.prompt_feedback.block_reason.filled().filter(|reason| is_reason(reason))
        && piece.candidates.0.is_empty()
    {
        call.finish(0, reason);
    }
    if piece.usage.is_object() {
        usage::read(&piece.usage, call);
        call.usage_is_running = !call.is_finished();
    }
    if searches > 0 {
        // Repeated by later pieces as far as it goes on: the last word counts.
        usage::searches(searches, call);
    }
}

/// Where enums come by number, zero says that nothing is said.
fn is_reason(reason: &str) -> bool {
    reason != "0" && !reason.ends_with("_REASON_UNSPECIFIED")
}

/// Parts are not numbered: a piece of text goes on with the text before it, all else stands for itself. A slot tells what is in it.
const KINDS: u64 = 4;
const TEXT: u64 = 0;
const THOUGHT: u64 = 1;
const FUNCTION: u64 = 2;
const OTHER: u64 = 3;

fn last_kind(slot: PartSlot) -> u64 {
    slot.0.checked_rem(KINDS).unwrap_or(OTHER)
}

fn next_slot(choice: u32, kind: u64, call: &CallBuilder) -> PartSlot {
    let number = call.last_slot(choice).and_then(|slot| slot.0.checked_div(KINDS)).map_or(0, |number| number.saturating_add(1));
    PartSlot(number.saturating_mul(KINDS).saturating_add(kind))
}

/// The next parts of an answer.
pub(super) fn parts(choice: u32, parts: Raw<'_>, call: &mut CallBuilder) {
    let mut first = true;
    parts.for_each(|part: AnswerPart<'_>| {
        answer_part(choice, &part, first, call);
        first = false;
    });
}

/// The next piece of a text; or, where it does not go on with the one before, the first.
pub(super) fn text(choice: u32, piece: &str, thought: bool, goes_on: bool, call: &mut CallBuilder) {
    let (kind, number) = if thought { (PartKind::Reasoning, THOUGHT) } else { (PartKind::Text, TEXT) };
    let continued = call.last_slot(choice).filter(|slot| goes_on && last_kind(*slot) == number);
    let slot = continued.unwrap_or_else(|| next_slot(choice, number, call));
    call.append(choice, slot, kind, piece);
}

fn answer_part(choice: u32, part: &AnswerPart<'_>, goes_on: bool, call: &mut CallBuilder) {
    if let Some(piece) = part.text.as_str() {
        text(choice, piece, part.thought.0 == Some(true), goes_on, call);
    }
    if part.function_call.is_object() {
        function_call(choice, &part.function_call, call);
    }
    if let Some(data) = part.inline_data.data.filled() {
        let slot = next_slot(choice, OTHER, call);
        let (modality, mime_type) = part.inline_data.media();
        call.whole_part(choice, slot, data.len(), || Part::Blob { modality, mime_type, content: data.to_owned() });
    }
    if let Some(uri) = part.file_data.uri.filled() {
        let slot = next_slot(choice, OTHER, call);
        let (modality, mime_type) = part.file_data.media();
        call.whole_part(choice, slot, uri.len(), || Part::Uri { modality, mime_type, uri: uri.to_owned() });
    }
    if let Some(code) = part.executable_code.json() {
        server_call(choice, "code_execution", &tool(part.executable_code), code, call);
    }
    if part.code_execution_result.0.is_some() {
        server_result(choice, "code_execution", part.code_execution_result, call);
    }
    if part.tool_call.0.is_some() {
        let tool = tool(part.tool_call);
        server_call(choice, &tool_name(&tool), &tool, tool.args.json().unwrap_or_default(), call);
    }
    if part.tool_response.0.is_some() {
        server_result(choice, &tool_name(&tool(part.tool_response)), part.tool_response, call);
    }
}

fn tool(value: Raw<'_>) -> ServerTool<'_> {
    value.read().unwrap_or_default()
}

/// `GOOGLE_SEARCH_WEB` as others write the names of tools.
fn tool_name(tool: &ServerTool<'_>) -> String {
    clip(tool.tool_type.filled().unwrap_or("server_tool"), 64).to_ascii_lowercase()
}

/// A call comes whole; where arguments are streamed, its name comes first and pieces without one go on with it.
pub(super) fn function_call(choice: u32, function: &FunctionCall<'_>, call: &mut CallBuilder) {
    let name = function.name.filled();
    let open = call.last_slot(choice).filter(|slot| name.is_none() && last_kind(*slot) == FUNCTION);
    if name.is_none() && open.is_none() && function.args.0.is_none() {
        return; // an end without a beginning
    }
    let slot = open.unwrap_or_else(|| next_slot(choice, FUNCTION, call));
    let arguments = function.args.json().unwrap_or_default();
    call.tool_call(choice, slot, PartKind::ToolCall, function.id.filled(), name, arguments);
    function.partial_args.for_each(|piece: PartialArgument<'_>| {
        call.estimation.output.push(piece.text.as_str().unwrap_or_default());
        // Pieces name their places by JSON path: putting them together is not worth a guess.
        call.mark_content_truncated();
    });
}

lenient_object! {
    struct PartialArgument<'a> {
        "stringValue" | "string_value" => text: Text<'a>,
    }
}

fn server_call(choice: u32, name: &str, tool: &ServerTool<'_>, arguments: &str, call: &mut CallBuilder) {
    let slot = next_slot(choice, OTHER, call);
    call.tool_call(choice, slot, PartKind::ServerToolCall, tool.id.filled(), Some(name), arguments);
}

fn server_result(choice: u32, name: &str, result: Raw<'_>, call: &mut CallBuilder) {
    let slot = next_slot(choice, OTHER, call);
    let id = tool(result).id.name();
    call.whole_part(choice, slot, result.json().map_or(0, str::len), || Part::ServerToolCallResponse {
        id,
        server_tool_call_response: serde_json::json!({"type": name, "result": result.value(RESULT_TREE_BYTES)}),
    });
}
