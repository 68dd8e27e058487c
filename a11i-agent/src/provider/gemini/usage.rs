//! `usageMetadata` → the conventions' counts.
//!
//! `promptTokenCount` includes what was cached; `toolUsePromptTokenCount` and `thoughtsTokenCount` stand beside it and beside
//! `candidatesTokenCount` (Live: `responseTokenCount`): the total is the sum of these four. A count of zero is left out, as protobuf's JSON does.

use crate::{
    call::{CallBuilder, ModalityTokens, Usage},
    provider::lenient::{Count, Few, Shape, Text, lenient_object},
};

lenient_object! {
    struct UsageMetadata<'a> {
        "promptTokenCount" | "prompt_token_count" => prompt: Count,
        "toolUsePromptTokenCount" | "tool_use_prompt_token_count" => tool_use: Count,
        "candidatesTokenCount" | "candidates_token_count" | "responseTokenCount" | "response_token_count" => candidates: Count,
        "thoughtsTokenCount" | "thoughts_token_count" => thoughts: Count,
        "cachedContentTokenCount" | "cached_content_token_count" => cached: Count,
        "promptTokensDetails" | "prompt_tokens_details" | "promptTokenDetails" | "prompt_token_details" => prompt_details: Few<Share<'a>>,
        "toolUsePromptTokensDetails" | "tool_use_prompt_tokens_details" => tool_use_details: Few<Share<'a>>,
        "candidatesTokensDetails" | "candidates_tokens_details" | "responseTokensDetails" | "response_tokens_details" => candidates_details: Few<Share<'a>>,
        "cacheTokensDetails" | "cache_tokens_details" => cache_details: Few<Share<'a>>,
        "trafficType" | "traffic_type" => traffic_type: Text<'a>,
        "serviceTier" | "service_tier" => service_tier: Text<'a>,
    }
}

lenient_object! {
    /// What one kind of media contributes.
    struct Share<'a> {
        "modality" => modality: Text<'a>,
        "tokenCount" | "token_count" | "tokens" => tokens: Count,
    }
}

/// Replaces what an earlier piece said; counts of a stream are those so far.
pub(super) fn read(reported: &UsageMetadata<'_>, call: &mut CallBuilder) {
    if !reported.is_object() {
        return;
    }
    // Vertex AI's word tells capacity that was paid beforehand from what is paid by the token.
    let tier = [&reported.traffic_type, &reported.service_tier].into_iter().find_map(|tier| tier.name().filter(|tier| is_tier(tier)));
    call.response.service_tier = tier.or_else(|| call.response.service_tier.take());
    let counts = [reported.prompt, reported.tool_use, reported.candidates, reported.thoughts, reported.cached];
    if counts.iter().all(|count| count.0.is_none()) {
        return; // the first pieces on Vertex AI name the tier alone
    }
    call.usage = Usage {
        input_tokens: reported.prompt.0.and_then(|prompt| prompt.checked_add(reported.tool_use.0.unwrap_or(0))),
        output_tokens: sum(reported.candidates, reported.thoughts),
        cache_read_input_tokens: reported.cached.0,
        reasoning_output_tokens: reported.thoughts.0,
        input_by_modality: modalities(reported.prompt_details.0.iter().chain(&reported.tool_use_details.0)),
        output_by_modality: modalities(&reported.candidates_details.0),
        cache_read_by_modality: modalities(&reported.cache_details.0),
        web_search_requests: call.usage.web_search_requests,
        ..Usage::default()
    };
}

fn is_tier(word: &str) -> bool {
    word != "0" && !word.ends_with("_UNSPECIFIED") && !word.ends_with("_unspecified")
}

/// Absent is none of it, unless both are absent.
fn sum(one: Count, other: Count) -> Option<u64> {
    match (one.0, other.0) {
        (None, None) => None,
        (one, other) => one.unwrap_or(0).checked_add(other.unwrap_or(0)),
    }
}

/// Searches as they are billed: by the query since Gemini 3, before it by the prompt, however many queries it led to
/// (<https://ai.google.dev/gemini-api/docs/pricing>). `queries`: all of this call so far.
pub(super) fn searches(queries: u64, call: &mut CallBuilder) {
    let model = call.response.model.as_deref().or(call.request.model.as_deref()).unwrap_or_default();
    let by_prompt = ["gemini-1", "gemini-2"].iter().any(|family| model.contains(family));
    call.usage.web_search_requests = (queries > 0).then_some(if by_prompt { 1 } else { queries });
}

/// Video and documents have no place in the conventions.
pub(super) fn modalities<'s, 'a: 's>(shares: impl IntoIterator<Item = &'s Share<'a>>) -> ModalityTokens {
    let mut out = ModalityTokens::default();
    for share in shares {
        // By number where enums come so: TEXT 1, IMAGE 2, VIDEO 3, AUDIO 4, DOCUMENT 5.
        let place = match share.modality.as_str().unwrap_or_default() {
            "TEXT" | "text" | "1" => &mut out.text,
            "IMAGE" | "image" | "2" => &mut out.image,
            "AUDIO" | "audio" | "4" => &mut out.audio,
            _ => continue,
        };
        if let Some(tokens) = share.tokens.0 {
            *place = place.unwrap_or(0).checked_add(tokens);
        }
    }
    out
}
