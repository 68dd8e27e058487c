use super::*;
use crate::{
    call::{CallFrame, DeferredAnswers, Ending, LlmCall, Part},
    fixture::request_head,
};

fn builder() -> CallBuilder {
    CallBuilder::new(ProviderName::of("gcp.gemini"), Operation::GenerateContent, true)
}

fn stream(events: &[&str], gap: bool) -> LlmCall {
    let mut call = builder();
    for event in events {
        Interactions.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
    }
    Interactions.stream_end(gap, &mut call);
    call.build(CallFrame::default(), Ending::Seen)
}

fn answered(body: &str) -> LlmCall {
    let mut call = builder();
    call.response.status = Some(200);
    Interactions.response(body.as_bytes(), &mut call).unwrap();
    call.build(CallFrame::default(), Ending::Seen)
}

fn asked(body: &str) -> LlmCall {
    let mut call = builder();
    Interactions.request(Operation::GenerateContent, body.as_bytes(), &mut call).unwrap();
    call.build(CallFrame::default(), Ending::Seen)
}

const USAGE: &str = r#""usage":{"total_input_tokens":9,"total_output_tokens":13,"total_thought_tokens":200,"total_tool_use_tokens":4,"total_cached_tokens":0,"total_tokens":226}"#;

#[test]
fn thoughts_and_tool_use_stand_beside_output_and_input() {
    let call = answered(&format!(r#"{{"id":"i","status":"completed","model":"m",{USAGE}}}"#));
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(13), Some(213)));
    assert_eq!((call.usage.cache_read_input_tokens, call.usage.reasoning_output_tokens), (Some(0), Some(200)));
    assert_eq!(call.response.finish_reasons, ["completed"]);
}

#[test]
fn both_revisions_give_the_same_parts() {
    let outputs = answered(
        r#"{"status":"requires_action","outputs":[{"type":"thought","summary":[{"type":"text","text":"Hm"}]},{"type":"text","text":"Hi"},{"type":"function_call","id":"f","name":"open","arguments":{"x":1}}]}"#,
    );
    let steps = answered(
        r#"{"status":"requires_action","steps":[{"type":"thought","summary":[{"type":"text","text":"Hm"}]},{"type":"model_output","content":[{"type":"text","text":"Hi"}]},{"type":"function_call","id":"f","name":"open","arguments":{"x":1}}]}"#,
    );
    let old = stream(
        &[
            r#"{"event_type":"interaction.start","interaction":{"id":"i","status":"in_progress"}}"#,
            r#"{"event_type":"content.start","index":0,"content":{"type":"thought"}}"#,
            r#"{"event_type":"content.delta","index":0,"delta":{"type":"thought_summary","content":{"type":"text","text":"Hm"}}}"#,
            r#"{"event_type":"content.delta","index":1,"delta":{"type":"text","text":"H"}}"#,
            r#"{"event_type":"content.delta","index":1,"delta":{"type":"text","text":"i"}}"#,
            r#"{"event_type":"content.delta","index":2,"delta":{"type":"function_call","id":"f","name":"open","arguments":{"x":1}}}"#,
            r#"{"event_type":"interaction.complete","interaction":{"id":"i","status":"requires_action"}}"#,
        ],
        false,
    );
    assert_eq!(outputs.content.output_messages, steps.content.output_messages);
    assert_eq!(outputs.content.output_messages, old.content.output_messages);
    assert_eq!(old.response.finish_reasons, ["requires_action"]);
    assert_eq!(old.estimation.output_tool_calls, 1);
}

#[test]
fn counts_and_searches_before_a_gap_are_not_final() {
    let search = r#"{"event_type":"step.delta","index":1,"delta":{"type":"google_search_call","arguments":{"queries":["a","b"]}}}"#;
    assert_eq!(stream(&[search, search], false).usage.web_search_requests, Some(4));
    assert_eq!(stream(&[search], true).usage.web_search_requests, None);
}

