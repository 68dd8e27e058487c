//! What a call consumed and has cost, in every version's words.

use crate::{
    call::{CacheApartUsage, CallBuilder, NanoUsd, Usage},
    provider::lenient::{Count, Raw, Shape, Text, lenient_object},
};

lenient_object! {
    struct TokenUsage<'a> {
        "inputTokens" => input: Raw<'a>,
        "outputTokens" => output: Raw<'a>,
        "totalTokens" => all: Count,
        "cachedInputTokens" => cached: Count,
        "reasoningTokens" => reasoning: Count,
        "tokens" => tokens: Count,
    }
}

lenient_object! {
    struct TokenCounts<'a> {
        "total" => total: Count,
        "cacheRead" => cache_read: Count,
        "cacheWrite" => cache_write: Count,
        "reasoning" => reasoning: Count,
    }
}

lenient_object! {
    struct ProviderMetadata<'a> {
        "gateway" => gateway: Gateway<'a>,
        "anthropic" => anthropic: ServedBy<'a>,
        "vertex" => vertex: ServedBy<'a>,
        "bedrock" => bedrock: ServedBy<'a>,
    }
}

lenient_object! {
    /// What the SDK's provider adds of its own: the counts as they came.
    struct ServedBy<'a> {
        "usage" => usage: OwnCounts<'a>,
    }
}

lenient_object! {
    /// Anthropic's own object; of Bedrock's, what the SDK has no other place for.
    struct OwnCounts<'a> {
        "input_tokens" => input: Count,
        "cache_read_input_tokens" => cache_read: Count,
        "cache_creation_input_tokens" | "cacheWriteInputTokens" => cache_write: Count,
    }
}

lenient_object! {
    /// What it has cost, as a decimal in a text.
    struct Gateway<'a> {
        "cost" => cost: Text<'a>,
    }
}

pub(super) fn read(usage: Raw<'_>, provider: Raw<'_>, call: &mut CallBuilder) {
    let provider: ProviderMetadata<'_> = provider.read().unwrap_or_default();
    if let Some(cost) = provider.gateway.cost.as_str().and_then(|cost| cost.parse().ok()).and_then(NanoUsd::from_usd) {
        call.response.stated_cost = Some(cost);
    }
    if let Some(said) = usage.read::<TokenUsage<'_>>().filter(Shape::is_object) {
        tokens(&said, &provider, call);
    }
}

fn tokens(said: &TokenUsage<'_>, provider: &ProviderMetadata<'_>, call: &mut CallBuilder) {
    let total = |raw: Raw<'_>| raw.read::<Count>().and_then(|count| count.0);
    let inputs = said.input.read::<TokenCounts<'_>>().unwrap_or_default();
    let outputs = said.output.read::<TokenCounts<'_>>().unwrap_or_default();
    let mut usage = Usage {
        // Embeddings say one number.
        input_tokens: inputs.total.0.or(said.tokens.0),
        output_tokens: outputs.total.0,
        cache_read_input_tokens: said.cached.0.or(inputs.cache_read.0),
        cache_write_input_tokens: inputs.cache_write.0,
        reasoning_output_tokens: said.reasoning.0.or(outputs.reasoning.0),
        ..Usage::default()
    };
    if let Some(input) = total(said.input) {
        plain_input(input, said, provider, &mut usage, call.request.model.as_deref());
    }
    if let Some(output) = total(said.output) {
        usage.output_tokens = plain_output(output, said, total(said.input));
    }
    call.usage = usage;
}

/// The plain counts of version 2 are those of whoever served the call, unchanged: where that is Anthropic or Bedrock, what was read from the
/// cache and written to it stands beside the input. Version 3 made one meaning of them.
fn plain_input(input: u64, said: &TokenUsage<'_>, provider: &ProviderMetadata<'_>, usage: &mut Usage, model: Option<&str>) {
    let own = [&provider.anthropic.usage, &provider.vertex.usage].into_iter().find(|own| own.input.0.is_some());
    let cached = said.cached.0.unwrap_or(0);
    if let Some(own) = own {
        cache_apart(own.input, own.cache_read, own.cache_write).normalise_into(usage);
    } else if provider.bedrock.usage.is_object() {
        cache_apart(Count(Some(input)), said.cached, provider.bedrock.usage.cache_write).normalise_into(usage);
    } else if cached == 0 || cached <= input && !model.is_some_and(|model| model.starts_with("anthropic/")) {
        usage.input_tokens = Some(input);
    }
    // Else the cache stands beside it, and how much was written nobody says: the sum is unknown.
}

fn cache_apart(input: Count, read: Count, written: Count) -> CacheApartUsage {
    CacheApartUsage {
        input_tokens: input.0,
        cache_read_input_tokens: read.0,
        cache_write_input_tokens: written.0,
        base_seen: true,
        ..CacheApartUsage::default()
    }
}

/// Where the sum says so, reasoning stands beside the output (Google, xAI).
fn plain_output(output: u64, said: &TokenUsage<'_>, input: Option<u64>) -> Option<u64> {
    let Some(reasoning) = said.reasoning.0.filter(|reasoning| *reasoning > 0) else { return Some(output) };
    let with_reasoning = output.checked_add(reasoning)?;
    let is_apart = input.and_then(|input| input.checked_add(with_reasoning)).is_some_and(|sum| Some(sum) == said.all.0);
    Some(if is_apart { with_reasoning } else { output })
}
