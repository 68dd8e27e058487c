//! Megabytes in one `SSL_write`, as the very first thing on a connection.

use a11i_tests::{
    requirement,
    workload::{
        c_client::{RawTls, post},
        curl::chat,
        python::{Python, Script},
    },
};
use serde_json::json;

use crate::scene::Scene;

const HOST: &str = "api.openai.com";

async fn four_megabytes(options: &[&str], blocks: bool) {
    let Some(scene) = Scene::set().await else { return };
    let Some(client) = requirement::met(RawTls::compiled().await) else { return };
    let request = post(HOST, "/v1/chat/completions", &[], &chat("gpt-4.1", &"tokens ".repeat(600_000)));
    let done = client.send(&scene.stub, HOST, &request, options).await;
    if blocks {
        assert!(done.retries > 0, "the write was meant to block: {}", done.writes);
    } else {
        assert_eq!(done.writes, 1);
    }
    let (calls, _) = scene.calls_are_reported(done.pid).await;
    assert_eq!(calls.first().and_then(|call| call.int("gen_ai.usage.input_tokens")), Some(600_010));
}

#[tokio::test]
async fn in_one_blocking_write() {
    four_megabytes(&[], false).await;
}

#[tokio::test]
async fn in_one_blocking_write_ex() {
    four_megabytes(&["ex"], false).await;
}

#[tokio::test]
async fn in_a_write_that_is_repeated_after_want_write() {
    four_megabytes(&["nonblocking", "sndbuf=16384"], true).await;
}

#[tokio::test]
async fn in_partial_writes_that_are_repeated() {
    four_megabytes(&["nonblocking", "partial", "ex", "sndbuf=16384"], true).await;
}

#[tokio::test]
async fn from_asyncio_python() {
    let Some(scene) = Scene::set().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::OpenAiAsync, &scene.stub);
    let pid = program.pid;
    program.run_one(&json!({"api": "chat", "prompt": "tokens ".repeat(600_000)})).await;
    program.finish().await;
    scene.calls_are_reported(pid).await;
}
