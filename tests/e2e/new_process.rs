//! A process that starts after the agent: its first call is seen whole.

use std::path::Path;

use a11i_tests::{
    requirement,
    workload::{
        curl::{chat, chat_stream, message},
        python::{Python, Script},
    },
};
use serde_json::{Value, json};

use crate::scene::{ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES, Scene, assert_cost};

#[tokio::test]
async fn curl_chat_is_reported_with_exact_tokens_and_cost() {
    let Some(scene) = Scene::set().await else { return };
    let Some(curl) = scene.curl() else { return };
    let curl = curl.header("x-stub-input-tokens", "1000").header("x-stub-output-tokens", "200").header("x-stub-cache-read", "400");
    let done = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "hello")).run().await;
    assert!(done.output.status.success(), "{done:?}");
    let (calls, _) = scene.calls_are_reported(done.pid).await;
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    // 600 at 0.15, 400 cached at 0.075, 200 at 0.60 dollars for a million
    assert_cost(call, 0.00024);
    assert_eq!(call.int("server.port"), Some(443), "{call:#?}");
    assert_eq!(call.resource.get("process.executable.name"), Some(&json!("curl")), "{call:#?}");
    assert!(call.resource.get("process.creation.time").is_some_and(Value::is_string), "{call:#?}");
    assert!(call.resource.get("service.name").and_then(Value::as_str).is_some_and(|name| name.contains("curl")), "{call:#?}");
}

#[tokio::test]
async fn curl_streams_are_reported_for_every_api() {
    let Some(scene) = Scene::set().await else { return };
    let responses = json!({"model": "gpt-5-mini", "stream": true, "input": "hello there"});
    let requests = [
        (OPENAI_CHAT, chat_stream("gpt-4o-mini", "hello")),
        (OPENAI_RESPONSES, responses),
        (ANTHROPIC_MESSAGES, message("claude-haiku-4-5", "hello", true)),
    ];
    let mut pids = Vec::new();
    for (url, body) in &requests {
        let Some(curl) = scene.curl() else { return };
        let done = curl.header("x-stub-chunks", "20").header("x-stub-pace-ms", "5").post(url, body).run().await;
        assert!(done.output.status.success(), "{done:?}");
        pids.push(done.pid);
    }
    let expected = scene.stub.expected();
    for (pid, expected) in pids.iter().zip(&expected) {
        let calls = scene.agent.calls_of(*pid, 1).await;
        let [call] = &calls[..] else { panic!("{calls:#?}") };
        expected.assert_reported_as(call);
        crate::scene::assert_whole(call);
        assert_first_chunk_is_inside(call);
    }
    scene.agent.stop().await;
}

/// The time to the first chunk is there, and lies between start and end.
#[track_caller]
fn assert_first_chunk_is_inside(call: &a11i_tests::observed::ObservedCall) {
    let seconds = |name: &str| call.attribute(name).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {name} in {call:#?}"));
    #[expect(clippy::cast_precision_loss, reason = "a call is shorter than 2^53 ns")]
    let whole = (call.end_time_unix_nano - call.start_time_unix_nano) as f64 / 1e9;
    let (chunk, token) = (seconds("gen_ai.response.time_to_first_chunk"), seconds("a11i.response.time_to_first_token"));
    assert!(0.0 < chunk && chunk <= token && token <= whole, "0 < {chunk} <= {token} <= {whole}: {call:#?}");
}

#[tokio::test]
async fn no_container_id_is_made_up() {
    let Some(scene) = Scene::set().await else { return };
    let Some(curl) = scene.curl() else { return };
    let done = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "hello")).run().await;
    let (calls, _) = scene.calls_are_reported(done.pid).await;
    let own_cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for call in &calls {
        let container = call.resource.get("container.id").and_then(Value::as_str);
        // No id is made up: one that is reported stands in the cgroup path that curl inherited from this test.
        assert!(container.is_none_or(|id| own_cgroup.contains(id)), "{container:?} is not in {own_cgroup}");
    }
    assert!(Path::new("/proc").join(done.pid.to_string()).metadata().is_err(), "the process is over, and was identified all the same");
}

fn openai_jobs() -> [Value; 6] {
    [
        json!({"api": "chat", "headers": {"x-stub-input-tokens": "1234", "x-stub-output-tokens": "56"}}),
        json!({"api": "chat", "stream": true, "headers": {"x-stub-chunks": "30", "x-stub-pace-ms": "3"}}),
        json!({"api": "chat", "stream": true, "headers": {"x-stub-tool": "get_weather"}}),
        json!({"api": "chat", "headers": {"x-stub-framing": "chunked"}}),
        json!({"api": "responses", "model": "gpt-5-mini", "headers": {"x-stub-reasoning": "64", "x-stub-cache-read": "4"}}),
        json!({"api": "responses", "model": "gpt-5-mini", "stream": true}),
    ]
}

fn anthropic_jobs() -> [Value; 4] {
    let cache = json!({"x-stub-input-tokens": "1000", "x-stub-cache-read": "600", "x-stub-cache-write": "300"});
    [
        json!({"api": "messages"}),
        json!({"api": "messages", "headers": cache}),
        json!({"api": "messages", "stream": true, "headers": {"x-stub-chunks": "30", "x-stub-pace-ms": "3"}}),
        json!({"api": "messages", "stream": true, "headers": {"x-stub-tool": "get_weather"}}),
    ]
}

#[tokio::test]
async fn openai_sync() {
    let Some(scene) = Scene::set().await else { return };
    scene.python_jobs_are_reported(Script::OpenAiSync, &openai_jobs()).await;
}

#[tokio::test]
async fn openai_asyncio() {
    let Some(scene) = Scene::set().await else { return };
    scene.python_jobs_are_reported(Script::OpenAiAsync, &openai_jobs()).await;
}

#[tokio::test]
async fn anthropic_sync() {
    let Some(scene) = Scene::set().await else { return };
    scene.python_jobs_are_reported(Script::AnthropicSync, &anthropic_jobs()).await;
}

#[tokio::test]
async fn anthropic_asyncio() {
    let Some(scene) = Scene::set().await else { return };
    scene.python_jobs_are_reported(Script::AnthropicAsync, &anthropic_jobs()).await;
}

#[tokio::test]
async fn aiohttp_without_any_package() {
    let Some(scene) = Scene::set().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::Aiohttp, &scene.stub);
    let pid = program.pid;
    program.run_one(&json!({})).await;
    program.run_one(&json!({"stream": true, "headers": {"x-stub-chunks": "30", "x-stub-pace-ms": "3"}})).await;
    program.finish().await;
    scene.calls_are_reported(pid).await;
}

#[tokio::test]
async fn anthropic_cost_counts_the_cache_apart() {
    let Some(scene) = Scene::set().await else { return };
    let Some(curl) = scene.curl() else { return };
    let curl = curl.header("x-stub-input-tokens", "1000").header("x-stub-cache-read", "600").header("x-stub-cache-write", "300");
    let done = curl.header("x-stub-output-tokens", "200").post(ANTHROPIC_MESSAGES, &message("claude-haiku-4-5", "hi", false)).run().await;
    let (calls, _) = scene.calls_are_reported(done.pid).await;
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    // 100 at 1, 600 read at 0.10, 300 written at 1.25, 200 out at 5 dollars for a million
    assert_cost(call, 0.001_535);
}
