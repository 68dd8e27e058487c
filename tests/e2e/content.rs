//! Prompts and answers leave the agent only when asked for.

use a11i_tests::{agent::AgentOptions, provider_stub::Options, workload::curl::chat};
use serde_json::Value;

use crate::scene::{OPENAI_CHAT, Scene};

const PROMPT: &str = "a sentence that stands nowhere else";

#[tokio::test]
async fn no_content_and_no_key_by_default_neither_in_calls_nor_in_the_log() {
    let Some(scene) = Scene::set_with(Options::default(), AgentOptions::default().env("RUST_LOG", "debug")).await else { return };
    let Some(curl) = scene.curl() else { return };
    let done = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", PROMPT)).run().await;
    let (calls, finished) = scene.calls_are_reported(done.pid).await;
    let all = format!("{calls:#?}{}", finished.log);
    for secret in [PROMPT, "größe2", "sk-test-not-a-real-key"] {
        assert!(!all.contains(secret), "{secret:?} is in {all}");
    }
}

#[tokio::test]
async fn content_when_asked_for_in_full() {
    let Some(scene) = Scene::set_with(Options::default(), AgentOptions::default().env("A11I_CONTENT", "full")).await else { return };
    let Some(curl) = scene.curl() else { return };
    let done = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", PROMPT)).run().await;
    let (calls, finished) = scene.calls_are_reported(done.pid).await;
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    let content = |name: &str| call.attribute(name).map_or_else(|| panic!("no {name} in {call:#?}"), Value::to_string);
    assert!(content("gen_ai.input.messages").contains(PROMPT), "{call:#?}");
    assert!(content("gen_ai.output.messages").contains("größe2"), "{call:#?}");
    assert!(!finished.log.contains(PROMPT), "the log never holds content: {}", finished.log);
}
