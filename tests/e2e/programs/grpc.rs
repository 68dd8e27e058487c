//! gRPC's C core, as `grpcio` and so Google's packages have it: BoringSSL inside an extension module, without symbols, that is handed its bytes
//! and does no input or output itself; HTTP/2 above it.

use a11i_tests::{
    agent::AgentOptions,
    provider_stub::{Options, ProviderStub},
    requirement::{self, Unmet},
    workload::python::{Program, Python, Script},
};
use serde_json::{Value, json};

use super::{run, running_with};
use crate::scene::Scene;

const BORINGSSL: &str = "boringssl";
const PROVIDER: Options = Options { http2: true, port: 0, address: None, plaintext: false };

async fn python() -> Option<Python> {
    requirement::met(Python::with_packages().await)
}

fn start(python: &Python) -> impl FnOnce(&ProviderStub) -> Result<Program, Unmet> {
    |stub| Ok(python.start(Script::GrpcGemini, stub))
}

/// Whole answers and streams on one connection.
fn jobs() -> [Value; 3] {
    let paced = json!({"x-stub-chunks": "30", "x-stub-pace-ms": "3", "x-stub-input-tokens": "1234"});
    [
        json!({"stream": false, "reconnect": true}),
        json!({"stream": true, "headers": paced}),
        json!({"prompt": "many words ".repeat(20_000)}),
    ]
}

/// A new program. Its file is one that the agent has never seen: its first call waits until it was read.
async fn started() -> Option<(Scene, Program)> {
    let python = python().await?;
    let scene = Scene::set_with(PROVIDER, AgentOptions::default()).await?;
    let program = python.start(Script::GrpcGemini, &scene.stub);
    scene.agent.wait_for_log(&["attached path=", "/cygrpc.", "library=\"boringssl\""]).await;
    Some((scene, program))
}

#[tokio::test]
async fn a_new_program() {
    let Some((scene, mut program)) = started().await else { return };
    let pid = program.pid;
    run(&mut program, &scene.stub, &jobs()).await;
    program.finish().await;
    scene.calls_are_reported_by(BORINGSSL, pid).await;
}

#[tokio::test]
async fn a_refused_call() {
    let Some((scene, mut program)) = started().await else { return };
    let pid = program.pid;
    let answer = program.run_one(&json!({"stream": true, "headers": {"x-stub-fault": "status=429"}})).await;
    assert_eq!(answer, json!({"error": "RESOURCE_EXHAUSTED"}));
    program.finish().await;
    scene.calls_are_reported_by(BORINGSSL, pid).await;
}

#[tokio::test]
async fn a_running_program_from_its_next_connection_on() {
    let Some(python) = python().await else { return };
    running_with(PROVIDER, BORINGSSL, start(&python), &jobs()).await;
}
