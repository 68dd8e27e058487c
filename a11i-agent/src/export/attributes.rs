//! A finished call → its span attributes. Absent stays absent: only what the provider or the kernel said becomes an attribute.

use serde::Serialize;

use super::{
    semconv::{Semconv, a11i, aws, gen_ai, general, openai},
    value::{Attributes, Value},
};
use crate::{
    call::{
        CaptureFacts, Completeness, Content, LlmCall, ModalityTokens, NanoUsd, Operation, OutputType, RequestFacts, SocketPeer, Usage,
        UsageSource,
    },
    redaction::RedactedCall,
};

/// All attributes of a call's span under one layer of the conventions.
pub fn span_attributes(redacted: &RedactedCall, layer: Semconv) -> Attributes {
    let call = redacted.call();
    let mut out = Attributes::default();
    identity(call, layer, &mut out);
    peer_attributes(call.peer.as_ref(), &mut out);
    request(call, layer, &mut out);
    response(call, layer, &mut out);
    usage(call, layer, &mut out);
    cost(redacted, &mut out);
    capture_attributes(call.capture, call.completeness, &mut out);
    // Up to 1.36 messages were log events, not span attributes.
    if layer != Semconv::V1_36 {
        content(&call.content, &mut out);
    }
    out
}

/// What spans and metrics of a call share: operation, provider, models, server.
pub(super) fn identity(call: &LlmCall, layer: Semconv, out: &mut Attributes) {
    out.push(gen_ai::OPERATION_NAME, call.operation.as_str());
    let provider = call.provider.as_str();
    match layer {
        Semconv::V1_36 => out.push(gen_ai::SYSTEM, Value::foreign(if provider == "x_ai" { "xai" } else { provider })),
        Semconv::V1_41 | Semconv::Latest => out.push(gen_ai::PROVIDER_NAME, Value::foreign(provider)),
    }
    out.push_some(gen_ai::REQUEST_MODEL, call.request.model.as_deref().map(Value::foreign));
    out.push_some(gen_ai::RESPONSE_MODEL, call.response.model.as_deref().map(Value::foreign));
    if let Some(address) = &call.server.address {
        out.push(general::SERVER_ADDRESS, Value::foreign(address));
        out.push_some(general::SERVER_PORT, call.server.port.map(i64::from));
    }
}

/// Of a span only: it would make a series of metrics for each connection.
pub(super) fn peer_attributes(peer: Option<&SocketPeer>, out: &mut Attributes) {
    match peer {
        Some(SocketPeer::Internet(address)) => {
            out.push(general::NETWORK_PEER_ADDRESS, address.ip().to_string());
            out.push(general::NETWORK_PEER_PORT, i64::from(address.port()));
        }
        Some(SocketPeer::Unix(path)) => out.push(general::NETWORK_PEER_ADDRESS, Value::foreign(path)),
        None => {}
    }
}

/// `openai.*` describes the flavour of telemetry named by the provider, not the wire format.
pub(super) fn is_openai(call: &LlmCall) -> bool {
    call.provider.as_str() == "openai"
}

fn request(call: &LlmCall, layer: Semconv, out: &mut Attributes) {
    let facts = &call.request;
    let since_1_37 = layer != Semconv::V1_36;
    out.push_some(gen_ai::CONVERSATION_ID, facts.conversation_id.as_deref().map(Value::foreign));
    out.push_some(gen_ai::AGENT_ID, facts.agent_id.as_deref().map(Value::foreign));
    out.push_some(gen_ai::OUTPUT_TYPE, facts.output_type.map(output_type));
    out.push_some(gen_ai::REQUEST_CHOICE_COUNT, facts.choice_count.filter(|n| *n != 1));
    out.push_some(gen_ai::REQUEST_SEED, facts.seed);
    out.push_some(gen_ai::REQUEST_MAX_TOKENS, facts.max_tokens);
    out.push_some(gen_ai::REQUEST_TEMPERATURE, facts.temperature);
    out.push_some(gen_ai::REQUEST_TOP_P, facts.top_p);
    out.push_some(gen_ai::REQUEST_TOP_K, facts.top_k.map(|k| top_k(k, layer)));
    out.push_some(gen_ai::REQUEST_FREQUENCY_PENALTY, facts.frequency_penalty);
    out.push_some(gen_ai::REQUEST_PRESENCE_PENALTY, facts.presence_penalty);
    if !facts.stop_sequences.is_empty() {
        out.push(gen_ai::REQUEST_STOP_SEQUENCES, Value::foreign_list(&facts.stop_sequences));
    }
    if call.operation == Operation::Embeddings {
        if !facts.encoding_formats.is_empty() {
            out.push(gen_ai::REQUEST_ENCODING_FORMATS, Value::foreign_list(&facts.encoding_formats));
        }
        if since_1_37 {
            out.push_some(gen_ai::EMBEDDINGS_DIMENSION_COUNT, facts.embedding_dimensions);
        }
    }
    if since_1_37 {
        if facts.stream {
            out.push(gen_ai::REQUEST_STREAM, true);
        }
        out.push_some(gen_ai::REQUEST_REASONING_LEVEL, facts.reasoning_level.as_deref().map(Value::foreign));
        out.push_some(gen_ai::REQUEST_PREVIOUS_RESPONSE_ID, facts.previous_response_id.as_deref().map(Value::foreign));
        if let Some(name) = &facts.prompt_name {
            out.push(gen_ai::PROMPT_NAME, Value::foreign(name));
            out.push_some(gen_ai::PROMPT_VERSION, facts.prompt_version.as_deref().map(Value::foreign));
        }
    }
    out.push_some(aws::BEDROCK_GUARDRAIL_ID, facts.guardrail_id.as_deref().map(Value::foreign));
    requested_by(call, facts, layer, out);
}

