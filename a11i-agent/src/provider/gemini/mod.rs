//! Gemini's generateContent and its kin (<https://ai.google.dev/api/generate-content>), as the Gemini API and Vertex AI serve them.
//!
//! Whole answers, server-sent events (`alt=sse`) and the elements of an array are one shape: a response with what is new in it. Names come
//! in camel case and, as protobuf's JSON allows, in snake case; enums by name or, where `enum-encoding=int` was asked for, by number.

mod content;
mod embeddings;
pub(super) mod grpc;
pub(super) mod interactions;
pub(super) mod live;
mod path;
pub(super) mod protobuf;
mod request;
mod response;
mod usage;

use super::{
    Dialect, StreamFrame,
    lenient::{Unreadable, parse},
};
use crate::{
    call::{CallBuilder, Operation, ProviderName, Usage},
    http::RequestHead,
};

pub(in crate::provider) use path::{MethodPath, percent_decoded};

pub(super) struct Gemini;

/// Tokens are counted, not consumed.
pub(in crate::provider) const COUNT_TOKENS: Operation = Operation::Other("count_tokens");
/// Work that is handed in and fetched later: what it consumes is not in this exchange.
const BATCH: Operation = Operation::Other("batch");
const IMAGE_GENERATION: Operation = Operation::Other("image_generation");
const VIDEO_GENERATION: Operation = Operation::Other("video_generation");

impl Dialect for Gemini {
    fn name(&self) -> ProviderName {
        ProviderName::of("gcp.gemini")
    }

    fn usual_operation(&self) -> Operation {
        Operation::GenerateContent
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        // The rest is shorter than what the kernel half compares, and does not come behind a fixed root.
        &[
            (":generateContent", Operation::GenerateContent),
            (":streamGenerateContent", Operation::GenerateContent),
            (":batchEmbedContents", Operation::Embeddings),
        ]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let path = MethodPath::of(&head.path).filter(|path| head.method == "POST" && !path.is_cloud())?;
        operation(&path).or_else(|| match path.verb {
            // Others serve models under such paths too (TensorFlow).
            "predict" if is_gemini_host(head) => Some(IMAGE_GENERATION),
            "predictLongRunning" if is_gemini_host(head) => Some(VIDEO_GENERATION),
            _ => None,
        })
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        request_head(head, call);
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        request(operation, body, call)
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        whole(body, call)
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        chunk(frame.data, call);
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        stream_end(gap, call);
    }
}

fn is_gemini_host(head: &RequestHead) -> bool {
    head.host.as_deref() == Some("generativelanguage.googleapis.com")
}

/// What the methods that both services have are called for.
pub(in crate::provider) fn operation(path: &MethodPath<'_>) -> Option<Operation> {
    Some(match path.verb {
        "generateContent" | "streamGenerateContent" => Operation::GenerateContent,
        "embedContent" | "batchEmbedContents" => Operation::Embeddings,
        "countTokens" => COUNT_TOKENS,
        "batchGenerateContent" | "asyncBatchEmbedContent" => BATCH,
        _ => return None,
    })
}

/// Model and streaming are told by the path.
pub(in crate::provider) fn request_head(head: &RequestHead, call: &mut CallBuilder) {
    let Some(path) = MethodPath::of(&head.path) else { return };
    if let Some(model) = path.model() {
        call.request.model = Some(model);
    }
    call.request.stream = path.verb.starts_with("stream");
}

pub(in crate::provider) fn request(operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    match operation {
        Operation::Embeddings => embeddings::read(&parse(body)?, call),
        Operation::Chat | Operation::TextCompletion | Operation::GenerateContent | COUNT_TOKENS => request::read(&parse(body)?, call),
        Operation::FetchResponse | Operation::Other(_) => {}
    }
    Ok(())
}

pub(in crate::provider) use response::{chunk, whole};

/// Counts of a stream grow with every piece: the last that was seen is final only if nothing came after it. With several candidates none can
/// tell that it was the last.
pub(in crate::provider) fn stream_end(gap: bool, call: &mut CallBuilder) {
    if gap && (call.usage_is_running || !call.is_finished() || call.request.choice_count.is_some()) {
        call.usage = Usage::default();
    }
}

#[cfg(test)]
mod tests;
