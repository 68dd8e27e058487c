//! HTTP/2 to a provider is not decoded yet: it is reported, and neither guessed nor passed over.

use a11i_tests::{agent::AgentOptions, provider_stub::Options, workload::curl::chat};

use crate::scene::{OPENAI_CHAT, Scene};

#[tokio::test]
async fn an_http2_connection_to_a_provider_is_reported_as_not_decoded() {
    let stub = Options { http2: true, ..Options::default() };
    let Some(scene) = Scene::set_with(stub, AgentOptions::default()).await else { return };
    let Some(curl) = scene.curl() else { return };
    let done = curl.arg("--http2").arg("--write-out").arg("%{http_version}").post(OPENAI_CHAT, &chat("gpt-4o-mini", "hi")).run().await;
    assert!(done.text().ends_with('2'), "curl spoke HTTP/2: {done:?}");
    scene.agent.wait_for_log(&["HTTP/2", "not decoded"]).await;
    // Another process is still seen, and nothing was made up of the first.
    let Some(curl) = scene.curl() else { return };
    let second = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "hi")).run().await;
    scene.agent.calls_of(second.pid, 1).await;
    let finished = scene.agent.stop().await;
    assert!(finished.calls.iter().all(|call| call.pid() != Some(done.pid)), "{:#?}", finished.calls);
}
