//! Cohere (<https://docs.cohere.com/reference/chat>): chat of both versions, generate, embed, classify, summarize, tokenize.
//!
//! Version 1 streams one JSON object a line, version 2 server-sent events. Usage is what is billed, where both are said: what the model saw
//! besides is the provider's own prompt. Rerank is [`super::rerank`]'s.

mod answer;
mod request;
mod stream;

use super::{
    Dialect, Framing, StreamFrame,
    error_body::read_refusal,
    hosts::is_for,
    lenient::{Count, Unreadable, lenient_object},
    posted,
};
use crate::{
    call::{CallBuilder, ModalityTokens, Operation, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct Cohere;

/// Paths that are known at any host, where the body has to look like it: the second version's, which names model and messages.
const PATHS_ANYWHERE: [(&str, Operation); 2] = [("/v2/chat", Operation::Chat), ("/v2/embed", Operation::Embeddings)];

/// What a path is called for.
const PATHS: [(&str, Operation); 9] = [
    ("/v2/chat", Operation::Chat),
    ("/v1/chat", Operation::Chat),
    ("/v2/embed", Operation::Embeddings),
    ("/v1/embed", Operation::Embeddings),
    ("/v1/generate", Operation::TextCompletion),
    ("/v1/summarize", Operation::Other("summarize")),
    ("/v1/classify", Operation::Other("classification")),
    ("/v1/tokenize", Operation::Other("count_tokens")),
    ("/v1/detokenize", Operation::Other("detokenize")),
];

impl Dialect for Cohere {
    fn name(&self) -> ProviderName {
        ProviderName::of("cohere")
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let operation = posted(head, &PATHS)?;
        // Azure serves its models in its own format; gateways name the provider in the path; its SDKs name themselves.
        let known = is_for(head, "cohere")
            || is_for(head, "azure.ai.inference")
            || head.path.split('/').any(|segment| segment == "cohere")
            || head.headers.text("x-fern-sdk-name") == Some("cohere");
        known.then_some(operation).or_else(|| posted(head, &PATHS_ANYWHERE))
    }

    fn resembles(&self, call: &CallBuilder) -> bool {
        let says = match call.operation() {
            Operation::Chat | Operation::TextCompletion | Operation::GenerateContent => !call.estimation.input.is_empty(),
            // Images say nothing; how they are to be embedded has to be said.
            Operation::Embeddings => !call.estimation.input.is_empty() || !call.request.encoding_formats.is_empty(),
            // Their paths are known only where something else names the provider.
            Operation::FetchResponse | Operation::Other(_) => true,
        };
        call.request.model.is_some() && says
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
        answer::read(body, call)
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        stream::read(frame, call);
    }
}

lenient_object! {
    /// `usage` of version 2, `meta` of version 1 and of embeddings.
    struct Reported<'a> {
        "billed_units" => billed: Units<'a>,
        "tokens" => tokens: Units<'a>,
        "cached_tokens" => cached_tokens: Count,
    }
}

lenient_object! {
    /// Counts are floats on the wire.
    struct Units<'a> {
        "input_tokens" => input_tokens: Count,
        "output_tokens" => output_tokens: Count,
        "reasoning_tokens" => reasoning_tokens: Count,
        "image_tokens" => image_tokens: Count,
        "search_units" => searches: Count,
    }
}

fn usage(said: &Reported<'_>, call: &mut CallBuilder) {
    let (billed, tokens) = (&said.billed, &said.tokens);
    let reasoning = tokens.reasoning_tokens.0.or(billed.reasoning_tokens.0);
    call.usage = match call.operation() {
        Operation::Chat | Operation::TextCompletion => Usage {
            input_tokens: billed.input_tokens.0.or(tokens.input_tokens.0),
            output_tokens: billed.output_tokens.0.or(tokens.output_tokens.0),
            cache_read_input_tokens: said.cached_tokens.0,
            reasoning_output_tokens: reasoning,
            // What connectors searched for an answer.
            web_search_requests: billed.searches.0,
            ..Usage::default()
        },
        Operation::Embeddings => Usage {
            input_tokens: billed.input_tokens.0.or(tokens.input_tokens.0),
            input_by_modality: ModalityTokens { image: billed.image_tokens.0.filter(|n| *n > 0), ..ModalityTokens::default() },
            ..Usage::default()
        },
        Operation::Other("summarize" | "classification") => {
            Usage { input_tokens: billed.input_tokens.0, output_tokens: billed.output_tokens.0, ..Usage::default() }
        }
        // A count is no consumption.
        Operation::GenerateContent | Operation::FetchResponse | Operation::Other(_) => Usage::default(),
    };
}

#[cfg(test)]
mod tests;
