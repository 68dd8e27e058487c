use super::*;
use crate::{
    call::{CallFrame, Ending, LlmCall, Modality, OutputType, Part},
    fixture::request_head as head,
    provider::Routes,
};

fn builder(operation: Operation) -> CallBuilder {
    CallBuilder::new(ProviderName::of("gcp.gemini"), operation, true)
}

fn stream(events: &[&str], gap: bool) -> LlmCall {
    let mut call = builder(Operation::GenerateContent);
    for event in events {
        Gemini.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
    }
    Gemini.stream_end(gap, &mut call);
    call.build(CallFrame::default(), Ending::Seen)
}

fn answered(operation: Operation, status: u16, body: &str) -> LlmCall {
    let mut call = builder(operation);
    call.response.status = Some(status);
    Gemini.response(body.as_bytes(), &mut call).unwrap();
    call.build(CallFrame::default(), Ending::Seen)
}

fn asked(operation: Operation, body: &str) -> LlmCall {
    let mut call = builder(operation);
    Gemini.request(operation, body.as_bytes(), &mut call).unwrap();
    call.build(CallFrame::default(), Ending::Seen)
}

const RUNNING: &str =
    r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":1}}"#;
const LAST: &str = r#"{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4,"thoughtsTokenCount":5}}"#;

