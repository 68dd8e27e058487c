//! OpenAI chat completions, as the service writes them.

use serde_json::{Value, json};

use super::answer::{Answer, Api, Piece, Question, Usage, event};

const CREATED: u64 = 1_753_208_541;

/// A good answer.
pub(super) fn answer(question: &Question<'_>) -> Answer {
    let id = format!("chatcmpl-{}", question.serial);
    let finish = if question.behaviour.tool.is_some() { "tool_calls" } else { "stop" };
    let usage = question.behaviour.usage.then(|| question.usage());
    if !question.streams() {
        let body = completion(question, &id, finish, usage);
        let expected = question.expected(Api::OpenAiChat, id, finish, usage);
        return Answer { status: 200, headers: headers(), stream: false, pieces: vec![Piece::frame(body.to_string())], expected };
    }
    // As the real service: a stream tells its usage only when asked to.
    let asked = question.request.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or(false);
    let usage = usage.filter(|_| asked);
    let pieces = chunks(question, &id, finish, usage, asked);
    let expected = question.expected(Api::OpenAiChat, id, finish, usage);
    Answer { status: 200, headers: headers(), stream: true, pieces, expected }
}

/// An error answer.
pub(super) fn refusal(question: &Question<'_>, status: u16) -> Answer {
    let (kind, code) = error_names(status);
    let body = json!({"error": {"message": format!("The stand-in refuses with {status}."), "type": kind, "param": null, "code": code}});
    let mut headers = headers();
    if status == 429 {
        headers.push(("retry-after", "1".to_owned()));
    }
    let expected = question.refused(Api::OpenAiChat, status, &[kind, code]);
    Answer { status, headers, stream: false, pieces: vec![Piece::frame(body.to_string())], expected }
}

/// The error event inside a stream that began well, and its `error.type`.
pub(super) fn stream_error() -> (Piece, Vec<String>) {
    let body = json!({"error": {"message": "The server had an error while processing your request.", "type": "server_error", "param": null, "code": null}});
    (Piece::frame(event(None, &body)), vec!["server_error".to_owned()])
}

pub(super) fn error_names(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => ("invalid_request_error", "invalid_api_key"),
        404 => ("invalid_request_error", "model_not_found"),
        429 => ("requests", "rate_limit_exceeded"),
        400..=499 => ("invalid_request_error", "bad_request"),
        _ => ("server_error", "internal_error"),
    }
}

fn headers() -> Vec<(&'static str, String)> {
    vec![("openai-processing-ms", "361".to_owned()), ("openai-version", "2020-10-01".to_owned())]
}

fn completion(question: &Question<'_>, id: &str, finish: &str, usage: Option<Usage>) -> Value {
    let message = match &question.behaviour.tool {
        Some(name) => json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [
            {"id": tool_id(question), "type": "function", "function": {"name": name, "arguments": ARGUMENTS}}]}),
        None => json!({"role": "assistant", "content": question.words().concat(), "refusal": null, "annotations": []}),
    };
    let mut body = json!({
        "id": id, "object": "chat.completion", "created": CREATED, "model": question.response_model(),
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "service_tier": "default", "system_fingerprint": "fp_51db84afab",
    });
    if let (Some(usage), Some(fields)) = (usage, body.as_object_mut()) {
        fields.insert("usage".to_owned(), usage_block(usage));
    }
    body
}

const ARGUMENTS: &str = r#"{"city":"Zürich"}"#;

fn tool_id(question: &Question<'_>) -> String {
    format!("call_{}", question.serial)
}

fn chunks(question: &Question<'_>, id: &str, finish: &str, usage: Option<Usage>, asked: bool) -> Vec<Piece> {
    let chunk = |choices: Value, usage: Value| {
        let mut body = json!({
            "id": id, "object": "chat.completion.chunk", "created": CREATED, "model": question.response_model(),
            "service_tier": "default", "system_fingerprint": "fp_51db84afab", "choices": choices,
        });
        if let (true, Some(fields)) = (asked, body.as_object_mut()) {
            fields.insert("usage".to_owned(), usage); // null in all but the last when usage was asked for
        }
        event(None, &body)
    };
    let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    let mut pieces =
        vec![Piece::frame(chunk(choice(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null), Value::Null))];
    match &question.behaviour.tool {
        Some(name) => {
            let start = json!({"tool_calls": [{"index": 0, "id": tool_id(question), "type": "function", "function": {"name": name, "arguments": ""}}]});
            pieces.push(Piece::content(chunk(choice(start, Value::Null), Value::Null)));
            for part in ARGUMENTS.split_inclusive(':') {
                let delta = json!({"tool_calls": [{"index": 0, "function": {"arguments": part}}]});
                pieces.push(Piece::content(chunk(choice(delta, Value::Null), Value::Null)));
            }
        }
        None => {
            for word in question.words() {
                pieces.push(Piece::content(chunk(choice(json!({"content": word}), Value::Null), Value::Null)));
            }
        }
    }
    pieces.push(Piece::frame(chunk(choice(json!({}), json!(finish)), Value::Null)));
    if let Some(usage) = usage {
        pieces.push(Piece::frame(chunk(json!([]), usage_block(usage))));
    }
    pieces.push(Piece::frame("data: [DONE]\n\n".to_owned()));
    pieces
}

fn usage_block(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": usage.input.saturating_add(usage.output),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    })
}