fn requested_by(call: &LlmCall, facts: &RequestFacts, layer: Semconv, out: &mut Attributes) {
    let tier = facts.service_tier.as_deref().filter(|t| *t != "auto").map(Value::foreign);
    let name = match (is_openai(call), layer) {
        (true, Semconv::V1_36) => openai::OLD_REQUEST_SERVICE_TIER,
        (true, Semconv::V1_41 | Semconv::Latest) => openai::REQUEST_SERVICE_TIER,
        (false, _) => a11i::REQUEST_SERVICE_TIER,
    };
    out.push_some(name, tier);
    // The convention counts resendings: the first attempt has none.
    out.push_some(general::HTTP_REQUEST_RESEND_COUNT, facts.retry_count.filter(|n| *n > 0).map(i64::from));
    out.push_some(general::URL_TEMPLATE, facts.path_pattern.as_deref().map(Value::foreign));
    out.push_some(general::USER_AGENT_ORIGINAL, facts.user_agent.as_deref().map(Value::foreign));
    out.push_some(a11i::REQUEST_ORGANIZATION, facts.organization.as_deref().map(Value::foreign));
    out.push_some(a11i::REQUEST_PROJECT, facts.project.as_deref().map(Value::foreign));
    out.push_some(a11i::CREDENTIAL_FINGERPRINT, facts.credential_fingerprint.as_deref().map(Value::foreign));
}

fn response(call: &LlmCall, layer: Semconv, out: &mut Attributes) {
    let facts = &call.response;
    out.push_some(general::ERROR_TYPE, call.outcome.error_type.as_deref().map(Value::foreign));
    out.push_some(general::HTTP_RESPONSE_STATUS_CODE, facts.status.map(i64::from));
    out.push_some(gen_ai::RESPONSE_ID, facts.id.as_deref().map(Value::foreign));
    if !facts.finish_reasons.is_empty() {
        out.push(gen_ai::RESPONSE_FINISH_REASONS, Value::foreign_list(&facts.finish_reasons));
    }
    let since = |time: a11i_common::identity::BootTime| Value::seconds(time.nanos_since(call.timing.start));
    if call.request.stream {
        if layer != Semconv::V1_36 {
            out.push_some(gen_ai::RESPONSE_TIME_TO_FIRST_CHUNK, call.timing.first_chunk.map(since));
        }
        out.push_some(a11i::RESPONSE_TIME_TO_FIRST_TOKEN, call.timing.first_token.map(since));
        out.push(a11i::RESPONSE_CHUNKS, Value::count(facts.stream_chunks));
        let gaps = &call.timing.gaps;
        out.push_some(a11i::RESPONSE_CHUNK_GAP_MEAN, gaps.mean_nanos().map(Value::seconds));
        out.push_some(a11i::RESPONSE_CHUNK_GAP_MAX, gaps.longest_nanos().map(Value::seconds));
        out.push_some(a11i::RESPONSE_STALLS, gaps.stalls().map(Value::count));
    }
    if is_openai(call) {
        if layer != Semconv::V1_36 {
            out.push_some(openai::API_TYPE, facts.api_type);
        }
        response_openai(call, layer, out);
    } else {
        out.push_some(a11i::RESPONSE_SERVICE_TIER, facts.service_tier.as_deref().map(Value::foreign));
    }
    out.push_some(a11i::RESPONSE_REQUEST_ID, facts.request_id.as_deref().map(Value::foreign));
    out.push_some(a11i::RATE_LIMIT_REMAINING_REQUESTS, facts.rate_limit.remaining_requests.map(Value::count));
    out.push_some(a11i::RATE_LIMIT_REMAINING_TOKENS, facts.rate_limit.remaining_tokens.map(Value::count));
    out.push_some(a11i::RESPONSE_INFERENCE_GEO, facts.inference_geo.as_deref().map(Value::foreign));
    out.push_some(a11i::RESPONSE_SPEED, facts.speed.as_deref().map(Value::foreign));
}

