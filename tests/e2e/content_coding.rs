//! Compressed answers, streamed and not.

use a11i_tests::workload::{
    curl::{chat, chat_stream, message},
    python::Script,
};
use serde_json::json;

use crate::scene::{ANTHROPIC_MESSAGES, OPENAI_CHAT, Scene, assert_whole};

#[tokio::test]
async fn gzip_of_python_programs() {
    let Some(scene) = Scene::set().await else { return };
    let gzip = json!({"x-stub-encoding": "gzip", "x-stub-chunks": "20", "x-stub-pace-ms": "3"});
    let jobs = [json!({"api": "chat", "headers": gzip}), json!({"api": "chat", "stream": true, "headers": gzip})];
    scene.python_jobs_are_reported(Script::OpenAiSync, &jobs).await;
}

#[tokio::test]
async fn every_coding_that_curl_understands() {
    let Some(scene) = Scene::set().await else { return };
    let mut pids = Vec::new();
    for coding in ["gzip", "deflate", "br", "zstd"] {
        for (url, body) in [
            (OPENAI_CHAT, chat("gpt-4o-mini", "hi")),
            (OPENAI_CHAT, chat_stream("gpt-4o-mini", "hi")),
            (ANTHROPIC_MESSAGES, message("claude-haiku-4-5", "hi", true)),
        ] {
            let Some(curl) = scene.curl() else { return };
            let done = curl.arg("--compressed").header("x-stub-encoding", coding).post(url, &body).run().await;
            assert!(done.output.status.success(), "{coding}: {done:?}");
            pids.push(done.pid);
        }
    }
    for (pid, expected) in pids.iter().zip(scene.stub.expected()) {
        let calls = scene.agent.calls_of(*pid, 1).await;
        let [call] = &calls[..] else { panic!("{calls:#?}") };
        expected.assert_reported_as(call);
        assert_whole(call);
    }
    scene.agent.stop().await;
}
