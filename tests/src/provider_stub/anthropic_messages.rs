//! Anthropic messages, as the service writes them.

use serde_json::{Value, json};

use super::answer::{Answer, Api, Piece, Question, Usage, event};

/// A good answer.
pub(super) fn answer(question: &Question<'_>) -> Answer {
    let id = format!("msg_{}", question.serial);
    let finish = if question.behaviour.tool.is_some() { "tool_use" } else { "end_turn" };
    // The conventions' input includes the cache; Anthropic reports the parts apart. An input below its parts is a test's mistake.
    let counted = question.usage();
    let usage = Usage { input: counted.input.max(counted.cache_read.saturating_add(counted.cache_write)), reasoning: 0, ..counted };
    let told = question.behaviour.usage.then_some(usage);
    let stream = question.streams();
    let pieces =
        if stream { events(question, &id, finish, told) } else { vec![Piece::frame(message(question, &id, finish, told).to_string())] };
    let expected = question.expected(Api::AnthropicMessages, id, finish, told);
    Answer { status: 200, headers: headers(question), stream, pieces, expected }
}

/// An error answer.
pub(super) fn refusal(question: &Question<'_>, status: u16) -> Answer {
    let kind = error_name(status);
    let body = json!({"type": "error", "error": {"type": kind, "message": format!("The stand-in refuses with {status}.")}, "request_id": request_id(question)});
    let mut headers = headers(question);
    if status == 429 {
        headers.push(("retry-after", "1".to_owned()));
    }
    let expected = question.refused(Api::AnthropicMessages, status, &[kind]);
    Answer { status, headers, stream: false, pieces: vec![Piece::frame(body.to_string())], expected }
}

/// The error event inside a stream that began well, and its `error.type`.
pub(super) fn stream_error() -> (Piece, Vec<String>) {
    let body = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    (Piece::frame(event(Some("error"), &body)), vec!["overloaded_error".to_owned()])
}

fn error_name(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

fn request_id(question: &Question<'_>) -> String {
    format!("req_{}", question.serial)
}

fn headers(question: &Question<'_>) -> Vec<(&'static str, String)> {
    vec![("request-id", request_id(question))]
}

fn content(question: &Question<'_>) -> Value {
    match &question.behaviour.tool {
        Some(name) => json!({"type": "tool_use", "id": format!("toolu_{}", question.serial), "name": name, "input": {"city": "Zürich"}}),
        None => json!({"type": "text", "text": question.words().concat()}),
    }
}

fn message(question: &Question<'_>, id: &str, finish: &str, usage: Option<Usage>) -> Value {
    let mut body = json!({
        "model": question.response_model(), "id": id, "type": "message", "role": "assistant", "content": [content(question)],
        "stop_reason": finish, "stop_sequence": null,
    });
    if let (Some(usage), Some(fields)) = (usage, body.as_object_mut()) {
        fields.insert("usage".to_owned(), usage_block(usage, usage.output));
    }
    body
}

fn events(question: &Question<'_>, id: &str, finish: &str, usage: Option<Usage>) -> Vec<Piece> {
    let named = |body: Value| {
        let name = body.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        event(Some(&name), &body)
    };
    let mut start = json!({"model": question.response_model(), "id": id, "type": "message", "role": "assistant", "content": [], "stop_reason": null, "stop_sequence": null});
    if let (Some(usage), Some(fields)) = (usage, start.as_object_mut()) {
        fields.insert("usage".to_owned(), usage_block(usage, 1)); // the count so far; the true one comes in message_delta
    }
    let empty = match &question.behaviour.tool {
        Some(name) => json!({"type": "tool_use", "id": format!("toolu_{}", question.serial), "name": name, "input": {}}),
        None => json!({"type": "text", "text": ""}),
    };
    let mut pieces = vec![
        Piece::frame(named(json!({"type": "message_start", "message": start}))),
        Piece::frame(named(json!({"type": "content_block_start", "index": 0, "content_block": empty}))),
        Piece::frame(named(json!({"type": "ping"}))),
    ];
    let deltas: Vec<Value> = if question.behaviour.tool.is_some() {
        ["", "{\"city\": \"Zü", "rich\"}"].iter().map(|part| json!({"type": "input_json_delta", "partial_json": part})).collect()
    } else {
        question.words().iter().map(|word| json!({"type": "text_delta", "text": word})).collect()
    };
    for delta in deltas {
        pieces.push(Piece::content(named(json!({"type": "content_block_delta", "index": 0, "delta": delta}))));
    }
    pieces.push(Piece::frame(named(json!({"type": "content_block_stop", "index": 0}))));
    let mut last = json!({"type": "message_delta", "delta": {"stop_reason": finish, "stop_sequence": null}});
    if let (Some(usage), Some(fields)) = (usage, last.as_object_mut()) {
        fields.insert("usage".to_owned(), json!({"output_tokens": usage.output}));
    }
    pieces.push(Piece::frame(named(last)));
    pieces.push(Piece::frame(named(json!({"type": "message_stop"}))));
    pieces
}

fn usage_block(usage: Usage, output: u64) -> Value {
    let plain = usage.input.saturating_sub(usage.cache_read).saturating_sub(usage.cache_write);
    json!({
        "input_tokens": plain, "cache_creation_input_tokens": usage.cache_write, "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output, "service_tier": "standard",
    })
}
