//! Every shape of socket call, each over IPv4, IPv6 and a Unix socket.

use a11i_tests::{
    agent::AgentOptions,
    workload::{
        c_client::post,
        curl::{chat, chat_stream},
    },
};
use serde_json::json;

use super::{LocalScene, Way};

const PATH: &str = "/v1/chat/completions";
const HOST: &str = "api.openai.com";

#[tokio::test]
async fn a_call_without_tls_is_seen_once_per_end_whatever_the_shape_of_its_socket_calls() {
    let Some(scene) = LocalScene::set(AgentOptions::default()).await else { return };
    let mut calls = 0;
    for way in [Way::V4, Way::V6, Way::Unix] {
        for (n, sending) in ["write", "send", "writev", "sendmsg"].into_iter().enumerate() {
            for (m, receiving) in ["read", "recv", "readv", "recvmsg", "peek"].into_iter().enumerate() {
                let body = if (n + m) % 2 == 0 { chat("gpt-4o-mini", "hello") } else { chat_stream("gpt-4o-mini", "hello") };
                let request = post(HOST, PATH, &[("x-stub-chunks", "12")], &body);
                let (done, expected) = scene.ask(way, &request, sending, receiving).await;
                let (client, _) = scene.both_ends(way, done.pid, &expected).await;
                assert_eq!(client.attribute("server.address"), Some(&json!(HOST)), "{client:#?}");
                assert_eq!(client.int("server.port"), Some(80), "{client:#?}");
                calls += 1;
            }
        }
    }
    let finished = scene.agent.stop().await;
    let mine = |call: &&a11i_tests::observed::ObservedCall| call.text("a11i.capture.library") == Some("plaintext");
    assert_eq!(finished.calls.iter().filter(mine).count(), 2 * calls, "each call is seen once at each of its ends");
}

#[tokio::test]
async fn four_megabytes_in_one_vectored_write_are_seen_whole() {
    let Some(scene) = LocalScene::set(AgentOptions::default()).await else { return };
    for way in [Way::V4, Way::Unix] {
        let request = post(HOST, PATH, &[], &chat("gpt-4.1", &"tokens ".repeat(600_000)));
        let (done, expected) = scene.ask(way, &request, "writev", "read").await;
        scene.both_ends(way, done.pid, &expected).await;
    }
    scene.agent.stop().await;
}
