//! HTTP/2: calls side by side on one connection.

use a11i_tests::{
    agent::AgentOptions,
    provider_stub::Options,
    workload::curl::{chat, chat_stream},
};

use crate::scene::{OPENAI_CHAT, Scene, assert_whole};

async fn scene() -> Option<Scene> {
    Scene::set_with(Options { http2: true, ..Options::default() }, AgentOptions::default()).await
}

#[tokio::test]
async fn a_call_and_a_stream_of_curl_are_exact() {
    let Some(scene) = scene().await else { return };
    for body in [chat("gpt-4o-mini", "hi there"), chat_stream("gpt-4o-mini", "hi there")] {
        let Some(curl) = scene.curl() else { return };
        let curl = curl.header("x-stub-chunks", "20").arg("--http2").arg("--write-out").arg("%{http_version}");
        let done = curl.post(OPENAI_CHAT, &body).run().await;
        assert!(done.text().ends_with('2'), "curl spoke HTTP/2: {done:?}");
        let calls = scene.agent.calls_of(done.pid, 1).await;
        scene.stub.expected().last().expect("it was answered").assert_reported_as(&calls[0]);
        assert_whole(&calls[0]);
    }
    scene.agent.stop().await;
}

#[tokio::test]
async fn a_large_prompt_is_whole() {
    let Some(scene) = scene().await else { return };
    let Some(curl) = scene.curl() else { return };
    let prompt = "many words ".repeat(40_000);
    let done = curl.arg("--http2").post(OPENAI_CHAT, &chat("gpt-4o-mini", &prompt)).run().await;
    let calls = scene.agent.calls_of(done.pid, 1).await;
    scene.stub.expected().last().expect("it was answered").assert_reported_as(&calls[0]);
    assert_whole(&calls[0]);
    scene.agent.stop().await;
}
