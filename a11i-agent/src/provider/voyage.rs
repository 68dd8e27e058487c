//! Embeddings of the vendors' own kinds that are answered in OpenAI's format: Voyage's (<https://docs.voyageai.com/reference>) of texts with
//! images and of chunks in their documents, Volcengine's of media, Snowflake's. Plain ones are OpenAI's format, rerank is Cohere's.

use super::{
    Dialect, StreamFrame,
    hosts::is_for,
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
        // The others only their hosts make known.
        let theirs = [("volcengine", "/embeddings/multimodal"), ("snowflake_cortex", "/cortex/inference:embed")];
        let at = |(provider, end): (&str, &str)| posted(head, &[(end, Operation::Embeddings)]).filter(|_| is_for(head, provider));
        posted(head, self.path_ends()).or_else(|| theirs.into_iter().find_map(at))
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
        request.input.for_each(|part: ContentPart<'_>| call.estimation.input.push(part.text.as_str().unwrap_or_default()));
        request.text.for_each(|text: Text<'_>| call.estimation.input.push(text.as_str().unwrap_or_default()));
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
        "input" => input: Raw<'a>,
        "text" => text: Raw<'a>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_say_their_texts() {
        for body in [
            r#"{"model":"voyage-multimodal-3","inputs":[{"content":[{"type":"text","text":"a"},{"type":"image_url"}]},{"content":[{"type":"text","text":"b"}]}]}"#,
            r#"{"model":"voyage-context-3","inputs":[["a"],["b"]]}"#,
            r#"{"model":"doubao-embedding-vision","input":[{"type":"text","text":"a"},{"type":"image_url"},{"type":"text","text":"b"}]}"#,
            r#"{"model":"e5-base-v2","text":["a","b"]}"#,
        ] {
            let mut call = CallBuilder::new(ProviderName::of("voyage_ai"), Operation::Embeddings, false);
            Voyage.request(Operation::Embeddings, body.as_bytes(), &mut call).unwrap();
            assert_eq!(call.estimation.input.text(), "ab", "{body}");
        }
    }
}
