//! One connection carries other things than model calls.

use a11i_tests::{
    requirement,
    workload::{
        c_client::{RawTls, post, post_keep_alive},
        curl::chat,
        python::{Python, Script},
    },
};
use serde_json::json;

use crate::scene::{OPENAI_CHAT, Scene};

#[tokio::test]
async fn health_and_then_a_chat_call_on_one_connection_of_curl() {
    let Some(scene) = Scene::set().await else { return };
    let Some(curl) = scene.curl() else { return };
    let done = curl.url("https://api.openai.com/health").then().post(OPENAI_CHAT, &chat("gpt-4o-mini", "hi")).run().await;
    let exchanges = scene.stub.exchanges();
    let [health, chat] = &exchanges[..] else { panic!("{exchanges:#?}") };
    assert_eq!(health.connection, chat.connection);
    scene.calls_are_reported(done.pid).await;
}

#[tokio::test]
async fn health_between_chat_calls_on_one_connection_of_python() {
    let Some(scene) = Scene::set().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::OpenAiSync, &scene.stub);
    let pid = program.pid;
    for job in [json!({"api": "health"}), json!({"api": "chat"}), json!({"api": "health"}), json!({"api": "chat", "stream": true})] {
        program.run_one(&job).await;
    }
    program.finish().await;
    assert!(scene.stub.exchanges().iter().all(|exchange| exchange.connection == 0));
    scene.calls_are_reported(pid).await;
}

#[tokio::test]
async fn two_requests_in_one_write_are_two_calls() {
    let Some(scene) = Scene::set().await else { return };
    let Some(client) = requirement::met(RawTls::compiled().await) else { return };
    let (host, path) = ("api.openai.com", "/v1/chat/completions");
    let mut both = post_keep_alive(host, path, &[], &chat("gpt-4o-mini", "one"));
    both.extend(post(host, path, &[], &chat("gpt-4.1", "two words")));
    let done = client.send(&scene.stub, host, &both, &[]).await;
    assert_eq!(done.writes, 1);
    scene.calls_are_reported(done.pid).await;
}
