//! Conversations: the history stays with the provider, tools of its own run there.
//!
//! Nothing says why an answer ended; the event that ends the stream stands for it.

use std::borrow::Cow;

use crate::{
    call::{CallBuilder, Message, Operation, Part, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
    provider::{
        Dialect, StreamFrame,
        error_body::read_refusal,
        hosts::is_for,
        lenient::{Count, Flag, Float, Int, Raw, Shape, Text, Unreadable, clip, lenient_object, parse},
        names,
        openai_chat::request::{SCHEMA_TREE_BYTES, output_type, stop_sequences, tools},
    },
};

pub(in crate::provider) struct MistralConversations;

const CONVERSATIONS: &str = "/v1/conversations";

impl Dialect for MistralConversations {
    fn name(&self) -> ProviderName {
        ProviderName::of("mistral_ai")
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let begins = head.path.trim_end_matches('/') == CONVERSATIONS || continued(head).is_some();
        (head.method == "POST" && begins && is_for(head, "mistral_ai")).then_some(Operation::Chat)
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.conversation_id = continued(head).map(names::in_path);
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let (facts, asked) = (&mut call.request, &request.completion_args);
        facts.model = request.model.name();
        facts.stream = request.stream.0.unwrap_or(false);
        facts.max_tokens = asked.max_tokens.0;
        facts.temperature = asked.temperature.0;
        facts.top_p = asked.top_p.0;
        facts.seed = asked.random_seed.0;
        facts.presence_penalty = asked.presence_penalty.0;
        facts.frequency_penalty = asked.frequency_penalty.0;
        facts.stop_sequences = stop_sequences(asked.stop);
        facts.output_type = output_type(asked.response_format.kind.as_str());
        facts.reasoning_level = asked.reasoning_effort.name();
        if let Some(text) = request.instructions.filled() {
            call.estimation.input.push(text);
            let content = call.clip_input(text);
            call.system_instruction(Part::Text { content });
        }
        if let Some(text) = request.inputs.text() {
            said("user", &[text], call);
        }
        request.inputs.for_each(|entry: Entry<'_>| input(&entry, call));
        tools(request.tools, call);
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        let answer: Answer<'_> = parse(body)?;
        conversation(&answer.conversation_id, call);
        call.choice(ANSWER);
        let mut index = 0u64;
        answer.outputs.for_each(|entry: Entry<'_>| {
            output(index, &entry, call);
            index = index.saturating_add(1);
        });
        usage(&answer.usage, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(entry) = parse::<Entry<'_>>(frame.data) else { return };
        match entry.kind.filled().or(frame.event).unwrap_or_default() {
            "message.output.delta" | "function.call.delta" | "tool.execution.started" | "tool.execution.delta" => {
                output(entry.output_index.0.unwrap_or(0), &entry, call);
            }
            kind => state(kind, frame.data, call),
        }
    }
}

/// The conversation that a path goes on with; `/restart` begins at an earlier point of it.
fn continued(head: &RequestHead) -> Option<&str> {
    let rest = head.path.trim_end_matches('/').strip_prefix(CONVERSATIONS)?.strip_prefix('/')?;
    let id = rest.strip_suffix("/restart").unwrap_or(rest);
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "stream" => stream: Flag,
        "inputs" => inputs: Raw<'a>,
        "instructions" => instructions: Text<'a>,
        "tools" => tools: Raw<'a>,
        "completion_args" => completion_args: CompletionArgs<'a>,
    }
}

lenient_object! {
    struct CompletionArgs<'a> {
        "max_tokens" => max_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "random_seed" => random_seed: Int,
        "presence_penalty" => presence_penalty: Float,
        "frequency_penalty" => frequency_penalty: Float,
        "stop" => stop: Raw<'a>,
        "response_format" => response_format: Typed<'a>,
        "reasoning_effort" => reasoning_effort: Text<'a>,
    }
}

lenient_object! {
    struct Typed<'a> {
        "type" => kind: Text<'a>,
    }
}

lenient_object! {
    /// What was said or done: an entry of the history, of the answer, or of a stream.
    struct Entry<'a> {
        "type" => kind: Text<'a>,
        "role" => role: Text<'a>,
        "model" => model: Text<'a>,
        "id" => id: Text<'a>,
        "content" => content: Raw<'a>,
        "tool_call_id" => tool_call_id: Text<'a>,
        "name" => name: Text<'a>,
        "arguments" => arguments: Raw<'a>,
        "result" => result: Text<'a>,
        "output_index" => output_index: Count,
        "content_index" => content_index: Count,
    }
}

lenient_object! {
    struct Piece<'a> {
        "text" => text: Text<'a>,
        "thinking" => thinking: Raw<'a>,
    }
}

lenient_object! {
    struct Answer<'a> {
        "conversation_id" => conversation_id: Text<'a>,
        "outputs" => outputs: Raw<'a>,
        "usage" => usage: TokenUsage<'a>,
    }
}

lenient_object! {
    /// What events have that are no entries.
    struct Event<'a> {
        "conversation_id" => conversation_id: Text<'a>,
        "usage" => usage: TokenUsage<'a>,
        "message" => message: Text<'a>,
        "code" => code: Text<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "prompt_tokens" => prompt_tokens: Count,
        "completion_tokens" => completion_tokens: Count,
        "connectors" => connectors: Connectors<'a>,
    }
}

