//! Models behind SageMaker's endpoints (<https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Operations_Amazon_SageMaker_Runtime.html>):
//! `/endpoints/{name}/invocations`, and `/invocations-response-stream`, whose event stream carries the model server's own stream in pieces.
//!
//! An endpoint may serve anything. What it serves, the bodies tell: the formats that the servers for language models speak there (OpenAI's,
//! Text Generation Inference's, and those of the makers as behind Bedrock). What is none of these is no call.

use super::{
    Dialect, Framing, StreamFrame,
    bedrock::{failed, failure_of_head, invoke, invoke_request, path},
    lenient::Unreadable,
};
use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::{RequestHead, ResponseHead},
};

pub(super) struct SageMaker;

const PROVIDER: ProviderName = ProviderName::of("aws.sagemaker");

impl Dialect for SageMaker {
    fn name(&self) -> ProviderName {
        PROVIDER
    }

    /// `/invocations` alone is too common for the kernel half to take it for a model call.
    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/invocations-response-stream", Operation::Chat)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let is_known = path::is_host_of(head, PROVIDER.as_str()) || path::is_signed(head);
        endpoint(head).filter(|_| is_known).map(|_| Operation::Chat)
    }

    fn body_decides(&self) -> bool {
        true
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        if let Some((name, streams)) = endpoint(head) {
            call.request.model = Some(name);
            call.request.stream = streams;
        }
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let streams = call.request.stream;
        let is_call = invoke_request::read(body, call);
        // A body may ask for a stream where the path gives none.
        call.request.stream = streams;
        if is_call != Ok(true) {
            call.request.model = None;
        }
        is_call.map(|_| ())
    }

    fn response_head(&self, head: &ResponseHead, call: &mut CallBuilder) {
        failure_of_head(head, call);
    }

    fn stream_framing(&self) -> Framing {
        Framing::AwsEventStream
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if failed(body, call)? { Ok(()) } else { invoke::answer(body, call) }
    }

    /// An event of the stream within.
    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        invoke::event(frame.data, call);
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        invoke::end(gap, call);
    }
}

/// The endpoint's name, and whether it is asked to stream.
fn endpoint(head: &RequestHead) -> Option<(String, bool)> {
    let segments: Vec<&str> = head.path.trim_matches('/').splitn(4, '/').collect();
    let ["endpoints", name, api] = segments.as_slice() else { return None };
    let streams = match *api {
        "invocations" => false,
        "invocations-response-stream" => true,
        _ => return None,
    };
    (head.method == "POST").then(|| path::decoded(name)).flatten().map(|name| (name, streams))
}

#[cfg(test)]
mod tests;
