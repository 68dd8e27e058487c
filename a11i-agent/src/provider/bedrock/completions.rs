//! Answers of models that complete a text, embed, rank or draw: Titan, Llama, Mistral's older ones, Claude 2, Cohere, Jurassic, Text
//! Generation Inference. Whole answers and events of a stream have the same fields.

use crate::{
    call::{CallBuilder, Operation, PartKind, PartSlot},
    provider::lenient::{Count, Few, Flag, Raw, Shape, Text, lenient_object, parse},
};

lenient_object! {
    struct Answer<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        // Claude 2
        "completion" => completion: Text<'a>,
        // Claude 2, Llama
        "stop_reason" => stop_reason: Text<'a>,
        // Llama
        "generation" => generation: Text<'a>,
        "prompt_token_count" => prompt_token_count: Count,
        "generation_token_count" => generation_token_count: Count,
        // Titan
        "inputTextTokenCount" => input_text_token_count: Count,
        "results" => results: Few<TitanResult<'a>>,
        "outputText" => output_text: Text<'a>,
        "index" => index: Count,
        "totalOutputTextTokenCount" => total_output_token_count: Count,
        "completionReason" => completion_reason: Text<'a>,
        "embedding" => embedding: Present,
        // Mistral
        "outputs" => outputs: Few<TextOutput<'a>>,
        // Cohere
        "generations" => generations: Few<TextOutput<'a>>,
        "text" => text: Text<'a>,
        "finish_reason" => finish_reason: Text<'a>,
        "is_finished" => is_finished: Flag,
        "event_type" => event_type: Text<'a>,
        "response" => response: CohereResponse<'a>,
        "response_id" => response_id: Text<'a>,
        "generation_id" => generation_id: Text<'a>,
        "tool_calls" => tool_calls: Few<CohereToolCall<'a>>,
        "meta" => meta: CohereMeta<'a>,
        // AI21's Jurassic
        "completions" => completions: Few<JurassicCompletion<'a>>,
        // TwelveLabs
        "message" => message: Text<'a>,
        "finishReason" => finish_reason_camel: Text<'a>,
        // Text Generation Inference
        "generated_text" => generated_text: Text<'a>,
        "token" => token: GeneratedToken<'a>,
        "details" => details: GenerationDetails<'a>,
    }
}

/// A field that is there; its value is skipped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Present(bool);

impl<'de> serde::Deserialize<'de> for Present {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

lenient_object! {
    struct TitanResult<'a> {
        "tokenCount" => token_count: Count,
        "outputText" => text: Text<'a>,
        "completionReason" => reason: Text<'a>,
    }
}

lenient_object! {
    struct TextOutput<'a> {
        "index" => index: Count,
        "text" => text: Text<'a>,
        "stop_reason" => stop_reason: Text<'a>,
        "finish_reason" => finish_reason: Text<'a>,
    }
}

lenient_object! {
    struct CohereResponse<'a> {
        "response_id" => response_id: Text<'a>,
        "generation_id" => generation_id: Text<'a>,
        "finish_reason" => finish_reason: Text<'a>,
        "meta" => meta: CohereMeta<'a>,
    }
}

lenient_object! {
    struct CohereMeta<'a> {
        "billed_units" => billed: CohereCounts<'a>,
        "tokens" => tokens: CohereCounts<'a>,
    }
}

lenient_object! {
    struct CohereCounts<'a> {
        "input_tokens" => input: Count,
        "output_tokens" => output: Count,
    }
}

lenient_object! {
    struct CohereToolCall<'a> {
        "name" => name: Text<'a>,
        "parameters" => parameters: Raw<'a>,
    }
}

lenient_object! {
    struct JurassicCompletion<'a> {
        "data" => data: TextOutput<'a>,
        "finishReason" => reason: JurassicReason<'a>,
    }
}

lenient_object! {
    struct JurassicReason<'a> {
        "reason" => reason: Text<'a>,
    }
}

lenient_object! {
    struct GeneratedToken<'a> {
        "text" => text: Text<'a>,
        "special" => special: Flag,
    }
}

lenient_object! {
    struct GenerationDetails<'a> {
        "finish_reason" => finish_reason: Text<'a>,
        "generated_tokens" => generated_tokens: Count,
        "input_length" => input_length: Count,
    }
}

const TEXT: PartSlot = PartSlot(0);
const FIRST_TOOL_CALL: u64 = 1;

