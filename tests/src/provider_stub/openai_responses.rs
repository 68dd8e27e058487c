//! OpenAI responses, as the service writes them.

use serde_json::{Value, json};

use super::{
    answer::{Answer, Api, Piece, Question, Usage, event},
    openai_chat::error_names,
};

const CREATED: u64 = 1_768_618_547;

/// A good answer. Its finish reason is the status of the response, the only word the API has for it.
pub(super) fn answer(question: &Question<'_>) -> Answer {
    let id = format!("resp_{}", question.serial);
    let usage = question.behaviour.usage.then(|| question.usage());
    let stream = question.streams();
    let pieces = if stream {
        events(question, &id, usage)
    } else {
        vec![Piece::frame(response(question, &id, "completed", &json!([item(question)]), usage).to_string())]
    };
    let expected = question.expected(Api::OpenAiResponses, id, "completed", usage);
    Answer { status: 200, headers: Vec::new(), stream, pieces, expected }
}

/// An error answer.
pub(super) fn refusal(question: &Question<'_>, status: u16) -> Answer {
    let mut answer = super::openai_chat::refusal(question, status);
    let (kind, code) = error_names(status);
    answer.expected = question.refused(Api::OpenAiResponses, status, &[kind, code]);
    answer
}

/// The error event inside a stream that began well, and its `error.type`.
pub(super) fn stream_error() -> (Piece, Vec<String>) {
    let body =
        json!({"type": "error", "code": "server_error", "message": "The server had an error.", "param": null, "sequence_number": 99});
    (Piece::frame(event(Some("error"), &body)), vec!["server_error".to_owned()])
}

fn item(question: &Question<'_>) -> Value {
    match &question.behaviour.tool {
        Some(name) => json!({"id": format!("fc_{}", question.serial), "type": "function_call", "status": "completed",
            "call_id": format!("call_{}", question.serial), "name": name, "arguments": "{\"city\":\"Zürich\"}"}),
        None => json!({"id": format!("msg_{}", question.serial), "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": question.words().concat()}]}),
    }
}

fn response(question: &Question<'_>, id: &str, status: &str, output: &Value, usage: Option<Usage>) -> Value {
    json!({
        "id": id, "object": "response", "created_at": CREATED, "status": status, "background": false, "error": null,
        "incomplete_details": null, "instructions": null, "max_output_tokens": null, "model": question.response_model(), "output": output,
        "parallel_tool_calls": true, "previous_response_id": null, "reasoning": {"effort": "minimal", "summary": null},
        "service_tier": "default", "store": true, "temperature": 1.0, "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto", "tools": [], "top_p": 1.0, "truncation": "disabled", "usage": usage.map(usage_block), "metadata": {},
    })
}

fn events(question: &Question<'_>, id: &str, usage: Option<Usage>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut sequence = 0_u64;
    let mut push = |kind: &str, mut body: Value, content: bool| {
        if let Some(fields) = body.as_object_mut() {
            fields.insert("type".to_owned(), json!(kind));
            fields.insert("sequence_number".to_owned(), json!(sequence));
        }
        sequence = sequence.saturating_add(1);
        pieces.push(Piece { text: event(Some(kind), &body), content });
    };
    let begun = response(question, id, "in_progress", &json!([]), None);
    push("response.created", json!({"response": begun}), false);
    push("response.in_progress", json!({"response": begun}), false);
    let item = item(question);
    let item_id = item.get("id").cloned().unwrap_or_default();
    if let Some(name) = &question.behaviour.tool {
        let arguments = item.get("arguments").cloned().unwrap_or_default();
        let started = json!({"id": item_id, "type": "function_call", "status": "in_progress", "call_id": format!("call_{}", question.serial), "name": name, "arguments": ""});
        push("response.output_item.added", json!({"output_index": 0, "item": started}), false);
        push("response.function_call_arguments.delta", json!({"item_id": item_id, "output_index": 0, "delta": arguments}), true);
        push(
            "response.function_call_arguments.done",
            json!({"item_id": item_id, "output_index": 0, "name": name, "arguments": arguments}),
            false,
        );
    } else {
        let started = json!({"id": item_id, "type": "message", "status": "in_progress", "content": [], "role": "assistant"});
        push("response.output_item.added", json!({"output_index": 0, "item": started}), false);
        let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": ""});
        push("response.content_part.added", json!({"content_index": 0, "item_id": item_id, "output_index": 0, "part": part}), false);
        for word in question.words() {
            let delta = json!({"content_index": 0, "item_id": item_id, "output_index": 0, "delta": word, "logprobs": [], "obfuscation": "QFXpoZuHyPQm"});
            push("response.output_text.delta", delta, true);
        }
        let text = question.words().concat();
        push(
            "response.output_text.done",
            json!({"content_index": 0, "item_id": item_id, "output_index": 0, "logprobs": [], "text": text}),
            false,
        );
        let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text});
        push("response.content_part.done", json!({"content_index": 0, "item_id": item_id, "output_index": 0, "part": part}), false);
    }
    push("response.output_item.done", json!({"output_index": 0, "item": item}), false);
    push("response.completed", json!({"response": response(question, id, "completed", &json!([item]), usage)}), false);
    pieces
}

fn usage_block(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input, "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input.saturating_add(usage.output),
    })
}
