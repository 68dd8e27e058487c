//! A call as JSON, to be read and compared. What is absent is left out.

use a11i_agent::call::{Completeness, LlmCall, ModalityTokens};
use serde_json::{Map, Value, json};

pub(crate) fn view(call: &LlmCall) -> Value {
    let (request, response, usage) = (&call.request, &call.response, &call.usage);
    let modalities = |tokens: &ModalityTokens| present(json!({"text": tokens.text, "image": tokens.image, "audio": tokens.audio}));
    let after = |time: Option<a11i_common::identity::BootTime>| time.map(|time| time > call.timing.start && time <= call.timing.end);
    present(json!({
        "operation": call.operation.as_str(),
        "provider": call.provider.as_str(),
        "server": {"address": call.server.address, "port": call.server.port, "known_host": call.server.known_host},
        "request": present(json!({
            "model": request.model,
            "stream": request.stream,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": request.top_k,
            "seed": request.seed,
            "stop_sequences": request.stop_sequences,
            "choice_count": request.choice_count,
            "output_type": request.output_type.map(|kind| format!("{kind:?}")),
            "reasoning_level": request.reasoning_level,
            "previous_response_id": request.previous_response_id,
            "service_tier": request.service_tier,
            "agent_id": request.agent_id,
            "conversation_id": request.conversation_id,
            "path_pattern": request.path_pattern,
            "retry_count": request.retry_count,
            "user_agent": request.user_agent,
            "has_credential_fingerprint": request.credential_fingerprint.is_some(),
        })),
        "response": present(json!({
            "status": response.status,
            "id": response.id,
            "model": response.model,
            "finish_reasons": response.finish_reasons,
            "service_tier": response.service_tier,
            "system_fingerprint": response.system_fingerprint,
            "request_id": response.request_id,
            "api_type": response.api_type,
            "inference_geo": response.inference_geo,
            "speed": response.speed,
            "stated_cost_nano_usd": response.stated_cost.map(|cost| cost.0),
            "stream_chunks": response.stream_chunks,
            "deferred": response.deferred.map(a11i_agent::call::Operation::as_str),
            "remaining_requests": response.rate_limit.remaining_requests,
            "remaining_tokens": response.rate_limit.remaining_tokens,
        })),
        "usage": present(json!({
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_read_input_tokens": usage.cache_read_input_tokens,
            "cache_write_input_tokens": usage.cache_write_input_tokens,
            "cache_write_1h_input_tokens": usage.cache_write_1h_input_tokens,
            "reasoning_output_tokens": usage.reasoning_output_tokens,
            "input_by_modality": modalities(&usage.input_by_modality),
            "output_by_modality": modalities(&usage.output_by_modality),
            "web_search_requests": usage.web_search_requests,
        })),
        "outcome": present(json!({"error_type": call.outcome.error_type, "error_message": call.outcome.error_message})),
        "timing_in_order": present(json!({
            "first_chunk": after(call.timing.first_chunk),
            "first_token": after(call.timing.first_token),
            "last_token": after(call.timing.last_token),
        })),
        "estimation": {
            "input_bytes": call.estimation.input.total_bytes(),
            "output_bytes": call.estimation.output.total_bytes(),
            "input_messages": call.estimation.input_messages,
            "tool_definitions": call.estimation.tool_definitions,
            "output_tool_calls": call.estimation.output_tool_calls,
        },
        "system_instructions": call.content.system_instructions,
        "input_messages": call.content.input_messages,
        "output_messages": call.content.output_messages,
        "tool_definitions": call.content.tool_definitions,
        "content_truncated": call.content.truncated,
        "complete": call.completeness == Completeness::Whole,
        "has_parent": call.correlation.parent.is_some(),
    }))
}

/// Without nulls, empty lists and empty objects.
fn present(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let kept = fields.into_iter().filter(|(_, value)| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    });
    Value::Object(kept.collect::<Map<_, _>>())
}
