//! OpenAI assistants (<https://platform.openai.com/docs/api-reference/runs>): runs of threads, created, continued, streamed or polled; also
//! Azure's.
//!
//! A run is acknowledged at once and states what it consumed when it is over, in its stream or in whatever fetches it.

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_refusal},
    lenient::{Count, Flag, Float, Int, Raw, Shape, Text, Unreadable, clip, lenient_object, parse},
    names,
    openai_chat::request::output_type,
};
use crate::{
    call::{CallBuilder, Message, Operation, Part, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct OpenAiAssistants;

/// The conventions' word for an agent that runs at a provider.
const RUN: Operation = Operation::Other("invoke_agent");

impl Dialect for OpenAiAssistants {
    fn name(&self) -> ProviderName {
        ProviderName::of("openai")
    }

    fn usual_operation(&self) -> Operation {
        RUN
    }

    /// What ends in `/runs` alone may be anybody's.
    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/threads/runs", RUN), ("/submit_tool_outputs", RUN)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let (_, rest) = head.path.trim_end_matches('/').rsplit_once("/threads/")?;
        let mut parts = rest.split('/');
        let (first, second, run, act, more) = (parts.next()?, parts.next(), parts.next(), parts.next(), parts.next());
        let is_run = |run: &str| run.starts_with("run_");
        match (head.method.as_str(), first, second, run, act, more) {
            ("POST", "runs", None, ..) => Some(RUN),
            // Others have threads with runs as well; every id of this API's inventor begins so.
            _ if !first.starts_with("thread_") || second != Some("runs") => None,
            ("POST", _, _, None, ..) => Some(RUN),
            ("POST", _, _, Some(run), Some("submit_tool_outputs"), None) if is_run(run) => Some(RUN),
            ("GET", _, _, Some(run), None, _) | ("POST", _, _, Some(run), Some("cancel"), None) if is_run(run) => {
                Some(Operation::FetchResponse)
            }
            _ => None,
        }
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        let thread = head.path.rsplit_once("/threads/").and_then(|(_, rest)| rest.split('/').next());
        call.request.conversation_id = thread.filter(|id| id.starts_with("thread_")).map(names::in_path);
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if operation == Operation::FetchResponse {
            return Ok(());
        }
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.model = request.model.name().or_else(|| facts.model.take());
        facts.agent_id = request.assistant_id.name();
        facts.stream = request.stream.0.unwrap_or(false);
        facts.max_tokens = request.max_completion_tokens.0;
        facts.temperature = request.temperature.0;
        facts.top_p = request.top_p.0;
        facts.reasoning_level = request.reasoning_effort.name();
        facts.output_type = output_type(request.response_format.read::<Typed<'_>>().and_then(|format| format.kind.name()).as_deref());
        for text in [request.instructions.filled(), request.additional_instructions.filled()].into_iter().flatten() {
            if call.keeps_content() {
                let content = call.clip_input(text);
                call.system_instruction(Part::Text { content });
            }
        }
        request.thread.messages.for_each(|message: ThreadMessage<'_>| input(&message, call));
        request.additional_messages.for_each(|message: ThreadMessage<'_>| input(&message, call));
        request.tool_outputs.for_each(|output: ToolOutput<'_>| {
            if call.keeps_content() {
                let response = serde_json::Value::String(call.clip_input(output.output.as_str().unwrap_or_default()));
                let parts = vec![Part::ToolCallResponse { id: output.tool_call_id.name(), response }];
                call.input_message(Message { role: "tool".to_owned(), parts, ..Message::default() });
            }
        });
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        run(&parse(body)?, true, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let kind = frame.event.unwrap_or_default();
        if kind.starts_with("thread.run.step") {
            return;
        }
        if let Some(state) = kind.strip_prefix("thread.run.") {
            let Ok(event) = parse::<Run<'_>>(frame.data) else { return };
            call.has_ended = matches!(state, "completed" | "requires_action" | "incomplete" | "failed" | "cancelled" | "expired");
            // What it is called on its way is no word for its end.
            run(&event, call.has_ended, call);
        } else if kind == "thread.message.delta" {
            let Ok(event) = parse::<MessageDelta<'_>>(frame.data) else { return };
            event.delta.content.for_each(|part: ContentDelta<'_>| {
                let slot = PartSlot(part.index.0.unwrap_or(0));
                call.append(0, slot, PartKind::Text, part.text.value.as_str().unwrap_or_default());
            });
        } else if let Ok(event) = parse::<Failure<'_>>(frame.data) {
            if event.error.0.is_some() {
                read_error(event.error, call);
            } else if kind == "error" {
                call.fail(event.code.filled().or(Some("error")), event.message.filled());
            }
        }
    }
}

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "assistant_id" => assistant_id: Text<'a>,
        "stream" => stream: Flag,
        "max_completion_tokens" => max_completion_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "reasoning_effort" => reasoning_effort: Text<'a>,
        // A word or an object.
        "response_format" => response_format: Raw<'a>,
        "instructions" => instructions: Text<'a>,
        "additional_instructions" => additional_instructions: Text<'a>,
        "additional_messages" => additional_messages: Raw<'a>,
        "thread" => thread: Thread<'a>,
        "tool_outputs" => tool_outputs: Raw<'a>,
    }
}

lenient_object! {
    struct Typed<'a> {
        "type" => kind: Text<'a>,
    }
}

lenient_object! {
    struct Thread<'a> {
        "messages" => messages: Raw<'a>,
    }
}

