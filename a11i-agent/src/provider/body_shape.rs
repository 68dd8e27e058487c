//! Calls that only their bodies tell: at unknown hosts and unknown paths, where configuration asks for it.
//!
//! Every JSON body that is `POST`ed anywhere is then read to its end. What looks like one of the formats that are copied most is read as
//! such; request and answer are looked at each by itself, since gateways translate between formats.

use super::{
    Dialect, StreamFrame,
    anthropic::Anthropic,
    lenient::{Raw, Shape, Text, Unreadable, lenient_object, parse},
    openai_chat::OpenAiChat,
    openai_completions::OpenAiCompletions,
    openai_embeddings::OpenAiEmbeddings,
    openai_responses::OpenAiResponses,
};
use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::RequestHead,
};

pub(super) struct ByBodyShape;

impl Dialect for ByBodyShape {
    /// The format says nothing of who serves it.
    fn name(&self) -> ProviderName {
        ProviderName::of("unknown")
    }

    /// A body that may be one. `application/json` and its kin; nobody sends prompts as forms.
    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let media_type = head.headers.text("content-type")?.split(';').next()?.trim();
        let is_json = media_type.eq_ignore_ascii_case("application/json");
        (head.method == "POST" && is_json).then_some(Operation::Chat)
    }

    /// Without a model in the call, it looked like none.
    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        call.request.model = None;
        let request: RequestShape<'_> = parse(body)?;
        let Some((dialect, operation)) = request.format() else { return Ok(()) };
        call.become_operation(operation);
        dialect.request(operation, body, call)
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        parse::<AnswerShape<'_>>(body)?.format(call.operation()).response(body, call)
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        // `[DONE]` and keep-alives are for nobody.
        if let Ok(chunk) = parse::<AnswerShape<'_>>(frame.data) {
            chunk.format(call.operation()).chunk(frame, call);
        }
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        OpenAiChat.stream_end(gap, call);
        Anthropic.stream_end(gap, call);
    }
}

lenient_object! {
    /// The fields by which requests are told apart.
    struct RequestShape<'a> {
        "model" => model: Text<'a>,
        "messages" => messages: Raw<'a>,
        "input" => input: Raw<'a>,
        "prompt" => prompt: Raw<'a>,
        "system" => system: Raw<'a>,
        "anthropic_version" => anthropic_version: Raw<'a>,
        "stop_sequences" => stop_sequences: Raw<'a>,
        "instructions" => instructions: Raw<'a>,
        "max_output_tokens" => max_output_tokens: Raw<'a>,
        "previous_response_id" => previous_response_id: Raw<'a>,
        "reasoning" => reasoning: Raw<'a>,
        "tools" => tools: Raw<'a>,
        "max_tokens" => max_tokens: Raw<'a>,
        "temperature" => temperature: Raw<'a>,
        "stream" => stream: Raw<'a>,
        "encoding_format" => encoding_format: Raw<'a>,
        "dimensions" => dimensions: Raw<'a>,
    }
}

lenient_object! {
    struct MessageShape<'a> {
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
        "tool_calls" => tool_calls: Raw<'a>,
    }
}

lenient_object! {
    /// The fields by which answers and events are told apart.
    struct AnswerShape<'a> {
        "type" => kind: Text<'a>,
        "object" => object: Text<'a>,
        "data" => data: Raw<'a>,
    }
}

/// Whether this is the body of a call, whoever it is sent to.
pub(super) fn is_call(body: &[u8]) -> bool {
    parse::<RequestShape<'_>>(body).is_ok_and(|shape| shape.format().is_some())
}

