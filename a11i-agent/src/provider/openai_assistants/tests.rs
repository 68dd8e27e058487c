use super::*;
use crate::{
    call::{CallFrame, DeferredAnswers, Ending, LlmCall},
    fixture::request_head,
};

fn claim(method: &str, path: &str) -> Option<&'static str> {
    OpenAiAssistants.claims(&request_head(method, "api.openai.com", path)).map(Operation::as_str)
}

#[test]
fn runs_are_made_continued_and_fetched() {
    for (method, path, want) in [
        ("POST", "/v1/threads/runs", Some("invoke_agent")),
        ("POST", "/v1/threads/thread_1/runs", Some("invoke_agent")),
        ("POST", "/openai/threads/thread_1/runs/run_1/submit_tool_outputs", Some("invoke_agent")),
        ("GET", "/v1/threads/thread_1/runs/run_1", Some("fetch_response")),
        ("POST", "/v1/threads/thread_1/runs/run_1/cancel", Some("fetch_response")),
        ("GET", "/v1/threads/thread_1/runs", None),
        ("GET", "/v1/threads/thread_1/runs/run_1/steps", None),
        ("POST", "/v1/threads/thread_1/messages", None),
        ("POST", "/threads/7f1e/runs", None),
        ("POST", "/threads/7f1e/runs/stream", None),
    ] {
        assert_eq!(claim(method, path), want, "{method} {path}");
    }
}

const DONE: &str = r#"{"id":"run_1","object":"thread.run","status":"completed","model":"m-1","thread_id":"thread_1","assistant_id":"asst_1","usage":{"prompt_tokens":20,"completion_tokens":5,"prompt_token_details":{"cached_tokens":8}}}"#;

fn fetched(body: &str) -> LlmCall {
    let mut call = CallBuilder::new(ProviderName::of("openai"), Operation::FetchResponse, true);
    OpenAiAssistants.response(body.as_bytes(), &mut call).unwrap();
    call.build(CallFrame::default(), Ending::Seen)
}

#[test]
fn a_run_is_billed_once_however_often_it_is_fetched() {
    let mut answers = DeferredAnswers::default();
    let queued = r#"{"id":"run_1","object":"thread.run","status":"in_progress","model":"m-1","usage":null}"#;
    let told: Vec<_> = [queued, DONE, DONE]
        .into_iter()
        .map(|body| {
            let mut call = fetched(body);
            answers.settle(&mut call);
            (call.operation.as_str(), call.usage.input_tokens)
        })
        .collect();
    assert_eq!(told, [("fetch_response", None), ("invoke_agent", Some(20)), ("fetch_response", None)]);
}

#[test]
fn a_stream_of_a_run_carries_its_text_and_its_usage() {
    let mut call = CallBuilder::new(ProviderName::of("openai"), RUN, true);
    for (event, data) in [
        ("thread.run.created", r#"{"id":"run_1","object":"thread.run","status":"queued","model":"m-1","thread_id":"thread_1"}"#),
        ("thread.run.step.created", r#"{"id":"step_1","object":"thread.run.step","status":"in_progress"}"#),
        ("thread.message.delta", r#"{"id":"msg_1","delta":{"content":[{"index":0,"type":"text","text":{"value":"Hel"}}]}}"#),
        ("thread.message.delta", r#"{"id":"msg_1","delta":{"content":[{"index":0,"type":"text","text":{"value":"lo"}}]}}"#),
        ("thread.run.completed", DONE),
        ("done", "[DONE]"),
    ] {
        OpenAiAssistants.chunk(&StreamFrame { event: Some(event), data: data.as_bytes() }, &mut call);
    }
    assert!(call.is_finished());
    let call = call.build(CallFrame::default(), Ending::Seen);
    assert_eq!(call.content.output_messages[0].parts, [Part::Text { content: "Hello".into() }]);
    assert_eq!((call.usage.output_tokens, call.usage.cache_read_input_tokens), (Some(5), Some(8)));
    assert_eq!(call.response.finish_reasons, ["completed"]);
    assert_eq!((call.request.conversation_id.as_deref(), call.request.agent_id.as_deref()), (Some("thread_1"), Some("asst_1")));
}

#[test]
fn a_run_that_waits_for_its_tools_names_them() {
    let call = fetched(
        r#"{"id":"run_1","object":"thread.run","status":"requires_action","required_action":{"type":"submit_tool_outputs","submit_tool_outputs":{"tool_calls":[{"id":"call_1","type":"function","function":{"name":"now","arguments":"{}"}}]}}}"#,
    );
    let want = Part::ToolCall { id: Some("call_1".into()), name: "now".into(), arguments: Some(serde_json::json!({})) };
    assert_eq!(call.content.output_messages[0].parts, [want]);
}

#[test]
fn a_run_that_failed_says_why() {
    let call = fetched(
        r#"{"id":"run_1","object":"thread.run","status":"failed","last_error":{"code":"rate_limit_exceeded","message":"slow down"}}"#,
    );
    assert_eq!(call.outcome.error_type.as_deref(), Some("rate_limit_exceeded"));
}

#[test]
fn hostile_runs_say_nothing() {
    for body in [
        r#"{"object":"list","data":[],"usage":{"prompt_tokens":1}}"#,
        r#"{"usage":{"prompt_tokens":-1,"completion_tokens":"x"},"required_action":7}"#,
        "[]",
    ] {
        assert!(fetched(body).usage.is_absent(), "{body}");
    }
}
