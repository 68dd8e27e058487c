use super::*;
use crate::{
    call::{CallFrame, Ending, LlmCall},
    fixture::request_head,
};

fn head(host: &str, path: &str) -> RequestHead {
    request_head("POST", host, path)
}

const HOST: &str = "runtime.sagemaker.eu-west-1.amazonaws.com";

fn call(path: &str, request: &str, answers: &[&str]) -> LlmCall {
    let mut call = CallBuilder::new(PROVIDER, Operation::Chat, true);
    SageMaker.request_head(&head(HOST, path), &mut call);
    let _unreadable = SageMaker.request(Operation::Chat, request.as_bytes(), &mut call).is_err();
    if call.request.stream {
        for answer in answers {
            SageMaker.chunk(&StreamFrame { event: None, data: answer.as_bytes() }, &mut call);
        }
        SageMaker.stream_end(false, &mut call);
    } else {
        for answer in answers {
            SageMaker.response(answer.as_bytes(), &mut call).unwrap();
        }
    }
    call.build(CallFrame::default(), Ending::Seen)
}

#[test]
fn only_amazons_hosts_and_signed_requests_are_asked() {
    assert!(SageMaker.claims(&head(HOST, "/endpoints/my-model/invocations")).is_some());
    assert!(SageMaker.claims(&head("app.example", "/endpoints/my-model/invocations")).is_none());
    assert!(SageMaker.claims(&head(HOST, "/endpoints/my-model/async-invocations")).is_none());
    assert!(SageMaker.claims(&head(HOST, "/endpoints/a/b/invocations")).is_none());
}

#[test]
fn what_no_language_model_takes_names_no_model() {
    for body in ["5.1,3.5,1.4,0.2", r#"{"instances":[{"features":[1.5,2.5]}]}"#, "[1,2]", "{}"] {
        assert_eq!(call("/endpoints/iris/invocations", body, &[]).request.model, None, "{body}");
    }
}

#[test]
fn text_generation_inference_is_understood_whole_and_streamed() {
    let request = r#"{"inputs":"Once","parameters":{"max_new_tokens":20,"temperature":0.5,"stop":["."]}}"#;
    let whole = [r#"[{"generated_text":" upon","details":{"finish_reason":"length","generated_tokens":20,"input_length":3}}]"#];
    let streamed = [
        r#"{"token":{"id":1,"text":" upon","special":false},"generated_text":null,"details":null}"#,
        r#"{"token":{"id":2,"text":"</s>","special":true},"generated_text":" upon","details":{"finish_reason":"length","generated_tokens":20,"input_length":3}}"#,
    ];
    for (path, answers) in [("/endpoints/llama/invocations", &whole[..]), ("/endpoints/llama/invocations-response-stream", &streamed[..])] {
        let call = call(path, request, answers);
        assert_eq!((call.request.model.as_deref(), call.request.max_tokens), (Some("llama"), Some(20)));
        assert_eq!(call.operation, Operation::TextCompletion);
        assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(3), Some(20)));
        assert_eq!(call.response.finish_reasons, ["length"]);
        assert_eq!(call.estimation.output.text(), " upon");
    }
}

#[test]
fn openais_format_is_understood() {
    let request = r#"{"model":"served","messages":[{"role":"user","content":"Hi"}],"stream":true}"#;
    let chunks = [
        r#"{"id":"c","model":"served","choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}"#,
        r#"{"id":"c","choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}"#,
        "[DONE]",
    ];
    let call = call("/endpoints/e/invocations-response-stream", request, &chunks);
    assert_eq!((call.request.model.as_deref(), call.request.stream, call.operation), (Some("served"), true, Operation::Chat));
    assert_eq!(call.response.finish_reasons, ["stop"]);
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(4), Some(2)));
}
