//! Replicate's predictions (<https://replicate.com/docs/reference/http>): any model, asked and answered apart.
//!
//! The answer to the request is the prediction's state; only a client that asks to wait gets the output with it. Fetching it later is no
//! inference, and whoever fetches it often is not billed often.

use super::{
    Dialect, StreamFrame,
    error_body::read_refusal,
    hosts::is_for,
    lenient::{Count, Flag, Float, Int, Raw, Text, Unreadable, lenient_object, parse},
    names,
};
use crate::{
    call::{CallBuilder, Message, Operation, Part, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct Replicate;

impl Dialect for Replicate {
    fn name(&self) -> ProviderName {
        ProviderName::of("replicate")
    }

    fn usual_operation(&self) -> Operation {
        Operation::Other("prediction")
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        if !is_for(head, "replicate") {
            return None;
        }
        match (head.method.as_str(), head.path.trim_end_matches('/')) {
            ("POST", path) if path.ends_with("/predictions") => Some(self.usual_operation()),
            ("GET", path) if path.starts_with("/v1/predictions/") => Some(Operation::FetchResponse),
            _ => None,
        }
    }

    /// `/v1/models/{owner}/{name}/predictions`, `/v1/deployments/{owner}/{name}/predictions`.
    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        let named = head.path.strip_prefix("/v1/models/").or_else(|| head.path.strip_prefix("/v1/deployments/"));
        let model = named.and_then(|rest| rest.trim_end_matches('/').strip_suffix("/predictions"));
        call.request.model = model.map(names::in_path);
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        // A version is told as a hash, or behind the model's name and a colon.
        let versioned = request.version.name().and_then(|version| version.split_once(':').map(|(model, _)| model.to_owned()));
        facts.model = facts.model.take().or(versioned);
        facts.stream = request.stream.0.unwrap_or(false);
        let input = &request.input;
        facts.max_tokens = input.max_tokens.0.or(input.max_new_tokens.0);
        facts.temperature = input.temperature.0;
        facts.top_p = input.top_p.0;
        facts.top_k = input.top_k.0;
        facts.seed = input.seed.0;
        if let Some(system) = input.system_prompt.filled().filter(|_| call.keeps_content()) {
            let content = call.clip_input(system);
            call.system_instruction(Part::Text { content });
        }
        if let Some(prompt) = input.prompt.filled().filter(|_| call.keeps_content()) {
            let parts = vec![Part::Text { content: call.clip_input(prompt) }];
            call.input_message(Message { role: "user".to_owned(), parts, ..Message::default() });
        }
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        let prediction: Prediction<'_> = parse(body)?;
        call.response.id = prediction.id.name();
        call.response.model = prediction.model.name();
        if let Some(status) = prediction.status.filled() {
            call.finish(ANSWER, status);
            if matches!(status, "failed" | "canceled" | "aborted") {
                call.fail(Some(status), prediction.error.text().as_deref());
            }
        }
        if call.operation() == Operation::FetchResponse {
            return Ok(());
        }
        // A language model gives its text in pieces.
        if let Some(text) = prediction.output.text() {
            call.append(ANSWER, PartSlot(0), PartKind::Text, &text);
        }
        prediction.output.for_each(|piece: Text<'_>| call.append(ANSWER, PartSlot(0), PartKind::Text, piece.as_str().unwrap_or_default()));
        let metrics = &prediction.metrics;
        call.usage = Usage { input_tokens: metrics.input_tokens.0, output_tokens: metrics.output_tokens.0, ..Usage::default() };
        Ok(())
    }

    /// Streams come from an address that the answer names.
    fn chunk(&self, _frame: &StreamFrame<'_>, _call: &mut CallBuilder) {}
}

const ANSWER: u32 = 0;

lenient_object! {
    struct Request<'a> {
        "version" => version: Text<'a>,
        "stream" => stream: Flag,
        "input" => input: Input<'a>,
    }
}

lenient_object! {
    /// Models choose their own names; these are the usual ones of language models.
    struct Input<'a> {
        "prompt" => prompt: Text<'a>,
        "system_prompt" => system_prompt: Text<'a>,
        "max_tokens" => max_tokens: Int,
        "max_new_tokens" => max_new_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "seed" => seed: Int,
    }
}

lenient_object! {
    struct Prediction<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "status" => status: Text<'a>,
        "output" => output: Raw<'a>,
        "error" => error: Raw<'a>,
        "metrics" => metrics: Metrics<'a>,
    }
}

lenient_object! {
    struct Metrics<'a> {
        "input_token_count" => input_tokens: Count,
        "output_token_count" => output_tokens: Count,
    }
}
