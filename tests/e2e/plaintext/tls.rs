//! What sockets tell about TLS: who is at the other end, and who speaks TLS with an LLM host unseen.

use a11i_tests::{
    agent::AgentOptions,
    workload::curl::{Curl, chat, chat_stream},
};
use serde_json::json;

use super::LocalScene;
use crate::scene::{OPENAI_CHAT, assert_whole};

#[tokio::test]
async fn a_tls_connection_that_is_seen_has_the_peer_of_its_socket_and_is_not_missed() {
    let Some(scene) = LocalScene::set(AgentOptions::default()).await else { return };
    let mut seen = Vec::new();
    for body in [chat("gpt-4o-mini", "hello"), chat_stream("gpt-4o-mini", "hello")] {
        let Some(curl) = a11i_tests::requirement::met(Curl::to(&scene.stub)) else { return };
        let done = curl.post(OPENAI_CHAT, &body).run().await;
        assert!(done.output.status.success(), "{done:?}");
        let expected = scene.stub.expected().pop().expect("it was answered");
        let call = scene.agent.call_with_id(expected.response_id.as_deref().expect("it has an id")).await;
        expected.assert_reported_as(&call);
        assert_whole(&call);
        assert_eq!(call.attribute("network.peer.address"), Some(&json!("127.0.0.1")), "{call:#?}");
        assert_eq!(call.int("network.peer.port"), Some(u64::from(scene.stub.port())), "{call:#?}");
        seen.push(done.pid);
    }
    // Its greeting named an LLM host, and what it said was seen.
    let log = scene.agent.stop().await.log;
    let told = |pid: &u32| log.lines().any(|line| line.contains("no plaintext of it was seen") && line.contains(&format!("pid={pid} ")));
    assert!(!seen.iter().any(told), "{log}");
}

#[tokio::test]
async fn tls_with_an_llm_host_that_shows_no_plaintext_is_reported_with_process_and_host() {
    let Some(scene) = LocalScene::set(AgentOptions::default()).await else { return };
    // A library that nobody knows: the server gives up after the greeting.
    let address = format!("127.0.0.1:{}", scene.stub.port());
    let done = scene.client.send(&address, &client_hello("api.openai.com"), "write", "read").await;
    let line = scene.agent.wait_for_log(&["no plaintext of it was seen", &format!("pid={}", done.pid)]).await;
    assert!(line.contains("api.openai.com"), "{line}");
    // What has to do with no provider is nobody's business.
    let other = scene.client.send(&address, &client_hello("bank.example"), "write", "read").await;
    let log = scene.agent.stop().await.log;
    assert!(!log.lines().any(|line| line.contains("no plaintext of it was seen") && line.contains(&format!("pid={}", other.pid))), "{log}");
}

/// RFC 8446 section 4.1.2, with a server name and nothing that would let the handshake go on.
fn client_hello(name: &str) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let mut out = u16::try_from(bytes.len()).expect("short").to_be_bytes().to_vec();
        out.extend(bytes);
        out
    };
    let names = sized(&[vec![0], sized(name.as_bytes())].concat());
    let extensions = sized(&[vec![0, 0], sized(&names)].concat());
    let body = [vec![3, 3], vec![7; 32], vec![0], sized(&[0x13, 0x01]), vec![1, 0], extensions].concat();
    let message = [vec![1, 0], sized(&body)].concat();
    [vec![22, 3, 1], sized(&message)].concat()
}
