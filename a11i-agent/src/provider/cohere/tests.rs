use super::*;
use crate::call::{CallFrame, Ending, LlmCall, Part};

fn builder(operation: Operation, request: &str) -> CallBuilder {
    let mut call = CallBuilder::new(ProviderName::of("cohere"), operation, true);
    Cohere.request(operation, request.as_bytes(), &mut call).unwrap();
    call.response.status = Some(200);
    call
}

fn streamed(operation: Operation, events: &[&str]) -> LlmCall {
    let mut call = builder(operation, r#"{"model":"m","stream":true}"#);
    for event in events {
        Cohere.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
    }
    call.build(CallFrame::default(), Ending::Seen)
}

fn whole(operation: Operation, answer: &str) -> LlmCall {
    let mut call = builder(operation, r#"{"model":"m"}"#);
    Cohere.response(answer.as_bytes(), &mut call).unwrap();
    call.build(CallFrame::default(), Ending::Seen)
}

#[test]
fn what_is_billed_counts_and_what_the_model_saw_does_where_nothing_is_said_of_a_bill() {
    let usage = |said: &str| {
        let usage = whole(Operation::Chat, &format!(r#"{{"id":"a","message":{{}},"usage":{said}}}"#)).usage;
        (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens, usage.reasoning_output_tokens)
    };
    let tokens = r#""tokens":{"input_tokens":90.0,"output_tokens":9.0,"reasoning_tokens":3},"cached_tokens":64"#;
    assert_eq!(
        usage(&format!(r#"{{"billed_units":{{"input_tokens":7.0,"output_tokens":5}},{tokens}}}"#)),
        (Some(7), Some(5), Some(64), Some(3))
    );
    assert_eq!(usage(&format!("{{{tokens}}}")), (Some(90), Some(9), Some(64), Some(3)));
    assert_eq!(usage(r#"{"billed_units":{"input_tokens":-7,"output_tokens":1e300}}"#), (None, None, None, None));
    assert_eq!(usage("[]"), (None, None, None, None));
}

#[test]
fn a_first_version_stream_says_its_text_once() {
    let call = streamed(
        Operation::Chat,
        &[
            r#"{"event_type":"stream-start","generation_id":"g"}"#,
            r#"{"event_type":"text-generation","text":"I "}"#,
            r#"{"event_type":"text-generation","text":"ask."}"#,
            r#"{"event_type":"stream-end","finish_reason":"COMPLETE","response":{"response_id":"r","text":"I ask.","tool_calls":[{"name":"f","parameters":{"x":1}}],"meta":{"billed_units":{"input_tokens":3,"output_tokens":2}}}}"#,
        ],
    );
    let call_of_tool = Part::ToolCall { id: None, name: "f".into(), arguments: Some(serde_json::json!({"x": 1})) };
    assert_eq!(call.content.output_messages[0].parts, [Part::Text { content: "I ask.".into() }, call_of_tool]);
    assert_eq!((call.response.id.as_deref(), call.usage.input_tokens, call.usage.output_tokens), (Some("r"), Some(3), Some(2)));
    assert_eq!(call.estimation.output.text(), "I ask.f{\"x\":1}");
}

#[test]
fn tool_calls_that_were_told_are_not_told_again() {
    let tools = r#""tool_calls":[{"name":"f","parameters":{}},{"name":"g","parameters":{}}]"#;
    let call = streamed(
        Operation::Chat,
        &[
            &format!(r#"{{"event_type":"tool-calls-generation",{tools}}}"#),
            &format!(r#"{{"event_type":"stream-end","finish_reason":"COMPLETE","response":{{"response_id":"r","text":"",{tools}}}}}"#),
        ],
    );
    assert_eq!(call.content.output_messages[0].parts.len(), 2);
}

#[test]
fn an_error_that_ends_a_stream_fails_the_call() {
    for (event, kind, message) in [
        (r#"{"type":"message-end","delta":{"finish_reason":"ERROR","error":"overloaded"}}"#, "_OTHER", Some("overloaded")),
        (r#"{"event_type":"stream-end","finish_reason":"ERROR","err":"overloaded"}"#, "_OTHER", Some("overloaded")),
        (r#"{"event_type":"stream-error"}"#, "error", None),
    ] {
        let call = streamed(Operation::Chat, &[event]);
        assert_eq!((call.outcome.error_type.as_deref(), call.outcome.error_message.as_deref()), (Some(kind), message), "{event}");
    }
}

#[test]
fn a_count_of_tokens_is_no_consumption() {
    let call = whole(Operation::Other("count_tokens"), r#"{"tokens":[1,2],"meta":{"billed_units":{"input_tokens":2}}}"#);
    assert!(call.usage.is_absent());
}

#[test]
fn what_is_asked_without_a_text_is_a_call_too_where_the_path_names_the_provider() {
    for (operation, request, want) in [
        (Operation::Chat, r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#, true),
        (Operation::Chat, r#"{"model":"Golf","colour":"red"}"#, false),
        (Operation::Embeddings, r#"{"model":"m","images":["data:image/png;base64,AA"],"embedding_types":["float"]}"#, true),
        (Operation::Embeddings, r#"{"model":"Golf","images":["a.png"]}"#, false),
        (Operation::Other("classification"), r#"{"model":"m","inputs":["a","b"]}"#, true),
        (Operation::Other("detokenize"), r#"{"model":"m","tokens":[1,2]}"#, true),
    ] {
        assert_eq!(Cohere.resembles(&builder(operation, request)), want, "{request}");
    }
}

#[test]
fn nothing_hostile_panics() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for event in [
        "[DONE]",
        "null",
        r#"{"type":"content-delta","index":18446744073709551615,"delta":{"message":{"content":{"text":"a"}}}}"#,
        r#"{"type":"tool-call-delta","index":281474976710656,"delta":{"message":{"tool_calls":{"function":{"arguments":"a"}}}}}"#,
        r#"{"event_type":"text-generation","index":99999999999,"text":"a"}"#,
        r#"{"event_type":"stream-end","response":[1]}"#,
        &format!(r#"{{"type":"message-end","delta":{deep}}}"#),
    ] {
        assert!(streamed(Operation::Chat, &[event, event]).usage.is_absent(), "{event}");
    }
    let request =
        r#"{"model":5,"chat_history":[1,{"tool_calls":{}}],"tool_results":{},"tools":[null],"embedding_types":"float","p":"0.5"}"#;
    assert_eq!(builder(Operation::Chat, request).request.top_p, Some(0.5));
}
