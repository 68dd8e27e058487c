//! HTTP/2 without TLS (RFC 9113 section 3.3), as gRPC and inference servers behind a mesh speak it.

use a11i_tests::{
    agent::AgentOptions,
    requirement,
    workload::{
        curl::{Curl, chat, chat_stream},
        python::{Python, Script},
    },
};
use serde_json::json;

use super::{LocalScene, Way};
use crate::http2::eight_jobs;

const URL: &str = "http://api.openai.com/v1/chat/completions";

/// A call and a stream, of a curl each: some versions begin HTTP/2 anew on a connection that they use again.
async fn by_curl(protocol: &str, version: &str) {
    let Some(scene) = LocalScene::set(AgentOptions::default()).await else { return };
    for body in [chat("gpt-4o-mini", "hi there"), chat_stream("gpt-4o-mini", "hi there")] {
        let Some(curl) = requirement::met(Curl::to(&scene.stub)) else { return };
        let curl = curl.arg("--connect-to").arg(format!("api.openai.com:80:127.0.0.1:{}", scene.stub.plaintext().port));
        let done = curl.arg(protocol).arg("--write-out").arg("%{http_version}").post(URL, &body).run().await;
        assert!(done.output.status.success() && done.text().ends_with(version), "{done:?}");
        let expected = scene.stub.expected().pop().expect("it was answered");
        scene.both_ends(Way::V4, done.pid, &expected).await;
    }
    scene.agent.stop().await;
}

#[tokio::test]
async fn calls_by_prior_knowledge_are_reported_at_both_ends() {
    by_curl("--http2-prior-knowledge", "2").await;
}

#[tokio::test]
async fn calls_that_offer_an_upgrade_which_the_server_leaves_are_reported() {
    by_curl("--http2", "1.1").await;
}

#[tokio::test]
async fn streams_of_one_connection_are_told_apart_at_both_ends() {
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let Some(scene) = LocalScene::set(AgentOptions::default()).await else { return };
    let port = scene.stub.plaintext().port.to_string();
    let mut program = python.start_with(Script::HttpxHttp2, &scene.stub, &[("CLEAR_TEXT_PORT", port)]);
    let pid = program.pid;
    for _ in 0..2 {
        let answers = program.run(&eight_jobs()).await;
        assert!(answers.iter().all(|answer| answer.get("version") == Some(&json!("HTTP/2"))), "{answers:#?}");
    }
    program.finish().await;
    let connections: Vec<u64> = scene.stub.exchanges().iter().map(|exchange| exchange.connection).collect();
    assert!(connections.len() == 16 && connections.iter().all(|of| Some(of) == connections.first()), "one connection: {connections:?}");
    for expected in &scene.stub.expected() {
        scene.both_ends(Way::V4, pid, expected).await;
    }
    scene.agent.stop().await;
}

#[tokio::test]
async fn bytes_of_another_request_that_look_like_tls_hide_no_call_behind_them() {
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let Some(scene) = LocalScene::set(AgentOptions::default()).await else { return };
    let mut program = python.start(Script::Http2Pieces, &scene.stub);
    let pid = program.pid;
    program.run_one(&json!({"port": scene.stub.plaintext().port, "prompt": "hi there"})).await;
    program.finish().await;
    let expected = scene.stub.expected().pop().expect("it was answered");
    scene.both_ends(Way::V4, pid, &expected).await;
    scene.agent.stop().await;
}
