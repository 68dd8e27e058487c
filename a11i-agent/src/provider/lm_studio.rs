//! LM Studio's own chat (<https://lmstudio.ai/docs/developer/rest>). Its `/api/v0` and `/v1` are OpenAI's format.

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_refusal},
    lenient::{Count, Flag, Float, Int, Raw, Shape, Text, Unreadable, lenient_object, parse},
};
use crate::{
    call::{CallBuilder, Operation, Part, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct LmStudio;

const PATH: &str = "/api/v1/chat";

impl Dialect for LmStudio {
    fn name(&self) -> ProviderName {
        ProviderName::of("lm_studio")
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        (head.method == "POST" && head.path.trim_end_matches('/') == PATH).then_some(Operation::Chat)
    }

    fn resembles(&self, call: &CallBuilder) -> bool {
        call.request.model.is_some() && call.estimation.input_messages > 0
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.model = request.model.name();
        facts.stream = request.stream.0.unwrap_or(false);
        facts.max_tokens = request.max_output_tokens.0;
        facts.temperature = request.temperature.0;
        facts.top_p = request.top_p.0;
        facts.top_k = request.top_k.0;
        facts.reasoning_level = request.reasoning.name();
        facts.previous_response_id = request.previous_response_id.name();
        if let Some(system) = request.system_prompt.filled() {
            call.estimation.input.push(system);
            let content = call.clip_input(system);
            call.system_instruction(Part::Text { content });
        }
        if let Some(text) = request.input.text() {
            said(&text, call);
        }
        request.input.for_each(|item: Item<'_>| said(item.content.as_str().unwrap_or_default(), call));
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        let answer: Answer<'_> = parse(body)?;
        facts(&answer, call);
        outputs(&answer, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(event) = parse::<Event<'_>>(frame.data) else { return };
        match event.kind.filled().or(frame.event).unwrap_or_default() {
            "chat.start" => {
                call.choice(ANSWER);
                event.model_instance_id.replace(&mut call.response.model);
            }
            "reasoning.delta" => call.append(ANSWER, REASONING, PartKind::Reasoning, event.content.as_str().unwrap_or_default()),
            "message.delta" => call.append(ANSWER, TEXT, PartKind::Text, event.content.as_str().unwrap_or_default()),
            "tool_call.arguments" => {
                let next = call.last_slot(ANSWER).map_or(FIRST_TOOL_CALL, |last| PartSlot(last.0.saturating_add(1)).max(FIRST_TOOL_CALL));
                let arguments = event.arguments.json().unwrap_or_default();
                call.tool_call(ANSWER, next, PartKind::ServerToolCall, None, event.tool.filled(), arguments);
            }
            "error" => {
                read_error(event.error, call);
                if !call.has_failed() {
                    call.fail(Some("error"), None);
                }
            }
            // It repeats the whole answer.
            "chat.end" if event.result.is_object() => {
                facts(&event.result, call);
                call.restart_output();
                outputs(&event.result, call);
            }
            _ => {}
        }
    }
}

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "input" => input: Raw<'a>,
        "system_prompt" => system_prompt: Text<'a>,
        "stream" => stream: Flag,
        "max_output_tokens" => max_output_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "reasoning" => reasoning: Text<'a>,
        "previous_response_id" => previous_response_id: Text<'a>,
    }
}

lenient_object! {
    /// Of an input that is a list, or of an output.
    struct Item<'a> {
        "type" => kind: Text<'a>,
        "content" => content: Text<'a>,
        "tool" => tool: Text<'a>,
        "arguments" => arguments: Raw<'a>,
    }
}

lenient_object! {
    struct Answer<'a> {
        "model_instance_id" => model_instance_id: Text<'a>,
        "response_id" => response_id: Text<'a>,
        "output" => output: Raw<'a>,
        "stats" => stats: Stats<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct Stats<'a> {
        "input_tokens" => input_tokens: Count,
        "total_output_tokens" => total_output_tokens: Count,
        "reasoning_output_tokens" => reasoning_output_tokens: Count,
    }
}

lenient_object! {
    struct Event<'a> {
        "type" => kind: Text<'a>,
        "content" => content: Text<'a>,
        "tool" => tool: Text<'a>,
        "arguments" => arguments: Raw<'a>,
        "model_instance_id" => model_instance_id: Text<'a>,
        "result" => result: Answer<'a>,
        "error" => error: Raw<'a>,
    }
}

/// There is one answer a call.
const ANSWER: u32 = 0;
/// Slots while the answer streams; at its end its own order replaces them.
const REASONING: PartSlot = PartSlot(0);
const TEXT: PartSlot = PartSlot(1);
const FIRST_TOOL_CALL: PartSlot = PartSlot(2);

fn said(text: &str, call: &mut CallBuilder) {
    call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
    call.prompt(text);
}

fn facts(answer: &Answer<'_>, call: &mut CallBuilder) {
    answer.model_instance_id.replace(&mut call.response.model);
    answer.response_id.replace(&mut call.response.id);
    call.choice(ANSWER);
    if answer.error.0.is_some() {
        read_error(answer.error, call);
    }
    if answer.stats.is_object() {
        call.usage = Usage {
            input_tokens: answer.stats.input_tokens.0,
            output_tokens: answer.stats.total_output_tokens.0,
            reasoning_output_tokens: answer.stats.reasoning_output_tokens.0,
            ..Usage::default()
        };
    }
}

fn outputs(answer: &Answer<'_>, call: &mut CallBuilder) {
    let mut at = 0u64;
    answer.output.for_each(|item: Item<'_>| {
        let (slot, content) = (PartSlot(at), item.content.as_str().unwrap_or_default());
        match item.kind.filled().unwrap_or_default() {
            "message" => call.append(ANSWER, slot, PartKind::Text, content),
            "reasoning" => call.append(ANSWER, slot, PartKind::Reasoning, content),
            // Its plugins and servers run them.
            "tool_call" => {
                call.tool_call(ANSWER, slot, PartKind::ServerToolCall, None, item.tool.filled(), item.arguments.json().unwrap_or_default());
            }
            _ => {}
        }
        at = at.saturating_add(1);
    });
}
