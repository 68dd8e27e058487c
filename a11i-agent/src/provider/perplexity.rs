//! Perplexity's agents (<https://docs.perplexity.ai/docs/agent-api>): OpenAI's responses under a name of their own, with what they cost.

use super::{
    Dialect, StreamFrame,
    hosts::is_for,
    lenient::{Float, Text, Unreadable, lenient_object, parse},
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

    /// Its host says enough.
    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[]
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
    use crate::call::{CallFrame, Ending};

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
}
