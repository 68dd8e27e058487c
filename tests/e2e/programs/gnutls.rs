//! What few programs on GnuTLS do: corked sends, sends that are repeated without their data, ranges, packets.

use a11i_tests::{
    agent::AgentOptions,
    observed::ObservedCall,
    provider_stub::Options,
    requirement,
    workload::{
        c_client::{Done, post},
        curl::{chat, chat_stream},
        gnutls_client::RawGnuTls,
    },
};
use serde_json::{Value, json};

use crate::scene::Scene;

const HOST: &str = "api.openai.com";
const PATH: &str = "/v1/chat/completions";

/// Words that all differ: one that is missing, moved or seen twice is noticed.
fn prompt(words: usize) -> String {
    (0..words).map(|number| format!("w{number} ")).collect::<Vec<_>>().concat()
}

async fn request_is_seen_as_it_was_sent(options: &[&str], words: usize) -> Option<Done> {
    let agent = AgentOptions::default().env("A11I_CONTENT", "full");
    let scene = Scene::set_with(Options::default(), agent).await?;
    let client = requirement::met(RawGnuTls::compiled().await)?;
    let prompt = prompt(words);
    let request = post(HOST, PATH, &[("x-stub-read-pause-ms", "200")], &chat("gpt-4o-mini", &prompt));
    let done = client.send(&scene.stub, HOST, &request, options).await;
    let (calls, _) = scene.calls_are_reported_by("gnutls", done.pid).await;
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    assert!(content(call).contains(&prompt), "the prompt was seen otherwise than it was sent: {options:?}");
    Some(done)
}

fn content(call: &ObservedCall) -> String {
    call.attribute("gen_ai.input.messages").map_or_else(|| panic!("no content in {call:#?}"), Value::to_string)
}

#[tokio::test]
async fn records_of_one_large_request() {
    request_is_seen_as_it_was_sent(&[], 100_000).await;
}

#[tokio::test]
async fn sends_that_are_repeated_with_their_data() {
    let Some(done) = request_is_seen_as_it_was_sent(&["nonblocking", "sndbuf=16384"], 100_000).await else { return };
    assert!(done.retries > 0, "a send was meant to block: {}", done.writes);
}

#[tokio::test]
async fn sends_that_are_repeated_without_their_data_which_is_overwritten_meanwhile() {
    let Some(done) = request_is_seen_as_it_was_sent(&["nonblocking", "null", "sndbuf=16384"], 100_000).await else { return };
    assert!(done.retries > 0, "a send was meant to block: {}", done.writes);
}

#[tokio::test]
async fn sends_that_are_repeated_of_which_only_a_part_was_taken() {
    for options in [["nonblocking", "sndbuf=16384", "record=4096"].as_slice(), &["nonblocking", "null", "sndbuf=16384", "record=1000"]] {
        let Some(done) = request_is_seen_as_it_was_sent(options, 100_000).await else { return };
        assert!(done.retries > 0, "a send was meant to block: {}", done.writes);
    }
}

#[tokio::test]
async fn corked_sends_are_seen_once() {
    request_is_seen_as_it_was_sent(&["cork"], 100_000).await;
    request_is_seen_as_it_was_sent(&["cork", "nonblocking", "sndbuf=16384"], 100_000).await;
}

#[tokio::test]
async fn sends_of_a_hidden_length_and_answers_with_their_sequence_number() {
    request_is_seen_as_it_was_sent(&["range", "seq"], 100_000).await;
}

#[tokio::test]
async fn streams() {
    let Some(scene) = Scene::set().await else { return };
    let Some(client) = requirement::met(RawGnuTls::compiled().await) else { return };
    let headers = [("x-stub-chunks", "40"), ("x-stub-pace-ms", "2")];
    let done = client.send(&scene.stub, HOST, &post(HOST, PATH, &headers, &chat_stream("gpt-4o-mini", "hello")), &[]).await;
    scene.calls_are_reported_by("gnutls", done.pid).await;
}

#[tokio::test]
async fn an_answer_that_another_thread_waited_for_since_before_its_request() {
    let Some(scene) = Scene::set().await else { return };
    let Some(client) = requirement::met(RawGnuTls::compiled().await) else { return };
    // No model call: nobody follows the connection until the next request.
    let mut requests = format!("GET /health HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes();
    requests.extend(post(HOST, PATH, &[], &chat("gpt-4o-mini", "hello")));
    let done = client.send(&scene.stub, HOST, &requests, &["beside"]).await;
    assert_eq!(scene.stub.exchanges().len(), 2);
    scene.calls_are_reported_by("gnutls", done.pid).await;
}

#[tokio::test]
async fn an_answer_taken_in_packets_is_a_gap_of_its_size() {
    let Some(scene) = Scene::set().await else { return };
    let Some(client) = requirement::met(RawGnuTls::compiled().await) else { return };
    let done = client.send(&scene.stub, HOST, &post(HOST, PATH, &[], &chat("gpt-4o-mini", "hello")), &["packet"]).await;
    let calls = scene.agent.calls_of(done.pid, 1).await;
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    assert_eq!(call.attribute("a11i.capture.complete"), Some(&json!(false)), "{call:#?}");
    assert_eq!(call.attribute("a11i.capture.lost_bytes"), Some(&json!(done.answer.len())), "{call:#?}");
    scene.agent.stop().await;
}
