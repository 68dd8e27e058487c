//! wget: GnuTLS.

use a11i_tests::{
    agent::Agent,
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::{
        curl::{chat, chat_stream, message},
        wget::Wget,
    },
};
use serde_json::Value;

use crate::scene::{Scene, matched_by};

const OPENAI: &str = "api.openai.com";
const CHAT: &str = "/v1/chat/completions";

async fn new(host: &str, path: &str, body: &Value) {
    let Some(scene) = Scene::set().await else { return };
    let Some(wget) = requirement::met(Wget::to(&scene.stub)) else { return };
    let pid = wget.header("x-stub-chunks", "30").header("x-stub-pace-ms", "3").post(host, &[path], body).run().await;
    scene.calls_are_reported_by("gnutls", pid).await;
}

#[tokio::test]
async fn a_new_program_with_a_whole_answer() {
    new(OPENAI, CHAT, &chat("gpt-4o-mini", &"many words ".repeat(5_000))).await;
}

#[tokio::test]
async fn a_new_program_with_a_stream() {
    new(OPENAI, CHAT, &chat_stream("gpt-4o-mini", "hello")).await;
}

#[tokio::test]
async fn a_new_program_at_another_provider() {
    new("api.anthropic.com", "/v1/messages", &message("claude-haiku-4-5", "hello", true)).await;
}

/// Two calls on one connection, of a process that has loaded all it needs before the agent starts.
async fn running(body: &Value) {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(wget) = requirement::met(Wget::to(&stub)) else { return };
    let wget = wget.waiting(OPENAI, &[CHAT, CHAT], body).await;
    let pid = wget.pid;
    let Some(agent) = Agent::start().await else { return };
    wget.go_on().await;
    let expected = stub.expected();
    assert_eq!(expected.len(), 2);
    agent.calls_of(pid, expected.len()).await;
    matched_by("gnutls", &expected, &agent.stop().await, pid);
}

#[tokio::test]
async fn a_running_program_with_whole_answers() {
    running(&chat("gpt-4o-mini", "hello")).await;
}

#[tokio::test]
async fn a_running_program_with_streams() {
    running(&chat_stream("gpt-4o-mini", "hello")).await;
}
