//! Anthropic's older text completions (<https://docs.anthropic.com/en/api/complete>). No usage is reported.

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_refusal},
    hosts::is_for,
    lenient::{Flag, Float, Int, Raw, Text, Unreadable, lenient_object, parse},
    openai_chat::request::stop_sequences,
    posted,
};
use crate::{
    call::{CallBuilder, Operation, PartKind, PartSlot, ProviderName},
    http::RequestHead,
};

pub(super) struct AnthropicComplete;

impl Dialect for AnthropicComplete {
    fn name(&self) -> ProviderName {
        ProviderName::of("anthropic")
    }

    fn usual_operation(&self) -> Operation {
        Operation::TextCompletion
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let operation = posted(head, &[("/v1/complete", Operation::TextCompletion)])?;
        (is_for(head, "anthropic") || head.headers.text("anthropic-version").is_some()).then_some(operation)
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.model = request.model.name();
        facts.stream = request.stream.0.unwrap_or(false);
        facts.max_tokens = request.max_tokens_to_sample.0;
        facts.temperature = request.temperature.0;
        facts.top_p = request.top_p.0;
        facts.top_k = request.top_k.0;
        facts.stop_sequences = stop_sequences(request.stop_sequences);
        if let Some(prompt) = request.prompt.filled() {
            call.prompt(prompt);
        }
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        completion(&parse(body)?, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        if let Ok(piece) = parse(frame.data) {
            completion(&piece, call);
        }
    }
}

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "prompt" => prompt: Text<'a>,
        "stream" => stream: Flag,
        "max_tokens_to_sample" => max_tokens_to_sample: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "stop_sequences" => stop_sequences: Raw<'a>,
    }
}

lenient_object! {
    /// Since 2023-06-01 an event of a stream has what is new.
    struct Completion<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "completion" => text: Text<'a>,
        "stop_reason" => stop_reason: Text<'a>,
        "error" => error: Raw<'a>,
    }
}

const ANSWER: u32 = 0;

fn completion(said: &Completion<'_>, call: &mut CallBuilder) {
    said.id.replace(&mut call.response.id);
    said.model.replace(&mut call.response.model);
    if said.error.0.is_some() {
        return read_error(said.error, call);
    }
    call.append(ANSWER, PartSlot(0), PartKind::Text, said.text.as_str().unwrap_or_default());
    if let Some(reason) = said.stop_reason.filled() {
        call.finish(ANSWER, reason);
    }
}
