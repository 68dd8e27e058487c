//! Triton's generate extension, also of TensorRT-LLM's and NIM's older images
//! (<https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_generate.html>). No usage is reported.

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_refusal},
    lenient::{Float, Int, Raw, Text, Unreadable, lenient_object, parse},
    names,
    openai_chat::request::stop_sequences,
};
use crate::{
    call::{CallBuilder, Operation, PartKind, PartSlot, ProviderName},
    http::RequestHead,
};

pub(super) struct Triton;

impl Dialect for Triton {
    fn name(&self) -> ProviderName {
        ProviderName::of("triton")
    }

    fn usual_operation(&self) -> Operation {
        Operation::TextCompletion
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        model(head).filter(|_| head.method == "POST").map(|_| Operation::TextCompletion)
    }

    /// The model is in the path: the body has to have the text.
    fn resembles(&self, call: &CallBuilder) -> bool {
        !call.estimation.input.is_empty()
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.model = model(head).map(names::in_path);
        call.request.stream = head.path.ends_with("_stream");
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        // Parameters stand beside the text, or in an object.
        let inside = request.parameters.read::<Parameters<'_>>().unwrap_or_default();
        let beside: Parameters<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.max_tokens = beside.max_tokens.0.or(inside.max_tokens.0);
        facts.temperature = beside.temperature.0.or(inside.temperature.0);
        facts.top_p = beside.top_p.0.or(inside.top_p.0);
        facts.top_k = beside.top_k.0.or(inside.top_k.0);
        facts.seed = beside.random_seed.0.or(inside.random_seed.0);
        facts.stop_sequences = stop_sequences(if beside.stop_words.0.is_some() { beside.stop_words } else { inside.stop_words });
        if let Some(text) = request.text_input.text() {
            call.prompt(&text);
        }
        request.text_input.for_each(|text: Text<'_>| call.prompt(text.as_str().unwrap_or_default()));
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        answer(&parse(body)?, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        if let Ok(event) = parse(frame.data) {
            answer(&event, call);
        }
    }
}

/// `/v2/models/{model}[/versions/{version}]/generate[_stream]`.
fn model(head: &RequestHead) -> Option<&str> {
    let rest = head.path.strip_prefix("/v2/models/")?;
    let rest = rest.strip_suffix("/generate").or_else(|| rest.strip_suffix("/generate_stream"))?;
    let model = rest.split_once("/versions/").map_or(rest, |(model, _)| model);
    (!model.is_empty() && !model.contains('/')).then_some(model)
}

lenient_object! {
    struct Request<'a> {
        "text_input" => text_input: Raw<'a>,
        "parameters" => parameters: Raw<'a>,
    }
}

lenient_object! {
    struct Parameters<'a> {
        "max_tokens" => max_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "random_seed" => random_seed: Int,
        "stop_words" => stop_words: Raw<'a>,
    }
}

lenient_object! {
    struct Answer<'a> {
        "model_name" => model_name: Text<'a>,
        "text_output" => text_output: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

/// Whether an event's text is what is new or all so far, the model decides; the usual ones send what is new.
fn answer(said: &Answer<'_>, call: &mut CallBuilder) {
    said.model_name.replace(&mut call.response.model);
    if said.error.0.is_some() {
        return read_error(said.error, call);
    }
    call.choice(0);
    if let Some(text) = said.text_output.text() {
        call.append(0, PartSlot(0), PartKind::Text, &text);
    }
    let mut index = 0u32;
    said.text_output.for_each(|text: Text<'_>| {
        call.append(index, PartSlot(0), PartKind::Text, text.as_str().unwrap_or_default());
        index = index.saturating_add(1);
    });
}
