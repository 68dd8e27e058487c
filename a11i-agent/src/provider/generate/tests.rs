use super::*;
use crate::call::{CallFrame, Ending, LlmCall, Part};

fn call(request: &str, answer: &[&str], gap: bool) -> LlmCall {
    let mut call = CallBuilder::new(ProviderName::of("tgi"), Operation::TextCompletion, true);
    Generate.request(Operation::TextCompletion, request.as_bytes(), &mut call).unwrap();
    call.response.status = Some(200);
    if call.request.stream {
        for event in answer {
            Generate.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
        }
        Generate.stream_end(gap, &mut call);
    } else {
        Generate.response(answer[0].as_bytes(), &mut call).unwrap();
    }
    call.build(CallFrame::default(), Ending::Seen)
}

#[test]
fn the_request_tells_the_server() {
    for (request, provider) in [
        (r#"{"inputs":"a","parameters":{}}"#, "tgi"),
        (r#"{"text":"a","sampling_params":{"max_new_tokens":3}}"#, "sglang"),
        (r#"{"input_ids":[1,2],"sampling_params":{}}"#, "sglang"),
        (r#"{"prompt":"a","max_tokens":3}"#, "vllm"),
        (r#"{"size":"large"}"#, "tgi"),
    ] {
        assert_eq!(call(request, &["{}"], false).provider.as_str(), provider, "{request}");
    }
    let mut hosted = CallBuilder::new(ProviderName::of("huggingface"), Operation::TextCompletion, false);
    Generate.request(Operation::TextCompletion, br#"{"text":"a","sampling_params":{}}"#, &mut hosted).unwrap();
    assert_eq!(hosted.provider().as_str(), "huggingface");
}

#[test]
fn a_body_without_a_prompt_is_none_of_these() {
    let mut other = CallBuilder::new(ProviderName::of("tgi"), Operation::TextCompletion, false);
    Generate.request(Operation::TextCompletion, br#"{"report":"q3","format":"pdf"}"#, &mut other).unwrap();
    assert!(!Generate.resembles(&other));
}

#[test]
fn text_so_far_replaces_what_was_before() {
    let event = |text: &str, tokens: u64, reason: &str| {
        format!(r#"{{"text":"{text}","meta_info":{{"prompt_tokens":4,"completion_tokens":{tokens},"finish_reason":{reason}}}}}"#)
    };
    let request = r#"{"text":"a","sampling_params":{},"stream":true}"#;
    let (one, two, last) = (event("E", 1, "null"), event("Eb", 2, "null"), event("Ebb", 3, r#"{"type":"stop"}"#));
    let ended = call(request, &[&one, &two, &last, "[DONE]"], false);
    assert_eq!(ended.content.output_messages[0].parts, [Part::Text { content: "Ebb".into() }]);
    assert_eq!((ended.usage.output_tokens, ended.estimation.output.text()), (Some(3), "Ebb"));
    // Before a gap a running count is not the last one.
    assert!(call(request, &[&one, &two], true).usage.is_absent());
    assert_eq!(call(request, &[&last], true).usage.output_tokens, Some(3));
}

#[test]
fn choices_of_one_prompt_count_it_once() {
    let answer = r#"[{"text":"a","meta_info":{"prompt_tokens":4,"completion_tokens":1}},{"text":"b","meta_info":{"prompt_tokens":4,"completion_tokens":2}}]"#;
    let usage = call(r#"{"text":"x","sampling_params":{"n":2}}"#, &[answer], false).usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(4), Some(3)));
    let usage = call(r#"{"text":["x","y"],"sampling_params":{}}"#, &[answer], false).usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(8), Some(3)));
    let usage = call(r#"{"text":["x","y"],"sampling_params":{}}"#, &[r#"[{"meta_info":{"prompt_tokens":4}},{}]"#], false).usage;
    assert!(usage.is_absent());
}

#[test]
fn an_error_in_a_stream_fails_the_call() {
    let call =
        call(r#"{"inputs":"a","stream":true}"#, &[r#"{"error":"Request failed during generation","error_type":"generation"}"#], false);
    assert_eq!(call.outcome.error_type.as_deref(), Some("generation"));
}

#[test]
fn nothing_hostile_becomes_a_number() {
    for answer in [
        r#"{"details":{"generated_tokens":-1,"input_length":1e300,"prefill":{}}}"#,
        r#"{"meta_info":{"prompt_tokens":"a","completion_tokens":[],"finish_reason":7}}"#,
        "[[],[]]",
        "[1,null]",
        "null",
    ] {
        assert!(call(r#"{"inputs":["a",{},7]}"#, &[answer], false).usage.is_absent(), "{answer}");
    }
    assert_eq!(
        (model("/models/a/b"), model("/hf-inference/models/a/b/"), model("/models/a/b/c"), model("/")),
        (Some("a/b"), Some("a/b"), None, None)
    );
}
