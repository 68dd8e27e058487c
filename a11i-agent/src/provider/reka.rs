//! Reka's own chat (<https://docs.reka.ai>): OpenAI's requests, and answers of its own.

use super::{
    Dialect, StreamFrame,
    error_body::read_refusal,
    hosts::is_for,
    lenient::{Count, Raw, Shape, Text, Unreadable, lenient_object, parse},
    openai_chat,
};
use crate::{
    call::{CallBuilder, Operation, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct Reka;

const PROVIDER: &str = "reka";

impl Dialect for Reka {
    fn name(&self) -> ProviderName {
        ProviderName::of(PROVIDER)
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let is_chat = matches!(head.path.trim_end_matches('/'), "/v1/chat" | "/chat");
        (head.method == "POST" && is_chat && is_for(head, PROVIDER)).then_some(Operation::Chat)
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        openai_chat::request::read(body, call)
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if !read_refusal(body, call)? {
            read(&parse(body)?, call);
        }
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(answer) = parse::<Answer<'_>>(frame.data) else { return };
        // Every event has the text so far.
        if answer.responses.0.is_some() {
            call.restart_output();
        }
        read(&answer, call);
        call.usage_is_running = !call.is_finished();
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        if gap && call.usage_is_running {
            call.usage = Usage::default();
        }
    }
}

lenient_object! {
    struct Answer<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "responses" => responses: Raw<'a>,
        "usage" => usage: TokenUsage<'a>,
    }
}

lenient_object! {
    struct Round<'a> {
        "finish_reason" => finish_reason: Text<'a>,
        "message" => message: Message<'a>,
        "chunk" => chunk: Message<'a>,
    }
}

lenient_object! {
    struct Message<'a> {
        "content" => content: Text<'a>,
        "role" => role: Text<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "input_tokens" => input: Count,
        "output_tokens" => output: Count,
    }
}

fn read(answer: &Answer<'_>, call: &mut CallBuilder) {
    answer.id.replace(&mut call.response.id);
    answer.model.replace(&mut call.response.model);
    let mut index = 0_u32;
    answer.responses.for_each(|round: Round<'_>| {
        let said = if round.chunk.is_object() { &round.chunk } else { &round.message };
        call.choice(index);
        if let Some(role) = said.role.filled() {
            call.role(index, role);
        }
        call.append(index, PartSlot(0), PartKind::Text, said.content.as_str().unwrap_or_default());
        if let Some(reason) = round.finish_reason.filled() {
            call.finish(index, reason);
        }
        index = index.saturating_add(1);
    });
    if answer.usage.is_object() {
        call.usage = Usage { input_tokens: answer.usage.input.0, output_tokens: answer.usage.output.0, ..Usage::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{CallFrame, Ending, LlmCall},
        fixture::request_head,
    };

    fn call(answers: &[&str], stream: bool) -> LlmCall {
        let mut call = CallBuilder::new(ProviderName::of(PROVIDER), Operation::Chat, true);
        Reka.request(Operation::Chat, br#"{"model":"reka-core","messages":[{"role":"user","content":"hi"}]}"#, &mut call).unwrap();
        for answer in answers {
            if stream {
                Reka.chunk(&StreamFrame { event: Some("message"), data: answer.as_bytes() }, &mut call);
            } else {
                Reka.response(answer.as_bytes(), &mut call).unwrap();
            }
        }
        call.build(CallFrame::default(), Ending::Seen)
    }

    #[test]
    fn an_answer_and_a_stream_say_the_same() {
        let whole = call(
            &[
                r#"{"id":"r","model":"reka-core-1","responses":[{"finish_reason":"stop","message":{"content":"yo","role":"assistant"}}],"usage":{"input_tokens":4,"output_tokens":2}}"#,
            ],
            false,
        );
        let stream = call(
            &[
                r#"{"id":"r","model":"reka-core-1","responses":[{"chunk":{"content":"y","role":"assistant"}}],"usage":{"input_tokens":4,"output_tokens":1}}"#,
                r#"{"id":"r","model":"reka-core-1","responses":[{"chunk":{"content":"yo","role":"assistant"},"finish_reason":"stop"}],"usage":{"input_tokens":4,"output_tokens":2}}"#,
            ],
            true,
        );
        for told in [whole, stream] {
            assert_eq!((told.usage.input_tokens, told.usage.output_tokens), (Some(4), Some(2)));
            assert_eq!((told.estimation.output.text(), told.response.finish_reasons), ("yo", vec!["stop".to_owned()]));
            assert_eq!((told.request.model.as_deref(), told.response.model.as_deref()), (Some("reka-core"), Some("reka-core-1")));
        }
    }

    #[test]
    fn only_its_own_host_has_such_chats() {
        let claim = |host, path| Reka.claims(&request_head("POST", host, path)).is_some();
        assert!(claim("api.reka.ai", "/v1/chat") && !claim("api.reka.ai", "/v1/chat/completions") && !claim("shop.example", "/v1/chat"));
    }
}
