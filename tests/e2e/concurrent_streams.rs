//! Many streams at once in one process.

use a11i_tests::{
    requirement,
    workload::python::{Python, Script},
};
use serde_json::{Value, json};

use crate::scene::Scene;

#[tokio::test]
async fn fifty_streams_of_one_asyncio_process_keep_their_numbers_apart() {
    let Some(scene) = Scene::set().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::OpenAiAsync, &scene.stub);
    let pid = program.pid;
    let jobs: Vec<Value> = (0..50)
        .map(|n| {
            let headers =
                json!({"x-stub-chunks": (n + 3).to_string(), "x-stub-pace-ms": "5", "x-stub-input-tokens": (1000 + n).to_string()});
            json!({"api": "chat", "stream": true, "prompt": format!("stream {n}"), "headers": headers})
        })
        .collect();
    let answers = program.run(&json!(jobs)).await;
    assert!(answers.iter().all(|answer| answer.get("error").is_none()), "{answers:#?}");
    program.finish().await;
    let (calls, _) = scene.calls_are_reported(pid).await;
    let mut inputs: Vec<_> = calls.iter().filter_map(|call| call.int("gen_ai.usage.input_tokens")).collect();
    inputs.sort_unstable();
    assert_eq!(inputs, (1000..1050).collect::<Vec<u64>>());
}
