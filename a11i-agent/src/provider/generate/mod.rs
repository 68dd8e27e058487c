//! Self-hosted servers' own text generation at `/generate`: text-generation-inference
//! (<https://huggingface.github.io/text-generation-inference/>), SGLang (<https://docs.sglang.ai/basic_usage/native_api.html>), and what is
//! left of vLLM's first server. The path is the same, the body tells which.

mod answer;
mod request;

use super::{
    Dialect, StreamFrame,
    error_body::read_refusal,
    hosts::is_for,
    lenient::{Unreadable, count_text},
    names,
};
use crate::{
    call::{CallBuilder, Operation, ProviderName, Usage},
    http::{RequestHead, ResponseHead},
};

pub(super) struct Generate;

/// As whole paths: as ends they are anybody's.
const PATHS: [&str; 2] = ["/generate", "/generate_stream"];

impl Dialect for Generate {
    fn name(&self) -> ProviderName {
        ProviderName::of("tgi")
    }

    fn usual_operation(&self) -> Operation {
        Operation::TextCompletion
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/generate_stream", Operation::TextCompletion)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        if head.method != "POST" {
            return None;
        }
        let path = head.path.as_str();
        // The root is everybody's: it is this one's where the host or the client is.
        let at_hugging_face = || is_for(head, "huggingface") && (path == "/" || model(path).is_some());
        let by_its_client = || path == "/" && head.headers.text("user-agent").is_some_and(|agent| agent.contains("hf_hub/"));
        (PATHS.contains(&path) || at_hugging_face() || by_its_client()).then_some(Operation::TextCompletion)
    }

    fn resembles(&self, call: &CallBuilder) -> bool {
        !call.estimation.input.is_empty()
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.stream = head.path.ends_with("_stream");
        call.request.model = model(&head.path).map(names::in_path);
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let streams = call.request.stream;
        let speaker = request::read(body, call)?;
        call.request.stream |= streams;
        if let Some(provider) = speaker {
            call.turns_out_to_be(ProviderName::of(provider), &self.name());
        }
        Ok(())
    }

    fn response_head(&self, head: &ResponseHead, call: &mut CallBuilder) {
        let count = |name| count_text(head.headers.text(name)).filter(|_| head.status < 400);
        // Not of streams: the head goes before the text.
        call.usage = Usage { input_tokens: count("x-prompt-tokens"), output_tokens: count("x-generated-tokens"), ..Usage::default() };
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        answer::whole(body, call)
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        answer::event(frame.data, call);
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        if gap && call.usage_is_running {
            call.usage = Usage::default();
        }
    }
}

/// Hugging Face's hosts serve many: `/models/{owner}/{name}`, behind the router's `/hf-inference`.
fn model(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/hf-inference").unwrap_or(path).trim_end_matches('/');
    path.strip_prefix("/models/").filter(|model| model.split('/').count() <= 2 && !model.is_empty())
}

#[cfg(test)]
mod tests;
