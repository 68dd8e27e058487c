//! llama.cpp's own paths (<https://github.com/ggml-org/llama.cpp/tree/master/tools/server>): completion, infill, embedding.

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_refusal},
    lenient::{Count, Flag, Float, Int, Raw, Text, Unreadable, lenient_object, parse},
    openai_chat::request::stop_sequences,
};
use crate::{
    call::{CallBuilder, Message, Operation, OutputType, Part, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct LlamaCpp;

/// As whole paths: as ends they are anybody's.
const PATHS: [(&str, Operation); 3] =
    [("/completion", Operation::TextCompletion), ("/infill", Operation::TextCompletion), ("/embedding", Operation::Embeddings)];

impl Dialect for LlamaCpp {
    fn name(&self) -> ProviderName {
        ProviderName::of("llama_cpp")
    }

    fn usual_operation(&self) -> Operation {
        Operation::TextCompletion
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let found = PATHS.iter().find(|(path, _)| head.path == *path);
        found.filter(|_| head.method == "POST").map(|(_, operation)| *operation)
    }

    fn resembles(&self, call: &CallBuilder) -> bool {
        !call.estimation.input.is_empty()
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.model = request.model.name();
        facts.stream = request.stream.0.unwrap_or(false);
        // Negative: without end, or until the context is full.
        facts.max_tokens = request.n_predict.0.or(request.max_tokens.0).filter(|most| *most >= 0);
        facts.temperature = request.temperature.0;
        facts.top_p = request.top_p.0;
        facts.top_k = request.top_k.0;
        // Negative: any.
        facts.seed = request.seed.0.filter(|seed| *seed >= 0);
        facts.stop_sequences = stop_sequences(request.stop);
        facts.presence_penalty = request.presence_penalty.0;
        facts.frequency_penalty = request.frequency_penalty.0;
        facts.output_type = request.json_schema.0.map(|_| OutputType::Json);
        let mut parts = Vec::new();
        let prompt = if request.prompt.0.is_some() { request.prompt } else { request.content };
        for text in [prompt.text(), request.input_prefix.text(), request.input_suffix.text(), prompt_string(prompt)].into_iter().flatten() {
            input(&text, &mut parts, call);
        }
        // Several prompts, or texts and tokens mixed; numbers are tokens, and no text.
        prompt.for_each(|text: Raw<'_>| {
            if let Some(text) = text.text() {
                input(&text, &mut parts, call);
            }
        });
        if operation == Operation::TextCompletion && !parts.is_empty() {
            call.input_message(Message { role: "user".to_owned(), parts, ..Message::default() });
        }
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        if call.operation() == Operation::Embeddings {
            return Ok(());
        }
        if !body.trim_ascii_start().starts_with(b"[") {
            answer(&parse(body)?, call);
            return Ok(());
        }
        // One for each prompt.
        let (mut sums, mut count) = ([Some(0u64); 3], 0u32);
        parse::<Raw<'_>>(body)?.for_each(|each: Answer<'_>| {
            answer(&each, call);
            count = count.saturating_add(1);
            for (sum, part) in sums.iter_mut().zip([call.usage.input_tokens, call.usage.output_tokens, call.usage.cache_read_input_tokens])
            {
                *sum = sum.zip(part).and_then(|(sum, part)| sum.checked_add(part));
            }
        });
        if count > 1 {
            let [input_tokens, output_tokens, cache_read_input_tokens] = sums;
            call.usage = Usage { input_tokens, output_tokens, cache_read_input_tokens, ..Usage::default() };
        }
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
        "content" => content: Raw<'a>,
        "input_prefix" => input_prefix: Raw<'a>,
        "input_suffix" => input_suffix: Raw<'a>,
        "stream" => stream: Flag,
        "n_predict" => n_predict: Int,
        "max_tokens" => max_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "seed" => seed: Int,
        "stop" => stop: Raw<'a>,
        "presence_penalty" => presence_penalty: Float,
        "frequency_penalty" => frequency_penalty: Float,
        "json_schema" => json_schema: Raw<'a>,
    }
}

lenient_object! {
    /// A prompt with images.
    struct PromptObject<'a> {
        "prompt_string" => prompt_string: Text<'a>,
    }
}

lenient_object! {
    /// An answer, or an event of a stream; the last one has the counts.
    struct Answer<'a> {
        "index" => index: Count,
        "content" => content: Text<'a>,
        "stop" => stop: Flag,
        "model" => model: Text<'a>,
        "tokens_predicted" => tokens_predicted: Count,
        "tokens_evaluated" => tokens_evaluated: Count,
        "timings" => timings: Timings<'a>,
        "stop_type" => stop_type: Text<'a>,
        "stopped_eos" => stopped_eos: Flag,
        "stopped_limit" => stopped_limit: Flag,
        "stopped_word" => stopped_word: Flag,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct Timings<'a> {
        "cache_n" => cache_n: Count,
    }
}

