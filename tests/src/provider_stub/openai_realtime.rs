//! OpenAI Realtime's responses, as the service writes them: events of a WebSocket.

use serde_json::{Value, json};

use super::{
    answer::{Answer, Api, Piece, Question, Usage},
    openai_chat,
};

/// What the service answers with where the alias was asked for.
pub(super) const SERVED_MODEL: &str = "gpt-realtime-2025-08-28";

/// The first event of every connection, and the answer to every change of it.
pub(super) fn session(kind: &str, update: &Value) -> String {
    let mut session = json!({
        "type": "realtime", "object": "realtime.session", "id": "sess_stand_in", "model": SERVED_MODEL, "output_modalities": ["text"],
        "instructions": "Answer in words.", "tools": [], "tool_choice": "auto", "max_output_tokens": "inf", "truncation": "auto",
        "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24_000}, "transcription": null, "turn_detection": {"type": "server_vad"}}},
    });
    if let (Some(session), Some(update)) = (session.as_object_mut(), update.as_object()) {
        session.extend(update.clone());
    }
    json!({"type": kind, "event_id": "event_session", "session": session}).to_string()
}

/// A good answer: each piece is a message.
pub(super) fn answer(question: &Question<'_>) -> Answer {
    let id = format!("resp_{}", question.serial);
    let usage = question.behaviour.usage.then(|| question.usage());
    let mut expected = question.expected(Api::OpenAiRealtime, id.clone(), "completed", usage);
    expected.response_model = Some(SERVED_MODEL.to_owned());
    Answer { status: 101, headers: Vec::new(), stream: true, pieces: events(question, &id, usage), expected }
}

/// A handshake that is refused.
pub(super) fn refusal(question: &Question<'_>, status: u16) -> Answer {
    let mut answer = openai_chat::refusal(question, status);
    let (kind, code) = openai_chat::error_names(status);
    answer.expected = question.refused(Api::OpenAiRealtime, status, &[kind, code]);
    answer
}

/// The failure of a response that began well, and its `error.type`.
pub(super) fn failure(question: &Question<'_>) -> (Piece, Vec<String>) {
    let details = json!({"type": "failed", "error": {"type": "server_error", "code": "internal"}});
    let failed = response(question, &format!("resp_{}", question.serial), "failed", &details, &json!([]), None);
    (Piece::frame(event("response.done", json!({"response": failed}))), vec!["server_error".to_owned()])
}

fn response(question: &Question<'_>, id: &str, status: &str, details: &Value, output: &Value, usage: Option<Usage>) -> Value {
    json!({
        "object": "realtime.response", "id": id, "status": status, "status_details": details, "output": output,
        "conversation_id": format!("conv_{}", question.serial), "output_modalities": ["text"], "max_output_tokens": "inf",
        "usage": usage.map(usage_block), "metadata": null,
    })
}

fn events(question: &Question<'_>, id: &str, usage: Option<Usage>) -> Vec<Piece> {
    let mut pieces = vec![Piece::frame(event(
        "response.created",
        json!({"response": response(question, id, "in_progress", &Value::Null, &json!([]), None)}),
    ))];
    let item_id = format!("item_{}", question.serial);
    let place = |fields: Value| {
        let mut place = json!({"response_id": id, "item_id": item_id, "output_index": 0, "content_index": 0});
        if let (Some(place), Some(fields)) = (place.as_object_mut(), fields.as_object()) {
            place.extend(fields.clone());
        }
        place
    };
    let item = match &question.behaviour.tool {
        Some(name) => json!({"id": item_id, "type": "function_call", "status": "completed", "call_id": format!("call_{}", question.serial),
            "name": name, "arguments": "{\"city\":\"Zürich\"}"}),
        None => json!({"id": item_id, "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": question.words().concat()}]}),
    };
    let added = json!({"response_id": id, "output_index": 0, "item": item});
    pieces.push(Piece::frame(event("response.output_item.added", added.clone())));
    if question.behaviour.tool.is_some() {
        let arguments = item.get("arguments").cloned().unwrap_or_default();
        pieces.push(Piece::content(event("response.function_call_arguments.delta", place(json!({"delta": arguments})))));
    } else {
        for word in question.words() {
            pieces.push(Piece::content(event("response.output_text.delta", place(json!({"delta": word})))));
        }
    }
    pieces.push(Piece::frame(event("response.output_item.done", added)));
    let done = response(question, id, "completed", &Value::Null, &json!([item]), usage);
    pieces.push(Piece::frame(event("response.done", json!({"response": done}))));
    pieces.push(Piece::frame(event(
        "rate_limits.updated",
        json!({"rate_limits": [{"name": "tokens", "limit": 40_000, "remaining": 39_000}]}),
    )));
    pieces
}

fn event(kind: &str, mut fields: Value) -> String {
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("type".to_owned(), json!(kind));
        fields.insert("event_id".to_owned(), json!("event_1"));
    }
    fields.to_string()
}

fn usage_block(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input, "output_tokens": usage.output, "total_tokens": usage.input.saturating_add(usage.output),
        "input_token_details": {"text_tokens": usage.input, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": usage.cache_read,
            "cached_tokens_details": {"text_tokens": usage.cache_read, "audio_tokens": 0, "image_tokens": 0}},
        "output_token_details": {"text_tokens": usage.output, "audio_tokens": 0},
    })
}
