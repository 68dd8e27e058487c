//! `:rawPredict` and `:streamRawPredict`: the publisher's own format, the model in the path.

use super::NAME;
use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::RequestHead,
    provider::{
        Dialect, StreamFrame,
        anthropic::Anthropic,
        error_body::read_failure,
        gemini::{COUNT_TOKENS, MethodPath},
        lenient::{Raw, Unreadable, parse},
        openai_chat::OpenAiChat,
    },
};

/// Claude: a message without `model` in the body, with `anthropic_version`.
pub(in crate::provider) struct VertexAnthropic;

/// Mistral and others who follow OpenAI's chat completions, and what users deploy.
pub(in crate::provider) struct VertexOpenAi;

/// Pages are read, not chatted with.
const OCR: Operation = Operation::Other("ocr");

fn raw_predict(head: &RequestHead) -> Option<MethodPath<'_>> {
    let path = MethodPath::of(&head.path).filter(|path| head.method == "POST" && path.is_cloud())?;
    matches!(path.verb, "rawPredict" | "streamRawPredict").then_some(path)
}

/// Counting has a path of its own where a model's would be, and names the model in the body.
const COUNTING_MODEL: &str = "count-tokens";

fn request_head(head: &RequestHead, call: &mut CallBuilder) {
    let Some(path) = raw_predict(head) else { return };
    call.request.model = path.model().filter(|model| model != COUNTING_MODEL);
    call.request.stream = path.verb == "streamRawPredict";
}

/// Reads the body by `read`; what the path says of streaming holds.
fn keeping_stream(call: &mut CallBuilder, read: impl FnOnce(&mut CallBuilder) -> Result<(), Unreadable>) -> Result<(), Unreadable> {
    let streams = call.request.stream;
    let outcome = read(call);
    call.request.stream |= streams;
    outcome
}

/// Google's servers answer for the publisher where they refuse a call, also with an array around it.
fn refused(body: &[u8], call: &mut CallBuilder) -> Result<bool, Unreadable> {
    if call.response.status.is_none_or(|status| status < 400) {
        return Ok(false);
    }
    let document: Raw<'_> = parse(body)?;
    read_failure(body, call);
    document.for_each(|element: Raw<'_>| read_failure(element.json().unwrap_or_default().as_bytes(), call));
    Ok(true)
}

impl Dialect for VertexAnthropic {
    fn name(&self) -> ProviderName {
        NAME
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[(":streamRawPredict", Operation::Chat), ("/count-tokens:rawPredict", COUNT_TOKENS)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let path = raw_predict(head).filter(|path| path.publisher() == Some("anthropic"))?;
        Some(if path.model().as_deref() == Some(COUNTING_MODEL) { COUNT_TOKENS } else { Operation::Chat })
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        request_head(head, call);
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        keeping_stream(call, |call| Anthropic.request(operation, body, call))
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if refused(body, call)? { Ok(()) } else { Anthropic.response(body, call) }
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        Anthropic.chunk(frame, call);
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        Anthropic.stream_end(gap, call);
    }
}

impl Dialect for VertexOpenAi {
    fn name(&self) -> ProviderName {
        NAME
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let path = raw_predict(head).filter(|path| path.is_endpoint() || path.publisher().is_some())?;
        Some(if path.model().is_some_and(|model| model.contains("-ocr")) { OCR } else { Operation::Chat })
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        request_head(head, call);
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        keeping_stream(call, |call| {
            let named = call.request.model.clone();
            OpenAiChat.request(operation, body, call)?;
            // Mistral's clients repeat the model without its version in the body: the path decides.
            call.request.model = named.or_else(|| call.request.model.take());
            Ok(())
        })
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if refused(body, call)? { Ok(()) } else { OpenAiChat.response(body, call) }
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        OpenAiChat.chunk(frame, call);
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        OpenAiChat.stream_end(gap, call);
    }
}
