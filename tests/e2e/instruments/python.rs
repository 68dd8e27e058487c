//! The stand-in as the real packages see it.

use a11i_tests::{
    agent::PATIENCE,
    provider_stub::{End, ProviderStub},
    requirement,
    serial::one_at_a_time,
    workload::python::{Python, Script},
};
use serde_json::{Value, json};

use super::assert_client_saw;

const OPENAI: [Script; 2] = [Script::OpenAiSync, Script::OpenAiAsync];
const ANTHROPIC: [Script; 2] = [Script::AnthropicSync, Script::AnthropicAsync];

async fn each(scripts: &[Script], jobs: &[Value]) {
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    for &script in scripts {
        let stub = ProviderStub::start();
        let mut program = python.start(script, &stub);
        for job in jobs {
            let answer = program.run_one(job).await;
            assert_client_saw(&answer, stub.expected().last().unwrap_or_else(|| panic!("{script:?} {job}: nothing arrived: {answer}")));
        }
        program.finish().await;
    }
}

#[tokio::test]
async fn programs_keep_their_connection() {
    let _turn = one_at_a_time();
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    for script in OPENAI.into_iter().chain(ANTHROPIC) {
        let api = if OPENAI.contains(&script) { "chat" } else { "messages" };
        let stub = ProviderStub::start();
        let mut program = python.start(script, &stub);
        // A stream comes last: `openai` hangs up after `[DONE]`, often before the last chunk of the framing is there.
        for job in [json!({"api": "health"}), json!({"api": api}), json!({"api": api, "stream": true})] {
            program.run_one(&job).await;
        }
        program.finish().await;
        let connections: Vec<_> = stub.exchanges().iter().map(|exchange| exchange.connection).collect();
        assert_eq!(connections, [0, 0, 0], "{script:?}");
    }
}

#[tokio::test]
async fn openai_chat_plain_and_streamed() {
    let _turn = one_at_a_time();
    let tool = json!({"x-stub-tool": "get_weather"});
    let jobs = [
        json!({"api": "chat"}),
        json!({"api": "chat", "stream": true, "headers": {"x-stub-chunks": "12", "x-stub-pace-ms": "2"}}),
        json!({"api": "chat", "stream": true, "include_usage": false}),
        json!({"api": "chat", "headers": tool}),
        json!({"api": "chat", "stream": true, "headers": tool}),
        json!({"api": "chat", "headers": {"x-stub-framing": "chunked", "x-stub-encoding": "gzip"}}),
    ];
    each(&OPENAI, &jobs).await;
}

#[tokio::test]
async fn openai_responses_plain_and_streamed() {
    let _turn = one_at_a_time();
    let jobs = [
        json!({"api": "responses", "model": "gpt-5-mini", "headers": {"x-stub-reasoning": "64", "x-stub-cache-read": "4"}}),
        json!({"api": "responses", "model": "gpt-5-mini", "stream": true}),
        json!({"api": "responses", "stream": true, "headers": {"x-stub-tool": "get_weather"}}),
    ];
    each(&OPENAI, &jobs).await;
}

#[tokio::test]
async fn anthropic_messages_plain_and_streamed() {
    let _turn = one_at_a_time();
    let tool = json!({"x-stub-tool": "get_weather"});
    let jobs = [
        json!({"api": "messages"}),
        json!({"api": "messages", "headers": {"x-stub-input-tokens": "1000", "x-stub-cache-read": "600", "x-stub-cache-write": "300"}}),
        json!({"api": "messages", "stream": true, "headers": {"x-stub-encoding": "gzip"}}),
        json!({"api": "messages", "stream": true, "headers": tool}),
    ];
    each(&ANTHROPIC, &jobs).await;
}

#[tokio::test]
async fn concurrent_streams_have_connections_of_their_own_and_exact_answers() {
    let _turn = one_at_a_time();
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let stub = ProviderStub::start();
    let mut program = python.start(Script::OpenAiAsync, &stub);
    let jobs: Vec<Value> = (0..50)
        .map(|n| json!({"api": "chat", "stream": true, "prompt": format!("{n}"), "headers": {"x-stub-chunks": (n + 3).to_string(), "x-stub-pace-ms": "3"}}))
        .collect();
    let answers = program.run(&json!(jobs)).await;
    program.finish().await;
    let expected = stub.expected();
    assert_eq!(expected.len(), 50);
    for answer in &answers {
        let of = expected.iter().find(|expected| json!(expected.response_id) == *answer.get("id").unwrap_or(&Value::Null));
        assert_client_saw(answer, of.unwrap_or_else(|| panic!("{answer} was not sent")));
    }
}

#[tokio::test]
async fn errors_are_the_packages_own_exceptions() {
    let _turn = one_at_a_time();
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let stub = ProviderStub::start();
    let mut program = python.start(Script::OpenAiSync, &stub);
    for (fault, class) in [("status=401", "AuthenticationError"), ("status=429", "RateLimitError"), ("status=500", "InternalServerError")] {
        let answer = program.run_one(&json!({"api": "chat", "headers": {"x-stub-fault": fault}})).await;
        assert_eq!(answer.get("error"), Some(&json!(class)), "{answer}");
    }
    let answer = program.run_one(&json!({"api": "chat", "stream": true, "headers": {"x-stub-fault": "error-in-stream=1"}})).await;
    assert_eq!(answer.get("error"), Some(&json!("APIError")), "{answer}");
    let answer = program.run_one(&json!({"api": "chat", "stream": true, "headers": {"x-stub-fault": "cut=2"}})).await;
    assert!(answer.get("error").is_some(), "{answer}");
    program.finish().await;
}

#[tokio::test]
async fn a_stream_given_up_in_the_middle_is_abandoned() {
    let _turn = one_at_a_time();
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    for script in OPENAI {
        let stub = ProviderStub::start();
        let mut program = python.start(script, &stub);
        let job = json!({"api": "chat", "stream": true, "abort_after": 3, "headers": {"x-stub-chunks": "5000", "x-stub-pace-ms": "5"}});
        let answer = program.run_one(&job).await;
        assert_eq!(answer.get("aborted"), Some(&json!("close")), "{answer}");
        program.finish().await;
        let ended = async {
            while stub.exchanges().iter().any(|exchange| exchange.end == End::Open) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the stand-in notices");
        let end = stub.exchanges().pop().expect("one exchange").end;
        assert!(matches!(end, End::Abandoned { .. }), "{script:?}: {end:?}");
    }
}

#[tokio::test]
async fn aiohttp_without_any_package() {
    let _turn = one_at_a_time();
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let stub = ProviderStub::start();
    let mut program = python.start(Script::Aiohttp, &stub);
    let answer = program.run_one(&json!({})).await;
    assert_eq!(answer.get("id"), Some(&json!(stub.expected().pop().expect("one exchange").response_id)), "{answer}");
    let answer = program.run_one(&json!({"stream": true})).await;
    assert_eq!(answer.get("events"), Some(&json!(9)), "role, five words, finish, usage, [DONE]: {answer}");
    program.finish().await;
}
