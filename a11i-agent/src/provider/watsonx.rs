//! IBM watsonx.ai (<https://cloud.ibm.com/apidocs/watsonx-ai>): text generation in its own format, chat in OpenAI's with names of its own.

use super::{
    Dialect, StreamFrame,
    error_body::{read_failure, read_refusal},
    hosts::is_for,
    lenient::{Count, Few, Float, Int, Raw, Shape, Text, Unreadable, lenient_object, parse},
    names,
    openai_chat::{
        OpenAiChat,
        request::{read as read_chat, stop_sequences},
    },
};
use crate::{
    call::{CallBuilder, Operation, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct Watsonx;

/// Whole names of the last segments; the stable API, its beta of early 2024, and deployments share them.
const PATHS: [(&str, Operation); 8] = [
    ("/text/generation", Operation::TextCompletion),
    ("/text/generation_stream", Operation::TextCompletion),
    ("/generation/text", Operation::TextCompletion),
    ("/generation/text_stream", Operation::TextCompletion),
    ("/text/chat", Operation::Chat),
    ("/text/chat_stream", Operation::Chat),
    ("/text/embeddings", Operation::Embeddings),
    ("/text/tokenization", Operation::Other("count_tokens")),
];

impl Dialect for Watsonx {
    fn name(&self) -> ProviderName {
        ProviderName::of("ibm.watsonx.ai")
    }

    /// Its hosts, and `/ml/` before the path, say enough.
    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/ml/v1/text/generation", Operation::TextCompletion), ("/ml/v1/text/chat", Operation::Chat)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let operation = super::posted(head, &PATHS)?;
        // On premises, hosts are anybody's.
        (is_for(head, "ibm.watsonx.ai") || head.path.starts_with("/ml/v1/text/") || head.path.starts_with("/ml/v1/deployments/"))
            .then_some(operation)
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.stream = head.path.trim_end_matches('/').ends_with("_stream");
        let deployment = head.path.split_once("/deployments/").and_then(|(_, rest)| rest.split('/').next());
        call.request.model = deployment.map(names::in_path);
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let streams = call.request.stream;
        if operation == Operation::Chat {
            read_chat(body, call)?;
            let limits = &request;
            call.request.max_tokens = call.request.max_tokens.or(limits.max_completion_tokens.0);
        } else {
            generation(operation, &request, call);
        }
        call.request.stream = streams;
        call.request.model = request.model_id.name().or_else(|| call.request.model.take());
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        answer(body, call)
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        if frame.event == Some("error") {
            read_failure(frame.data, call);
            if !call.has_failed() {
                call.fail(Some("error"), None);
            }
            return;
        }
        // What is not JSON says nothing of the call.
        let _nothing_to_read = answer(frame.data, call).is_err();
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        if gap && call.usage_is_running {
            call.usage = Usage::default();
        }
    }
}

lenient_object! {
    struct Request<'a> {
        "model_id" => model_id: Text<'a>,
        "input" => input: Text<'a>,
        "inputs" => inputs: Raw<'a>,
        "max_completion_tokens" => max_completion_tokens: Int,
        "parameters" => parameters: Parameters<'a>,
    }
}

lenient_object! {
    struct Parameters<'a> {
        "max_new_tokens" => max_new_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "random_seed" => random_seed: Int,
        "stop_sequences" => stop_sequences: Raw<'a>,
    }
}

lenient_object! {
    struct Answer<'a> {
        "model_id" => model_id: Text<'a>,
        "results" => results: Few<Generated<'a>>,
        "input_token_count" => input_token_count: Count,
        "errors" => errors: Raw<'a>,
    }
}

lenient_object! {
    struct Generated<'a> {
        "generated_text" => text: Text<'a>,
        "generated_token_count" => output_token_count: Count,
        "input_token_count" => input_token_count: Count,
        "stop_reason" => stop_reason: Text<'a>,
    }
}

const ANSWER: u32 = 0;

fn generation(operation: Operation, request: &Request<'_>, call: &mut CallBuilder) {
    let (facts, asked) = (&mut call.request, &request.parameters);
    facts.max_tokens = asked.max_new_tokens.0;
    facts.temperature = asked.temperature.0;
    facts.top_p = asked.top_p.0;
    facts.top_k = asked.top_k.0;
    facts.seed = asked.random_seed.0;
    facts.stop_sequences = stop_sequences(asked.stop_sequences);
    request.inputs.for_each(|text: Text<'_>| call.estimation.input.push(text.as_str().unwrap_or_default()));
    if let Some(input) = request.input.filled() {
        if operation == Operation::TextCompletion {
            call.prompt(input);
        } else {
            call.estimation.input.push(input);
        }
    }
}

/// A whole answer, or an event.
fn answer(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let said: Answer<'_> = parse(body)?;
    if said.errors.0.is_some() {
        read_failure(body, call);
    }
    match call.operation() {
        Operation::Chat => OpenAiChat.chunk(&StreamFrame { event: None, data: body }, call),
        Operation::TextCompletion => {
            for result in said.results.0.iter().take(1).filter(|result| result.is_object()) {
                generated(result, call);
            }
        }
        Operation::Embeddings => call.usage.input_tokens = said.input_token_count.0,
        Operation::GenerateContent | Operation::FetchResponse | Operation::Other(_) => {}
    }
    said.model_id.replace(&mut call.response.model);
    Ok(())
}

/// An event of a stream has the new text; the counts grow, that of the input may stand in the first alone.
fn generated(result: &Generated<'_>, call: &mut CallBuilder) {
    call.choice(ANSWER);
    call.append(ANSWER, PartSlot(0), PartKind::Text, result.text.as_str().unwrap_or_default());
    // Said in every event but the last: not finished.
    if let Some(reason) = result.stop_reason.filled().filter(|reason| !reason.eq_ignore_ascii_case("not_finished")) {
        call.finish(ANSWER, reason);
    }
    // Zero stands for "said before": no prompt is empty.
    if let Some(input) = result.input_token_count.0.filter(|input| *input > 0) {
        call.usage.input_tokens = Some(input);
    }
    if result.output_token_count.0.is_some() {
        call.usage.output_tokens = result.output_token_count.0;
    }
    call.usage_is_running = !call.is_finished();
}
