//! What is asked for, and in whose words.

use crate::{
    call::CallBuilder,
    provider::{
        lenient::{Flag, Float, Int, Raw, Unreadable, lenient_object, parse},
        openai_chat::request::stop_sequences,
    },
};

lenient_object! {
    struct Request<'a> {
        "inputs" => inputs: Raw<'a>,
        "parameters" => parameters: Parameters<'a>,
        "text" => text: Raw<'a>,
        "input_ids" => input_ids: Raw<'a>,
        "sampling_params" => sampling_params: Raw<'a>,
        "prompt" => prompt: Raw<'a>,
        "stream" => stream: Flag,
    }
}

lenient_object! {
    struct Parameters<'a> {
        "max_new_tokens" => max_new_tokens: Int,
        "max_tokens" => max_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "seed" => seed: Int,
        "sampling_seed" => sampling_seed: Int,
        "stop" => stop: Raw<'a>,
        "n" => n: Int,
        "frequency_penalty" => frequency_penalty: Float,
        "presence_penalty" => presence_penalty: Float,
    }
}

/// Whose words they are, where that is not text-generation-inference.
pub(super) fn read(body: &[u8], call: &mut CallBuilder) -> Result<Option<&'static str>, Unreadable> {
    let request: Request<'_> = parse(body)?;
    call.request.stream = request.stream.0.unwrap_or(false);
    let sglang = request.sampling_params.0.is_some();
    let (prompts, speaker) = if request.inputs.0.is_some() {
        parameters(&request.parameters, call);
        (request.inputs, None)
    } else if request.prompt.0.is_some() {
        // Parameters stand beside the prompt.
        parameters(&parse(body)?, call);
        (request.prompt, Some("vllm"))
    } else if request.text.0.is_some() || request.input_ids.0.is_some() && sglang {
        if let Some(asked) = request.sampling_params.read::<Parameters<'_>>() {
            parameters(&asked, call);
        }
        (if request.text.0.is_some() { request.text } else { request.input_ids }, Some("sglang"))
    } else {
        return Ok(None);
    };
    if let Some(text) = prompts.text() {
        call.prompt(&text);
    }
    // Numbers are tokens, and no text.
    prompts.for_each(|text: Raw<'_>| {
        if let Some(text) = text.text() {
            call.prompt(&text);
        }
    });
    Ok(speaker)
}

fn parameters(asked: &Parameters<'_>, call: &mut CallBuilder) {
    let facts = &mut call.request;
    facts.max_tokens = asked.max_new_tokens.0.or(asked.max_tokens.0);
    facts.temperature = asked.temperature.0;
    facts.top_p = asked.top_p.0;
    facts.top_k = asked.top_k.0;
    facts.seed = asked.seed.0.or(asked.sampling_seed.0);
    facts.stop_sequences = stop_sequences(asked.stop);
    facts.choice_count = asked.n.0.filter(|n| *n != 1);
    facts.frequency_penalty = asked.frequency_penalty.0;
    facts.presence_penalty = asked.presence_penalty.0;
}