lenient_object! {
    /// How often each of the provider's own tools ran.
    struct Connectors<'a> {
        "web_search" => web_search: Count,
        "web_search_premium" => web_search_premium: Count,
    }
}

/// There is one answer a call.
const ANSWER: u32 = 0;
/// Slots of one output's pieces.
const PIECES: u64 = 1 << 16;

fn conversation(id: &Text<'_>, call: &mut CallBuilder) {
    id.replace(&mut call.request.conversation_id);
}

/// An event of the answer as a whole.
fn state(kind: &str, event: &[u8], call: &mut CallBuilder) {
    let Ok(event) = parse::<Event<'_>>(event) else { return };
    match kind {
        "conversation.response.started" => {
            conversation(&event.conversation_id, call);
            call.choice(ANSWER);
        }
        "conversation.response.done" => usage(&event.usage, call),
        "conversation.response.error" => {
            call.fail(event.code.filled().or(Some("error")), event.message.filled());
        }
        _ => {}
    }
}

fn input(entry: &Entry<'_>, call: &mut CallBuilder) {
    match entry.kind.filled().unwrap_or("message.input") {
        "function.result" => {
            let text = entry.result.as_str().unwrap_or_default();
            call.estimation.input.push(text);
            if call.keeps_content() {
                let response = serde_json::Value::String(call.clip_input(text));
                let parts = vec![Part::ToolCallResponse { id: entry.tool_call_id.name(), response }];
                call.input_message(Message { role: "tool".to_owned(), parts, ..Message::default() });
            }
        }
        "function.call" => {
            let json = entry.arguments.json().unwrap_or_default();
            call.estimation.input.push(json);
            if call.keeps_content() && call.admit_input(json.len()) {
                let arguments = entry.arguments.value(SCHEMA_TREE_BYTES);
                let parts = vec![Part::ToolCall { id: entry.tool_call_id.name(), name: entry.name.name().unwrap_or_default(), arguments }];
                call.input_message(Message { role: "assistant".to_owned(), parts, ..Message::default() });
            }
        }
        kind => {
            let role = entry.role.filled().unwrap_or(if kind == "message.output" { "assistant" } else { "user" });
            let mut texts = Vec::from_iter(entry.content.text());
            entry.content.for_each(|piece: Piece<'_>| texts.extend(piece.text.0));
            said(clip(role, 64), &texts, call);
        }
    }
}

fn said(role: &str, texts: &[Cow<'_, str>], call: &mut CallBuilder) {
    call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
    let mut parts = Vec::new();
    for text in texts {
        call.estimation.input.push(text);
        if call.keeps_content() {
            parts.push(Part::Text { content: call.clip_input(text) });
        }
    }
    if !parts.is_empty() {
        call.input_message(Message { role: role.to_owned(), parts, ..Message::default() });
    }
}

/// An output, or a piece of it.
fn output(index: u64, entry: &Entry<'_>, call: &mut CallBuilder) {
    let base = index.saturating_mul(PIECES);
    let slot = PartSlot(base);
    let text = entry.arguments.text();
    let arguments = text.as_deref().or_else(|| entry.arguments.json()).unwrap_or_default();
    let kind = entry.kind.filled().unwrap_or_default();
    if kind.starts_with("message.output") {
        entry.model.replace(&mut call.response.model);
        if call.response.id.is_none() {
            call.response.id = entry.id.name();
        }
        if let Some(role) = entry.role.filled() {
            call.role(ANSWER, role);
        }
        let first = entry.content_index.0.unwrap_or(0).min(PIECES / 2);
        if let Some(text) = entry.content.text() {
            return call.append(ANSWER, PartSlot(base.saturating_add(first)), PartKind::Text, &text);
        }
        if let Some(piece) = entry.content.read::<Piece<'_>>().filter(Shape::is_object) {
            return content(PartSlot(base.saturating_add(first)), &piece, call);
        }
        let mut at = 0u64;
        entry.content.for_each(|piece: Piece<'_>| {
            content(PartSlot(base.saturating_add(at.min(PIECES / 2))), &piece, call);
            at = at.saturating_add(1);
        });
    } else if kind.starts_with("function.call") {
        call.tool_call(ANSWER, slot, PartKind::ToolCall, entry.tool_call_id.filled(), entry.name.filled(), arguments);
    } else if kind.starts_with("tool.execution") {
        call.tool_call(ANSWER, slot, PartKind::ServerToolCall, entry.id.filled(), entry.name.filled(), arguments);
    }
}

fn content(slot: PartSlot, piece: &Piece<'_>, call: &mut CallBuilder) {
    call.append(ANSWER, slot, PartKind::Text, piece.text.as_str().unwrap_or_default());
    piece.thinking.for_each(|thought: Piece<'_>| {
        call.append(ANSWER, slot, PartKind::Reasoning, thought.text.as_str().unwrap_or_default());
    });
}

fn usage(said: &TokenUsage<'_>, call: &mut CallBuilder) {
    if !said.is_object() {
        return;
    }
    let searches = [said.connectors.web_search.0, said.connectors.web_search_premium.0];
    call.usage = Usage {
        input_tokens: said.prompt_tokens.0,
        output_tokens: said.completion_tokens.0,
        web_search_requests: searches.into_iter().flatten().reduce(u64::saturating_add),
        ..Usage::default()
    };
}
