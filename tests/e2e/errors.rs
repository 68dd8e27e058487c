//! Calls that the provider refuses or breaks off.

use a11i_tests::{
    requirement,
    workload::{
        curl::{chat, message},
        python::{Python, Script},
    },
};
use serde_json::json;

use crate::scene::{ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES, Scene};

#[tokio::test]
async fn refused_calls_are_spans_with_their_error_and_no_usage() {
    let Some(scene) = Scene::set().await else { return };
    let mut pids = Vec::new();
    for (url, status) in [
        (OPENAI_CHAT, 401),
        (OPENAI_CHAT, 429),
        (OPENAI_RESPONSES, 400),
        (OPENAI_CHAT, 500),
        (ANTHROPIC_MESSAGES, 401),
        (ANTHROPIC_MESSAGES, 529),
    ] {
        let Some(curl) = scene.curl() else { return };
        let body = if url == ANTHROPIC_MESSAGES { message("claude-haiku-4-5", "hi", false) } else { chat("gpt-4o-mini", "hi") };
        pids.push(curl.header("x-stub-fault", &format!("status={status}")).post(url, &body).run().await.pid);
    }
    for (pid, expected) in pids.iter().zip(scene.stub.expected()) {
        let calls = scene.agent.calls_of(*pid, 1).await;
        let [call] = &calls[..] else { panic!("{calls:#?}") };
        expected.assert_reported_as(call);
        // Nothing was consumed, and nothing is made up.
        assert_eq!(call.attribute("gen_ai.usage.output_tokens"), None, "{call:#?}");
        assert_eq!(call.attribute("a11i.cost.usd"), None, "{call:#?}");
    }
    scene.agent.stop().await;
}

#[tokio::test]
async fn the_packages_own_retry_is_two_calls() {
    let Some(scene) = Scene::set().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::OpenAiSync, &scene.stub);
    let pid = program.pid;
    let answer = program.run_one(&json!({"api": "chat", "headers": {"x-stub-fault": "status=429"}})).await;
    assert_eq!(answer.get("error"), Some(&json!("RateLimitError")), "{answer}");
    program.run_one(&json!({"api": "chat"})).await;
    program.finish().await;
    scene.calls_are_reported(pid).await;
}

#[tokio::test]
async fn an_error_inside_a_stream_that_began_well() {
    let Some(scene) = Scene::set().await else { return };
    let mut pids = Vec::new();
    let responses = json!({"model": "gpt-5-mini", "stream": true, "input": "hello"});
    for (url, body) in [(ANTHROPIC_MESSAGES, message("claude-haiku-4-5", "hi", true)), (OPENAI_RESPONSES, responses)] {
        let Some(curl) = scene.curl() else { return };
        pids.push(curl.header("x-stub-fault", "error-in-stream=3").post(url, &body).run().await.pid);
    }
    for (pid, expected) in pids.iter().zip(scene.stub.expected()) {
        let calls = scene.agent.calls_of(*pid, 1).await;
        let [call] = &calls[..] else { panic!("{calls:#?}") };
        expected.assert_reported_as(call);
    }
    scene.agent.stop().await;
}
