//! WebSocket: one connection, many calls, each reported exactly; deflated as real clients do.

use a11i_tests::{
    observed::ObservedCall,
    requirement,
    workload::python::{Python, Script},
};
use serde_json::{Value, json};

use crate::scene::Scene;

/// Runs the jobs on one connection of a new process; what the client saw of each, and what the agent reported.
async fn talk(scene: Scene, jobs: &[Value]) -> Option<(Vec<Value>, Vec<ObservedCall>)> {
    let python = requirement::met(Python::with_packages().await)?;
    let mut program = python.start(Script::WebSockets, &scene.stub);
    let pid = program.pid;
    let mut seen = Vec::new();
    for job in jobs {
        seen.push(program.run_one(job).await);
    }
    program.finish().await;
    let connections: Vec<u64> = scene.stub.exchanges().iter().map(|exchange| exchange.connection).collect();
    assert!(connections.windows(2).all(|pair| pair[0] == pair[1]), "one connection: {connections:?}");
    let (calls, _) = scene.calls_are_reported(pid).await;
    Some((seen, calls))
}

#[tokio::test]
async fn realtime_responses_of_one_connection_are_exact() {
    let Some(scene) = Scene::set().await else { return };
    let headers = json!({"x-stub-chunks": "40", "x-stub-cache-read": "3"});
    let job = |prompt: &str| json!({"api": "realtime", "headers": headers, "prompt": prompt});
    let jobs = [job("one two three"), job("four"), json!({"api": "realtime", "speak": true}), job("five six")];
    let Some((seen, calls)) = talk(scene, &jobs).await else { return };
    assert_eq!(calls.len(), 4);
    for (seen, call) in seen.iter().zip(&calls) {
        assert_eq!(seen.get("id").and_then(Value::as_str), call.response_id(), "{seen}");
        assert_eq!(seen.pointer("/usage/input_tokens").and_then(Value::as_u64), call.int("gen_ai.usage.input_tokens"));
        assert_eq!(call.int("gen_ai.usage.output_tokens"), Some(40));
        assert_eq!(call.int("gen_ai.usage.cache_read.input_tokens"), Some(3));
        assert!(call.attribute("a11i.response.time_to_first_token").is_some(), "{call:#?}");
    }
    // A call ends before the next begins: each has its own times.
    assert!(calls.windows(2).all(|pair| pair[0].end_time_unix_nano <= pair[1].start_time_unix_nano), "{calls:#?}");
}

#[tokio::test]
async fn responses_over_a_websocket_are_exact() {
    let Some(scene) = Scene::set().await else { return };
    let headers = json!({"x-stub-chunks": "20", "x-stub-reasoning": "5"});
    let long = "many words ".repeat(40_000);
    let job = |prompt: &str| json!({"api": "responses", "headers": headers, "prompt": prompt, "model": "gpt-5-mini"});
    let Some((_, calls)) = talk(scene, &[job("hello there"), job(&long), job("and again")]).await else { return };
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.int("gen_ai.usage.reasoning.output_tokens") == Some(5)), "{calls:#?}");
}

#[tokio::test]
async fn a_tool_call_without_compression_is_exact() {
    let Some(scene) = Scene::set().await else { return };
    let job = json!({"api": "realtime", "deflate": false, "headers": {"x-stub-tool": "get_weather"}});
    let Some((_, calls)) = talk(scene, &[job.clone(), job]).await else { return };
    assert_eq!(calls.len(), 2);
}

#[tokio::test]
async fn a_refused_handshake_and_a_connection_that_breaks_are_failures() {
    let Some(scene) = Scene::set().await else { return };
    let Some((seen, calls)) = talk(scene, &[json!({"api": "realtime", "headers": {"x-stub-fault": "status=429"}})]).await else { return };
    assert_eq!(seen[0].get("status"), Some(&json!(429)));
    assert_eq!(calls.len(), 1);
    let Some(scene) = Scene::set().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::WebSockets, &scene.stub);
    let pid = program.pid;
    program.run_one(&json!({"api": "realtime", "headers": {"x-stub-fault": "cut=3"}})).await;
    program.finish().await;
    let calls = scene.agent.calls_of(pid, 1).await;
    assert_eq!(calls[0].text("error.type"), Some("cancelled"), "{calls:#?}");
    assert_eq!(calls[0].attribute("gen_ai.response.finish_reasons"), Some(&json!(["error"])), "{calls:#?}");
    scene.agent.stop().await;
}
