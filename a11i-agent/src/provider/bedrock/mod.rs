//! AWS Bedrock's runtime (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>).
//!
//! Three formats: Converse, InvokeModel with the models' own formats inside, and what is no inference of a model. The model stands in the
//! path. Streams are AWS event streams; those of InvokeModel carry the model's own events in base64.

mod aside;
mod completions;
mod converse;
mod converse_request;
pub(super) mod invoke;
pub(super) mod invoke_request;
mod parameters;
pub(super) mod path;

pub(super) use aside::BedrockAside;

use super::{
    Dialect, Framing, StreamFrame,
    error_body::read_failure,
    lenient::{Count, Text, Unreadable, lenient_object, mended, parse},
    names,
};
use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::{RequestHead, ResponseHead, base64},
};

const PROVIDER: ProviderName = ProviderName::of("aws.bedrock");

/// `/model/{id}/converse` and `/converse-stream`.
pub(super) struct BedrockConverse;

/// `/model/{id}/invoke` and its streams.
pub(super) struct BedrockInvoke;

impl Dialect for BedrockConverse {
    fn name(&self) -> ProviderName {
        PROVIDER
    }

    /// `/converse` alone is too short for the kernel half to know it.
    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/converse-stream", Operation::Chat)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        path::model(head).filter(|(_, api)| matches!(*api, "converse" | "converse-stream")).map(|_| Operation::Chat)
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        if let Some((id, api)) = path::model(head) {
            call.request.model = Some(id);
            call.request.stream = api == "converse-stream";
        }
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        converse_request::read(body, call)
    }

    fn response_head(&self, head: &ResponseHead, call: &mut CallBuilder) {
        failure_of_head(head, call);
    }

    fn stream_framing(&self) -> Framing {
        Framing::AwsEventStream
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if failed(body, call)? { Ok(()) } else { converse::answer(body, call) }
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        converse::event(frame.event.unwrap_or_default(), frame.data, call);
    }
}

impl Dialect for BedrockInvoke {
    fn name(&self) -> ProviderName {
        PROVIDER
    }

    /// `/invoke` alone is too short for the kernel half to know it.
    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/invoke-with-response-stream", Operation::Chat), ("/invoke-with-bidirectional-stream", Operation::Chat)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let (id, api) = path::model(head)?;
        matches!(api, "invoke" | "invoke-with-response-stream" | "invoke-with-bidirectional-stream").then(|| path::operation_of_model(&id))
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        if let Some((id, api)) = path::model(head) {
            call.request.model = Some(id);
            call.request.stream = api != "invoke";
        }
        let text = |name| head.headers.text(name).filter(|value| !value.is_empty()).map(names::in_field);
        call.request.service_tier = text("x-amzn-bedrock-service-tier");
        call.request.guardrail_id = text("x-amzn-bedrock-guardrailidentifier");
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        invoke_request::read(body, call).map(|_| ())
    }

    fn response_head(&self, head: &ResponseHead, call: &mut CallBuilder) {
        failure_of_head(head, call);
        let text = |name| head.headers.text(name).filter(|value| !value.is_empty());
        call.response.service_tier = text("x-amzn-bedrock-service-tier").map(names::in_field);
        call.response.speed = text("x-amzn-bedrock-performanceconfig-latency").map(names::in_field);
        let count = |name| text(name).and_then(|number| parse::<Count>(number.as_bytes()).ok()).and_then(|count| count.0);
        // Their input excludes the cache; what the body says replaces them.
        let counts = &mut call.cache_apart;
        counts.input_tokens = count("x-amzn-bedrock-input-token-count");
        counts.output_tokens = count("x-amzn-bedrock-output-token-count");
        counts.cache_read_input_tokens = count("x-amzn-bedrock-cache-read-input-token-count");
        counts.cache_write_input_tokens = count("x-amzn-bedrock-cache-write-input-token-count");
        counts.base_seen = counts.input_tokens.is_some();
    }

    fn stream_framing(&self) -> Framing {
        Framing::AwsEventStream
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if failed(body, call)? { Ok(()) } else { invoke::answer(body, call) }
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        // `p` is padding, so that lengths tell nothing of the text.
        let Ok(chunk) = parse::<Chunk<'_>>(frame.data) else { return };
        if let Some(bytes) = chunk.bytes.as_str().and_then(base64::decode) {
            invoke::event(&mended(&bytes), call);
        }
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        invoke::end(gap, call);
    }
}

lenient_object! {
    struct Chunk<'a> {
        "bytes" => bytes: Text<'a>,
    }
}

lenient_object! {
    struct Failure<'a> {
        "__type" => kind: Text<'a>,
        "code" => code: Text<'a>,
    }
}

/// `ValidationException:http://internal.amazon.com/...`
pub(super) fn failure_of_head(head: &ResponseHead, call: &mut CallBuilder) {
    if let Some(kind) = head.headers.text("x-amzn-errortype") {
        call.fail(Some(bare_type(kind)), None);
    }
}

/// Whether it is the answer to a call that failed; reads it then.
pub(super) fn failed(body: &[u8], call: &mut CallBuilder) -> Result<bool, Unreadable> {
    if call.response.status.is_none_or(|status| status < 400) {
        return Ok(false);
    }
    let failure: Failure<'_> = parse(body)?;
    if let Some(kind) = failure.kind.filled().or_else(|| failure.code.filled()) {
        call.fail(Some(bare_type(kind)), None);
    }
    read_failure(body, call);
    Ok(true)
}

/// Without the namespace before and the address behind.
fn bare_type(text: &str) -> &str {
    let name = text.split(':').next().unwrap_or(text);
    name.rsplit('#').next().unwrap_or(name)
}

#[cfg(test)]
mod tests;
