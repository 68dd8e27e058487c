//! Events of streams: version 2's have a `type`, version 1's an `event_type`.

use super::{
    Reported,
    answer::{ANSWER, FirstVersionCall, TOOL_PLAN, Whole, content, content_slot, facts, tool_calls, tool_slot},
    usage,
};
use crate::{
    call::{CallBuilder, PartKind},
    provider::{
        StreamFrame,
        error_body::read_error,
        lenient::{Count, Few, Raw, Shape, Text, lenient_object, parse},
    },
};

lenient_object! {
    struct Event<'a> {
        "type" => kind: Text<'a>,
        "event_type" => first_version_kind: Text<'a>,
        "id" => id: Text<'a>,
        "index" => index: Count,
        "delta" => delta: Delta<'a>,
        "text" => text: Text<'a>,
        "tool_calls" => tool_calls: Few<FirstVersionCall<'a>>,
        "finish_reason" => finish_reason: Text<'a>,
        // Large, and the last event's alone: read where it is there.
        "response" => response: Raw<'a>,
        "error" => error: Raw<'a>,
        "err" => err: Raw<'a>,
    }
}

lenient_object! {
    struct Delta<'a> {
        "message" => message: MessageDelta<'a>,
        "finish_reason" => finish_reason: Text<'a>,
        "usage" => usage: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct MessageDelta<'a> {
        "role" => role: Text<'a>,
        "content" => content: ContentDelta<'a>,
        "tool_plan" => tool_plan: Text<'a>,
        "tool_calls" => tool_calls: ToolCallDelta<'a>,
    }
}

lenient_object! {
    struct ContentDelta<'a> {
        "text" => text: Text<'a>,
        "thinking" => thinking: Text<'a>,
    }
}

lenient_object! {
    struct ToolCallDelta<'a> {
        "id" => id: Text<'a>,
        "function" => function: FunctionDelta<'a>,
    }
}

lenient_object! {
    struct FunctionDelta<'a> {
        "name" => name: Text<'a>,
        "arguments" => arguments: Text<'a>,
    }
}

pub(super) fn read(frame: &StreamFrame<'_>, call: &mut CallBuilder) {
    // What is not JSON (`[DONE]`, a keep-alive) says nothing of the call.
    let Ok(event) = parse::<Event<'_>>(frame.data) else { return };
    let (delta, index) = (&event.delta, event.index.0.unwrap_or(0));
    let kind = event.kind.filled().or_else(|| event.first_version_kind.filled()).or(frame.event).unwrap_or_default();
    match kind {
        "message-start" => {
            call.choice(ANSWER);
            if let Some(id) = event.id.name() {
                call.response.id = Some(id);
            }
            if let Some(role) = delta.message.role.filled() {
                call.role(ANSWER, role);
            }
        }
        "content-start" | "content-delta" => {
            let piece = &delta.message.content;
            call.append(ANSWER, content_slot(index), PartKind::Reasoning, piece.thinking.as_str().unwrap_or_default());
            call.append(ANSWER, content_slot(index), PartKind::Text, piece.text.as_str().unwrap_or_default());
        }
        "tool-plan-delta" => call.append(ANSWER, TOOL_PLAN, PartKind::Reasoning, delta.message.tool_plan.as_str().unwrap_or_default()),
        "tool-call-start" | "tool-call-delta" => {
            let tool = &delta.message.tool_calls;
            let arguments = tool.function.arguments.as_str().unwrap_or_default();
            call.tool_call(ANSWER, tool_slot(index), PartKind::ToolCall, tool.id.filled(), tool.function.name.filled(), arguments);
        }
        "message-end" => {
            if let Some(reason) = delta.finish_reason.filled() {
                call.finish(ANSWER, reason);
            }
            if let Some(reported) = delta.usage.read::<Reported<'_>>().filter(Shape::is_object) {
                usage(&reported, call);
            }
            if delta.error.0.is_some() {
                read_error(delta.error, call);
            }
        }
        // It names the generation; the answer's id comes at the end.
        "stream-start" => call.choice(ANSWER),
        // Generations of /v1/generate beyond the first have an index.
        "text-generation" => {
            let choice = u32::try_from(index).unwrap_or(u32::MAX);
            call.append(choice, content_slot(0), PartKind::Text, event.text.as_str().unwrap_or_default());
        }
        "tool-calls-generation" => tool_calls(&event.tool_calls.0, call),
        "stream-end" => stream_end(&event, call),
        "stream-error" | "error" => failed(&event, call),
        _ => {}
    }
}

/// It repeats the whole answer: what the pieces gave is not doubled.
fn stream_end(event: &Event<'_>, call: &mut CallBuilder) {
    if let Some(whole) = event.response.read::<Whole<'_>>().filter(Shape::is_object) {
        facts(&whole, call);
        match call.last_slot(ANSWER) {
            None => content(&whole, call),
            Some(last) if last < tool_slot(0) => tool_calls(&whole.tool_calls.0, call),
            Some(_) => {}
        }
    }
    if let Some(reason) = event.finish_reason.filled() {
        call.finish(ANSWER, reason);
    }
    if event.err.0.is_some() || event.error.0.is_some() {
        failed(event, call);
    }
}

fn failed(event: &Event<'_>, call: &mut CallBuilder) {
    read_error(if event.error.0.is_some() { event.error } else { event.err }, call);
    if !call.has_failed() {
        call.fail(Some("error"), None);
    }
}
