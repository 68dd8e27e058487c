//! The stand-in as curl sees it.

use a11i_tests::{
    provider_stub::{Coding, End, Options, ProviderStub},
    requirement,
    serial::one_at_a_time,
    workload::curl::{Curl, chat, chat_stream, message},
};
use serde_json::{Value, json};

const CHAT: &str = "https://api.openai.com/v1/chat/completions";

#[tokio::test]
async fn a_chat_answer_has_the_numbers_that_are_expected_of_it() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
    let done =
        curl.header("x-stub-cache-read", "3").header("x-stub-reasoning", "2").post(CHAT, &chat("gpt-4o-mini", "one two three")).run().await;
    let body: Value = serde_json::from_slice(&done.output.stdout).expect("JSON");
    let [expected] = &stub.expected()[..] else { panic!("{:#?}", stub.expected()) };
    let usage = expected.usage.expect("a plain answer has usage");
    assert_eq!((usage.input, usage.output, usage.cache_read, usage.reasoning), (13, 7, 3, 2));
    assert_eq!(body.pointer("/usage/prompt_tokens"), Some(&json!(13)));
    assert_eq!(body.pointer("/usage/completion_tokens"), Some(&json!(7)));
    assert_eq!(body.pointer("/usage/prompt_tokens_details/cached_tokens"), Some(&json!(3)));
    assert_eq!(body.pointer("/model"), Some(&json!("gpt-4o-mini-2024-07-18")));
    assert_eq!(body.pointer("/id"), Some(&json!(expected.response_id)));
}

#[tokio::test]
async fn a_stream_has_usage_only_when_it_was_asked_for() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    for (body, told) in
        [(chat_stream("gpt-4o-mini", "hello"), true), (json!({"model": "gpt-4o-mini", "stream": true, "messages": []}), false)]
    {
        let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
        let text = curl.post(CHAT, &body).run().await.text();
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        assert_eq!(text.contains("prompt_tokens"), told, "{text}");
        assert_eq!(stub.expected().last().expect("one exchange").usage.is_some(), told);
    }
}

#[tokio::test]
async fn every_content_coding_gives_the_same_stream() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
        for url in [CHAT, "https://api.anthropic.com/v1/messages"] {
            let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
            let token = coding.token().expect("not the identity");
            let body = if url == CHAT { chat_stream("gpt-4.1", "x") } else { message("claude-haiku-4-5", "x", true) };
            let curl = curl.arg("--compressed").header("x-stub-encoding", token).header("x-stub-pace-ms", "5");
            let text = curl.post(url, &body).run().await.text();
            assert!(text.contains("größe2"), "{coding:?}: {text}");
            assert!(text.contains("[DONE]") || text.contains("message_stop"), "{coding:?}: {text}");
        }
    }
}

#[tokio::test]
async fn two_urls_of_one_curl_share_a_connection() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
    let done = curl.url("https://api.openai.com/health").then().post(CHAT, &chat("gpt-4o-mini", "hi")).run().await;
    let exchanges = stub.exchanges();
    let [health, chat] = &exchanges[..] else { panic!("{exchanges:#?}\n{done:?}") };
    assert_eq!(health.connection, chat.connection);
    assert_eq!(health.expected, None);
    assert!(chat.expected.is_some());
}

#[tokio::test]
async fn errors_come_in_the_providers_own_form() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    for (url, status, kind) in [
        (CHAT, 401, "invalid_request_error"),
        (CHAT, 429, "requests"),
        ("https://api.openai.com/v1/responses", 500, "server_error"),
        ("https://api.anthropic.com/v1/messages", 529, "overloaded_error"),
    ] {
        let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
        let curl = curl.header("x-stub-fault", &format!("status={status}")).arg("--include");
        let text = curl.post(url, &chat("m", "x")).run().await.text();
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        assert!(text.contains(kind), "{text}");
        assert_eq!(text.contains("retry-after: 1"), status == 429, "{text}");
        let expected = stub.expected().pop().expect("one exchange");
        assert_eq!((expected.status, expected.response_id), (status, None));
        assert!(expected.error_types.contains(&kind.to_owned()) && expected.error_types.contains(&status.to_string()));
    }
}

#[tokio::test]
async fn a_cut_answer_ends_without_its_end() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    for body in [chat_stream("gpt-4o-mini", "x"), chat("gpt-4o-mini", "x")] {
        let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
        let done = curl.header("x-stub-fault", "cut=2").post(CHAT, &body).run().await;
        assert!(!done.output.status.success(), "curl must notice: {done:?}");
        let exchange = stub.exchanges().pop().expect("one exchange");
        assert_eq!(exchange.end, End::Cut);
        assert_eq!(exchange.expected.expect("a call").finish_reasons, ["error"]);
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_ends_it() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
    let curl = curl.header("x-stub-fault", "error-in-stream=2");
    let text = curl.post("https://api.anthropic.com/v1/messages", &message("claude-haiku-4-5", "x", true)).run().await.text();
    assert!(
        text.contains("word1") && !text.contains("größe2") && text.contains("overloaded_error") && !text.contains("message_stop"),
        "{text}"
    );
    assert_eq!(stub.expected().pop().expect("one exchange").error_types, ["overloaded_error"]);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
    let curl = curl.header("x-stub-chunks", "10000").header("x-stub-pace-ms", "5");
    let mut child = curl.post(CHAT, &chat_stream("gpt-4o-mini", "x")).start().await;
    while stub.exchanges().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    child.kill().await.expect("curl runs");
    loop {
        match stub.exchanges().pop().expect("one exchange").end {
            End::Open => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            End::Abandoned { .. } => return,
            end @ (End::Written | End::Cut) => panic!("{end:?}"),
        }
    }
}

#[tokio::test]
async fn http2_is_spoken_only_when_offered() {
    let _turn = one_at_a_time();
    for (http2, version) in [(false, "1.1"), (true, "2")] {
        let stub = ProviderStub::start_with(Options { http2, ..Options::default() });
        let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
        let curl = curl.arg("--http2").arg("--write-out").arg("\n%{http_version}");
        let text = curl.post(CHAT, &chat("gpt-4o-mini", "x")).run().await.text();
        assert!(text.ends_with(&format!("\n{version}")), "{text}");
    }
}

#[tokio::test]
async fn a_mistake_in_a_test_is_told() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
    let text = curl.header("x-stub-chunk", "2").post(CHAT, &chat("gpt-4o-mini", "x")).run().await.text();
    assert_eq!(text, "x-stub-chunk: 2 is not known to the stand-in");
}
