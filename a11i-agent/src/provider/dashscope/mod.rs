//! Alibaba Cloud's own API (<https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-dashscope>): what is asked for under `input`, how
//! under `parameters`, the answer under `output`.
//!
//! A header asks for a stream. Its events hold what is new or all of the answer so far, as the request or the model has it.

mod answer;
mod request;

use super::{
    Dialect, StreamFrame,
    error_body::read_failure,
    hosts::is_for,
    lenient::{Unreadable, clip},
};
use crate::{
    call::{CallBuilder, Operation, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct DashScope;

const IMAGES: Operation = Operation::Other("image_generation");
const VIDEOS: Operation = Operation::Other("video_generation");
const RERANK: Operation = Operation::Other("rerank");
const SPEECH: Operation = Operation::Other("speech");
const TRANSCRIPTION: Operation = Operation::Other("transcription");
/// An application that the provider runs: its answer counts for each of its models.
const APPLICATION: Operation = Operation::Other("invoke_agent");

/// Before every service's path.
const SERVICES: &str = "/api/v1/services/";
/// Before an application's id.
const APPLICATIONS: &str = "/api/v1/apps/";
/// An application's id is kept to this length.
const ID_BYTES: usize = 128;

impl Dialect for DashScope {
    fn name(&self) -> ProviderName {
        ProviderName::of("dashscope")
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[
            ("/services/aigc/text-generation/generation", Operation::Chat),
            ("/services/aigc/multimodal-generation/generation", Operation::Chat),
            ("/services/embeddings/text-embedding/text-embedding", Operation::Embeddings),
            ("/services/embeddings/multimodal-embedding/multimodal-embedding", Operation::Embeddings),
            ("/services/rerank/text-rerank/text-rerank", RERANK),
        ]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        if head.method != "POST" {
            return None;
        }
        let path = head.path.trim_end_matches('/');
        if let Some((_, service)) = path.split_once(SERVICES) {
            return operation(service);
        }
        (application(path).is_some() && is_for(head, "dashscope")).then_some(APPLICATION)
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.stream = head.headers.text("x-dashscope-sse").is_some_and(|said| said.trim().eq_ignore_ascii_case("enable"));
        call.request.agent_id = application(&head.path).map(|id| clip(id, ID_BYTES).to_owned());
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        request::read(body, call)
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if call.response.has_error_status() {
            read_failure(body, call);
        }
        answer::whole(body, call)
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        // What is not JSON says nothing of the call.
        let _nothing_to_read = answer::event(frame, call).is_err();
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        if gap && call.usage_is_running {
            call.usage = Usage::default();
        }
    }
}

/// What is asked of a service: `{family}/{task}/{function}`.
fn operation(service: &str) -> Option<Operation> {
    let mut parts = service.split('/');
    let (family, task, function) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
    match (family, task, function) {
        ("aigc", "text-generation" | "multimodal-generation", "generation") => Some(Operation::Chat),
        ("aigc", _, "video-synthesis") => Some(VIDEOS),
        ("aigc", "image-generation", _) | ("aigc", _, "image-synthesis") => Some(IMAGES),
        ("embeddings", ..) => Some(Operation::Embeddings),
        ("rerank", ..) => Some(RERANK),
        ("audio", "asr", _) => Some(TRANSCRIPTION),
        ("audio", "tts", _) => Some(SPEECH),
        _ => None,
    }
}

fn application(path: &str) -> Option<&str> {
    let id = path.trim_end_matches('/').strip_prefix(APPLICATIONS)?.strip_suffix("/completion")?;
    Some(id).filter(|id| !id.is_empty() && !id.contains('/'))
}

#[cfg(test)]
mod tests;
