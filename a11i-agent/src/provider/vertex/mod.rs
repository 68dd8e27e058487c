//! Vertex AI (<https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest>): Gemini's formats at Google Cloud's paths, `:predict`
//! of embedding and media models, and other publishers' formats behind `:rawPredict`.

mod grpc;
mod predict;
mod raw_predict;

use super::{
    Dialect, StreamFrame,
    gemini::{self, MethodPath},
    lenient::Unreadable,
};
use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::RequestHead,
};

pub(super) use grpc::{VERTEX as VERTEX_GRPC, VERTEX_PREDICT as VERTEX_PREDICT_GRPC};
pub(super) use raw_predict::{VertexAnthropic, VertexOpenAi};

pub(super) struct Vertex;

const NAME: ProviderName = ProviderName::of("gcp.vertex_ai");

impl Dialect for Vertex {
    fn name(&self) -> ProviderName {
        NAME
    }

    fn usual_operation(&self) -> Operation {
        Operation::GenerateContent
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        // Gemini's; the others are shorter than what the kernel half compares.
        &[(":predictLongRunning", Operation::Other("video_generation"))]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let path = MethodPath::of(&head.path).filter(|path| head.method == "POST" && path.is_cloud())?;
        gemini::operation(&path).or_else(|| predict::operation(&path))
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        gemini::request_head(head, call);
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if predict::request(body, call)? { Ok(()) } else { gemini::request(operation, body, call) }
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if predict::response(body, call)? { Ok(()) } else { gemini::whole(body, call) }
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        gemini::chunk(frame.data, call);
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        gemini::stream_end(gap, call);
    }
}

#[cfg(test)]
mod tests;
