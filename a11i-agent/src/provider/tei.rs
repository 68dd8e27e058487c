//! text-embeddings-inference (<https://huggingface.github.io/text-embeddings-inference/>), alone or behind Hugging Face's hosts. Counts
//! come in a header alone.

use super::{
    Dialect, StreamFrame,
    error_body::read_refusal,
    hosts::is_for,
    lenient::{Int, Raw, Text, Unreadable, lenient_object, parse},
    names,
};
use crate::{
    call::{CallBuilder, Operation, ProviderName, Usage},
    http::{RequestHead, ResponseHead},
};

pub(super) struct Tei;

/// As whole paths: as ends they are anybody's.
const PATHS: [(&str, Operation); 4] = [
    ("/embed", Operation::Embeddings),
    ("/embed_all", Operation::Embeddings),
    ("/embed_sparse", Operation::Embeddings),
    ("/predict", Operation::Other("classification")),
];

/// What Hugging Face's hosts call it, behind a model's name.
const PIPELINE: &str = "/pipeline/feature-extraction";

impl Dialect for Tei {
    fn name(&self) -> ProviderName {
        ProviderName::of("tei")
    }

    fn usual_operation(&self) -> Operation {
        Operation::Embeddings
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let found = PATHS.iter().find(|(path, _)| head.path == *path).map(|(_, operation)| *operation);
        let hosted = || (is_for(head, "huggingface") && head.path.ends_with(PIPELINE)).then_some(Operation::Embeddings);
        found.or_else(hosted).filter(|_| head.method == "POST")
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        let before = head.path.strip_suffix(PIPELINE).and_then(|path| path.split_once("/models/"));
        call.request.model = before.map(|(_, model)| names::in_path(model));
    }

    fn resembles(&self, call: &CallBuilder) -> bool {
        !call.estimation.input.is_empty()
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        call.request.embedding_dimensions = request.dimensions.0;
        if let Some(text) = request.inputs.text() {
            call.estimation.input.push(&text);
        }
        request.inputs.for_each(|text: Text<'_>| call.estimation.input.push(text.as_str().unwrap_or_default()));
        Ok(())
    }

    fn response_head(&self, head: &ResponseHead, call: &mut CallBuilder) {
        count_header(head, call);
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        read_refusal(body, call).map(|_| ())
    }

    /// Embeddings are not streamed.
    fn chunk(&self, _frame: &StreamFrame<'_>, _call: &mut CallBuilder) {}
}

/// `x-compute-tokens`: what went into the model. It goes with errors too, then without meaning.
pub(super) fn count_header(head: &ResponseHead, call: &mut CallBuilder) {
    if head.status >= 400 {
        return;
    }
    if let Some(count) = super::lenient::count_text(head.headers.text("x-compute-tokens")) {
        call.usage = Usage { input_tokens: Some(count), ..Usage::default() };
    }
}

lenient_object! {
    struct Request<'a> {
        "inputs" => inputs: Raw<'a>,
        "dimensions" => dimensions: Int,
    }
}
