use super::*;
use crate::call::{CallFrame, Ending, LlmCall, Part};

fn stream(operation: Operation, events: &[&str]) -> LlmCall {
    let mut call = CallBuilder::new(OpenAiResponses.name(), operation, true);
    for event in events {
        OpenAiResponses.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
    }
    call.build(CallFrame::default(), Ending::Seen)
}

#[test]
fn the_terminal_event_replaces_what_the_deltas_gave() {
    let call = stream(
        Operation::Chat,
        &[
            r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"He"}"#,
            r#"{"type":"response.completed","response":{"id":"r","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"Hello"}]}],"usage":{"input_tokens":1,"output_tokens":2}}}"#,
        ],
    );
    assert_eq!(call.content.output_messages.first().unwrap().parts, [Part::Text { content: "Hello".into() }]);
    assert_eq!((call.estimation.output.total_bytes(), call.usage.output_tokens), (5, Some(2)));
}

#[test]
fn a_terminal_event_without_output_leaves_the_deltas() {
    let call = stream(
        Operation::Chat,
        &[
            r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"He"}"#,
            r#"{"type":"response.completed","response":{"status":"completed","output":[]}}"#,
        ],
    );
    assert_eq!(call.content.output_messages.first().unwrap().parts, [Part::Text { content: "He".into() }]);
}

#[test]
fn what_the_client_runs_and_what_the_provider_runs_are_told_apart() {
    let call = stream(
        Operation::Chat,
        &[r#"{"type":"response.completed","response":{"status":"completed","output":[
            {"type":"custom_tool_call","call_id":"c","name":"run","input":"x"},
            {"type":"mcp_call","id":"mcp_1","name":"ask","arguments":"{}","output":"ok"},
            {"type":"computer_call","call_id":"k","action":{"type":"click"}},
            {"type":"compaction","encrypted_content":"x"}]}}"#],
    );
    let parts = serde_json::to_value(&call.content.output_messages.first().unwrap().parts).unwrap();
    let kinds: Vec<_> = parts.as_array().unwrap().iter().map(|part| (part["type"].as_str().unwrap(), part["name"].as_str())).collect();
    assert_eq!(
        kinds,
        [
            ("tool_call", Some("run")),
            ("server_tool_call", Some("ask")),
            ("server_tool_call_response", None),
            ("tool_call", Some("computer")),
            ("generic", None),
        ]
    );
}

#[test]
fn searches_are_counted_once_and_not_when_fetched() {
    let done = r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"web_search_call","id":"w"}}"#;
    let end = r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"web_search_call","id":"w"}],"usage":{"input_tokens":1,"output_tokens":1}}}"#;
    let searches = |operation| stream(operation, &[done, end]).usage.web_search_requests;
    assert_eq!((searches(Operation::Chat), searches(Operation::FetchResponse)), (Some(1), None));
}

#[test]
fn an_error_event_ends_the_stream_with_error() {
    for event in
        [r#"{"type":"error","code":"rate_limit","message":"slow"}"#, r#"{"type":"error","error":{"type":"rate_limit","message":"slow"}}"#]
    {
        let call = stream(Operation::Chat, &[r#"{"type":"response.created","response":{"id":"r","status":"in_progress"}}"#, event]);
        assert_eq!((call.outcome.error_type.as_deref(), call.outcome.error_message.as_deref()), (Some("rate_limit"), Some("slow")));
        assert_eq!(call.response.finish_reasons, ["error"]);
    }
}

#[test]
fn a_response_in_the_background_is_counted_where_it_is_fetched() {
    let fetch = |body: &str| {
        let mut call = CallBuilder::new(OpenAiResponses.name(), Operation::FetchResponse, false);
        OpenAiResponses.response(body.as_bytes(), &mut call).unwrap();
        (call.response.deferred, call.usage.input_tokens)
    };
    assert_eq!(
        fetch(r#"{"id":"resp_1","background":true,"status":"completed","usage":{"input_tokens":5}}"#),
        (Some(Operation::Chat), Some(5))
    );
    assert_eq!(fetch(r#"{"id":"resp_1","background":false,"status":"completed","usage":{"input_tokens":5}}"#), (None, None));
}

#[test]
fn what_would_be_consumed_is_no_consumption() {
    let mut call = CallBuilder::new(OpenAiResponses.name(), Operation::Other("count_tokens"), false);
    OpenAiResponses.response(br#"{"object":"response.input_tokens","input_tokens":11}"#, &mut call).unwrap();
    assert_eq!(call.usage, Usage::default());
}

#[test]
fn pieces_of_any_kind_are_output() {
    for (event, is_output) in [
        (r#"{"type":"response.image_generation_call.partial_image","output_index":0,"partial_image_b64":"AAAA"}"#, true),
        (r#"{"type":"response.apply_patch_call_operation_diff.delta","output_index":0,"delta":"+x"}"#, true),
        (r#"{"type":"response.audio.delta","delta":"AAAA"}"#, true),
        (r#"{"type":"response.web_search_call.searching","output_index":0}"#, false),
    ] {
        let mut call = CallBuilder::new(OpenAiResponses.name(), Operation::Chat, true);
        OpenAiResponses.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
        assert_eq!(call.take_new_output(), is_output, "{event}");
    }
}