fn prompt_string(prompt: Raw<'_>) -> Option<std::borrow::Cow<'_, str>> {
    prompt.read::<PromptObject<'_>>().and_then(|object| object.prompt_string.0)
}

fn input(text: &str, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    call.estimation.input.push(text);
    if call.keeps_content() && !text.is_empty() {
        parts.push(Part::Text { content: call.clip_input(text) });
    }
}

fn answer(said: &Answer<'_>, call: &mut CallBuilder) {
    if said.error.0.is_some() {
        return read_error(said.error, call);
    }
    let index = said.index.0.and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
    call.choice(index);
    said.model.replace(&mut call.response.model);
    call.append(index, PartSlot(0), PartKind::Text, said.content.as_str().unwrap_or_default());
    // Events before the last have counts so far, which are no usage yet.
    if said.stop.0 == Some(false) {
        return;
    }
    // Before a word said it, flags did.
    let flags = [("eos", said.stopped_eos), ("limit", said.stopped_limit), ("word", said.stopped_word)];
    let flag = flags.into_iter().find_map(|(word, flag)| (flag.0 == Some(true)).then_some(word));
    if let Some(reason) = said.stop_type.filled().filter(|word| *word != "none").or(flag) {
        call.finish(index, reason);
    }
    call.usage = Usage {
        input_tokens: said.tokens_evaluated.0,
        output_tokens: said.tokens_predicted.0,
        cache_read_input_tokens: said.timings.cache_n.0,
        ..Usage::default()
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{CallFrame, Ending, LlmCall};

    fn call(request: &str, events: &[&str], whole: bool) -> LlmCall {
        let mut call = CallBuilder::new(ProviderName::of("llama_cpp"), Operation::TextCompletion, true);
        LlamaCpp.request(Operation::TextCompletion, request.as_bytes(), &mut call).unwrap();
        call.response.status = Some(200);
        for event in events {
            if whole {
                LlamaCpp.response(event.as_bytes(), &mut call).unwrap();
            } else {
                LlamaCpp.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
            }
        }
        call.build(CallFrame::default(), Ending::Seen)
    }

    #[test]
    fn the_last_event_alone_counts() {
        let first = r#"{"index":0,"content":"Hel","stop":false,"tokens_predicted":1,"tokens_evaluated":3}"#;
        let last = r#"{"index":0,"content":"","stop":true,"model":"m","tokens_predicted":4,"tokens_evaluated":9,"timings":{"cache_n":5},"stop_type":"limit"}"#;
        let begun = call(r#"{"prompt":"a","n_predict":-1,"stream":true}"#, &[first], false);
        assert!(begun.usage.is_absent() && begun.response.finish_reasons.is_empty() && begun.request.max_tokens.is_none());
        let ended = call(r#"{"prompt":"a","stream":true}"#, &[first, last], false);
        assert_eq!((ended.usage.input_tokens, ended.usage.output_tokens, ended.usage.cache_read_input_tokens), (Some(9), Some(4), Some(5)));
        assert_eq!(ended.response.finish_reasons, ["limit"]);
    }

    #[test]
    fn several_prompts_count_together_or_not_at_all() {
        let one = r#"{"index":0,"content":"a","stop":true,"stopped_eos":true,"tokens_predicted":2,"tokens_evaluated":3}"#;
        let two = r#"{"index":1,"content":"b","stop":true,"stopped_word":true,"tokens_predicted":5,"tokens_evaluated":7}"#;
        let both = call(r#"{"prompt":["a",[1,2]]}"#, &[&format!("[{one},{two}]")], true);
        assert_eq!((both.usage.input_tokens, both.usage.output_tokens), (Some(10), Some(7)));
        assert_eq!(both.response.finish_reasons, ["eos", "word"]);
        let half = call(r#"{"prompt":["a","b"]}"#, &[&format!("[{one},{{}}]")], true);
        assert!(half.usage.is_absent());
    }

    #[test]
    fn nothing_hostile_becomes_a_number() {
        for event in
            [r#"{"stop":true,"tokens_predicted":-1,"tokens_evaluated":1e99}"#, "[[[[", "[]", "null", "7", r#"{"timings":[],"content":{}}"#]
        {
            assert!(call("{}", &[event], false).usage.is_absent(), "{event}");
        }
    }
}
