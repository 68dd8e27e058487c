//! Every shape of socket call, each over IPv4, IPv6 and a Unix socket.

use a11i_tests::{
    agent::AgentOptions,
    kernel,
    workload::{
        c_client::post,
        curl::{chat, chat_stream},
    },
};
use serde_json::json;

use super::{LocalScene, Way, assert_is_plaintext};

const PATH: &str = "/v1/chat/completions";
const HOST: &str = "api.openai.com";
/// In a row, on a kernel that leaves runs out: one in three was seen.
const MARKED_CALLS: usize = 9;

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

/// For guests, where everything is slow: each shape once. A kernel that lacks this front end is told to the user.
pub(crate) async fn each_shape_once(front_end: &str, exists: bool, options: AgentOptions) {
    let Some(scene) = LocalScene::set_with(front_end, options).await else { return };
    if !exists {
        scene.agent.wait_for_log(&["capture.sockets", "asks for what this kernel lacks"]).await;
        scene.agent.stop().await;
        return;
    }
    for (way, sending, receiving) in [
        (Way::V4, "write", "read"),
        (Way::V6, "send", "recv"),
        (Way::V4, "writev", "readv"),
        (Way::V6, "sendmsg", "recvmsg"),
        (Way::Unix, "writev", "read"),
        (Way::Unix, "write", "recvmsg"),
        (Way::V4, "write", "peek"),
    ] {
        // Old kernels keep as many returns of a function as they have processors, here one, and the client that waits for its answer has it.
        if way == Way::Unix && front_end == "kprobes" && kernel::version() < (6, 0) {
            continue;
        }
        let body = if receiving == "read" { chat_stream("gpt-4o-mini", "hello") } else { chat("gpt-4o-mini", "hello") };
        seen_whole(&scene, front_end, way, &post(HOST, PATH, &[("x-stub-chunks", "12")], &body), sending, receiving).await;
    }
    let request = post(HOST, PATH, &[], &chat("gpt-4.1", &"tokens ".repeat(100_000)));
    seen_whole(&scene, front_end, Way::V4, &request, "writev", "read").await;
    scene.agent.stop().await;
}

/// At once; where the kernel leaves runs of a front end out, after calls that say so.
async fn seen_whole(scene: &LocalScene, front_end: &str, way: Way, request: &[u8], sending: &str, receiving: &str) {
    let tries = if front_end == "tracepoints" && kernel::preempts_tracepoints() { MARKED_CALLS } else { 0 };
    for _ in 0..tries {
        let (done, expected) = scene.ask(way, request, sending, receiving).await;
        let (client, server) = scene.reported(&expected).await;
        let marked = [&client, &server].into_iter().find(|call| call.attribute("a11i.capture.complete") != Some(&json!(true)));
        let Some(marked) = marked else { return scene.assert_whole_ends(way, done.pid, &expected, &client, &server) };
        assert_eq!(marked.attribute("a11i.capture.loss_causes"), Some(&json!(["program_missed"])), "{marked:#?}");
    }
    let (done, expected) = scene.ask(way, request, sending, receiving).await;
    scene.both_ends(way, done.pid, &expected).await;
}

#[tokio::test]
async fn what_a_file_was_sent_by_is_missing_at_its_sender_and_seen_at_its_receiver() {
    let Some(scene) = LocalScene::set(AgentOptions::default()).await else { return };
    for shape in ["sendfile", "sendmmsg"] {
        let request = post(HOST, PATH, &[], &chat("gpt-4o-mini", "hello, from a file"));
        let (_, expected) = scene.ask(Way::V4, &request, shape, "read").await;
        let id = expected.response_id.as_deref();
        let find = |kind: &'static str| {
            scene.agent.wait(kind, move |calls| calls.iter().find(|call| call.response_id() == id && call.kind == kind).cloned())
        };
        let server = find("server").await;
        assert_is_plaintext(&server);
        assert_eq!(server.text("gen_ai.request.model"), Some("gpt-4o-mini"), "{server:#?}");
        if shape == "sendfile" {
            let client = find("client").await;
            assert_eq!(client.attribute("a11i.capture.complete"), Some(&json!(false)), "{client:#?}");
            assert_eq!(client.attribute("a11i.capture.loss_causes"), Some(&json!(["user_fault"])), "{client:#?}");
            let told = 200; // what the client wrote by itself
            assert_eq!(client.int("a11i.capture.lost_bytes"), Some(request.len() as u64 - told), "{client:#?}");
        }
    }
    scene.agent.stop().await;
}

#[tokio::test]
async fn a_message_in_more_small_pieces_than_one_call_has_runs_is_seen_whole() {
    let Some(scene) = LocalScene::set(AgentOptions::default()).await else { return };
    for way in [Way::V4, Way::Unix] {
        let request = post(HOST, PATH, &[], &chat("gpt-4.1", &"tokens ".repeat(15_000)));
        let (done, expected) = scene.ask(way, &request, "crumbs", "read").await;
        scene.both_ends(way, done.pid, &expected).await;
    }
    scene.agent.stop().await;
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
