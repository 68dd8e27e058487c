//! Voyage's embeddings of its own kinds (<https://docs.voyageai.com/reference>): of texts with images, of chunks in their documents.
//! Plain ones are OpenAI's format, rerank is Cohere's.

use super::{
    Dialect, StreamFrame,
    lenient::{Int, Raw, Text, Unreadable, lenient_object, parse},
    openai_embeddings::OpenAiEmbeddings,
    posted,
};
use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::RequestHead,
};

pub(super) struct Voyage;

impl Dialect for Voyage {
    fn name(&self) -> ProviderName {
        ProviderName::of("voyage_ai")
    }

    fn usual_operation(&self) -> Operation {
        Operation::Embeddings
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/v1/multimodalembeddings", Operation::Embeddings), ("/v1/contextualizedembeddings", Operation::Embeddings)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        posted(head, self.path_ends())
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        call.request.model = request.model.name();
        call.request.embedding_dimensions = request.output_dimension.0;
        call.request.encoding_formats = request.output_encoding.name().or_else(|| request.encoding_format.name()).into_iter().collect();
        request.inputs.for_each(|input: Raw<'_>| {
            if let Some(object) = input.read::<Input<'_>>() {
                object.content.for_each(|part: ContentPart<'_>| call.estimation.input.push(part.text.as_str().unwrap_or_default()));
            }
            input.for_each(|text: Text<'_>| call.estimation.input.push(text.as_str().unwrap_or_default()));
        });
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        OpenAiEmbeddings.response(body, call)
    }

    /// Embeddings are not streamed.
    fn chunk(&self, _frame: &StreamFrame<'_>, _call: &mut CallBuilder) {}
}

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "inputs" => inputs: Raw<'a>,
        "output_dimension" => output_dimension: Int,
        "output_encoding" => output_encoding: Text<'a>,
        "encoding_format" => encoding_format: Text<'a>,
    }
}

lenient_object! {
    struct Input<'a> {
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    struct ContentPart<'a> {
        "text" => text: Text<'a>,
    }
}
