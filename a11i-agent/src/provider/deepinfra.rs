//! `DeepInfra`'s own inference of any model (<https://deepinfra.com/docs/inference>), which states what it has cost.

use super::{
    Dialect, StreamFrame,
    error_body::read_refusal,
    hosts::is_for,
    lenient::{Count, Flag, Float, Int, Raw, Shape, Text, Unreadable, lenient_object, parse},
    names,
    openai_chat::request::stop_sequences,
};
use crate::{
    call::{CallBuilder, NanoUsd, Operation, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct DeepInfra;

const PROVIDER: &str = "deepinfra";

impl Dialect for DeepInfra {
    fn name(&self) -> ProviderName {
        ProviderName::of(PROVIDER)
    }

    fn usual_operation(&self) -> Operation {
        Operation::TextCompletion
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let model = model(&head.path).filter(|_| head.method == "POST" && is_for(head, PROVIDER))?;
        Some(if model.to_ascii_lowercase().contains("embed") { Operation::Embeddings } else { Operation::TextCompletion })
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.model = model(&head.path).map(names::in_path);
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.stream = request.stream.0.unwrap_or(false);
        facts.max_tokens = request.max_new_tokens.0;
        facts.temperature = request.temperature.0;
        facts.top_p = request.top_p.0;
        facts.top_k = request.top_k.0;
        facts.seed = request.seed.0;
        facts.stop_sequences = stop_sequences(request.stop);
        if let Some(text) = request.input.text() {
            call.prompt(&text);
        }
        request.inputs.for_each(|text: Text<'_>| call.prompt(text.as_str().unwrap_or_default()));
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        let answer: Answer<'_> = parse(body)?;
        answer.request_id.replace(&mut call.response.id);
        let mut index = 0_u32;
        answer.results.for_each(|result: Generated<'_>| {
            call.append(index, PartSlot(0), PartKind::Text, result.text.as_str().unwrap_or_default());
            index = index.saturating_add(1);
        });
        counts(&answer, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(event) = parse::<Answer<'_>>(frame.data) else { return };
        event.request_id.replace(&mut call.response.id);
        call.append(0, PartSlot(0), PartKind::Text, event.token.text.as_str().unwrap_or_default());
        if let Some(reason) = event.details.finish_reason.filled() {
            call.finish(0, reason);
        }
        counts(&event, call);
        call.usage_is_running = !call.is_finished();
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        if gap && call.usage_is_running {
            call.usage = Usage::default();
            call.response.stated_cost = None;
        }
    }
}

lenient_object! {
    struct Request<'a> {
        "input" => input: Raw<'a>,
        "inputs" => inputs: Raw<'a>,
        "stream" => stream: Flag,
        "max_new_tokens" => max_new_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "seed" => seed: Int,
        "stop" => stop: Raw<'a>,
    }
}

lenient_object! {
    /// An answer, or an event of a stream.
    struct Answer<'a> {
        "request_id" => request_id: Text<'a>,
        "results" => results: Raw<'a>,
        "token" => token: Token<'a>,
        "details" => details: Details<'a>,
        "inference_status" => status: InferenceStatus<'a>,
        "num_input_tokens" | "input_tokens" => input: Count,
        "num_tokens" | "num_output_tokens" => output: Count,
        "estimated_cost" => cost: Float,
    }
}

lenient_object! {
    struct Generated<'a> {
        "generated_text" => text: Text<'a>,
    }
}

lenient_object! {
    struct Token<'a> {
        "text" => text: Text<'a>,
    }
}

lenient_object! {
    struct Details<'a> {
        "finish_reason" => finish_reason: Text<'a>,
    }
}

lenient_object! {
    struct InferenceStatus<'a> {
        "cost" => cost: Float,
        "tokens_input" => input: Count,
        "tokens_generated" => output: Count,
    }
}

/// What follows `/v1/inference/`.
fn model(path: &str) -> Option<&str> {
    path.trim_end_matches('/').strip_prefix("/v1/inference/").filter(|model| !model.is_empty())
}