#[test]
fn a_failure_is_told_by_an_event_or_by_the_status() {
    let event = stream(&[r#"{"event_type":"error","error":{"code":"gateway_timeout","message":"late"}}"#], false);
    assert_eq!(event.outcome.error_type.as_deref(), Some("gateway_timeout"));
    assert_eq!(stream(&[r#"{"event_type":"error"}"#], false).outcome.error_type.as_deref(), Some("error"));
    assert_eq!(answered(r#"{"status":"failed"}"#).outcome.error_type.as_deref(), Some("failed"));
}

#[test]
fn every_form_of_input_becomes_messages() {
    let text = |content: &str| Part::Text { content: content.into() };
    for (input, want) in [
        (r#""q""#, vec![("user", vec![text("q")])]),
        (r#"{"type":"text","text":"q"}"#, vec![("user", vec![text("q")])]),
        (r#"[{"type":"text","text":"q"},{"type":"text","text":"r"}]"#, vec![("user", vec![text("q"), text("r")])]),
        (
            r#"[{"role":"user","content":"q"},{"role":"model","content":[{"type":"text","text":"a"}]}]"#,
            vec![("user", vec![text("q")]), ("assistant", vec![text("a")])],
        ),
        (
            r#"[{"type":"user_input","content":[{"type":"text","text":"q"}]},{"type":"function_result","call_id":"f","result":"x"}]"#,
            vec![
                ("user", vec![text("q")]),
                ("tool", vec![Part::ToolCallResponse { id: Some("f".into()), response: serde_json::json!("x") }]),
            ],
        ),
    ] {
        let call = asked(&format!(r#"{{"model":"m","input":{input}}}"#));
        let have: Vec<_> = call.content.input_messages.iter().map(|message| (message.role.as_str(), message.parts.clone())).collect();
        assert_eq!(have, want, "{input}");
    }
}

#[test]
fn hostile_bodies_give_no_number_and_no_panic() {
    for body in [
        "[]",
        "null",
        r#"{"steps":{"type":"text"},"outputs":[1,null,{"type":{}}],"usage":[]}"#,
        r#"{"usage":{"total_input_tokens":-1,"total_output_tokens":1e300}}"#,
        r#"{"event_type":"step.delta","index":-5,"delta":{"type":"arguments_delta","partial_arguments":7}}"#,
        r#"{"event_type":"step.delta","index":281474976710656,"delta":{"type":"text","text":"x"}}"#,
        r#"{"input":[[[]],{"content":{"content":{}}}],"tools":[1],"generation_config":"x"}"#,
    ] {
        assert!(answered(body).usage.is_absent() && stream(&[body], false).usage.is_absent(), "{body}");
        asked(body);
    }
}

#[test]
fn what_runs_in_the_background_counts_where_it_is_fetched_first_and_what_does_not_where_it_was_asked_for() {
    let told = |first: &str| {
        let mut answers = DeferredAnswers::default();
        let mut asked = builder();
        Interactions
            .request(Operation::GenerateContent, br#"{"agent":"deep-research","input":"x","background":true}"#, &mut asked)
            .unwrap();
        Interactions.response(first.as_bytes(), &mut asked).unwrap();
        let fetched = || {
            let mut call = CallBuilder::new(ProviderName::of("gcp.gemini"), Operation::FetchResponse, true);
            Interactions.response(format!(r#"{{"id":"i","status":"completed","model":"m",{USAGE}}}"#).as_bytes(), &mut call).unwrap();
            call
        };
        [asked, fetched(), fetched()].map(|call| {
            let mut call = call.build(CallFrame::default(), Ending::Seen);
            answers.settle(&mut call);
            (call.operation.as_str(), call.usage.input_tokens)
        })
    };
    let (asked, fetched) = (("generate_content", Some(13)), ("fetch_response", None));
    assert_eq!(told(r#"{"id":"i","status":"in_progress"}"#), [("generate_content", None), asked, fetched]);
    // What was counted so far is no bill.
    assert_eq!(told(&format!(r#"{{"id":"i","status":"in_progress",{USAGE}}}"#)), [("generate_content", None), asked, fetched]);
    assert_eq!(told(&format!(r#"{{"id":"i","status":"completed",{USAGE}}}"#)), [asked, fetched, fetched]);
}

#[test]
fn searches_of_a_stream_that_is_fetched_count_with_its_usage_and_not_without() {
    let search = r#"{"event_type":"step.delta","index":1,"delta":{"type":"google_search_call","arguments":{"queries":["a","b"]}}}"#;
    let end = format!(r#"{{"event_type":"interaction.completed","interaction":{{"id":"i","status":"completed","agent":"a",{USAGE}}}}}"#);
    let fetched = |events: &[&str]| {
        let mut call = CallBuilder::new(ProviderName::of("gcp.gemini"), Operation::FetchResponse, true);
        for event in events {
            Interactions.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
        }
        Interactions.stream_end(false, &mut call);
        let mut call = call.build(CallFrame::default(), Ending::Seen);
        DeferredAnswers::default().settle(&mut call);
        (call.operation.as_str(), call.usage.web_search_requests, call.correlation.is_hop)
    };
    assert_eq!(fetched(&[search, &end]), ("generate_content", Some(2), false));
    assert_eq!(fetched(&[search]), ("fetch_response", None, false));
}

#[test]
fn a_models_interaction_that_nobody_was_seen_to_ask_for_is_told_and_not_billed() {
    let fetched = |made_by: &str| {
        let mut call = CallBuilder::new(ProviderName::of("gcp.gemini"), Operation::FetchResponse, true);
        Interactions.response(format!(r#"{{"id":"i","status":"completed",{made_by},{USAGE}}}"#).as_bytes(), &mut call).unwrap();
        let mut call = call.build(CallFrame::default(), Ending::Seen);
        DeferredAnswers::default().settle(&mut call);
        (call.operation.as_str(), call.usage.input_tokens, call.correlation.is_hop)
    };
    assert_eq!(fetched(r#""model":"m""#), ("generate_content", Some(13), true));
    assert_eq!(fetched(r#""agent":"deep-research""#), ("generate_content", Some(13), false));
}

#[test]
fn an_interaction_is_cancelled_by_its_id() {
    let claim = |method, path| Interactions.claims(&request_head(method, "generativelanguage.googleapis.com", path)).map(Operation::as_str);
    assert_eq!(claim("POST", "/v1beta/interactions/i/cancel"), Some("fetch_response"));
    assert_eq!(claim("GET", "/v1beta/interactions/i"), Some("fetch_response"));
    for (method, path) in [("POST", "/v1beta/interactions/i"), ("POST", "/v1beta/interactions/i/x"), ("GET", "/v1beta/interactions/")] {
        assert_eq!(claim(method, path), None, "{method} {path}");
    }
}