#[test]
fn the_last_counts_of_a_stream_are_the_calls() {
    let usage = stream(&[RUNNING, LAST, r#"{"usageMetadata":{"trafficType":"ON_DEMAND"}}"#], false).usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.reasoning_output_tokens), (Some(3), Some(9), Some(5)));
}

#[test]
fn running_counts_before_a_gap_are_not_final() {
    assert!(stream(&[RUNNING], true).usage.is_absent());
    assert_eq!(stream(&[RUNNING, LAST], true).usage.output_tokens, Some(9));
    assert_eq!(stream(&[RUNNING], false).usage.output_tokens, Some(1));
    let mut two = builder(Operation::GenerateContent);
    two.request.choice_count = Some(2);
    chunk(LAST.as_bytes(), &mut two);
    stream_end(true, &mut two);
    assert!(two.usage.is_absent());
}

#[test]
fn a_count_of_zero_is_left_out_and_stays_absent() {
    let usage = |json: &str| {
        let usage = answered(Operation::GenerateContent, 200, &format!(r#"{{"usageMetadata":{json}}}"#)).usage;
        (usage.input_tokens, usage.output_tokens)
    };
    assert_eq!(usage(r#"{"promptTokenCount":8,"thoughtsTokenCount":20}"#), (Some(8), Some(20)));
    assert_eq!(usage(r#"{"promptTokenCount":8,"totalTokenCount":8}"#), (Some(8), None));
    assert_eq!(usage(r#"{"promptTokenCount":8,"toolUsePromptTokenCount":30,"candidatesTokenCount":2}"#), (Some(38), Some(2)));
    assert_eq!(usage(r#"{"toolUsePromptTokenCount":30,"candidatesTokenCount":2}"#), (None, Some(2)));
}

#[test]
fn pieces_of_text_go_on_and_all_else_stands_for_itself() {
    let part = |parts: &str| format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}]}}}}]}}"#);
    let events = [
        part(r#"{"text":"I th","thought":true}"#),
        part(r#"{"text":"ink","thought":true}"#),
        part(r#"{"text":"On"}"#),
        part(r#"{"text":"e"}"#),
        part(r#"{"functionCall":{"name":"f","args":{"x":1}}},{"functionCall":{"name":"f","id":"2","args":{}}}"#),
        part(r#"{"text":"after"}"#),
        part(r#"{"inlineData":{"mimeType":"image/png","data":"aGk="}}"#),
        part(r#"{"toolCall":{"toolType":"GOOGLE_SEARCH_WEB","id":"s","args":{"queries":["q"]}}}"#),
    ];
    let call = stream(&events.iter().map(String::as_str).collect::<Vec<_>>(), false);
    let text = |content: &str| Part::Text { content: content.into() };
    assert_eq!(
        call.content.output_messages.first().unwrap().parts,
        [
            Part::Reasoning { content: "I think".into() },
            text("One"),
            Part::ToolCall { id: None, name: "f".into(), arguments: Some(serde_json::json!({"x": 1})) },
            Part::ToolCall { id: Some("2".into()), name: "f".into(), arguments: Some(serde_json::json!({})) },
            text("after"),
            Part::Blob { modality: Modality::Image, mime_type: Some("image/png".into()), content: "aGk=".into() },
            Part::ServerToolCall {
                id: Some("s".into()),
                name: "google_search_web".into(),
                server_tool_call: serde_json::json!({"type": "google_search_web", "arguments": {"queries": ["q"]}}),
            },
        ]
    );
}

#[test]
fn a_call_whose_arguments_are_streamed_is_one_call() {
    let part = |part: &str| format!(r#"{{"candidates":[{{"content":{{"parts":[{part}]}}}}]}}"#);
    let events = [
        part(r#"{"functionCall":{"name":"f","willContinue":true}}"#),
        part(r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.city","stringValue":"Os"}],"willContinue":true}}"#),
        part(r#"{"functionCall":{}}"#),
    ];
    let call = stream(&events.iter().map(String::as_str).collect::<Vec<_>>(), false);
    assert_eq!(call.content.output_messages.first().unwrap().parts, [Part::ToolCall { id: None, name: "f".into(), arguments: None }]);
    assert!(call.content.truncated && call.estimation.output_tool_calls == 1);
}

#[test]
fn a_blocked_prompt_ends_for_its_reason_and_is_no_failure() {
    let call = answered(Operation::GenerateContent, 200, r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#);
    assert_eq!((call.response.finish_reasons, call.outcome.error_type), (vec!["SAFETY".to_owned()], None));
    let empty = answered(Operation::GenerateContent, 200, r#"{"promptFeedback":{"blockReason":"BLOCK_REASON_UNSPECIFIED"}}"#);
    assert!(empty.response.finish_reasons.is_empty());
}

#[test]
fn searches_are_counted_as_they_are_billed() {
    let searches = |model: &str| {
        let body = format!(
            r#"{{"modelVersion":"{model}","candidates":[{{"groundingMetadata":{{"webSearchQueries":["a","b"]}}}}],"usageMetadata":{{"promptTokenCount":1}}}}"#
        );
        let again = stream(&[&body, &body], false).usage.web_search_requests;
        assert_eq!(answered(Operation::GenerateContent, 200, &body).usage.web_search_requests, again);
        again
    };
    assert_eq!((searches("gemini-2.5-flash"), searches("gemini-3-pro")), (Some(1), Some(2)));
    assert_eq!(stream(&[LAST], false).usage.web_search_requests, None);
}

#[test]
fn a_failure_is_read_alone_or_in_an_array() {
    let error = r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}"#;
    for body in [error.to_owned(), format!("[{error}]"), format!("[{error}\n]")] {
        let outcome = answered(Operation::GenerateContent, 429, &body).outcome;
        assert_eq!(outcome.error_type.as_deref(), Some("RESOURCE_EXHAUSTED"), "{body}");
        assert_eq!(outcome.error_message.as_deref(), Some("slow down"));
    }
    assert_eq!(stream(&[RUNNING, error], false).outcome.error_type.as_deref(), Some("RESOURCE_EXHAUSTED"));
}

#[test]
fn a_count_is_no_consumption() {
    let body = r#"{"totalTokens":12,"usageMetadata":{"promptTokenCount":12}}"#;
    assert!(answered(COUNT_TOKENS, 200, body).usage.is_absent());
}

#[test]
fn requests_are_read_in_either_spelling_and_wrapped() {
    let camel = r#"{"contents":[{"role":"user","parts":[{"text":"q"},{"fileData":{"mimeType":"audio/ogg","fileUri":"gs://b/a"}}]}],"systemInstruction":{"parts":[{"text":"s"}]},"generationConfig":{"maxOutputTokens":5,"topK":3,"responseMimeType":"text/plain","thinkingConfig":{"thinkingLevel":"HIGH"}}}"#;
    let snake = r#"{"contents":[{"role":"user","parts":[{"text":"q"},{"file_data":{"mime_type":"audio/ogg","file_uri":"gs://b/a"}}]}],"system_instruction":{"parts":{"text":"s"}},"generation_config":{"max_output_tokens":5,"top_k":3,"response_mime_type":"text/plain","thinking_config":{"thinking_level":"HIGH"}}}"#;
    let want = asked(Operation::GenerateContent, camel);
    assert_eq!((want.request.max_tokens, want.request.top_k, want.request.output_type), (Some(5), Some(3), Some(OutputType::Text)));
    assert_eq!(want.request.reasoning_level.as_deref(), Some("HIGH"));
    assert_eq!(want.content.system_instructions, [Part::Text { content: "s".into() }]);
    assert_eq!(want.content.input_messages.first().unwrap().parts.len(), 2);
    let other = asked(Operation::GenerateContent, snake);
    assert_eq!((&other.request, &other.content), (&want.request, &want.content));
    let wrapped = asked(Operation::GenerateContent, &format!(r#"{{"model":"gemini-x","project":"p","request":{camel}}}"#));
    assert_eq!((wrapped.request.model.as_deref(), &wrapped.content), (Some("gemini-x"), &want.content));
    let counted = asked(COUNT_TOKENS, &format!(r#"{{"generateContentRequest":{camel}}}"#));
    assert_eq!(counted.content, want.content);
}

#[test]
fn what_was_asked_to_come_out_is_told_by_modality_or_media_type() {
    for (config, want) in [
        (r#"{"responseModalities":["TEXT","IMAGE"]}"#, Some(OutputType::Image)),
        (r#"{"responseModalities":["AUDIO"]}"#, Some(OutputType::Speech)),
        (r#"{"responseModalities":[3]}"#, Some(OutputType::Speech)),
        (r#"{"responseModalities":["TEXT"],"responseMimeType":"application/json"}"#, Some(OutputType::Json)),
        ("{}", None),
    ] {
        assert_eq!(asked(Operation::GenerateContent, &format!(r#"{{"generationConfig":{config}}}"#)).request.output_type, want, "{config}");
    }
}

#[test]
fn dimensions_are_told_where_all_requests_agree() {
    let sizes = |requests: &str| asked(Operation::Embeddings, &format!(r#"{{"requests":[{requests}]}}"#)).request.embedding_dimensions;
    assert_eq!(sizes(r#"{"outputDimensionality":8},{"outputDimensionality":8}"#), Some(8));
    assert_eq!(sizes(r#"{"outputDimensionality":8},{}"#), None);
    assert_eq!(sizes(r#"{},{"outputDimensionality":8}"#), None);
    assert_eq!(asked(Operation::Embeddings, r#"{"model":"models/e","outputDimensionality":8}"#).request.embedding_dimensions, Some(8));
}

#[test]
fn hostile_bodies_give_no_number_and_no_panic() {
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    for body in [
        "[]",
        "[[{\"error\":1}]]",
        "null",
        "\"x\"",
        "{\"candidates\":{\"0\":1}}",
        r#"{"candidates":[null,1,[],{"content":{"parts":{"text":"x"}},"index":-1,"finishReason":{}}]}"#,
        r#"{"usageMetadata":{"promptTokenCount":-1,"candidatesTokenCount":18446744073709551615,"thoughtsTokenCount":1.5}}"#,
        r#"{"usageMetadata":[1],"promptFeedback":[],"modelVersion":{},"error":[]}"#,
        r#"{"response":{"response":{"response":{}}}}"#,
        &format!(r#"{{"candidates":{deep}}}"#),
    ] {
        for status in [200, 500] {
            let call = answered(Operation::GenerateContent, status, body);
            assert!(call.usage.is_absent(), "{body:.80}");
        }
        let _may_be_unreadable =
            Gemini.request(Operation::GenerateContent, body.as_bytes(), &mut builder(Operation::GenerateContent)).is_err();
        let _may_be_unreadable = Gemini.request(Operation::Embeddings, body.as_bytes(), &mut builder(Operation::Embeddings)).is_err();
        stream(&[body], true);
    }
    assert!(Gemini.response(b"{\"candidates\":", &mut builder(Operation::GenerateContent)).is_err());
}

#[test]
fn the_path_tells_service_and_operation() {
    let routes = Routes::default();
    let gemini = "generativelanguage.googleapis.com";
    let vertex = "europe-west4-aiplatform.googleapis.com";
    let cloud = |rest: &str| format!("/v1/projects/p/locations/l/publishers/{rest}");
    for (method, host, path, provider, operation) in [
        ("POST", gemini, "/v1beta/models/g:generateContent".to_owned(), "gcp.gemini", Operation::GenerateContent),
        ("POST", gemini, "/v1beta/models/imagen-4:predict".to_owned(), "gcp.gemini", IMAGE_GENERATION),
        ("POST", gemini, "/v1beta/interactions".to_owned(), "gcp.gemini", Operation::GenerateContent),
        ("GET", gemini, "/v1beta/interactions/v1_x".to_owned(), "gcp.gemini", Operation::FetchResponse),
        ("POST", gemini, "/v1beta/openai/chat/completions".to_owned(), "gcp.gemini", Operation::Chat),
        ("POST", gemini, "/v1beta/models/g:batchGenerateContent".to_owned(), "gcp.gemini", BATCH),
        ("POST", "proxy", "/v1beta/models/g:streamGenerateContent".to_owned(), "gcp.gemini", Operation::GenerateContent),
        ("POST", "proxy", cloud("google/models/g:streamGenerateContent"), "gcp.vertex_ai", Operation::GenerateContent),
        ("POST", vertex, cloud("google/models/text-embedding-005:predict"), "gcp.vertex_ai", Operation::Embeddings),
        ("POST", vertex, cloud("google/models/imagegeneration@006:predict"), "gcp.vertex_ai", IMAGE_GENERATION),
        ("POST", vertex, cloud("google/models/veo-3:predictLongRunning"), "gcp.vertex_ai", VIDEO_GENERATION),
        ("POST", vertex, cloud("anthropic/models/claude:rawPredict"), "gcp.vertex_ai", Operation::Chat),
        ("POST", vertex, cloud("anthropic/models/count-tokens:rawPredict"), "gcp.vertex_ai", COUNT_TOKENS),
        ("POST", vertex, cloud("mistralai/models/mistral-ocr-2505:rawPredict"), "gcp.vertex_ai", Operation::Other("ocr")),
        (
            "POST",
            vertex,
            "/google.cloud.aiplatform.v1beta1.PredictionService/StreamGenerateContent".to_owned(),
            "gcp.vertex_ai",
            Operation::GenerateContent,
        ),
        ("POST", gemini, "/google.ai.generativelanguage.v1.GenerativeService/CountTokens".to_owned(), "gcp.gemini", COUNT_TOKENS),
    ] {
        let route = routes.route(&head(method, host, &path), None).unwrap_or_else(|| panic!("{path} is not claimed"));
        assert_eq!((route.provider.as_str(), route.operation), (provider, operation), "{path}");
    }
    for (method, host, path) in [
        ("GET", gemini, "/v1beta/models/g:generateContent"),
        ("GET", gemini, "/v1beta/models/g"),
        ("POST", gemini, "/v1beta/cachedContents"),
        ("POST", "tensorflow", "/v1/models/m:predict"),
        ("POST", "discord", "/api/interactions"),
        ("POST", vertex, "/v1/projects/p/locations/l/endpoints/7:predict"),
        ("POST", vertex, "/google.cloud.aiplatform.v1.PredictionService/Predict"),
        ("POST", vertex, "/google.cloud.aiplatform.v1.EndpointService/GetEndpoint"),
    ] {
        assert!(routes.route(&head(method, host, path), None).is_none(), "{method} {path}");
    }
}