/// Says nothing where it knows nothing of the shape.
pub(super) fn read(body: &[u8], call: &mut CallBuilder) {
    let answer = if body.trim_ascii_start().starts_with(b"[") {
        // Text Generation Inference answers a list of one.
        parse::<Few<Answer<'_>>>(body).ok().and_then(|list| list.0.into_iter().next())
    } else {
        parse::<Answer<'_>>(body).ok()
    };
    let Some(answer) = answer else { return };
    answer.model.replace(&mut call.response.model);
    if answer.embedding.0 && call.operation() != Operation::Embeddings {
        call.become_operation(Operation::Embeddings);
    }
    let ids = [&answer.generation_id, &answer.response.generation_id, &answer.response_id, &answer.response.response_id, &answer.id];
    if let Some(id) = ids.into_iter().find_map(Text::name) {
        call.response.id = Some(id);
    }
    llama(&answer, call);
    titan(&answer, call);
    for (position, output) in answer.outputs.0.iter().chain(&answer.generations.0).enumerate() {
        let reason = output.stop_reason.filled().or_else(|| output.finish_reason.filled());
        says(choice(output.index, position), output.text.as_str(), reason, call);
    }
    for (position, completion) in answer.completions.0.iter().enumerate() {
        says(choice(Count(None), position), completion.data.text.as_str(), completion.reason.reason.filled(), call);
    }
    if let Some(text) = answer.completion.as_str() {
        says(0, Some(text), answer.stop_reason.filled(), call);
    }
    cohere(&answer, call);
    if let Some(text) = answer.message.as_str() {
        says(0, Some(text), answer.finish_reason_camel.filled(), call);
    }
    text_generation_inference(&answer, call);
}

fn choice(index: Count, position: usize) -> u32 {
    index.0.and_then(|index| u32::try_from(index).ok()).or_else(|| u32::try_from(position).ok()).unwrap_or(0)
}

fn says(index: u32, text: Option<&str>, reason: Option<&str>, call: &mut CallBuilder) {
    call.choice(index);
    call.append(index, TEXT, PartKind::Text, text.unwrap_or_default());
    if let Some(reason) = reason {
        call.finish(index, reason);
    }
}

/// Every event has the count so far; the prompt's comes with the first.
fn llama(answer: &Answer<'_>, call: &mut CallBuilder) {
    let Some(text) = answer.generation.as_str() else { return };
    says(0, Some(text), answer.stop_reason.filled(), call);
    let usage = &mut call.usage;
    usage.input_tokens = answer.prompt_token_count.0.or(usage.input_tokens);
    if answer.generation_token_count.0.is_some() {
        usage.output_tokens = answer.generation_token_count.0;
        call.usage_is_running = answer.stop_reason.filled().is_none();
    }
}

fn titan(answer: &Answer<'_>, call: &mut CallBuilder) {
    if answer.input_text_token_count.0.is_some() {
        call.usage.input_tokens = answer.input_text_token_count.0;
    }
    if let Some(text) = answer.output_text.as_str() {
        says(choice(answer.index, 0), Some(text), answer.completion_reason.filled(), call);
        call.usage.output_tokens = answer.total_output_token_count.0.or(call.usage.output_tokens);
    }
    let mut sum = Some(0_u64);
    let mut texts = 0_usize;
    // Rerank's results have no text.
    for (position, result) in answer.results.0.iter().enumerate().filter(|(_, result)| result.text.0.is_some()) {
        says(choice(Count(None), position), result.text.as_str(), result.reason.filled(), call);
        sum = sum.zip(result.token_count.0).and_then(|(sum, tokens)| sum.checked_add(tokens));
        texts = texts.saturating_add(1);
    }
    if texts > 0 {
        call.usage.output_tokens = sum;
    }
}

/// Command R and Command. The last event of a stream repeats the whole answer in `response`.
fn cohere(answer: &Answer<'_>, call: &mut CallBuilder) {
    let streams = answer.is_finished.0.is_some() || answer.event_type.0.is_some();
    let said = answer.text.0.is_some() || !answer.tool_calls.0.is_empty();
    if !streams && !said {
        return;
    }
    let reason = answer.finish_reason.filled().or_else(|| answer.response.finish_reason.filled());
    if said || reason.is_some() {
        says(choice(answer.index, 0), answer.text.as_str(), reason, call);
    }
    for (tool, number) in answer.tool_calls.0.iter().zip(FIRST_TOOL_CALL..) {
        let parameters = tool.parameters.json().unwrap_or_default();
        call.tool_call(0, PartSlot(number), PartKind::ToolCall, None, tool.name.filled(), parameters);
    }
    for meta in [&answer.meta, &answer.response.meta] {
        let counted = if meta.billed.is_object() { &meta.billed } else { &meta.tokens };
        call.usage.input_tokens = counted.input.0.or(call.usage.input_tokens);
        call.usage.output_tokens = counted.output.0.or(call.usage.output_tokens);
    }
}

fn text_generation_inference(answer: &Answer<'_>, call: &mut CallBuilder) {
    let details = &answer.details;
    if answer.token.is_object() {
        // The last event repeats the whole text.
        let text = answer.token.text.as_str().filter(|_| answer.token.special.0 != Some(true));
        says(0, text, details.finish_reason.filled(), call);
    } else if let Some(text) = answer.generated_text.as_str() {
        says(0, Some(text), details.finish_reason.filled(), call);
    } else {
        return;
    }
    call.usage.input_tokens = details.input_length.0.or(call.usage.input_tokens);
    call.usage.output_tokens = details.generated_tokens.0.or(call.usage.output_tokens);
}
