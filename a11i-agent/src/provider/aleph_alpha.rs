//! Aleph Alpha's completions and embeddings (<https://docs.aleph-alpha.com/api>).

use super::{
    Dialect, Framing, StreamFrame,
    error_body::read_refusal,
    hosts::is_for,
    lenient::{Count, Few, Flag, Float, Int, Raw, Text, Unreadable, lenient_object, parse},
    openai_chat::request::stop_sequences,
    posted,
};
use crate::{
    call::{CallBuilder, Message, Operation, Part, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct AlephAlpha;

const PATHS: [(&str, Operation); 5] = [
    ("/complete", Operation::TextCompletion),
    ("/evaluate", Operation::Other("evaluation")),
    ("/batch_semantic_embed", Operation::Embeddings),
    ("/semantic_embed", Operation::Embeddings),
    ("/embed", Operation::Embeddings),
];

impl Dialect for AlephAlpha {
    fn name(&self) -> ProviderName {
        ProviderName::of("aleph_alpha")
    }

    fn usual_operation(&self) -> Operation {
        Operation::TextCompletion
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        posted(head, &PATHS).filter(|_| is_for(head, "aleph_alpha"))
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.model = request.model.name();
        facts.stream = request.stream.0.unwrap_or(false);
        facts.max_tokens = request.maximum_tokens.0;
        facts.temperature = request.temperature.0;
        facts.top_p = request.top_p.0;
        facts.top_k = request.top_k.0;
        facts.presence_penalty = request.presence_penalty.0;
        facts.frequency_penalty = request.frequency_penalty.0;
        facts.choice_count = request.n.0.filter(|n| *n != 1);
        facts.stop_sequences = stop_sequences(request.stop_sequences);
        let mut parts = Vec::new();
        let mut say = |text: &str, call: &mut CallBuilder| {
            call.estimation.input.push(text);
            if call.keeps_content() {
                parts.push(Part::Text { content: call.clip_input(text) });
            }
        };
        if let Some(text) = request.prompt.text() {
            say(&text, call);
        }
        request.prompt.for_each(|item: Item<'_>| {
            if item.kind.as_str() == Some("text") {
                say(item.data.as_str().unwrap_or_default(), call);
            }
        });
        if !parts.is_empty() {
            call.input_message(Message { role: "user".to_owned(), parts, ..Message::default() });
        }
        Ok(())
    }

    /// Streams are server-sent events or lines, both labelled.
    fn stream_framing(&self) -> Framing {
        Framing::Ndjson
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

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "prompt" => prompt: Raw<'a>,
        "stream" => stream: Flag,
        "maximum_tokens" => maximum_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "presence_penalty" => presence_penalty: Float,
        "frequency_penalty" => frequency_penalty: Float,
        "n" => n: Int,
        "stop_sequences" => stop_sequences: Raw<'a>,
    }
}

lenient_object! {
    struct Item<'a> {
        "type" => kind: Text<'a>,
        "data" => data: Text<'a>,
    }
}

lenient_object! {
    /// An answer, or an event of a stream: a chunk, the summary of one choice, or of all.
    struct Answer<'a> {
        "type" => kind: Text<'a>,
        "index" => index: Count,
        "model_version" => model_version: Text<'a>,
        "completions" => completions: Few<Completion<'a>>,
        "completion" => completion: Text<'a>,
        "finish_reason" => finish_reason: Text<'a>,
        "num_tokens_prompt_total" => prompt_tokens: Count,
        "num_tokens_generated" => generated_tokens: Count,
    }
}

lenient_object! {
    struct Completion<'a> {
        "completion" => text: Text<'a>,
        "finish_reason" => finish_reason: Text<'a>,
    }
}

fn answer(said: &Answer<'_>, call: &mut CallBuilder) {
    said.model_version.replace(&mut call.response.model);
    for (index, completion) in (0u32..).zip(&said.completions.0) {
        choice(index, &completion.text, &completion.finish_reason, call);
    }
    if matches!(said.kind.as_str(), Some("stream_chunk" | "stream_summary")) {
        let index = said.index.0.and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
        choice(index, &said.completion, &said.finish_reason, call);
    }
    if said.prompt_tokens.0.is_some() || said.generated_tokens.0.is_some() {
        let output = said.generated_tokens.0.filter(|_| call.operation() == Operation::TextCompletion);
        call.usage = Usage { input_tokens: said.prompt_tokens.0, output_tokens: output, ..Usage::default() };
    }
}

fn choice(index: u32, text: &Text<'_>, reason: &Text<'_>, call: &mut CallBuilder) {
    call.choice(index);
    call.append(index, PartSlot(0), PartKind::Text, text.as_str().unwrap_or_default());
    if let Some(reason) = reason.filled() {
        call.finish(index, reason);
    }
}
