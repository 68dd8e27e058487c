use super::*;
use crate::call::{CallFrame, Ending, LlmCall, OutputType, Part};

fn call(operation: Operation, request: &str, answer: &[&str]) -> LlmCall {
    let mut call = CallBuilder::new(ProviderName::of("ollama"), operation, true);
    Ollama.request(operation, request.as_bytes(), &mut call).unwrap();
    call.response.status = Some(200);
    if call.request.stream {
        for line in answer {
            Ollama.chunk(&StreamFrame { event: None, data: line.as_bytes() }, &mut call);
        }
    } else {
        Ollama.response(answer[0].as_bytes(), &mut call).unwrap();
    }
    call.build(CallFrame::default(), Ending::Seen)
}

#[test]
fn a_stream_is_asked_for_by_saying_nothing() {
    for (stream, want) in [("", true), (r#""stream":true,"#, true), (r#""stream":null,"#, true), (r#""stream":false,"#, false)] {
        let request = format!(r#"{{{stream}"model":"m","messages":[]}}"#);
        let done = r#"{"model":"m","message":{"role":"assistant","content":"a"},"done":true,"done_reason":"stop"}"#;
        assert_eq!(call(Operation::Chat, &request, &[done]).request.stream, want, "{request}");
    }
    assert!(!call(Operation::Embeddings, r#"{"model":"m","input":"x"}"#, &["{}"]).request.stream);
}

#[test]
fn pieces_thoughts_and_tool_calls_of_a_stream_are_joined() {
    let answer = call(
        Operation::Chat,
        r#"{"model":"m","messages":[{"role":"user","content":"hi","images":["aGk="]}],"options":{"num_predict":-1,"temperature":0,"stop":["a"]},"format":"json","think":"high"}"#,
        &[
            r#"{"model":"m:1","message":{"role":"assistant","content":"","thinking":"we"},"done":false}"#,
            r#"{"model":"m:1","message":{"role":"assistant","content":"","thinking":"ll"},"done":false}"#,
            r#"{"model":"m:1","message":{"role":"assistant","content":"so"},"done":false}"#,
            r#"{"model":"m:1","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]},"done":false}"#,
            r#"{"model":"m:1","message":{"role":"assistant","content":"","tool_calls":[{"id":"c2","function":{"index":1,"name":"g","arguments":{}}}]},"done":false}"#,
            r#"{"model":"m:1","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":9,"eval_count":4}"#,
        ],
    );
    assert_eq!((answer.usage.input_tokens, answer.usage.output_tokens), (Some(9), Some(4)));
    assert_eq!(
        (answer.response.model.as_deref(), answer.response.finish_reasons.as_slice()),
        (Some("m:1"), ["stop".to_owned()].as_slice())
    );
    let asked = &answer.request;
    assert_eq!((asked.temperature, asked.max_tokens, asked.output_type), (Some(0.0), None, Some(OutputType::Json)));
    assert_eq!((asked.reasoning_level.as_deref(), asked.stop_sequences.as_slice()), (Some("high"), ["a".to_owned()].as_slice()));
    assert_eq!(
        answer.content.output_messages[0].parts,
        [
            Part::Reasoning { content: "well".into() },
            Part::Text { content: "so".into() },
            Part::ToolCall { id: None, name: "f".into(), arguments: Some(serde_json::json!({"x": 1})) },
            Part::ToolCall { id: Some("c2".into()), name: "g".into(), arguments: Some(serde_json::json!({})) },
        ]
    );
    assert_eq!(answer.content.input_messages[0].parts.len(), 2);
}

#[test]
fn a_prompt_that_was_cached_is_neither_zero_nor_estimated() {
    let request = r#"{"model":"m","prompt":"tell"}"#;
    let answer =
        call(Operation::TextCompletion, request, &[r#"{"model":"m","response":"a","done":true,"done_reason":"stop","eval_count":3}"#]);
    assert_eq!((answer.usage.input_tokens, answer.usage.output_tokens), (None, Some(3)));
    assert!(answer.estimation.input.is_empty());
    // An old server that counts nothing at all leaves it to the estimate.
    let answer = call(Operation::TextCompletion, request, &[r#"{"model":"m","response":"a","done":true}"#]);
    assert!(answer.usage.is_absent() && !answer.estimation.input.is_empty());
}

#[test]
fn loading_a_model_counts_nothing() {
    let answer = call(
        Operation::TextCompletion,
        r#"{"model":"m","keep_alive":0}"#,
        &[r#"{"model":"m","response":"","done":true,"done_reason":"unload"}"#],
    );
    assert_eq!(answer.response.finish_reasons, ["unload"]);
    assert!(answer.usage.is_absent() && answer.estimation.input.is_empty() && answer.estimation.output.is_empty());
}

#[test]
fn an_error_line_fails_the_call() {
    let answer = call(
        Operation::Chat,
        r#"{"model":"m","messages":[]}"#,
        &[r#"{"model":"m","message":{"content":"a"},"done":false}"#, r#"{"error":"an error was encountered while running the model"}"#],
    );
    assert_eq!(answer.outcome.error_type.as_deref(), Some("_OTHER"));
    assert!(answer.usage.is_absent());
}

#[test]
fn nothing_hostile_becomes_a_number() {
    for line in [
        r#"{"done":true,"prompt_eval_count":-1,"eval_count":1e300}"#,
        r#"{"done":true,"prompt_eval_count":"many","eval_count":[1]}"#,
        r#"{"done":"truly","prompt_eval_count":5,"eval_count":6}"#,
        "[1]",
        "null",
        "{",
        "\u{0}",
    ] {
        let answer =
            call(Operation::Chat, r#"{"model":"m","messages":[{},1,null,{"tool_calls":7,"images":{}}],"options":[],"think":{}}"#, &[line]);
        assert!(answer.usage.is_absent(), "{line}");
    }
}
