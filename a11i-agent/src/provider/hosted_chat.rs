//! OpenAI's chat completions at paths of the vendors' own, which only the host (or a header) makes known: Writer, Portkey's stored prompts,
//! Mistral's agents, Databricks' serving endpoints, Snowflake's inference, MiniMax's second version, Perplexity's own name.

use super::{
    Dialect, StreamFrame,
    hosts::is_for,
    lenient::{Flag, Raw, Text, Unreadable, lenient_object, parse},
    names,
    openai_chat::{OpenAiChat, request::read as read_chat},
};
use crate::{
    call::{CallBuilder, Operation, PartKind, PartSlot, ProviderName},
    http::RequestHead,
};

pub(super) struct HostedChat;

/// Where the path is one of these.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place<'a> {
    Writer,
    /// A stored prompt's id.
    Portkey(&'a str),
    MistralAgents,
    /// The endpoint's name, which stands for a model.
    Databricks(&'a str),
    Snowflake,
    MiniMax,
    Perplexity,
}

impl Dialect for HostedChat {
    fn name(&self) -> ProviderName {
        ProviderName::of("openai")
    }

    /// Their hosts say enough.
    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[
            ("/agents/completions", Operation::Chat),
            ("/cortex/inference:complete", Operation::Chat),
            ("/cortex/inference/complete", Operation::Chat),
            ("/text/chatcompletion_v2", Operation::Chat),
        ]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        place(head).filter(|_| head.method == "POST").map(|_| Operation::Chat)
    }

    /// What stands for a model need not be in the body.
    fn resembles(&self, call: &CallBuilder) -> bool {
        call.request.model.is_some() || call.request.prompt_name.is_some() || call.estimation.input_messages > 0
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        match place(head) {
            Some(Place::Databricks(endpoint)) => call.request.model = Some(names::in_path(endpoint)),
            Some(Place::Portkey(prompt)) => call.request.prompt_name = Some(names::in_path(prompt)),
            // Without a word it streams.
            Some(Place::Snowflake) => call.request.stream = true,
            Some(Place::Writer | Place::MistralAgents | Place::MiniMax | Place::Perplexity) | None => {}
        }
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let (unless_told, endpoint) = (call.request.stream, call.request.model.take());
        read_chat(body, call)?;
        call.request.model = endpoint.or_else(|| call.request.model.take());
        let request: Told<'_> = parse(body)?;
        call.request.stream = request.stream.0.unwrap_or(unless_told);
        // A completion's or an embedding's input: serving endpoints take those too.
        for text in [request.prompt.text(), request.input.text()].into_iter().flatten() {
            call.estimation.input.push(&text);
        }
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        OpenAiChat.response(body, call)?;
        snowflake_tools(body, call);
        minimax_failure(body, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        if is_minimax_repeat(frame.data, call) {
            call.restart_output();
        }
        OpenAiChat.chunk(frame, call);
        snowflake_tools(frame.data, call);
        minimax_failure(frame.data, call);
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        OpenAiChat.stream_end(gap, call);
    }
}

fn place(head: &RequestHead) -> Option<Place<'_>> {
    let path = head.path.trim_end_matches('/');
    if path == "/v1/chat" && is_for(head, "writer") {
        return Some(Place::Writer);
    }
    if let Some((_, rest)) = path.split_once("/prompts/") {
        let prompt = rest.strip_suffix("/completions").filter(|prompt| !prompt.contains('/'));
        let portkey = is_for(head, "portkey") || head.headers.text("x-portkey-api-key").is_some();
        return prompt.filter(|_| portkey).map(Place::Portkey);
    }
    if path.ends_with("/text/chatcompletion_v2") || path.ends_with("/chat/completions") && is_for(head, "minimax") {
        return Some(Place::MiniMax);
    }
    if path == "/v1/sonar" && is_for(head, "perplexity") {
        return Some(Place::Perplexity);
    }
    if path.ends_with("/v1/agents/completions") {
        return Some(Place::MistralAgents);
    }
    if let Some(endpoint) = path.strip_prefix("/serving-endpoints/").and_then(|rest| rest.strip_suffix("/invocations")) {
        return Some(endpoint).filter(|_| is_for(head, "databricks")).map(Place::Databricks);
    }
    let complete = ["/cortex/inference:complete", "/cortex/inference/complete"];
    complete.iter().any(|end| path.ends_with(end)).then_some(Place::Snowflake)
}

lenient_object! {
    struct Told<'a> {
        "stream" => stream: Flag,
        "prompt" => prompt: Raw<'a>,
        "input" => input: Raw<'a>,
    }
}

lenient_object! {
    struct Completion<'a> {
        "object" => object: Text<'a>,
        "choices" => choices: Raw<'a>,
    }
}

lenient_object! {
    struct Choice<'a> {
        "message" => message: Said<'a>,
        "delta" => delta: Said<'a>,
    }
}

lenient_object! {
    /// Snowflake's tool calls: a delta is one itself, a message has a list.
    struct Said<'a> {
        "type" => kind: Text<'a>,
        "tool_use_id" => tool_use_id: Text<'a>,
        "name" => name: Text<'a>,
        "input" => input: Raw<'a>,
        "content_list" => content_list: Raw<'a>,
    }
}

