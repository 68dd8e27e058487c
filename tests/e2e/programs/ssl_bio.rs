//! TLS as a filter of OpenSSL's input and output, as Tcl has it: no `SSL_read`, no `SSL_write`.

use a11i_tests::{
    requirement,
    workload::{
        c_client::{RawTls, post, post_keep_alive},
        curl::{chat, chat_stream},
    },
};

use crate::scene::Scene;

const HOST: &str = "api.openai.com";
const PATH: &str = "/v1/chat/completions";

async fn requests_are_seen(requests: &[Vec<u8>]) {
    let Some(scene) = Scene::set().await else { return };
    let Some(client) = requirement::met(RawTls::by_filter().await) else { return };
    let done = client.send(&scene.stub, HOST, &requests.concat(), &[]).await;
    assert_eq!(scene.stub.expected().len(), requests.len());
    scene.calls_are_reported(done.pid).await;
}

#[tokio::test]
async fn an_answer_and_a_stream_of_one_connection() {
    let paced = [("x-stub-chunks", "40"), ("x-stub-pace-ms", "2")];
    let stream = chat_stream("gpt-4o-mini", "hello");
    requests_are_seen(&[post_keep_alive(HOST, PATH, &[], &chat("gpt-4o-mini", "hello")), post(HOST, PATH, &paced, &stream)]).await;
}

#[tokio::test]
async fn a_large_prompt() {
    requests_are_seen(&[post(HOST, PATH, &[], &chat("gpt-4o-mini", &"many words ".repeat(40_000)))]).await;
}
