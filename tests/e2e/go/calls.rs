//! Calls of new and of running programs, however they are linked.

use a11i_tests::{
    agent::Agent,
    provider_stub::ProviderStub,
    serial::one_at_a_time,
    workload::go::{Build, GoProgram, Running},
};
use serde_json::{Value, json};

use super::{are_reported, program};
use crate::scene::Scene;

fn jobs() -> [Value; 4] {
    [
        json!({"headers": {"x-stub-input-tokens": "1234", "x-stub-output-tokens": "56"}}),
        json!({"stream": true, "headers": {"x-stub-chunks": "30", "x-stub-pace-ms": "3"}}),
        json!({"stream": true, "headers": {"x-stub-tool": "get_weather"}}),
        json!({"headers": {"x-stub-framing": "chunked"}, "prompt": "long ".repeat(50_000)}),
    ]
}

/// A program that starts after the agent, and calls nobody before it was found: a Go program of which nothing was known makes its first call
/// some milliseconds after its start.
async fn started(go: &GoProgram, scene: &Scene) -> Running {
    let client = go.chat(&scene.stub);
    let name = go.path.file_name().expect("a program has a name").to_string_lossy().into_owned();
    scene.agent.wait_for_log(&["attached path", &format!("{name}\"")]).await;
    client
}

async fn a_new_program_is_seen_from_its_first_call(build: Build) {
    let Some(go) = program(build).await else { return };
    let Some(scene) = Scene::set().await else { return };
    let mut client = started(&go, &scene).await;
    let pid = client.pid;
    for job in &jobs() {
        let answer = client.run_one(job).await;
        assert_eq!(answer.get("error"), None, "{answer}");
    }
    client.finish().await;
    let expected = scene.stub.expected();
    let ids: Vec<_> = expected.iter().map(|expected| expected.response_id.clone()).collect();
    assert_eq!(ids.len(), jobs().len());
    scene.agent.calls_of(pid, expected.len()).await;
    are_reported(&expected, &scene.agent.stop().await, pid, build);
}

#[tokio::test]
async fn a_new_program_with_symbols() {
    a_new_program_is_seen_from_its_first_call(Build::Plain).await;
}

#[tokio::test]
async fn a_new_stripped_program() {
    a_new_program_is_seen_from_its_first_call(Build::Stripped).await;
}

#[tokio::test]
async fn a_new_position_independent_program() {
    a_new_program_is_seen_from_its_first_call(Build::Pie).await;
}

#[tokio::test]
async fn a_new_stripped_position_independent_program() {
    a_new_program_is_seen_from_its_first_call(Build::StrippedPie).await;
}

/// A reader waits on the open connection when the agent comes.
async fn a_running_program_is_seen_from_its_next_call(build: Build) {
    let Some(go) = program(build).await else { return };
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let mut client = go.chat(&stub);
    let pid = client.pid;
    client.run_one(&json!({})).await;
    let unseen = stub.expected().len();
    let Some(agent) = Agent::start().await else { return };
    for job in &jobs() {
        let answer = client.run_one(job).await;
        assert_eq!(answer.get("error"), None, "{answer}");
    }
    let expected = stub.expected();
    let seen = expected.get(unseen..).expect("there were more calls");
    agent.calls_of(pid, seen.len()).await;
    client.finish().await;
    let connections: Vec<u64> = stub.exchanges().iter().map(|exchange| exchange.connection).collect();
    assert!(connections.iter().all(|&connection| connection == 0), "the client kept its connection: {connections:?}");
    are_reported(seen, &agent.stop().await, pid, build);
}

#[tokio::test]
async fn a_running_program_with_symbols() {
    a_running_program_is_seen_from_its_next_call(Build::Plain).await;
}

#[tokio::test]
async fn a_running_stripped_position_independent_program() {
    a_running_program_is_seen_from_its_next_call(Build::StrippedPie).await;
}

#[tokio::test]
async fn fifty_goroutines_keep_their_numbers_apart() {
    let Some(go) = program(Build::Stripped).await else { return };
    let Some(scene) = Scene::set().await else { return };
    let mut client = started(&go, &scene).await;
    let pid = client.pid;
    let job = |n: u64| {
        let headers =
            json!({"x-stub-chunks": (n % 50 + 3).to_string(), "x-stub-pace-ms": "2", "x-stub-input-tokens": (1000 + n).to_string()});
        json!({"stream": !n.is_multiple_of(3), "prompt": format!("goroutine {n}"), "headers": headers})
    };
    // The second round goes over connections of the first.
    for round in [0..50, 50..100] {
        let answers = client.run(&round.map(job).collect()).await;
        assert!(answers.iter().all(|answer| answer.get("error").is_none()), "{answers:#?}");
    }
    client.finish().await;
    let expected = scene.stub.expected();
    scene.agent.calls_of(pid, expected.len()).await;
    let finished = scene.agent.stop().await;
    are_reported(&expected, &finished, pid, Build::Stripped);
    let mut inputs: Vec<_> =
        finished.calls.iter().filter(|call| call.pid() == Some(pid)).filter_map(|call| call.int("gen_ai.usage.input_tokens")).collect();
    inputs.sort_unstable();
    assert_eq!(inputs, (1000..1100).collect::<Vec<u64>>());
}

#[tokio::test]
async fn an_answer_that_is_read_into_a_stack_that_moves_meanwhile_is_whole() {
    let Some(go) = program(Build::Plain).await else { return };
    let Some(scene) = Scene::set().await else { return };
    let mut client = started(&go, &scene).await;
    let pid = client.pid;
    let headers = json!({"x-stub-chunks": "40", "x-stub-pace-ms": "10"});
    for stream in [true, false] {
        let answer = client.run_one(&json!({"stack": true, "stream": stream, "headers": headers})).await;
        assert_eq!(answer.get("error"), None, "{answer}");
    }
    client.finish().await;
    let expected = scene.stub.expected();
    scene.agent.calls_of(pid, expected.len()).await;
    are_reported(&expected, &scene.agent.stop().await, pid, Build::Plain);
}
