//! The stand-in as the raw C client sees it.

use a11i_tests::{
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::{
        c_client::{RawTls, post, post_keep_alive},
        curl::chat,
    },
};

const HOST: &str = "api.openai.com";
const PATH: &str = "/v1/chat/completions";

#[tokio::test]
async fn four_megabytes_go_out_in_one_write() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(client) = requirement::met(RawTls::compiled().await) else { return };
    let prompt = "tokens ".repeat(600_000);
    let done = client.send(&stub, HOST, &post(HOST, PATH, &[], &chat("gpt-4o-mini", &prompt)), &[]).await;
    assert_eq!((done.writes, done.retries), (1, 0));
    assert!(done.answer.starts_with(b"HTTP/1.1 200"));
    let exchange = stub.exchanges().pop().expect("one exchange");
    assert!(exchange.request_bytes > 4_000_000);
    assert_eq!(exchange.expected.expect("a call").usage.expect("usage").input, 600_010);
}

#[tokio::test]
async fn a_small_socket_buffer_makes_a_large_write_block() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(client) = requirement::met(RawTls::compiled().await) else { return };
    let prompt = "tokens ".repeat(600_000);
    let request = post(HOST, PATH, &[], &chat("gpt-4o-mini", &prompt));
    for options in [&["nonblocking", "sndbuf=16384"][..], &["nonblocking", "partial", "ex", "sndbuf=16384"]] {
        let done = client.send(&stub, HOST, &request, options).await;
        assert!(done.retries > 0, "{options:?}: {done:?}");
        assert_eq!(stub.exchanges().pop().expect("one exchange").expected.expect("a call").usage.expect("usage").input, 600_010);
    }
}

#[tokio::test]
async fn two_requests_in_one_write_get_two_answers() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(client) = requirement::met(RawTls::compiled().await) else { return };
    let mut both = post_keep_alive(HOST, PATH, &[], &chat("gpt-4o-mini", "one"));
    both.extend(post(HOST, PATH, &[], &chat("gpt-4.1", "two words")));
    let done = client.send(&stub, HOST, &both, &[]).await;
    assert_eq!(done.writes, 1);
    let inputs: Vec<_> = stub.expected().iter().map(|expected| expected.usage.expect("usage").input).collect();
    assert_eq!(inputs, [11, 12]);
}
