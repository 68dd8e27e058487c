//! OCR and classifications: pages and scores, no tokens but where they are said.

use crate::{
    call::{CallBuilder, Operation, ProviderName, Usage},
    http::RequestHead,
    provider::{
        Dialect, StreamFrame,
        error_body::read_failure,
        hosts::is_for,
        lenient::{Count, Text, Unreadable, lenient_object, parse},
        posted,
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

    /// Its host says enough.
    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        // Azure serves the model by the same path.
        let host = is_for(head, "mistral_ai") || is_for(head, "azure.ai.inference");
        posted(head, &PATHS).filter(|_| host)
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Named<'_> = parse(body)?;
        call.request.model = request.model.name();
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let answer: Named<'_> = parse(body)?;
        if call.response.status.is_some_and(|status| status >= 400) {
            read_failure(body, call);
            return Ok(());
        }
        call.response.id = answer.id.name();
        call.response.model = answer.model.name();
        call.usage =
            Usage { input_tokens: answer.usage.prompt_tokens.0, output_tokens: answer.usage.completion_tokens.0, ..Usage::default() };
        Ok(())
    }

    /// Neither is streamed.
    fn chunk(&self, _frame: &StreamFrame<'_>, _call: &mut CallBuilder) {}
}

lenient_object! {
    /// Of a request or an answer: the rest is documents and what was read of them.
    struct Named<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "usage" => usage: TokenUsage<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "prompt_tokens" => prompt_tokens: Count,
        "completion_tokens" => completion_tokens: Count,
    }
}
