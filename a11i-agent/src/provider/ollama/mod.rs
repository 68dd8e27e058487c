//! Ollama's own API (<https://docs.ollama.com/api>): answers are streamed unless the request says no, one JSON object a line.
//!
//! A request without a prompt loads or unloads a model: it is answered by a last line alone, which counts nothing.

mod request;

use super::{
    Dialect, Framing, StreamFrame,
    error_body::{read_error, read_refusal},
    lenient::{Count, Few, Flag, Raw, Text, Unreadable, lenient_object, parse},
    openai_chat::ToolCall,
    posted,
};
use crate::{
    call::{CallBuilder, Operation, PartKind, PartSlot, ProviderName, TextSample, Usage},
    http::RequestHead,
};

pub(super) struct Ollama;

impl Dialect for Ollama {
    fn name(&self) -> ProviderName {
        ProviderName::of("ollama")
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[
            ("/api/chat", Operation::Chat),
            ("/api/generate", Operation::TextCompletion),
            ("/api/embed", Operation::Embeddings),
            ("/api/embeddings", Operation::Embeddings),
        ]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        posted(head, self.path_ends())
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        request::read(operation, body, call)
    }

    fn stream_framing(&self) -> Framing {
        Framing::Ndjson
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        line(&parse(body)?, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        if let Ok(said) = parse(frame.data) {
            line(&said, call);
        }
    }
}

lenient_object! {
    /// A line of a stream, or the answer as a whole. Durations are in nanoseconds.
    struct Line<'a> {
        "model" => model: Text<'a>,
        "message" => message: Answer<'a>,
        "response" => response: Text<'a>,
        "thinking" => thinking: Text<'a>,
        "done" => done: Flag,
        "done_reason" => done_reason: Text<'a>,
        "prompt_eval_count" => prompt_eval_count: Count,
        "eval_count" => eval_count: Count,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct Answer<'a> {
        "role" => role: Text<'a>,
        "content" => content: Text<'a>,
        "thinking" => thinking: Text<'a>,
        "tool_calls" => tool_calls: Few<ToolCall<'a>>,
    }
}

/// There is one answer a call.
const ANSWER: u32 = 0;
const REASONING: PartSlot = PartSlot(0);
const TEXT: PartSlot = PartSlot(1);
/// Tool calls come whole, in one line or in several: each takes the next slot.
const FIRST_TOOL_CALL: PartSlot = PartSlot(2);

fn line(said: &Line<'_>, call: &mut CallBuilder) {
    said.model.replace(&mut call.response.model);
    if said.error.0.is_some() {
        read_error(said.error, call);
    }
    if call.operation() == Operation::Embeddings {
        if said.prompt_eval_count.0.is_some() {
            call.usage.input_tokens = said.prompt_eval_count.0;
        }
        return;
    }
    call.choice(ANSWER);
    if let Some(role) = said.message.role.filled() {
        call.role(ANSWER, role);
    }
    for thought in [&said.message.thinking, &said.thinking] {
        call.append(ANSWER, REASONING, PartKind::Reasoning, thought.as_str().unwrap_or_default());
    }
    for text in [&said.message.content, &said.response] {
        call.append(ANSWER, TEXT, PartKind::Text, text.as_str().unwrap_or_default());
    }
    for tool in &said.message.tool_calls.0 {
        let next = call.last_slot(ANSWER).map_or(FIRST_TOOL_CALL, |last| PartSlot(last.0.saturating_add(1)).max(FIRST_TOOL_CALL));
        let arguments = tool.function.arguments.json().unwrap_or_default();
        call.tool_call(ANSWER, next, PartKind::ToolCall, tool.id.filled(), tool.function.name.filled(), arguments);
    }
    if said.done.0 == Some(true) {
        if let Some(reason) = said.done_reason.filled() {
            call.finish(ANSWER, reason);
        }
        usage(said, call);
    }
}

fn usage(said: &Line<'_>, call: &mut CallBuilder) {
    call.usage = Usage { input_tokens: said.prompt_eval_count.0, output_tokens: said.eval_count.0, ..Usage::default() };
    if said.prompt_eval_count.0.is_none() && (said.eval_count.0.is_some() || said.done_reason.as_str().is_some_and(is_load)) {
        // Zero is left out: all of the prompt was in the cache, or there was none. What its text would count is not what was evaluated, and
        // an estimate beside it would cast doubt on the count that was reported.
        call.estimation.input = TextSample::default();
    }
}

/// The answer to a request that only changes what is in memory.
fn is_load(reason: &str) -> bool {
    matches!(reason, "load" | "unload")
}

#[cfg(test)]
mod tests;
