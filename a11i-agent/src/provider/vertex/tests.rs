use super::*;
use crate::call::{CallFrame, Ending, LlmCall};

fn answered(dialect: &dyn Dialect, operation: Operation, status: u16, body: &str) -> LlmCall {
    let mut call = CallBuilder::new(NAME, operation, true);
    call.response.status = Some(status);
    dialect.response(body.as_bytes(), &mut call).unwrap();
    call.build(CallFrame::default(), Ending::Seen)
}

#[test]
fn tokens_of_all_instances_are_summed_only_when_all_are_known() {
    let sum = |predictions: &str| {
        answered(&Vertex, Operation::Embeddings, 200, &format!(r#"{{"predictions":[{predictions}]}}"#)).usage.input_tokens
    };
    let one = |count: &str| format!(r#"{{"embeddings":{{"statistics":{{"token_count":{count}}},"values":[1,2]}}}}"#);
    assert_eq!(sum(&[one("2"), one("3.0")].join(",")), Some(5));
    assert_eq!(sum(&[one("2"), one("-3")].join(",")), None);
    assert_eq!(sum(&[one("2"), "{}".to_owned()].join(",")), None);
    assert_eq!(sum(""), None);
}

#[test]
fn the_path_says_model_and_stream_where_the_body_does_not() {
    for (dialect, publisher, body) in [
        (&VertexAnthropic as &dyn Dialect, "anthropic", r#"{"anthropic_version":"vertex-2023-10-16","max_tokens":1,"messages":[]}"#),
        (&VertexOpenAi, "mistralai", r#"{"model":"short-name","messages":[]}"#),
    ] {
        let path = format!("/v1/projects/p/locations/l/publishers/{publisher}/models/m%402505:streamRawPredict");
        let head = crate::fixture::request_head("POST", "us-east5-aiplatform.googleapis.com", &path);
        let operation = dialect.claims(&head).unwrap();
        let mut call = CallBuilder::new(NAME, operation, false);
        dialect.request_head(&head, &mut call);
        dialect.request(operation, body.as_bytes(), &mut call).unwrap();
        assert_eq!((call.request.model.as_deref(), call.request.stream), (Some("m@2505"), true), "{publisher}");
    }
}

#[test]
fn google_refuses_for_its_publishers() {
    let error = r#"[{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}]"#;
    for dialect in [&VertexAnthropic as &dyn Dialect, &VertexOpenAi, &Vertex] {
        assert_eq!(answered(dialect, Operation::Chat, 403, error).outcome.error_type.as_deref(), Some("PERMISSION_DENIED"));
    }
}

#[test]
fn hostile_bodies_give_no_number_and_no_panic() {
    for body in ["[]", "1", r#"{"predictions":{"a":1}}"#, r#"{"predictions":[1,[],{"embeddings":[{"statistics":1}]}]}"#] {
        assert!(answered(&Vertex, Operation::Embeddings, 200, body).usage.is_absent(), "{body}");
    }
}
