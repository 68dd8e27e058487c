use super::*;
use crate::{
    call::{CallFrame, DeferredAnswers, Ending, LlmCall, Part},
    fixture::request_head,
};

fn stream(provider: &'static str, events: &[&str], gap: bool) -> LlmCall {
    let mut call = CallBuilder::new(ProviderName::of(provider), Operation::Chat, true);
    for event in events {
        OpenAiChat.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
    }
    OpenAiChat.stream_end(gap, &mut call);
    call.build(CallFrame::default(), Ending::Seen)
}

#[test]
fn the_last_usage_that_is_not_null_counts() {
    let call = stream(
        "openai",
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
            r#"{"choices":[],"usage":null}"#,
            r#"{"choices":[],"usage":{}}"#,
            "[DONE]",
        ],
        false,
    );
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(3), Some(4)));
}

#[test]
fn a_running_usage_before_a_gap_is_not_the_final_one() {
    let running = r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1,"cost":0.1}}"#;
    let call = stream("openai", &[running], true);
    assert!(call.usage.is_absent() && call.response.stated_cost.is_none());
    let last = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":8}}"#;
    assert_eq!(stream("openai", &[running, last], true).usage.output_tokens, Some(8));
}

#[test]
fn a_failure_in_a_stream_is_told_wrapped_or_not() {
    for event in [
        r#"{"error":{"message":"no","type":"server_error","code":500}}"#,
        r#"{"object":"error","message":"no","type":"server_error","param":null,"code":"3000"}"#,
    ] {
        let call = stream("mistral_ai", &[r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#, event], false);
        assert_eq!((call.outcome.error_type.as_deref(), call.outcome.error_message.as_deref()), (Some("server_error"), Some("no")));
    }
    assert_eq!(stream("mistral_ai", &[r#"{"object":"error"}"#], false).outcome.error_type.as_deref(), Some("_OTHER"));
}

#[test]
fn of_a_refusal_that_is_one_text_the_status_says_more() {
    let mut call = CallBuilder::new(ProviderName::of("huggingface"), Operation::Chat, true);
    call.response.status = Some(404);
    OpenAiChat.response(br#"{"error":"no such model"}"#, &mut call).unwrap();
    let call = call.build(CallFrame::default(), Ending::Seen);
    assert_eq!((call.outcome.error_type, call.outcome.error_message.as_deref()), (None, Some("no such model")));
}

#[test]
fn what_xai_answers_later_counts_where_it_is_fetched() {
    let head = |host| request_head("GET", host, "/v1/chat/deferred-completion/7");
    assert_eq!(OpenAiChat.claims(&head("api.x.ai")), Some(Operation::FetchResponse));
    assert_eq!(OpenAiChat.claims(&head("shop.example")), None);
    let mut asked = CallBuilder::new(ProviderName::of("x_ai"), Operation::Chat, true);
    OpenAiChat
        .request(Operation::Chat, br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"deferred":true}"#, &mut asked)
        .unwrap();
    OpenAiChat.response(br#"{"request_id":"7"}"#, &mut asked).unwrap();
    let mut answers = DeferredAnswers::default();
    let fetched = || {
        let mut call = CallBuilder::new(ProviderName::of("x_ai"), Operation::FetchResponse, true);
        OpenAiChat.request(Operation::FetchResponse, b"", &mut call).unwrap();
        let answer = br#"{"id":"c","choices":[{"index":0,"message":{"content":"yo"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
        OpenAiChat.response(answer, &mut call).unwrap();
        call
    };
    let told = [asked, fetched(), fetched()].map(|call| {
        let mut call = call.build(CallFrame::default(), Ending::Seen);
        answers.settle(&mut call);
        (call.operation.as_str(), call.usage.input_tokens, call.response.deferred.is_some())
    });
    assert_eq!(told, [("chat", None, true), ("chat", Some(5), true), ("fetch_response", None, true)]);
}

#[test]
fn reasoning_is_added_only_where_it_is_apart() {
    let usage = |provider, total| {
        let event = format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":10,"completion_tokens":5,"total_tokens":{total},"completion_tokens_details":{{"reasoning_tokens":4}}}}}}"#
        );
        stream(provider, &[&event], false).usage.output_tokens
    };
    assert_eq!(usage("x_ai", 19), Some(9));
    assert_eq!(usage("x_ai", 15), Some(9));
    assert_eq!(usage("openai", 19), Some(9));
    assert_eq!(usage("openai", 15), Some(5));
}

#[test]
fn a_cost_is_read_in_every_form() {
    let cost = |usage: &str| stream("openrouter", &[&format!(r#"{{"choices":[],"usage":{usage}}}"#)], false).response.stated_cost;
    assert_eq!(cost(r#"{"cost":0.0015}"#), Some(NanoUsd(1_500_000)));
    assert_eq!(cost(r#"{"cost":0}"#), Some(NanoUsd(0)));
    assert_eq!(cost(r#"{"cost":{"total_cost":0.006}}"#), Some(NanoUsd(6_000_000)));
    assert_eq!(cost(r#"{"cost_in_usd_ticks":10000000000}"#), Some(NanoUsd(1_000_000_000)));
    // An xAI model elsewhere: none of xAI's money.
    assert_eq!(cost(r#"{"prompt_tokens":9,"cost_in_usd_ticks":0}"#), None);
    for none in [r#"{"cost":-1}"#, r#"{"cost":null}"#, r#"{"cost":"free"}"#, r#"{"cost":1e300}"#, r#"{"cost":[]}"#, "{}"] {
        assert_eq!(cost(none), None, "{none}");
    }
}

#[test]
fn an_error_in_mid_stream_fails_the_call() {
    let call = stream(
        "openrouter",
        &[r#"{"error":{"code":502,"message":"Upstream"},"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#],
        false,
    );
    assert_eq!(call.outcome.error_type.as_deref(), Some("502"));
    assert_eq!(call.response.finish_reasons, ["error"]);
    let call = stream("groq", &[r#"{"choices":[],"x_groq":{"error":"over capacity"}}"#], false);
    assert_eq!((call.outcome.error_type.as_deref(), call.outcome.error_message.as_deref()), (Some("_OTHER"), Some("over capacity")));
}

#[test]
fn custom_tools_and_objects_for_arguments_are_calls_too() {
    let event = r#"{"choices":[{"index":0,"message":{"tool_calls":[{"id":"a","type":"custom","custom":{"name":"run","input":"1+1"}},{"id":"","function":{"name":"f","arguments":{"x":1}}}]},"finish_reason":"tool_calls"}]}"#;
    let call = stream("openai", &[event], false);
    let parts = &call.content.output_messages.first().unwrap().parts;
    assert_eq!(
        parts,
        &[
            Part::ToolCall { id: Some("a".into()), name: "run".into(), arguments: Some("1+1".into()) },
            Part::ToolCall { id: None, name: "f".into(), arguments: Some(serde_json::json!({"x": 1})) },
        ]
    );
}

#[test]
fn a_remark_after_the_end_of_every_choice_is_no_failure() {
    let ended = |reason: &str| {
        let first = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"so"}},"finish_reason":"{reason}"}}]}}"#);
        let remark = r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":null}],"error":{"code":400,"message":"Token limit reached"},"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
        let call = stream("openrouter", &[&first, remark], false);
        (call.outcome.error_type, call.usage.input_tokens)
    };
    assert_eq!(ended("length"), (None, Some(3)));
    assert_eq!(ended("error"), (Some("400".to_owned()), Some(3)));
}

#[test]
fn a_spoken_answer_is_told_by_its_transcript() {
    let mut call = CallBuilder::new(ProviderName::of("openai"), Operation::Chat, true);
    for data in [
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"audio":{"id":"a1","transcript":"Hel"}}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"audio":{"transcript":"lo"}}}]}"#,
    ] {
        OpenAiChat.chunk(&StreamFrame { event: None, data: data.as_bytes() }, &mut call);
        assert!(call.take_new_output());
    }
    OpenAiChat.chunk(&StreamFrame { event: None, data: br#"{"choices":[{"index":0,"delta":{"audio":{"data":"AAAA"}}}]}"# }, &mut call);
    assert!(call.take_new_output());
    let call = call.build(CallFrame::default(), Ending::Seen);
    assert_eq!(call.content.output_messages[0].parts, [Part::Text { content: "Hello".into() }]);
}

#[test]
fn gateways_to_claude_name_the_cache_as_it_does() {
    let mut call = CallBuilder::new(ProviderName::of("litellm"), Operation::Chat, false);
    let body = br#"{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":5,"cache_creation_input_tokens":20,"cache_read_input_tokens":30}}"#;
    OpenAiChat.response(body, &mut call).unwrap();
    let usage = call.build(CallFrame::default(), Ending::Seen).usage;
    assert_eq!((usage.input_tokens, usage.cache_write_input_tokens, usage.cache_read_input_tokens), (Some(100), Some(20), Some(30)));
}

#[test]
fn a_past_thought_is_read_once_however_it_is_named() {
    let mut call = CallBuilder::new(ProviderName::of("openrouter"), Operation::Chat, true);
    let body = br#"{"model":"m","messages":[{"role":"assistant","content":"a","reasoning":"why"},
        {"role":"assistant","content":"b","reasoning":"why","reasoning_content":"why"}]}"#;
    OpenAiChat.request(Operation::Chat, body, &mut call).unwrap();
    let call = call.build(CallFrame::default(), Ending::Seen);
    for message in &call.content.input_messages {
        assert!(matches!(&message.parts[..], [Part::Reasoning { content }, Part::Text { .. }] if content == "why"), "{message:?}");
    }
}