lenient_object! {
    struct Listed<'a> {
        "type" => kind: Text<'a>,
        "tool_use" => tool_use: Said<'a>,
    }
}

const MINIMAX: &str = "minimax";

lenient_object! {
    struct MiniMaxAnswer<'a> {
        "base_resp" => base: MiniMaxStatus<'a>,
    }
}

lenient_object! {
    struct MiniMaxStatus<'a> {
        "status_code" => code: Text<'a>,
        "status_msg" => message: Text<'a>,
    }
}

/// MiniMax's streams end with the whole answer.
fn is_minimax_repeat(data: &[u8], call: &CallBuilder) -> bool {
    call.provider().as_str() == MINIMAX
        && parse::<Completion<'_>>(data).is_ok_and(|event| event.object.as_str() == Some("chat.completion") && event.choices.0.is_some())
}

/// MiniMax's failures have a status of success and a code that is not zero.
fn minimax_failure(body: &[u8], call: &mut CallBuilder) {
    if call.provider().as_str() != MINIMAX {
        return;
    }
    let Ok(answer) = parse::<MiniMaxAnswer<'_>>(body) else { return };
    if let Some(code) = answer.base.code.filled().filter(|code| *code != "0") {
        call.fail(Some(code), answer.base.message.filled());
    }
}

/// Above those of OpenAI's format.
const FIRST_TOOL_USE: PartSlot = PartSlot(1 << 32);

fn snowflake_tools(body: &[u8], call: &mut CallBuilder) {
    if call.provider().as_str() != "snowflake_cortex" {
        return;
    }
    let Ok(completion) = parse::<Completion<'_>>(body) else { return };
    completion.choices.for_each(|choice: Choice<'_>| {
        if choice.delta.kind.as_str() == Some("tool_use") {
            return tool_use(&choice.delta, call);
        }
        choice.message.content_list.for_each(|listed: Listed<'_>| {
            if listed.kind.as_str() == Some("tool_use") {
                tool_use(&listed.tool_use, call);
            }
        });
    });
}

/// A stream says id and name in the first piece and continues the input as text.
fn tool_use(said: &Said<'_>, call: &mut CallBuilder) {
    const ANSWER: u32 = 0;
    let last = call.last_slot(ANSWER).filter(|slot| *slot >= FIRST_TOOL_USE);
    let slot = match last {
        Some(last) if said.tool_use_id.filled().is_none() => last,
        Some(last) => PartSlot(last.0.saturating_add(1)),
        None => FIRST_TOOL_USE,
    };
    let text = said.input.text();
    let input = text.as_deref().or_else(|| said.input.json()).unwrap_or_default();
    call.tool_call(ANSWER, slot, PartKind::ToolCall, said.tool_use_id.filled(), said.name.filled(), input);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{CallFrame, Ending};

    #[test]
    fn the_whole_answer_at_the_end_of_a_stream_is_not_said_twice() {
        let events = [
            r#"{"id":"1","choices":[{"index":0,"delta":{"content":"I am","role":"assistant"}}],"object":"chat.completion.chunk"}"#,
            r#"{"id":"1","choices":[{"index":0,"delta":{"content":" one."},"finish_reason":"stop"}],"object":"chat.completion.chunk"}"#,
            r#"{"id":"1","choices":[{"finish_reason":"stop","index":0,"message":{"content":"I am one.","role":"assistant"}}],"object":"chat.completion","usage":{"total_tokens":9,"prompt_tokens":5,"completion_tokens":4},"base_resp":{"status_code":0}}"#,
        ];
        let mut call = CallBuilder::new(ProviderName::of("minimax"), Operation::Chat, false);
        for event in events {
            HostedChat.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
        }
        let call = call.build(CallFrame::default(), Ending::Seen);
        assert_eq!((call.estimation.output.text(), call.usage.output_tokens), ("I am one.", Some(4)));
    }

    #[test]
    fn minimax_says_that_it_failed_with_a_status_of_success() {
        let refused = r#"{"id":"1","choices":null,"model":"abab6.5s-chat","usage":{"total_tokens":0},"base_resp":{"status_code":2061,"status_msg":"your plan does not have this model"}}"#;
        let fine = r#"{"choices":[{"index":0,"finish_reason":"stop","message":{"content":"x"}}],"usage":{"prompt_tokens":1,"completion_tokens":2},"base_resp":{"status_code":0,"status_msg":""}}"#;
        for (provider, body, want) in [("minimax", refused, Some("2061")), ("minimax", fine, None), ("elsewhere", refused, None)] {
            for whole in [true, false] {
                let mut call = CallBuilder::new(ProviderName::of(provider), Operation::Chat, false);
                call.response.status = Some(200);
                if whole {
                    HostedChat.response(body.as_bytes(), &mut call).unwrap();
                } else {
                    HostedChat.chunk(&StreamFrame { event: None, data: body.as_bytes() }, &mut call);
                }
                let call = call.build(CallFrame::default(), Ending::Seen);
                assert_eq!(call.outcome.error_type.as_deref(), want, "{provider}");
            }
        }
    }
}
