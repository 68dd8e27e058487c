//! The reduced list for guest kernels: a call, a stream, the 4 MB prompt. Runs on the host as well.

use a11i_tests::{
    agent::AgentOptions,
    provider_stub::Options,
    requirement,
    workload::{
        c_client::{RawTls, post},
        curl::{chat, chat_stream},
        python::{Python, Script},
    },
};
use serde_json::json;

use crate::scene::{OPENAI_CHAT, Scene};

async fn scene() -> Option<Scene> {
    Scene::set_with(Options::default(), AgentOptions::guest()).await
}

#[tokio::test]
async fn guest_a_call() {
    let Some(scene) = scene().await else { return };
    let Some(curl) = scene.curl() else { return };
    let done = curl.header("x-stub-input-tokens", "1234").post(OPENAI_CHAT, &chat("gpt-4o-mini", "hello")).run().await;
    assert!(done.output.status.success(), "{done:?}");
    scene.calls_are_reported(done.pid).await;
}

#[tokio::test]
async fn guest_a_stream() {
    let Some(scene) = scene().await else { return };
    let Some(curl) = scene.curl() else { return };
    let done = curl.header("x-stub-chunks", "20").post(OPENAI_CHAT, &chat_stream("gpt-4o-mini", "hello")).run().await;
    assert!(done.output.status.success(), "{done:?}");
    scene.calls_are_reported(done.pid).await;
}

#[tokio::test]
async fn guest_a_call_and_a_stream_of_python() {
    let Some(scene) = scene().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::OpenAiSync, &scene.stub);
    let pid = program.pid;
    program.run_one(&json!({"api": "chat"})).await;
    program.run_one(&json!({"api": "chat", "stream": true})).await;
    program.finish().await;
    scene.calls_are_reported(pid).await;
}

#[tokio::test]
async fn guest_four_megabytes_in_one_write() {
    let Some(scene) = scene().await else { return };
    let Some(client) = requirement::met(RawTls::compiled().await) else { return };
    let host = "api.openai.com";
    let request = post(host, "/v1/chat/completions", &[], &chat("gpt-4.1", &"tokens ".repeat(600_000)));
    let done = client.send(&scene.stub, host, &request, &[]).await;
    assert_eq!(done.writes, 1);
    scene.calls_are_reported(done.pid).await;
}
