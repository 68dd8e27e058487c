//! libcurl on GnuTLS, whose sockets do not block.

use a11i_tests::{requirement, workload::libcurl_gnutls::start};
use serde_json::json;

use super::{both, new_by, running_by};
use crate::scene::Scene;

#[tokio::test]
async fn a_new_program() {
    new_by("gnutls", start, &both("libcurl")).await;
}

#[tokio::test]
async fn a_running_program() {
    running_by("gnutls", start, &both("libcurl")).await;
}

#[tokio::test]
async fn a_large_prompt_whose_sends_are_repeated() {
    let pause = json!({"x-stub-read-pause-ms": "200"});
    new_by("gnutls", start, &[json!({"prompt": "tokens ".repeat(600_000), "headers": pause})]).await;
}

#[tokio::test]
async fn calls_around_a_large_upload_that_is_no_model_call_and_whose_sends_are_repeated() {
    let Some(scene) = Scene::set().await else { return };
    let Some(mut program) = requirement::met(start(&scene.stub)) else { return };
    let pid = program.pid;
    let pause = json!({"x-stub-read-pause-ms": "200"});
    // More than 8 MiB: what is smaller and goes to a provider's host is a span of its own, whatever it asks for.
    let upload = json!({"path": "/upload", "prompt": "tokens ".repeat(1_300_000), "headers": pause});
    for job in [json!({"stream": true}), upload.clone(), json!({"prompt": "tokens ".repeat(300_000), "headers": pause}), upload, json!({})]
    {
        program.run_one(&job).await;
    }
    program.finish().await;
    let connections: Vec<u64> = scene.stub.exchanges().iter().map(|exchange| exchange.connection).collect();
    assert_eq!(connections, [0; 5], "curl kept its connection");
    assert_eq!(scene.stub.expected().len(), 3);
    scene.calls_are_reported_by("gnutls", pid).await;
}
