use super::*;
use crate::{
    call::{CallFrame, Ending, LlmCall},
    fixture::request_head as head,
    http::HeaderValue,
};

fn builder(stream: bool) -> CallBuilder {
    let mut call = CallBuilder::new(ProviderName::of("gcp.gemini"), Operation::GenerateContent, true);
    call.request.stream = stream;
    call
}

/// `usage_metadata { prompt_token_count: 9 candidates_token_count: <n> }`
const fn usage(output: u8) -> [u8; 6] {
    [0x1a, 4, 0x08, 9, 0x10, output]
}

/// `candidates { finish_reason: STOP }`
const FINISHED: [u8; 4] = [0x0a, 2, 0x10, 1];

fn stream(messages: &[&[u8]], gap: bool) -> LlmCall {
    let mut call = builder(true);
    for message in messages {
        GEMINI.chunk(&StreamFrame { event: None, data: message }, &mut call);
    }
    GEMINI.stream_end(gap, &mut call);
    call.build(CallFrame::default(), Ending::Seen)
}

#[test]
fn the_last_counts_of_a_stream_are_the_calls() {
    let last = [&FINISHED[..], &usage(7)].concat();
    let call = stream(&[&usage(1), &last], false);
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(9), Some(7)));
    assert_eq!(call.response.finish_reasons, ["STOP"]);
}

#[test]
fn running_counts_before_a_gap_are_not_final() {
    assert!(stream(&[&usage(1)], true).usage.is_absent());
    assert_eq!(stream(&[&usage(1)], false).usage.output_tokens, Some(1));
}

#[test]
fn a_message_that_is_none_says_nothing() {
    assert!(stream(&[b"{\"usageMetadata\":{\"promptTokenCount\":1}}", &[0x1a, 200, 8]], false).usage.is_absent());
}

#[test]
fn the_routing_header_names_the_model() {
    let mut request = head("POST", "x", "/google.ai.generativelanguage.v1beta.GenerativeService/StreamGenerateContent");
    request.headers.push("x-goog-request-params".into(), HeaderValue::Text("a=b&model=models%2Fgemini-x".into()));
    let mut call = builder(false);
    GEMINI.request_head(&request, &mut call);
    assert_eq!((call.request.model.as_deref(), call.request.stream), (Some("gemini-x"), true));
    // The body says it too: model = "models/gemini-y".
    let body = [&[0, 0, 0, 0, 17, 0x0a, 15][..], b"models/gemini-y"].concat();
    let mut call = builder(true);
    GEMINI.request(Operation::GenerateContent, &body, &mut call).unwrap();
    assert_eq!((call.request.model.as_deref(), call.request.stream), (Some("gemini-y"), true));
    assert!(GEMINI.request(Operation::GenerateContent, b"{}", &mut call).is_err());
}
