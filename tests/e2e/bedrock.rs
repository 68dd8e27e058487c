//! AWS Bedrock through boto3: the model in the path, AWS event streams, failures in heads and within streams.

use a11i_tests::{
    requirement,
    workload::python::{Python, Script},
};
use serde_json::{Value, json};

use crate::scene::{Scene, assert_whole};

const MODEL: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";

/// Runs the jobs in one new program; every answer is what the stand-in gave, and every call is reported exactly.
async fn are_reported(jobs: &[Value]) {
    let Some(scene) = Scene::set().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::Bedrock, &scene.stub);
    let pid = program.pid;
    for job in jobs {
        let answer = program.run_one(job).await;
        let expected = scene.stub.expected().pop().expect("the stand-in was asked");
        if expected.error_types.is_empty() {
            assert_eq!(answer.get("text"), Some(&json!(expected.text)), "{answer}");
            assert_eq!(answer.get("finish"), expected.finish_reasons.first().map(|reason| json!(reason)).as_ref(), "{answer}");
        } else {
            assert_eq!(answer.get("code"), expected.error_types.first().map(|kind| json!(kind)).as_ref(), "{answer}");
        }
    }
    program.finish().await;
    // Converse gives no ids: in order.
    let expected = scene.stub.expected();
    let mut calls = scene.agent.calls_of(pid, expected.len()).await;
    scene.agent.stop().await;
    calls.sort_by_key(|call| call.start_time_unix_nano);
    assert_eq!(calls.len(), expected.len(), "{calls:#?}");
    for (expected, call) in expected.iter().zip(&calls) {
        expected.assert_reported_as(call);
        assert_whole(call);
    }
}

#[tokio::test]
async fn converse_is_reported_exactly_whole_and_streamed() {
    let cached =
        json!({"x-stub-input-tokens": "900", "x-stub-cache-read": "500", "x-stub-cache-write": "100", "x-stub-output-tokens": "77"});
    are_reported(&[
        json!({"api": "converse", "model": MODEL}),
        json!({"api": "converse", "model": MODEL, "stream": true, "headers": cached}),
        json!({"api": "converse", "model": "amazon.nova-pro-v1:0", "headers": cached}),
        json!({"api": "converse", "model": MODEL, "headers": {"x-stub-tool": "get_weather"}}),
        json!({"api": "converse", "model": MODEL, "stream": true, "headers": {"x-stub-tool": "get_weather"}}),
    ])
    .await;
}

#[tokio::test]
async fn invoked_models_are_reported_exactly_whole_and_streamed() {
    let cached = json!({"x-stub-input-tokens": "900", "x-stub-cache-read": "500", "x-stub-cache-write": "100", "x-stub-chunks": "50"});
    are_reported(&[
        json!({"api": "invoke", "model": MODEL}),
        json!({"api": "invoke", "model": MODEL, "stream": true}),
        json!({"api": "invoke", "model": MODEL, "headers": cached}),
        json!({"api": "invoke", "model": MODEL, "stream": true, "headers": cached}),
    ])
    .await;
}

#[tokio::test]
async fn failures_of_heads_and_of_streams_are_reported_by_their_type() {
    are_reported(&[
        json!({"api": "converse", "model": MODEL, "headers": {"x-stub-fault": "status=429"}}),
        json!({"api": "invoke", "model": MODEL, "headers": {"x-stub-fault": "status=403"}}),
        json!({"api": "converse", "model": MODEL, "stream": true, "headers": {"x-stub-fault": "error-in-stream=2"}}),
        json!({"api": "invoke", "model": MODEL, "stream": true, "headers": {"x-stub-fault": "error-in-stream=2"}}),
    ])
    .await;
}