impl RequestShape<'_> {
    /// A model, and what only a request to a model has beside it: a word like `input` alone is anybody's.
    fn format(&self) -> Option<(&'static dyn Dialect, Operation)> {
        let has = |fields: &[Raw<'_>]| fields.iter().any(|field| field.0.is_some());
        self.model.filled()?;
        if self.messages.0.is_some() {
            let (mut messages, mut wrong) = (0u32, 0u32);
            self.messages.for_each(|message: MessageShape<'_>| {
                let says_something = message.content.0.is_some() || message.tool_calls.0.is_some();
                messages = messages.saturating_add(1);
                wrong = wrong.saturating_add(u32::from(!message.is_object() || message.role.filled().is_none() || !says_something));
            });
            let anthropic = has(&[self.system, self.anthropic_version, self.stop_sequences]);
            let dialect: &'static dyn Dialect = if anthropic { &Anthropic } else { &OpenAiChat };
            return (messages > 0 && wrong == 0).then_some((dialect, Operation::Chat));
        }
        if self.input.0.is_some() {
            if has(&[self.instructions, self.max_output_tokens, self.previous_response_id, self.reasoning, self.tools]) {
                return Some((&OpenAiResponses, Operation::Chat));
            }
            return has(&[self.encoding_format, self.dimensions]).then_some((&OpenAiEmbeddings, Operation::Embeddings));
        }
        let prompted = self.prompt.0.is_some() && has(&[self.max_tokens, self.temperature, self.stream]);
        prompted.then_some((&OpenAiCompletions, Operation::TextCompletion))
    }
}

impl AnswerShape<'_> {
    fn format(&self, operation: Operation) -> &'static dyn Dialect {
        const ANTHROPIC: [&str; 9] = [
            "message",
            "message_start",
            "message_delta",
            "message_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "ping",
            "error",
        ];
        let kind = self.kind.as_str().unwrap_or_default();
        if self.object.as_str() == Some("response") || kind.starts_with("response.") {
            &OpenAiResponses
        } else if ANTHROPIC.contains(&kind) {
            &Anthropic
        } else if operation == Operation::Embeddings || self.object.as_str() == Some("list") && self.data.0.is_some() {
            &OpenAiEmbeddings
        } else {
            &OpenAiChat
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> CallBuilder {
        CallBuilder::new(ProviderName::of("unknown"), Operation::Chat, false)
    }

    #[test]
    fn bodies_that_ask_a_model_are_told_from_others() {
        for (body, want) in [
            (r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#, Some(Operation::Chat)),
            (r#"{"model":"m","system":"s","messages":[{"role":"user","content":[]}],"max_tokens":1}"#, Some(Operation::Chat)),
            (r#"{"model":"m","input":"x","instructions":"y"}"#, Some(Operation::Chat)),
            (r#"{"model":"m","input":["x"],"encoding_format":"float"}"#, Some(Operation::Embeddings)),
            (r#"{"model":"m","prompt":"x","max_tokens":5}"#, Some(Operation::TextCompletion)),
            (r#"{"messages":[{"role":"user","content":"x"}]}"#, None),
            (r#"{"model":"m","messages":["hello"]}"#, None),
            (r#"{"model":"m","messages":[{"to":"jane","content":"x"}]}"#, None),
            (r#"{"model":"m","messages":[]}"#, None),
            (r#"{"model":"Golf","input":7}"#, None),
            (r#"{"model":"Golf","prompt":"x"}"#, None),
            ("[]", None),
        ] {
            let mut call = call();
            ByBodyShape.request(Operation::Chat, body.as_bytes(), &mut call).unwrap();
            assert_eq!(call.request.model.is_some().then_some(call.operation()), want, "{body}");
        }
    }

    #[test]
    fn an_answer_is_read_by_its_own_shape() {
        for (body, input) in [
            (r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, 1),
            (r#"{"object":"response","status":"completed","usage":{"input_tokens":2}}"#, 2),
            (r#"{"type":"message","usage":{"input_tokens":3,"output_tokens":1}}"#, 3),
            (r#"{"object":"list","data":[],"usage":{"prompt_tokens":4}}"#, 4),
        ] {
            let mut call = call();
            ByBodyShape.response(body.as_bytes(), &mut call).unwrap();
            let call = call.build(crate::call::CallFrame::default(), crate::call::Ending::Seen);
            assert_eq!(call.usage.input_tokens, Some(input), "{body}");
        }
    }
}