fn counts(answer: &Answer<'_>, call: &mut CallBuilder) {
    let (input, output) = (answer.status.input.0.or(answer.input.0), answer.status.output.0.or(answer.output.0));
    if input.is_some() || output.is_some() {
        let output = output.filter(|_| call.operation() != Operation::Embeddings);
        call.usage = Usage { input_tokens: input, output_tokens: output, ..Usage::default() };
    }
    let cost = if answer.status.is_object() { answer.status.cost.0 } else { answer.cost.0 };
    if let Some(cost) = cost.and_then(NanoUsd::from_usd) {
        call.response.stated_cost = Some(cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{CallFrame, Ending, LlmCall},
        fixture::request_head,
    };

    fn call(stream: bool, answers: &[&str]) -> LlmCall {
        let head = request_head("POST", "api.deepinfra.com", "/v1/inference/acme/M-8B");
        let mut call = CallBuilder::new(ProviderName::of(PROVIDER), DeepInfra.claims(&head).unwrap(), true);
        DeepInfra.request_head(&head, &mut call);
        let request = format!(r#"{{"input":"hi","max_new_tokens":9,"stream":{stream}}}"#);
        DeepInfra.request(Operation::TextCompletion, request.as_bytes(), &mut call).unwrap();
        for answer in answers {
            if stream {
                DeepInfra.chunk(&StreamFrame { event: None, data: answer.as_bytes() }, &mut call);
            } else {
                DeepInfra.response(answer.as_bytes(), &mut call).unwrap();
            }
        }
        call.build(CallFrame::default(), Ending::Seen)
    }

    #[test]
    fn an_answer_states_its_tokens_and_its_cost() {
        let told = call(
            false,
            &[
                r#"{"results":[{"generated_text":"yo"}],"num_tokens":2,"num_input_tokens":5,"request_id":"R","inference_status":{"status":"succeeded","cost":0.0000125,"tokens_generated":2,"tokens_input":5}}"#,
            ],
        );
        assert_eq!((told.usage.input_tokens, told.usage.output_tokens), (Some(5), Some(2)));
        assert_eq!((told.response.stated_cost, told.request.model.as_deref()), (Some(NanoUsd(12_500)), Some("acme/M-8B")));
        assert_eq!(
            (told.response.id.as_deref(), told.estimation.output.text(), told.operation.as_str()),
            (Some("R"), "yo", "text_completion")
        );
    }

    #[test]
    fn a_stream_is_made_of_tokens() {
        let events = [
            r#"{"token":{"id":1,"text":"y"}}"#,
            r#"{"token":{"id":2,"text":"o"},"generated_text":"yo","details":{"finish_reason":"stop"}}"#,
        ];
        let told = call(true, &events);
        assert_eq!((told.estimation.output.text(), told.response.finish_reasons), ("yo", vec!["stop".to_owned()]));
        assert!(told.usage.is_absent());
    }

    #[test]
    fn only_this_host_has_such_paths() {
        let claim = |method, host, path| DeepInfra.claims(&request_head(method, host, path)).map(Operation::as_str);
        assert_eq!(claim("POST", "api.deepinfra.com", "/v1/inference/acme/embed-1"), Some("embeddings"));
        for (method, host, path) in [
            ("GET", "api.deepinfra.com", "/v1/inference/acme/m"),
            ("POST", "api.deepinfra.com", "/v1/inference/"),
            ("POST", "shop.example", "/v1/inference/acme/m"),
        ] {
            assert_eq!(claim(method, host, path), None, "{method} {host}{path}");
        }
    }

    #[test]
    fn nothing_hostile_becomes_a_number() {
        for body in
            ["null", "[]", r#"{"num_tokens":-1,"inference_status":{"cost":-5,"tokens_input":1e300}}"#, r#"{"estimated_cost":1e300}"#]
        {
            for stream in [true, false] {
                let told = call(stream, &[body]);
                assert!(told.usage.is_absent() && told.response.stated_cost.is_none(), "{body}");
            }
        }
    }
}
