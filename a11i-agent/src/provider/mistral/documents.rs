//! OCR and classifications: pages and scores, no tokens but where they are said.

use crate::{
    call::{CallBuilder, Operation, ProviderName, Usage},
    http::RequestHead,
    provider::{
        Dialect, StreamFrame,
        hosts::is_for,
        lenient::{Count, Unreadable, lenient_object, parse},
        names, posted,
    },
};

pub(in crate::provider) struct MistralDocuments;

const PATHS: [(&str, Operation); 2] = [("/ocr", Operation::Other("ocr")), ("/classifications", Operation::Other("classification"))];

impl Dialect for MistralDocuments {
    fn name(&self) -> ProviderName {
        ProviderName::of("mistral_ai")
    }

    fn usual_operation(&self) -> Operation {
        Operation::Other("ocr")
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        // Azure serves the model by the same path.
        let host = is_for(head, "mistral_ai") || is_for(head, "azure.ai.inference");
        posted(head, &PATHS).filter(|_| host)
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        names::request(body, call)
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        names::response(body, call)?;
        if call.response.status.is_none_or(|status| status < 400) {
            let usage = parse::<Answer<'_>>(body)?.usage;
            call.usage = Usage { input_tokens: usage.prompt_tokens.0, output_tokens: usage.completion_tokens.0, ..Usage::default() };
        }
        Ok(())
    }

    /// Neither is streamed.
    fn chunk(&self, _frame: &StreamFrame<'_>, _call: &mut CallBuilder) {}
}

lenient_object! {
    /// The rest is what was read of documents.
    struct Answer<'a> {
        "usage" => usage: TokenUsage<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "prompt_tokens" => prompt_tokens: Count,
        "completion_tokens" => completion_tokens: Count,
    }
}
