//! OpenAI's older text completions, still spoken by local servers (<https://platform.openai.com/docs/api-reference/completions>).
//!
//! Parameters and answers are those of chat completions but for the prompt and the text.

use super::{
    Dialect, StreamFrame,
    lenient::{Raw, Text, Unreadable, lenient_object, parse},
    openai_chat::{self, OpenAiChat},
    posted,
};
use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::RequestHead,
};

pub(super) struct OpenAiCompletions;

impl Dialect for OpenAiCompletions {
    fn name(&self) -> ProviderName {
        ProviderName::of("openai")
    }

    fn usual_operation(&self) -> Operation {
        Operation::TextCompletion
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/completions", Operation::TextCompletion)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let operation = posted(head, self.path_ends())?;
        // Other paths that end so are chats: /chat/, Mistral's /agents/, Portkey's /prompts/{id}/.
        let (before, _) = head.path.trim_end_matches('/').rsplit_once('/')?;
        let version_or_deployment = before.is_empty()
            || before.rsplit('/').next().is_some_and(|last| last.starts_with('v') || matches!(last, "openai" | "fim" | "beta"))
            || matches!(before.rsplit('/').nth(1), Some("deployments" | "engines"));
        version_or_deployment.then_some(operation)
    }

    /// A server of one model need not be told which.
    fn resembles(&self, call: &CallBuilder) -> bool {
        call.request.model.is_some() || !call.estimation.input.is_empty()
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        openai_chat::request::read(body, call)?;
        let request: Prompted<'_> = parse(body)?;
        if let Some(text) = request.prompt.text() {
            call.prompt(&text);
        }
        // Token numbers are no text.
        request.prompt.for_each(|text: Text<'_>| {
            if let Some(text) = text.as_str().filter(|text| !text.bytes().all(|byte| byte.is_ascii_digit())) {
                call.prompt(text);
            }
        });
        if let Some(text) = request.suffix.filled() {
            call.prompt(text);
        }
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        OpenAiChat.response(body, call)
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        OpenAiChat.chunk(frame, call);
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        OpenAiChat.stream_end(gap, call);
    }
}

lenient_object! {
    struct Prompted<'a> {
        "prompt" => prompt: Raw<'a>,
        "suffix" => suffix: Text<'a>,
    }
}
