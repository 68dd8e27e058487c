//! Perplexity's agents (<https://docs.perplexity.ai/docs/agent-api>): OpenAI's responses under a name of their own, with what they cost; and
//! its chats that are answered later (<https://docs.perplexity.ai/api-reference/async-sonar-post>), wrapped.

use super::{
    Dialect, StreamFrame,
    error_body::read_refusal,
    hosts::is_for,
    lenient::{Float, Raw, Text, Unreadable, lenient_object, parse},
    openai_chat::OpenAiChat,
    openai_responses::OpenAiResponses,
    posted,
};
use crate::{
    call::{CallBuilder, NanoUsd, Operation, ProviderName},
    http::RequestHead,
};

pub(super) struct PerplexityAgent;

const PATHS: [(&str, Operation); 2] = [("/v1/agent", Operation::Chat), ("/v1/responses", Operation::Chat)];

impl Dialect for PerplexityAgent {
    fn name(&self) -> ProviderName {
        ProviderName::of("perplexity")
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        posted(head, &PATHS).filter(|_| is_for(head, "perplexity"))
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        OpenAiResponses.request(operation, body, call)?;
        // Instead of a model: a set of one with its tools.
        call.request.prompt_name = parse::<Request<'_>>(body)?.preset.name();
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        OpenAiResponses.response(body, call)?;
        cost(&parse::<Answer<'_>>(body)?.usage, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        OpenAiResponses.chunk(frame, call);
        if let Ok(event) = parse::<Event<'_>>(frame.data) {
            cost(&event.response.usage, call);
        }
    }
}

pub(super) struct PerplexityAsync;

const LATER: [(&str, Operation); 2] = [("/async/chat/completions", Operation::Chat), ("/v1/async/sonar", Operation::Chat)];

impl Dialect for PerplexityAsync {
    fn name(&self) -> ProviderName {
        ProviderName::of("perplexity")
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let fetched = || {
            let (list, id) = head.path.trim_end_matches('/').rsplit_once('/')?;
            let is_one = head.method == "GET" && !id.is_empty() && LATER.iter().any(|(path, _)| list == *path);
            is_one.then_some(Operation::FetchResponse)
        };
        if is_for(head, "perplexity") { posted(head, &LATER).or_else(fetched) } else { None }
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if operation == Operation::FetchResponse {
            return Ok(());
        }
        call.response.deferred = Some(Operation::Chat);
        let request: Later<'_> = parse(body)?;
        OpenAiChat.request(operation, request.request.json().unwrap_or("{}").as_bytes(), call)
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        let job: Job<'_> = parse(body)?;
        call.response.deferred = Some(Operation::Chat);
        if let Some(answer) = job.response.json() {
            OpenAiChat.response(answer.as_bytes(), call)?;
        } else {
            job.model.replace(&mut call.response.model);
        }
        // The answer has an id of its own; this one is known from the beginning.
        call.response.id = job.id.name();
        if job.status.as_str() == Some("FAILED") {
            call.fail(Some("FAILED"), job.error_message.filled());
        }
        Ok(())
    }

    /// It comes whole.
    fn chunk(&self, _frame: &StreamFrame<'_>, _call: &mut CallBuilder) {}
}

lenient_object! {
    struct Later<'a> {
        "request" => request: Raw<'a>,
    }
}

lenient_object! {
    struct Job<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "status" => status: Text<'a>,
        "response" => response: Raw<'a>,
        "error_message" => error_message: Text<'a>,
    }
}

lenient_object! {
    struct Request<'a> {
        "preset" => preset: Text<'a>,
    }
}

lenient_object! {
    struct Event<'a> {
        "response" => response: Answer<'a>,
    }
}

lenient_object! {
    struct Answer<'a> {
        "usage" => usage: TokenUsage<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "cost" => cost: Cost<'a>,
    }
}

lenient_object! {
    struct Cost<'a> {
        "total_cost" => total: Float,
    }
}