lenient_object! {
    struct ThreadMessage<'a> {
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    struct ContentPart<'a> {
        "type" => kind: Text<'a>,
        "text" => text: Text<'a>,
    }
}

lenient_object! {
    struct ToolOutput<'a> {
        "tool_call_id" => tool_call_id: Text<'a>,
        "output" => output: Text<'a>,
    }
}

lenient_object! {
    struct Run<'a> {
        "id" => id: Text<'a>,
        "object" => object: Text<'a>,
        "model" => model: Text<'a>,
        "status" => status: Text<'a>,
        "thread_id" => thread_id: Text<'a>,
        "assistant_id" => assistant_id: Text<'a>,
        "incomplete_details" => incomplete_details: IncompleteDetails<'a>,
        "last_error" => last_error: Failure<'a>,
        "required_action" => required_action: RequiredAction<'a>,
        "usage" => usage: TokenUsage<'a>,
    }
}

lenient_object! {
    struct IncompleteDetails<'a> {
        "reason" => reason: Text<'a>,
    }
}

lenient_object! {
    struct Failure<'a> {
        "error" => error: Raw<'a>,
        "code" => code: Text<'a>,
        "message" => message: Text<'a>,
    }
}

lenient_object! {
    struct RequiredAction<'a> {
        "submit_tool_outputs" => submit_tool_outputs: SubmitToolOutputs<'a>,
    }
}

lenient_object! {
    struct SubmitToolOutputs<'a> {
        "tool_calls" => tool_calls: Raw<'a>,
    }
}

lenient_object! {
    struct ToolCall<'a> {
        "id" => id: Text<'a>,
        "function" => function: Function<'a>,
    }
}

lenient_object! {
    struct Function<'a> {
        "name" => name: Text<'a>,
        "arguments" => arguments: Text<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "prompt_tokens" => prompt_tokens: Count,
        "completion_tokens" => completion_tokens: Count,
        "prompt_token_details" => prompt_details: PromptDetails<'a>,
        "completion_tokens_details" => completion_details: CompletionDetails<'a>,
    }
}

lenient_object! {
    struct PromptDetails<'a> {
        "cached_tokens" => cached_tokens: Count,
    }
}

lenient_object! {
    struct CompletionDetails<'a> {
        "reasoning_tokens" => reasoning_tokens: Count,
    }
}

lenient_object! {
    struct MessageDelta<'a> {
        "delta" => delta: Delta<'a>,
    }
}

lenient_object! {
    struct Delta<'a> {
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    struct ContentDelta<'a> {
        "index" => index: Count,
        "text" => text: TextDelta<'a>,
    }
}

lenient_object! {
    struct TextDelta<'a> {
        "value" => value: Text<'a>,
    }
}

/// Behind the parts of messages.
const FIRST_TOOL_CALL: u64 = 1 << 16;

fn input(message: &ThreadMessage<'_>, call: &mut CallBuilder) {
    if !call.keeps_content() {
        return;
    }
    let mut parts = Vec::new();
    if let Some(text) = message.content.text() {
        parts.push(Part::Text { content: call.clip_input(&text) });
    } else {
        message.content.for_each(|part: ContentPart<'_>| {
            parts.push(match part.text.as_str() {
                Some(text) => Part::Text { content: call.clip_input(text) },
                None => Part::Generic { generic_type: part.kind.name().unwrap_or_else(|| "unknown".to_owned()) },
            });
        });
    }
    call.input_message(Message { role: clip(message.role.filled().unwrap_or("user"), 64).to_owned(), parts, ..Message::default() });
}

/// `last`: nothing follows, so that its status is how the call ends.
fn run(run: &Run<'_>, last: bool, call: &mut CallBuilder) {
    // A list of runs, a step, a thread: not what was asked for.
    if !run.is_object() || run.object.filled().is_some_and(|object| object != "thread.run") {
        return;
    }
    call.response.deferred = Some(RUN);
    run.id.replace(&mut call.response.id);
    run.model.replace(&mut call.response.model);
    run.thread_id.replace(&mut call.request.conversation_id);
    run.assistant_id.replace(&mut call.request.agent_id);
    let status = run.status.filled();
    call.choice(0);
    if let Some(reason) = run.incomplete_details.reason.filled().or(status).filter(|_| last) {
        call.finish(0, reason);
    }
    if run.last_error.is_object() {
        call.fail(run.last_error.code.filled().or(Some("_OTHER")), run.last_error.message.filled());
    } else if status == Some("failed") {
        call.fail(Some("failed"), None);
    }
    let mut slot = FIRST_TOOL_CALL;
    run.required_action.submit_tool_outputs.tool_calls.for_each(|tool: ToolCall<'_>| {
        let (name, arguments) = (tool.function.name.filled(), tool.function.arguments.as_str().unwrap_or_default());
        call.tool_call(0, PartSlot(slot), PartKind::ToolCall, tool.id.filled(), name, arguments);
        slot = slot.saturating_add(1);
    });
    if run.usage.is_object() {
        call.usage = Usage {
            input_tokens: run.usage.prompt_tokens.0,
            output_tokens: run.usage.completion_tokens.0,
            cache_read_input_tokens: run.usage.prompt_details.cached_tokens.0,
            reasoning_output_tokens: run.usage.completion_details.reasoning_tokens.0,
            ..Usage::default()
        };
    }
}

#[cfg(test)]
mod tests;
