//! Gemini through google-genai: the model in the path, usage in every event, both halves of the client.

use a11i_tests::{
    requirement,
    workload::python::{Python, Script},
};
use serde_json::{Value, json};

use crate::scene::Scene;

const MODEL: &str = "gemini-2.5-flash";

/// Runs the jobs in one new program; every answer is what the stand-in gave, and every call is reported exactly.
async fn are_reported(jobs: &[Value]) {
    let Some(scene) = Scene::set().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::GoogleGenai, &scene.stub);
    let pid = program.pid;
    for job in jobs {
        let answer = program.run_one(job).await;
        let expected = scene.stub.expected().pop().unwrap_or_else(|| panic!("the stand-in was asked: {answer}"));
        if expected.error_types.is_empty() {
            assert_eq!(answer.get("text"), Some(&json!(expected.text)), "{answer}");
            assert_eq!(answer.get("id"), Some(&json!(expected.response_id)), "{answer}");
            assert_eq!(answer.get("tools"), Some(&json!(expected.tools)), "{answer}");
            assert_eq!(answer.get("finish"), Some(&json!("STOP")), "{answer}");
        } else {
            assert_eq!(answer.get("code"), expected.error_types.first().map(|kind| json!(kind)).as_ref(), "{answer}");
        }
    }
    program.finish().await;
    scene.calls_are_reported(pid).await;
}

/// The same jobs for the blocking and for the asyncio half.
fn both_halves(jobs: &[Value]) -> Vec<Value> {
    let of_half = |asyncio: bool| {
        jobs.iter().map(move |job| {
            let mut job = job.clone();
            if let Some(fields) = job.as_object_mut() {
                fields.insert("asyncio".to_owned(), json!(asyncio));
            }
            job
        })
    };
    of_half(false).chain(of_half(true)).collect()
}

#[tokio::test]
async fn calls_and_streams_are_reported_exactly() {
    let thinking = json!({"x-stub-input-tokens": "900", "x-stub-cache-read": "500", "x-stub-reasoning": "40", "x-stub-chunks": "30"});
    are_reported(&both_halves(&[
        json!({"model": MODEL}),
        json!({"model": MODEL, "stream": true}),
        json!({"model": "gemini-2.5-pro", "headers": thinking}),
        json!({"model": "gemini-2.5-pro", "stream": true, "headers": thinking}),
        json!({"model": MODEL, "headers": {"x-stub-encoding": "gzip"}}),
        json!({"model": MODEL, "stream": true, "headers": {"x-stub-encoding": "gzip"}}),
    ]))
    .await;
}

#[tokio::test]
async fn function_calls_are_reported_whole_and_streamed() {
    let headers = json!({"x-stub-tool": "get_weather"});
    are_reported(&both_halves(&[json!({"model": MODEL, "headers": headers}), json!({"model": MODEL, "stream": true, "headers": headers})]))
        .await;
}

#[tokio::test]
async fn refusals_and_failures_within_streams_are_reported_by_their_status() {
    are_reported(&both_halves(&[
        json!({"model": MODEL, "headers": {"x-stub-fault": "status=400"}}),
        json!({"model": MODEL, "stream": true, "headers": {"x-stub-fault": "status=403"}}),
        json!({"model": MODEL, "stream": true, "headers": {"x-stub-fault": "error-in-stream=2"}}),
    ]))
    .await;
}