fn cost(said: &TokenUsage<'_>, call: &mut CallBuilder) {
    if let Some(cost) = said.cost.total.0.and_then(NanoUsd::from_usd) {
        call.response.stated_cost = Some(cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{CallFrame, DeferredAnswers, Ending},
        fixture::request_head,
    };

    #[test]
    fn what_it_cost_is_told_whole_and_streamed() {
        let response = r#"{"id":"resp_1","object":"response","model":"openai/gpt-5.1","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"yo"}]}],"usage":{"input_tokens":3681,"output_tokens":780,"total_tokens":4461,"cost":{"currency":"USD","input_cost":0.0046,"output_cost":0.0078,"total_cost":0.0124}}}"#;
        for whole in [true, false] {
            let mut call = CallBuilder::new(ProviderName::of("perplexity"), Operation::Chat, true);
            PerplexityAgent.request(Operation::Chat, br#"{"preset":"pro-search","input":"what is new?"}"#, &mut call).unwrap();
            if whole {
                PerplexityAgent.response(response.as_bytes(), &mut call).unwrap();
            } else {
                let data = format!(r#"{{"type":"response.completed","response":{response}}}"#);
                PerplexityAgent.chunk(&StreamFrame { event: None, data: data.as_bytes() }, &mut call);
            }
            let call = call.build(CallFrame::default(), Ending::Seen);
            assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(3681), Some(780)));
            assert_eq!((call.response.stated_cost, call.request.prompt_name.as_deref()), (Some(NanoUsd(12_400_000)), Some("pro-search")));
            assert_eq!((call.response.model.as_deref(), call.response.finish_reasons.len()), (Some("openai/gpt-5.1"), 1));
        }
    }

    #[test]
    fn a_chat_that_is_answered_later_counts_once_where_it_is_fetched() {
        let claim = |method, path| PerplexityAsync.claims(&request_head(method, "api.perplexity.ai", path)).map(Operation::as_str);
        assert_eq!(claim("POST", "/async/chat/completions"), Some("chat"));
        assert_eq!(claim("GET", "/v1/async/sonar/j1"), Some("fetch_response"));
        assert_eq!(claim("GET", "/async/chat/completions"), None);
        let mut answers = DeferredAnswers::default();
        let mut told = |operation: Operation, answer: &str| {
            let mut call = CallBuilder::new(ProviderName::of("perplexity"), operation, true);
            let asked = br#"{"request":{"model":"m","messages":[{"role":"user","content":"why?"}]}}"#;
            PerplexityAsync.request(operation, asked, &mut call).unwrap();
            PerplexityAsync.response(answer.as_bytes(), &mut call).unwrap();
            let mut call = call.build(CallFrame::default(), Ending::Seen);
            answers.settle(&mut call);
            (call.operation.as_str(), call.usage.input_tokens, call.response.stated_cost, call.response.id, call.outcome.error_type)
        };
        let (id, waiting) = (Some("j1".to_owned()), r#"{"id":"j1","model":"m","status":"CREATED","response":null}"#);
        let done = r#"{"id":"j1","model":"m","status":"COMPLETED","response":{"id":"a","model":"m","choices":[{"index":0,"message":{"content":"so"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"cost":{"total_cost":0.5}}}}"#;
        assert_eq!(told(Operation::Chat, waiting), ("chat", None, None, id.clone(), None));
        assert_eq!(told(Operation::FetchResponse, waiting), ("fetch_response", None, None, id.clone(), None));
        assert_eq!(told(Operation::FetchResponse, done), ("chat", Some(5), Some(NanoUsd(500_000_000)), id.clone(), None));
        assert_eq!(told(Operation::FetchResponse, done), ("fetch_response", None, None, id.clone(), None));
        let failed = r#"{"id":"j1","status":"FAILED","error_message":"no"}"#;
        assert_eq!(told(Operation::FetchResponse, failed), ("fetch_response", None, None, id, Some("FAILED".into())));
    }
}
