//! Streams that do not reach their end: the client leaves, or the provider's connection breaks.

use a11i_tests::{
    observed::ObservedCall,
    requirement,
    workload::{
        curl::chat_stream,
        python::{Python, Script},
    },
};
use serde_json::{Value, json};

use crate::scene::{OPENAI_CHAT, Scene};

/// A stream without its end: `error` stands where the finish reason was expected, and the tokens are an estimate.
#[track_caller]
fn assert_cut(call: &ObservedCall) {
    assert_eq!(call.attribute("gen_ai.response.finish_reasons"), Some(&json!(["error"])), "{call:#?}");
    assert_eq!(call.attribute("gen_ai.request.stream"), Some(&json!(true)), "{call:#?}");
    assert_eq!(call.text("a11i.usage.source"), Some("estimated"), "{call:#?}");
    assert!(call.int("gen_ai.usage.output_tokens").is_some_and(|tokens| tokens > 0), "{call:#?}");
    assert!(call.int("gen_ai.usage.input_tokens").is_some_and(|tokens| tokens > 0), "{call:#?}");
    assert_eq!(call.text("gen_ai.response.model"), Some("gpt-4o-mini-2024-07-18"), "{call:#?}");
}

/// When a call that nobody reads on is known to be over.
#[derive(PartialEq)]
enum Known {
    AtOnce,
    /// The program keeps the TLS session in memory after it has closed its socket: only its end tells.
    AtItsEnd,
}

async fn given_up(script: Script, abort: &str, known: Known) {
    let Some(scene) = Scene::set().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(script, &scene.stub);
    let headers = json!({"x-stub-chunks": "2000", "x-stub-pace-ms": "10"});
    let answer = program.run_one(&json!({"api": "chat", "stream": true, "abort": abort, "abort_after": 8, "headers": headers})).await;
    assert_eq!(answer.get("aborted"), Some(&json!(abort)), "{answer}");
    let pid = program.pid;
    let running = if known == Known::AtOnce {
        Some(program)
    } else {
        program.finish().await;
        None
    };
    let calls = scene.agent.calls_of(pid, 1).await;
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    assert_cut(call);
    assert_eq!(call.response_id(), scene.stub.expected().first().and_then(|expected| expected.response_id.as_deref()));
    if let Some(program) = running {
        program.finish().await;
    }
    scene.agent.stop().await;
}

#[tokio::test]
async fn a_synchronous_program_closes_its_stream() {
    given_up(Script::OpenAiSync, "close", Known::AtOnce).await;
}

#[tokio::test]
async fn an_asyncio_program_closes_its_stream() {
    given_up(Script::OpenAiAsync, "close", Known::AtItsEnd).await;
}

#[tokio::test]
async fn a_program_ends_in_the_middle_of_its_stream() {
    given_up(Script::OpenAiSync, "exit", Known::AtOnce).await;
}

#[tokio::test]
async fn a_killed_client_leaves_a_span() {
    let Some(scene) = Scene::set().await else { return };
    let Some(curl) = scene.curl() else { return };
    let curl = curl.header("x-stub-chunks", "2000").header("x-stub-pace-ms", "10");
    let mut child = curl.post(OPENAI_CHAT, &chat_stream("gpt-4o-mini", "hello")).start().await;
    let pid = child.id().expect("curl runs");
    let mut output = tokio::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut seen = String::new();
    while !seen.contains("word4") {
        tokio::io::AsyncBufReadExt::read_line(&mut output, &mut seen).await.expect("curl writes text");
    }
    child.kill().await.expect("curl runs");
    let calls = scene.agent.calls_of(pid, 1).await;
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    assert_cut(call);
    scene.agent.stop().await;
}

#[tokio::test]
async fn a_connection_that_the_provider_drops_in_mid_stream() {
    let Some(scene) = Scene::set().await else { return };
    let Some(curl) = scene.curl() else { return };
    let done = curl.header("x-stub-fault", "cut=4").post(OPENAI_CHAT, &chat_stream("gpt-4o-mini", "hello")).run().await;
    assert!(!done.output.status.success(), "curl notices: {done:?}");
    let calls = scene.agent.calls_of(done.pid, 1).await;
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    assert_cut(call);
    let finished = scene.agent.stop().await;
    assert_eq!(finished.calls.iter().filter(|call| call.pid() == Some(done.pid)).count(), 1);
}

#[tokio::test]
async fn a_call_that_is_open_when_the_agent_stops_is_not_lost() {
    let Some(scene) = Scene::set().await else { return };
    let Some(curl) = scene.curl() else { return };
    let curl = curl.header("x-stub-chunks", "2000").header("x-stub-pace-ms", "10");
    let mut child = curl.post(OPENAI_CHAT, &chat_stream("gpt-4o-mini", "hello")).start().await;
    let pid = child.id().expect("curl runs");
    let mut output = tokio::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut seen = String::new();
    while !seen.contains("word4") {
        tokio::io::AsyncBufReadExt::read_line(&mut output, &mut seen).await.expect("curl writes text");
    }
    let finished = scene.agent.stop().await;
    let calls: Vec<&Value> =
        finished.calls.iter().filter(|call| call.pid() == Some(pid)).filter_map(|call| call.attribute("gen_ai.request.model")).collect();
    assert_eq!(calls, [&json!("gpt-4o-mini")], "drained at the end: {}", finished.log);
    child.kill().await.expect("curl works on without the agent");
}
