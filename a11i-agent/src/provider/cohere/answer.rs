//! Answers that come whole, and the last event of a version 1 stream, which holds one.

use super::{Reported, usage};
use crate::{
    call::{CallBuilder, Operation, PartKind, PartSlot},
    provider::{
        error_body::read_error,
        lenient::{Few, Raw, Shape, Text, Unreadable, lenient_object, parse},
        openai_chat::ToolCall,
    },
};

lenient_object! {
    /// All paths' answers: what one leaves out, another has.
    struct Whole<'a> {
        "id" => id: Text<'a>,
        "response_id" => response_id: Text<'a>,
        "model" => model: Text<'a>,
        "finish_reason" => finish_reason: Text<'a>,
        "message" => message: Raw<'a>,
        "text" => text: Text<'a>,
        "summary" => summary: Text<'a>,
        "tool_calls" => tool_calls: Few<FirstVersionCall<'a>>,
        "generations" => generations: Few<Generation<'a>>,
        "usage" => usage: Reported<'a>,
        "meta" => meta: Reported<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    /// `message` of version 2.
    struct Message<'a> {
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
        "tool_plan" => tool_plan: Text<'a>,
        "tool_calls" => tool_calls: Few<ToolCall<'a>>,
    }
}

lenient_object! {
    struct Content<'a> {
        "text" => text: Text<'a>,
        "thinking" => thinking: Text<'a>,
    }
}

lenient_object! {
    struct FirstVersionCall<'a> {
        "name" => name: Text<'a>,
        "parameters" => parameters: Raw<'a>,
    }
}

lenient_object! {
    struct Generation<'a> {
        "text" => text: Text<'a>,
        "finish_reason" => finish_reason: Text<'a>,
    }
}

/// There is one answer to a chat.
pub(super) const ANSWER: u32 = 0;
pub(super) const TOOL_PLAN: PartSlot = PartSlot(0);
/// Content of index n; the plan comes before, tool calls after.
const FIRST_CONTENT: u64 = 1;
const FIRST_TOOL_CALL: u64 = 1 << 32;

pub(super) fn content_slot(index: u64) -> PartSlot {
    PartSlot(index.min(FIRST_TOOL_CALL.saturating_sub(2)).saturating_add(FIRST_CONTENT))
}

pub(super) fn tool_slot(index: u64) -> PartSlot {
    PartSlot(FIRST_TOOL_CALL.saturating_add(index))
}

pub(super) fn read(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let answer: Whole<'_> = parse(body)?;
    facts(&answer, call);
    match call.operation() {
        Operation::Chat => {
            call.choice(ANSWER);
            if let Some(message) = answer.message.read::<Message<'_>>().filter(Shape::is_object) {
                second_version(&message, call);
            }
            content(&answer, call);
        }
        Operation::TextCompletion => generations(&answer, call),
        Operation::Other("summarize") => call.append(ANSWER, content_slot(0), PartKind::Text, answer.summary.as_str().unwrap_or_default()),
        Operation::Embeddings | Operation::GenerateContent | Operation::FetchResponse | Operation::Other(_) => {}
    }
    Ok(())
}

/// All but the text: that, a stream has said before.
pub(super) fn facts(answer: &Whole<'_>, call: &mut CallBuilder) {
    if let Some(id) = answer.id.name().or_else(|| answer.response_id.name()) {
        call.response.id = Some(id);
    }
    answer.model.replace(&mut call.response.model);
    if let Some(reason) = answer.finish_reason.filled() {
        call.finish(ANSWER, reason);
    }
    if let Some(said) = [&answer.usage, &answer.meta].into_iter().find(|said| said.billed.is_object() || said.tokens.is_object()) {
        usage(said, call);
    }
    if answer.error.0.is_some() {
        read_error(answer.error, call);
    }
}

/// Text and tool calls of version 1.
pub(super) fn content(answer: &Whole<'_>, call: &mut CallBuilder) {
    call.append(ANSWER, content_slot(0), PartKind::Text, answer.text.as_str().unwrap_or_default());
    tool_calls(&answer.tool_calls.0, call);
}

/// Version 1's have no ids and come whole.
pub(super) fn tool_calls(calls: &[FirstVersionCall<'_>], call: &mut CallBuilder) {
    for (index, tool) in (0u64..).zip(calls) {
        let arguments = tool.parameters.json().unwrap_or_default();
        call.tool_call(ANSWER, tool_slot(index), PartKind::ToolCall, None, tool.name.filled(), arguments);
    }
}

fn second_version(message: &Message<'_>, call: &mut CallBuilder) {
    if let Some(role) = message.role.filled() {
        call.role(ANSWER, role);
    }
    call.append(ANSWER, TOOL_PLAN, PartKind::Reasoning, message.tool_plan.as_str().unwrap_or_default());
    let mut index = 0u64;
    message.content.for_each(|part: Content<'_>| {
        call.append(ANSWER, content_slot(index), PartKind::Reasoning, part.thinking.as_str().unwrap_or_default());
        call.append(ANSWER, content_slot(index), PartKind::Text, part.text.as_str().unwrap_or_default());
        index = index.saturating_add(1);
    });
    for (index, tool) in (0u64..).zip(&message.tool_calls.0) {
        let arguments = tool.function.arguments.text().unwrap_or_default();
        call.tool_call(ANSWER, tool_slot(index), PartKind::ToolCall, tool.id.filled(), tool.function.name.filled(), &arguments);
    }
}

fn generations(answer: &Whole<'_>, call: &mut CallBuilder) {
    for (index, generation) in (0u32..).zip(&answer.generations.0) {
        call.choice(index);
        call.append(index, content_slot(0), PartKind::Text, generation.text.as_str().unwrap_or_default());
        if let Some(reason) = generation.finish_reason.filled() {
            call.finish(index, reason);
        }
    }
}