/// The two that go on client metrics as well.
pub(super) fn response_openai(call: &LlmCall, layer: Semconv, out: &mut Attributes) {
    let (tier, fingerprint) = match layer {
        Semconv::V1_36 => (openai::OLD_RESPONSE_SERVICE_TIER, openai::OLD_RESPONSE_SYSTEM_FINGERPRINT),
        Semconv::V1_41 | Semconv::Latest => (openai::RESPONSE_SERVICE_TIER, openai::RESPONSE_SYSTEM_FINGERPRINT),
    };
    out.push_some(tier, call.response.service_tier.as_deref().map(Value::foreign));
    out.push_some(fingerprint, call.response.system_fingerprint.as_deref().map(Value::foreign));
}

fn usage(call: &LlmCall, layer: Semconv, out: &mut Attributes) {
    let usage = &call.usage;
    out.push_some(gen_ai::USAGE_INPUT_TOKENS, usage.input_tokens.map(Value::count));
    out.push_some(gen_ai::USAGE_OUTPUT_TOKENS, usage.output_tokens.map(Value::count));
    if layer != Semconv::V1_36 {
        let cache_write = match layer {
            Semconv::Latest => gen_ai::USAGE_CACHE_WRITE_INPUT_TOKENS,
            Semconv::V1_36 | Semconv::V1_41 => gen_ai::USAGE_CACHE_CREATION_INPUT_TOKENS,
        };
        out.push_some(gen_ai::USAGE_CACHE_READ_INPUT_TOKENS, usage.cache_read_input_tokens.map(Value::count));
        out.push_some(cache_write, usage.cache_write_input_tokens.map(Value::count));
        out.push_some(gen_ai::USAGE_REASONING_OUTPUT_TOKENS, usage.reasoning_output_tokens.map(Value::count));
        by_modality(&usage.input_by_modality, INPUT_BY_MODALITY, out);
        by_modality(&usage.output_by_modality, OUTPUT_BY_MODALITY, out);
        by_modality(&usage.cache_read_by_modality, CACHE_READ_BY_MODALITY, out);
    }
    out.push_some(a11i::USAGE_CACHE_WRITE_1H, usage.cache_write_1h_input_tokens.map(Value::count));
    out.push_some(a11i::USAGE_WEB_SEARCH_REQUESTS, usage.web_search_requests.map(Value::count));
    out.push_some(a11i::USAGE_SOURCE, usage_source(usage));
}

/// One word for both counts; one that is absent has no say.
pub(super) fn usage_source(usage: &Usage) -> Option<&'static str> {
    let sides = [(usage.input_tokens, usage.input_source), (usage.output_tokens, usage.output_source)];
    match sides.map(|(count, source)| count.map(|_| source)) {
        [None, None] => None,
        [Some(source), None] | [None, Some(source)] => Some(count_source(source)),
        [Some(UsageSource::Estimated), Some(UsageSource::Reported)] => Some("input_estimated"),
        [Some(UsageSource::Reported), Some(UsageSource::Estimated)] => Some("output_estimated"),
        [Some(both), Some(_)] => Some(count_source(both)),
    }
}

/// Of one count.
pub(super) const fn count_source(source: UsageSource) -> &'static str {
    match source {
        UsageSource::Reported => "reported",
        UsageSource::Estimated => "estimated",
    }
}

/// In the order text, image, audio.
const INPUT_BY_MODALITY: [&str; 3] = [gen_ai::USAGE_TEXT_INPUT_TOKENS, gen_ai::USAGE_IMAGE_INPUT_TOKENS, gen_ai::USAGE_AUDIO_INPUT_TOKENS];
const OUTPUT_BY_MODALITY: [&str; 3] =
    [gen_ai::USAGE_TEXT_OUTPUT_TOKENS, gen_ai::USAGE_IMAGE_OUTPUT_TOKENS, gen_ai::USAGE_AUDIO_OUTPUT_TOKENS];
const CACHE_READ_BY_MODALITY: [&str; 3] =
    [gen_ai::USAGE_TEXT_CACHE_READ_INPUT_TOKENS, gen_ai::USAGE_IMAGE_CACHE_READ_INPUT_TOKENS, gen_ai::USAGE_AUDIO_CACHE_READ_INPUT_TOKENS];

