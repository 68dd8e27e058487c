//! Documents put in the order of a query: Cohere (<https://docs.cohere.com/reference/rerank>), and those who follow it (Voyage, Jina,
//! Together, vLLM, llama.cpp, text-embeddings-inference).

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_refusal},
    hosts::is_for,
    lenient::{Count, Raw, Text, Unreadable, lenient_object, parse},
    posted,
};
use crate::{
    call::{CallBuilder, Operation, ProviderName, Usage},
    http::{RequestHead, ResponseHead},
};

pub(super) struct Rerank;

const RERANK: Operation = Operation::Other("rerank");

impl Dialect for Rerank {
    fn name(&self) -> ProviderName {
        ProviderName::of("cohere")
    }

    fn usual_operation(&self) -> Operation {
        RERANK
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/rerank", RERANK)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        // llama.cpp has the other spellings too. NVIDIA's path is /v1/ranking or /v1/retrieval/{model}/reranking.
        let other =
            || (is_for(head, "nvidia_nim") || head.path.starts_with("/v1/")).then(|| posted(head, &[("/reranking", RERANK)])).flatten();
        posted(head, self.path_ends()).or_else(other)
    }

    fn resembles(&self, call: &CallBuilder) -> bool {
        !call.estimation.input.is_empty()
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        call.request.model = request.model.name().or_else(|| request.model_id.name());
        let documents = [request.documents, request.texts, request.passages, request.inputs].into_iter().find(|list| list.0.is_some());
        let (Some(query), Some(documents)) = (request.query.0, documents) else { return Ok(()) };
        // Both make a request one of this kind. Texts, or objects with a text.
        call.estimation.input.push(query.get());
        documents.for_each(|document: Raw<'_>| {
            let text = document.text().or_else(|| document.read::<Document<'_>>().and_then(|document| document.text.0));
            call.estimation.input.push(&text.unwrap_or_default());
        });
        if call.provider().as_str() == "cohere" && request.texts.0.is_some() {
            call.turns_out_to_be(ProviderName::of("tei"), &self.name());
        }
        Ok(())
    }

    fn response_head(&self, head: &ResponseHead, call: &mut CallBuilder) {
        super::tei::count_header(head, call);
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
        let (said, billed) = (&response.usage, &response.meta.billed);
        let counts = [said.prompt_tokens, said.total_tokens, billed.input_tokens, billed.total_tokens];
        if let Some(input) = counts.into_iter().find_map(|count| count.0) {
            call.usage = Usage { input_tokens: Some(input), ..Usage::default() };
        }
        Ok(())
    }

    /// A ranking is not streamed.
    fn chunk(&self, _frame: &StreamFrame<'_>, _call: &mut CallBuilder) {}
}

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "model_id" => model_id: Text<'a>,
        "query" => query: Raw<'a>,
        "documents" => documents: Raw<'a>,
        "texts" => texts: Raw<'a>,
        "passages" => passages: Raw<'a>,
        "inputs" => inputs: Raw<'a>,
    }
}

lenient_object! {
    struct Document<'a> {
        "text" => text: Text<'a>,
    }
}

lenient_object! {
    struct Response<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "usage" => usage: TokenUsage<'a>,
        "meta" => meta: Meta<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct Meta<'a> {
        "billed_units" => billed: TokenUsage<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "prompt_tokens" => prompt_tokens: Count,
        "total_tokens" => total_tokens: Count,
        "input_tokens" => input_tokens: Count,
    }
}
