//! The reduced list for guest kernels: a call, a stream, the 4 MB prompt, forked workers, an agent that is killed, `doctor`. Runs on the
//! host as well.

use std::process::Stdio;

use a11i_tests::{
    agent::{AgentOptions, GUEST_PATIENCE, binary},
    kernel,
    provider_stub::Options,
    requirement,
    serial::one_at_a_time,
    workload::{
        c_client::{RawTls, post},
        curl::{chat, chat_stream},
        gnutls_client::RawGnuTls,
        python::{Python, Script},
    },
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    fork,
    plaintext::shapes,
    restarts::{self, Load},
    scene::{OPENAI_CHAT, Scene, matched_by, words},
};

/// What one of our programs may cost the verifier, of the million instructions that the kernel allows: another kernel's verifier, or the
/// next feature, must not be the last straw.
const VERIFIER_BUDGET: u64 = 700_000;
const HOST: &str = "api.openai.com";
const PATH: &str = "/v1/chat/completions";
/// Once killed, once stopped, and started once more.
const CYCLES: usize = 2;
const LOAD: Load = Load { threads: 1, calls_of_a_cycle: 4, pause: "pause=500" };

async fn scene() -> Option<Scene> {
    Scene::set_with(Options::default(), AgentOptions::guest()).await
}

#[tokio::test]
async fn guest_a_call() {
    let Some(scene) = scene().await else { return };
    let Some(curl) = scene.curl() else { return };
    let done = curl.header("x-stub-input-tokens", "1234").post(OPENAI_CHAT, &chat("gpt-4o-mini", "hello")).run().await;
    assert!(done.output.status.success(), "{done:?}");
    // Debian's kernels ask for more than the agent keeps: it has to have opened this before (`perf_event_paranoid` 3).
    let log = scene.agent.log();
    assert!(!log.contains("perf events of executable mappings"), "{log}");
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
async fn guest_calls_without_tls_are_seen_at_both_ends_by_kprobes() {
    shapes::each_shape_once("kprobes", kernel::has_kprobes(), AgentOptions::guest()).await;
}

#[tokio::test]
async fn guest_calls_without_tls_are_seen_at_both_ends_by_tracepoints() {
    shapes::each_shape_once("tracepoints", kernel::has_socket_tracepoints(), AgentOptions::guest()).await;
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

#[tokio::test]
async fn guest_calls_of_forked_workers_are_told_apart() {
    fork::workers_are_told_apart(AgentOptions::guest()).await;
}

#[tokio::test]
async fn guest_an_agent_that_is_killed_leaves_nothing_and_can_be_started_again() {
    restarts::comes_and_goes(&AgentOptions::guest(), CYCLES, LOAD).await;
}

#[tokio::test]
async fn guest_every_program_is_loaded_within_the_verifiers_budget() {
    let _turn = one_at_a_time();
    let Some(()) = requirement::met(requirement::root()) else { return };
    let Some(program) = requirement::met(binary()) else { return };
    let mut command = Command::new(program);
    command.args(["doctor", "--json"]).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(GUEST_PATIENCE, command.output()).await.expect("doctor ends");
    let output = ended.expect("doctor can be started");
    assert!(output.status.success(), "{}", words(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("doctor writes JSON");
    assert_eq!(report.pointer("/features/kernel_release"), Some(&json!(kernel::release())), "{report:#}");
    assert_eq!(report.get("works"), Some(&json!(true)), "{report:#}");
    let programs = report.get("programs").and_then(Value::as_array).expect("the programs are listed");
    assert!(!programs.is_empty());
    for program in programs {
        let name = program.get("name").and_then(Value::as_str).expect("a program has a name");
        let cost = program.get("verified_instructions").and_then(Value::as_u64);
        println!("{name}: {cost:?} of {VERIFIER_BUDGET}");
        assert_eq!(cost.is_some(), kernel::tells_verified_instructions(), "{name}: {report:#}");
        assert!(cost.unwrap_or(0) <= VERIFIER_BUDGET, "{name} costs the verifier {cost:?} instructions, more than {VERIFIER_BUDGET}");
    }
}

#[tokio::test]
async fn guest_a_call_and_a_stream_of_gnutls() {
    let Some(scene) = scene().await else { return };
    let Some(client) = requirement::met(RawGnuTls::compiled().await) else { return };
    let large = chat("gpt-4o-mini", &"tokens ".repeat(20_000));
    // Sends that are repeated without their data.
    let options = ["nonblocking", "null", "sndbuf=16384"];
    let done = client.send(&scene.stub, HOST, &post(HOST, PATH, &[("x-stub-read-pause-ms", "200")], &large), &options).await;
    scene.agent.calls_of(done.pid, 1).await;
    let stream = post(HOST, PATH, &[("x-stub-chunks", "20")], &chat_stream("gpt-4o-mini", "hello"));
    let second = client.send(&scene.stub, HOST, &stream, &[]).await;
    let expected = scene.stub.expected();
    scene.agent.calls_of(second.pid, 1).await;
    let finished = scene.agent.stop().await;
    for (pid, expected) in [done.pid, second.pid].into_iter().zip(expected.chunks(1)) {
        matched_by("gnutls", expected, &finished, pid);
    }
}