fn by_modality(tokens: &ModalityTokens, [text, image, audio]: [&'static str; 3], out: &mut Attributes) {
    out.push_some(text, tokens.text.map(Value::count));
    out.push_some(image, tokens.image.map(Value::count));
    out.push_some(audio, tokens.audio.map(Value::count));
}

fn cost(redacted: &RedactedCall, out: &mut Attributes) {
    duplicate(redacted.call(), out);
    if let Some(cost) = redacted.cost() {
        out.push(a11i::COST_USD, cost.total.as_usd());
        if let Some(parts) = &cost.parts {
            out.push(a11i::COST_INPUT_USD, parts.input.as_usd());
            out.push(a11i::COST_OUTPUT_USD, parts.output.as_usd());
            // A part that costs nothing because nothing was cached says nothing.
            out.push_some(a11i::COST_CACHE_READ_USD, non_zero(parts.cache_read));
            out.push_some(a11i::COST_CACHE_WRITE_USD, non_zero(parts.cache_write));
            out.push_some(a11i::COST_FEES_USD, non_zero(parts.fees));
        }
        out.push(a11i::COST_SOURCE, cost.source.as_str());
    }
    out.push_some(a11i::COST_HOP, redacted.hop_cost().map(|cost| cost.total.as_usd()));
    out.push_some(a11i::CONTEXT_SATURATION, saturation(redacted));
}

/// What its program reports itself says so, on spans and on metrics.
pub(super) fn duplicate(call: &LlmCall, out: &mut Attributes) {
    if call.correlation.is_duplicate {
        out.push(a11i::DUPLICATE_OF_SDK, true);
    }
}

fn non_zero(amount: NanoUsd) -> Option<f64> {
    (amount != NanoUsd(0)).then(|| amount.as_usd())
}

#[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
fn saturation(redacted: &RedactedCall) -> Option<f64> {
    let window = redacted.context_window().filter(|w| *w > 0)?;
    Some(redacted.call().usage.input_tokens? as f64 / window as f64)
}

/// How it was seen, and how much of it.
pub(super) fn capture_attributes(capture: CaptureFacts, completeness: Completeness, out: &mut Attributes) {
    out.push_some(a11i::CAPTURE_LIBRARY, capture.library.map(crate::call::CaptureLibrary::as_str));
    out.push_some(a11i::CAPTURE_METHOD, capture.method.map(crate::call::CaptureMethod::as_str));
    out.push(a11i::CAPTURE_COMPLETE, completeness.is_whole());
    match completeness {
        Completeness::Whole => {}
        Completeness::Gap { lost, causes } => {
            out.push_some(a11i::CAPTURE_LOST_BYTES, lost.map(Value::count));
            let names: Vec<String> = causes.names().map(str::to_owned).collect();
            if !names.is_empty() {
                out.push(a11i::CAPTURE_LOSS_CAUSES, Value::Texts(names));
            }
        }
        Completeness::JoinedLate => out.push(a11i::CAPTURE_LOSS_CAUSES, Value::Texts(vec!["joined_late".to_owned()])),
    }
}

/// On spans content is one JSON string each: not every backend takes structured attribute values there.
fn content(content: &Content, out: &mut Attributes) {
    json_list(gen_ai::SYSTEM_INSTRUCTIONS, &content.system_instructions, out);
    json_list(gen_ai::INPUT_MESSAGES, &content.input_messages, out);
    json_list(gen_ai::OUTPUT_MESSAGES, &content.output_messages, out);
    json_list(gen_ai::TOOL_DEFINITIONS, &content.tool_definitions, out);
    if content.truncated {
        out.push(a11i::CONTENT_TRUNCATED, true);
    }
}

fn json_list<T: Serialize>(name: &'static str, list: &[T], out: &mut Attributes) {
    if !list.is_empty() {
        // Strings, numbers and maps with string keys always serialise.
        out.push_some(name, serde_json::to_string(list).ok());
    }
}

const fn output_type(output: OutputType) -> &'static str {
    match output {
        OutputType::Text => "text",
        OutputType::Json => "json",
        OutputType::Image => "image",
        OutputType::Speech => "speech",
    }
}

/// An integer since the newest layer, a double before.
#[expect(clippy::cast_precision_loss, reason = "top_k is a small number; a hostile one may round")]
fn top_k(k: i64, layer: Semconv) -> Value {
    match layer {
        Semconv::Latest => Value::Int(k),
        Semconv::V1_36 | Semconv::V1_41 => Value::Double(k as f64),
    }
}

#[cfg(test)]
#[path = "attributes_tests.rs"]
mod tests;
