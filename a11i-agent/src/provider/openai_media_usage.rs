//! Usage of the image and audio APIs: Responses' names with a split by modality, chat's names at those who follow.

use super::{
    lenient::{Count, Float, Int, Text, lenient_object},
    openai_chat::cost_in_ticks,
};
use crate::call::{CallBuilder, ModalityTokens, NanoUsd, Usage};

lenient_object! {
    struct MediaUsage<'a> {
        "input_tokens" => input_tokens: Count,
        "output_tokens" => output_tokens: Count,
        "total_tokens" => total_tokens: Count,
        "prompt_tokens" => prompt_tokens: Count,
        "completion_tokens" => completion_tokens: Count,
        // Images, audio, chat.
        "input_tokens_details" => input_details: TokenDetails<'a>,
        "input_token_details" => input_detail: TokenDetails<'a>,
        "prompt_tokens_details" => prompt_details: TokenDetails<'a>,
        "output_tokens_details" => output_details: TokenDetails<'a>,
        "output_token_details" => output_detail: TokenDetails<'a>,
        "completion_tokens_details" => completion_details: TokenDetails<'a>,
        "service_tier" => service_tier: Text<'a>,
        "cost" => cost: Float,
        "cost_in_usd_ticks" => cost_in_usd_ticks: Int,
    }
}

lenient_object! {
    struct TokenDetails<'a> {
        "cached_tokens" => cached_tokens: Count,
        "text_tokens" => text_tokens: Count,
        "image_tokens" => image_tokens: Count,
        "audio_tokens" => audio_tokens: Count,
    }
}

/// Puts what was reported into the call.
pub(super) fn read(reported: &MediaUsage<'_>, call: &mut CallBuilder) {
    let either = |details: [&TokenDetails<'_>; 3]| {
        let first = |count: fn(&TokenDetails<'_>) -> Count| details.iter().find_map(|details| count(details).0);
        let modalities =
            ModalityTokens { text: first(|d| d.text_tokens), image: first(|d| d.image_tokens), audio: first(|d| d.audio_tokens) };
        (modalities, first(|d| d.cached_tokens))
    };
    let (input_by_modality, cache_read) = either([&reported.input_details, &reported.input_detail, &reported.prompt_details]);
    let (output_by_modality, _) = either([&reported.output_details, &reported.output_detail, &reported.completion_details]);
    let output_tokens = reported.output_tokens.0.or(reported.completion_tokens.0);
    let mut input_tokens = reported.input_tokens.0.or(reported.prompt_tokens.0);
    // Mistral counts audio beside the prompt: the total shows it.
    if let (Some(input), Some(output), Some(audio)) = (input_tokens, output_tokens, input_by_modality.audio.filter(|audio| *audio > 0)) {
        let with_audio = input.saturating_add(audio);
        if reported.total_tokens.0 == Some(with_audio.saturating_add(output)) {
            input_tokens = Some(with_audio);
        }
    }
    call.usage = Usage {
        input_tokens,
        output_tokens,
        cache_read_input_tokens: cache_read,
        input_by_modality,
        output_by_modality,
        ..Usage::default()
    };
    reported.service_tier.replace(&mut call.response.service_tier);
    let stated = cost_in_ticks(reported.cost_in_usd_ticks, call);
    if let Some(cost) = stated.or_else(|| reported.cost.0.and_then(NanoUsd::from_usd)) {
        call.response.stated_cost = Some(cost);
    }
}
