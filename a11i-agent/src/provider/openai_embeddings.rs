//! OpenAI embeddings (<https://platform.openai.com/docs/api-reference/embeddings>). The vectors are skipped unread.

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_refusal},
    lenient::{Count, Float, Int, Raw, Text, Unreadable, lenient_object, parse},
    posted,
};
use crate::{
    call::{CallBuilder, NanoUsd, Operation, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct OpenAiEmbeddings;

impl Dialect for OpenAiEmbeddings {
    fn name(&self) -> ProviderName {
        ProviderName::of("openai")
    }

    fn usual_operation(&self) -> Operation {
        Operation::Embeddings
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/embeddings", Operation::Embeddings)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        // Ollama's own is /api/embeddings.
        posted(head, self.path_ends()).filter(|_| head.path.trim_end_matches('/') != "/api/embeddings")
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.model = request.model.name().or_else(|| facts.model.take());
        facts.embedding_dimensions = request.dimensions.0;
        facts.encoding_formats = request.encoding_format.name().into_iter().collect();
        if let Some(text) = request.input.text() {
            call.estimation.input.push(&text);
        }
        request.input.for_each(|text: Text<'_>| {
            // Token numbers are no text.
            if let Some(text) = text.as_str().filter(|text| !text.bytes().all(|byte| byte.is_ascii_digit())) {
                call.estimation.input.push(text);
            }
        });
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        let response: Response<'_> = parse(body)?;
        if response.error.0.is_some() {
            read_error(response.error, call);
        }
        call.response.id = response.id.name();
        call.response.model = response.model.name();
        call.usage = Usage { input_tokens: response.usage.prompt_tokens.0.or(response.usage.total_tokens.0), ..Usage::default() };
        call.response.stated_cost = response.usage.cost.0.and_then(NanoUsd::from_usd).or(call.response.stated_cost);
        Ok(())
    }

    /// Embeddings are not streamed.
    fn chunk(&self, _frame: &StreamFrame<'_>, _call: &mut CallBuilder) {}
}

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "input" => input: Raw<'a>,
        "dimensions" => dimensions: Int,
        "encoding_format" => encoding_format: Text<'a>,
    }
}

lenient_object! {
    struct Response<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "usage" => usage: TokenUsage<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "prompt_tokens" => prompt_tokens: Count,
        "total_tokens" => total_tokens: Count,
        "cost" => cost: Float,
    }
}
