use super::*;
use crate::{
    call::{CallFrame, Ending, LlmCall, Part},
    fixture::request_head,
    http::{HeaderValue, Headers, HttpVersion},
};

fn head(host: &str, path: &str) -> RequestHead {
    request_head("POST", host, path)
}

const HOST: &str = "bedrock-runtime.eu-central-1.amazonaws.com";

fn invoked(model: &str, request: &str) -> CallBuilder {
    let head = head(HOST, &format!("/model/{model}/invoke"));
    let mut call = CallBuilder::new(PROVIDER, BedrockInvoke.claims(&head).unwrap(), true);
    BedrockInvoke.request_head(&head, &mut call);
    BedrockInvoke.request(Operation::Chat, request.as_bytes(), &mut call).unwrap();
    call
}

fn answered(model: &str, request: &str, counts: &[(&str, &str)], answer: &str) -> LlmCall {
    let mut call = invoked(model, request);
    let mut headers = Headers::default();
    for (name, value) in counts {
        headers.push(format!("x-amzn-bedrock-{name}-token-count"), HeaderValue::Text((*value).to_owned()));
    }
    let head = ResponseHead { version: HttpVersion::Http11, status: 200, headers, first_byte: a11i_common::identity::BootTime(0) };
    BedrockInvoke.response_head(&head, &mut call);
    BedrockInvoke.response(answer.as_bytes(), &mut call).unwrap();
    call.build(CallFrame::default(), Ending::Seen)
}

fn streamed(request: &str, events: &[&str], gap: bool) -> LlmCall {
    let mut call = invoked("arn:aws:bedrock:eu-central-1:1:application-inference-profile/x", request);
    for event in events {
        invoke::event(event.as_bytes(), &mut call);
    }
    BedrockInvoke.stream_end(gap, &mut call);
    call.build(CallFrame::default(), Ending::Seen)
}

fn converse_stream(events: &[(&str, &str)]) -> LlmCall {
    let mut call = CallBuilder::new(PROVIDER, Operation::Chat, true);
    for (name, data) in events {
        BedrockConverse.chunk(&StreamFrame { event: Some(name), data: data.as_bytes() }, &mut call);
    }
    call.build(CallFrame::default(), Ending::Seen)
}

fn tokens(call: &LlmCall) -> (Option<u64>, Option<u64>) {
    (call.usage.input_tokens, call.usage.output_tokens)
}

#[test]
fn paths_tell_the_model_and_what_is_asked_of_it() {
    for (path, operation) in [
        ("/model/anthropic.claude-v2%3A1/converse", Operation::Chat),
        ("/bedrock/model/us.amazon.nova-pro-v1:0/converse-stream", Operation::Chat),
        ("/model/arn:aws:bedrock:us-east-1:1:inference-profile/us.meta.llama3-8b/invoke", Operation::Chat),
        ("/model/amazon.titan-embed-text-v2:0/invoke", Operation::Embeddings),
        ("/model/x.y/count-tokens", Operation::Other("count_tokens")),
        ("/guardrail/g/version/DRAFT/apply", Operation::Other("apply_guardrail")),
        ("/agents/A/agentAliases/B/sessions/C/text", Operation::Other("invoke_agent")),
        ("/knowledgebases/K/retrieve", Operation::Other("retrieval")),
    ] {
        let head = head(HOST, path);
        let dialects: [&dyn Dialect; 3] = [&BedrockConverse, &BedrockInvoke, &BedrockAside];
        let claims: Vec<_> = dialects.iter().filter_map(|dialect| dialect.claims(&head)).collect();
        assert_eq!(claims, [operation], "{path}");
    }
    for path in ["/model//invoke", "/model/a/b/invoke", "/models/x/invoke", "/model/anthropic.claude/explain", "/agents/list"] {
        let head = head(HOST, path);
        assert!(BedrockConverse.claims(&head).or(BedrockInvoke.claims(&head)).or(BedrockAside.claims(&head)).is_none(), "{path}");
    }
}

#[test]
fn at_other_hosts_the_model_or_the_clients_marks_have_to_be_of_aws() {
    assert!(BedrockInvoke.claims(&head("ml.example", "/model/churn/invoke")).is_none());
    assert!(BedrockInvoke.claims(&head("gateway.example", "/model/eu.anthropic.claude-sonnet-4-5/invoke")).is_some());
    let mut signed = head("localhost", "/model/churn/invoke");
    signed.headers.push("amz-sdk-invocation-id".to_owned(), HeaderValue::Text("1".to_owned()));
    assert!(BedrockInvoke.claims(&signed).is_some());
}

#[test]
fn every_makers_answer_is_told_by_its_shape() {
    let chat = r#"{"messages":[{"role":"user","content":"Hi"}],"max_tokens":9}"#;
    let prompt = r#"{"prompt":"Hi","max_gen_len":9}"#;
    let counts = [("input", "3"), ("output", "5")];
    for (model, request, headers, answer, operation, reason) in [
        (
            "us.anthropic.claude-x",
            r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[]}"#,
            &counts[..0],
            r#"{"type":"message","content":[{"type":"text","text":"Yo"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":5}}"#,
            Operation::Chat,
            "end_turn",
        ),
        (
            "amazon.nova-lite-v1:0",
            r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}],"inferenceConfig":{"maxTokens":9}}"#,
            &counts[..0],
            r#"{"output":{"message":{"role":"assistant","content":[{"text":"Yo"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":5}}"#,
            Operation::Chat,
            "end_turn",
        ),
        (
            "amazon.titan-text-lite-v1",
            r#"{"inputText":"Hi","textGenerationConfig":{"maxTokenCount":9}}"#,
            &counts[..0],
            r#"{"inputTextTokenCount":3,"results":[{"tokenCount":5,"outputText":"Yo","completionReason":"FINISH"}]}"#,
            Operation::TextCompletion,
            "FINISH",
        ),
        (
            "meta.llama3-8b",
            prompt,
            &counts[..0],
            r#"{"generation":"Yo","prompt_token_count":3,"generation_token_count":5,"stop_reason":"stop"}"#,
            Operation::TextCompletion,
            "stop",
        ),
        (
            "mistral.mistral-7b",
            r#"{"prompt":"Hi","max_tokens":9}"#,
            &counts[..],
            r#"{"outputs":[{"text":"Yo","stop_reason":"stop"}]}"#,
            Operation::TextCompletion,
            "stop",
        ),
        (
            "mistral.mistral-large",
            chat,
            &counts[..],
            r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Yo"},"stop_reason":"stop"}]}"#,
            Operation::Chat,
            "stop",
        ),
        (
            "deepseek.r1",
            r#"{"prompt":"Hi","max_tokens":9}"#,
            &counts[..],
            r#"{"choices":[{"text":"Yo","stop_reason":"length"}]}"#,
            Operation::TextCompletion,
            "length",
        ),
        (
            "openai.gpt-oss-20b",
            chat,
            &counts[..0],
            r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"Yo"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#,
            Operation::Chat,
            "stop",
        ),
        (
            "cohere.command-r-v1:0",
            r#"{"message":"Hi","max_tokens":9}"#,
            &counts[..],
            r#"{"text":"Yo","generation_id":"g","finish_reason":"COMPLETE"}"#,
            Operation::Chat,
            "COMPLETE",
        ),
        (
            "cohere.command-text-v14",
            r#"{"prompt":"Hi","max_tokens":9}"#,
            &counts[..],
            r#"{"id":"i","generations":[{"text":"Yo","finish_reason":"COMPLETE"}]}"#,
            Operation::TextCompletion,
            "COMPLETE",
        ),
        (
            "ai21.j2-mid-v1",
            r#"{"prompt":"Hi","maxTokens":9}"#,
            &counts[..],
            r#"{"id":1,"completions":[{"data":{"text":"Yo"},"finishReason":{"reason":"endoftext"}}]}"#,
            Operation::TextCompletion,
            "endoftext",
        ),
        (
            "anthropic.claude-v2",
            r#"{"prompt":"Hi","max_tokens_to_sample":9}"#,
            &counts[..],
            r#"{"type":"completion","completion":"Yo","stop_reason":"stop_sequence"}"#,
            Operation::TextCompletion,
            "stop_sequence",
        ),
    ] {
        let call = answered(model, request, headers, answer);
        assert_eq!(tokens(&call), (Some(3), Some(5)), "{model}");
        assert_eq!((call.operation, call.request.max_tokens), (operation, Some(9)), "{model}");
        assert_eq!(call.response.finish_reasons, [reason], "{model}");
        assert_eq!(call.content.output_messages[0].parts, [Part::Text { content: "Yo".into() }], "{model}");
    }
}

#[test]
fn counts_of_the_head_stand_only_where_the_body_has_none() {
    let head = [("input", "4"), ("output", "10"), ("cache-read-input", "1209"), ("cache-write-input", "0")];
    let claude = |usage: &str| format!(r#"{{"type":"message","content":[],"stop_reason":"end_turn"{usage}}}"#);
    let request = r#"{"anthropic_version":"b","messages":[]}"#;
    let call = answered("anthropic.x", request, &head, &claude(""));
    assert_eq!((tokens(&call), call.usage.cache_read_input_tokens), ((Some(1213), Some(10)), Some(1209)));
    let call = answered(
        "anthropic.x",
        request,
        &head,
        &claude(r#","usage":{"input_tokens":7,"cache_read_input_tokens":2,"cache_creation_input_tokens":1,"output_tokens":8}"#),
    );
    assert_eq!((tokens(&call), call.usage.cache_read_input_tokens), ((Some(10), Some(8)), Some(2)));
    let call =
        answered("amazon.titan-embed-text-v2:0", r#"{"inputText":"Hi"}"#, &[("input", "-4"), ("output", "nine")], r#"{"embedding":[0.5]}"#);
    assert_eq!((tokens(&call), call.operation), ((None, None), Operation::Embeddings));
}

#[test]
fn a_profile_hides_the_model_and_the_body_tells_what_it_does() {
    let arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fabc";
    let call =
        answered(arn, r#"{"inputText":"Hi","dimensions":256,"normalize":true}"#, &[], r#"{"embedding":[0.5],"inputTextTokenCount":2}"#);
    assert_eq!((call.operation, tokens(&call), call.request.embedding_dimensions), (Operation::Embeddings, (Some(2), None), Some(256)));
    assert_eq!(call.request.model.as_deref(), Some("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"));
    let call = answered(arn, r#"{"inputText":"Hi"}"#, &[], r#"{"embedding":[0.5],"inputTextTokenCount":2}"#);
    assert_eq!(call.operation, Operation::Embeddings);
    let call = answered(arn, r#"{"query":"q","documents":["d"]}"#, &[], r#"{"results":[{"index":0,"relevance_score":0.5}]}"#);
    assert_eq!((call.operation, tokens(&call)), (Operation::Other("rerank"), (None, None)));
}

const METRICS: &str = r#""amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":8,"cacheReadInputTokenCount":2,"cacheWriteInputTokenCount":1}"#;

#[test]
fn bedrocks_own_counts_stand_only_where_the_models_events_have_none() {
    let chat = r#"{"messages":[{"role":"user","content":"Hi"}]}"#;
    let stop = format!(r#"{{"type":"message_stop",{METRICS}}}"#);
    let start = r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":5,"output_tokens":1}}}"#;
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":6}}"#;
    assert_eq!(tokens(&streamed(chat, &[start, delta, &stop], false)), (Some(5), Some(6)));
    assert_eq!(tokens(&streamed(chat, &[start, &stop], true)), (Some(5), Some(8)));
    assert_eq!(tokens(&streamed(chat, &[delta, &stop], true)), (Some(12), Some(6)));
    let completion = format!(r#"{{"type":"completion","completion":" Hi","stop_reason":"stop_sequence",{METRICS}}}"#);
    assert_eq!(tokens(&streamed(r#"{"prompt":"Hi"}"#, &[&completion], false)), (Some(12), Some(8)));
    let jamba = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":17,"completion_tokens":2}}"#;
    assert_eq!(tokens(&streamed(chat, &[jamba, &format!("{{{METRICS}}}")], false)), (Some(17), Some(2)));
}

#[test]
fn a_running_count_is_none_once_events_are_missing() {
    let prompt = r#"{"prompt":"Hi"}"#;
    let first = r#"{"generation":"a","prompt_token_count":23,"generation_token_count":1,"stop_reason":null}"#;
    let second = r#"{"generation":"b","prompt_token_count":null,"generation_token_count":2,"stop_reason":null}"#;
    let last = format!(r#"{{"generation":"c","prompt_token_count":null,"generation_token_count":3,"stop_reason":"length",{METRICS}}}"#);
    assert_eq!(tokens(&streamed(prompt, &[first, second, &last], false)), (Some(23), Some(3)));
    assert_eq!(tokens(&streamed(prompt, &[first, second], true)), (None, None));
    assert_eq!(tokens(&streamed(prompt, &[&last], true)).1, Some(3));
}

#[test]
fn titans_events_name_each_count_once() {
    let request = r#"{"inputText":"Hi","textGenerationConfig":{}}"#;
    let events = [
        r#"{"outputText":"One","index":0.0,"inputTextTokenCount":28.0,"totalOutputTextTokenCount":null,"completionReason":null}"#,
        r#"{"outputText":" two","index":0.0,"inputTextTokenCount":null,"totalOutputTextTokenCount":188.0,"completionReason":"FINISH"}"#,
    ];
    let call = streamed(request, &events, false);
    assert_eq!((tokens(&call), call.response.finish_reasons.as_slice()), ((Some(28), Some(188)), &["FINISH".to_owned()][..]));
    assert_eq!(call.estimation.output.text(), "One two");
}

#[test]
fn the_last_event_of_coheres_chat_repeats_the_answer() {
    let events = [
        r#"{"is_finished":false,"event_type":"text-generation","text":"One"}"#,
        r#"{"is_finished":false,"event_type":"text-generation","text":" two"}"#,
        r#"{"is_finished":true,"event_type":"stream-end","response":{"response_id":"r","generation_id":"g","text":"One two","finish_reason":"COMPLETE"},"finish_reason":"COMPLETE"}"#,
    ];
    let call = streamed(r#"{"message":"Hi"}"#, &events, false);
    assert_eq!((call.estimation.output.text(), call.response.id.as_deref()), ("One two", Some("g")));
    assert_eq!(call.response.finish_reasons, ["COMPLETE"]);
}

#[test]
fn inputs_of_converse_exclude_the_cache() {
    let call = converse_stream(&[
        ("messageStart", r#"{"role":"assistant"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"Hm"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"abc"}}}"#),
        ("contentBlockStart", r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"t","name":"search","type":"server_tool_use"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"q\":"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"1}"}}}"#),
        ("messageStop", r#"{"stopReason":"guardrail_intervened"}"#),
        (
            "metadata",
            r#"{"usage":{"inputTokens":3,"outputTokens":7,"totalTokens":160,"cacheReadInputTokens":50,"cacheWriteInputTokens":100,
                "cacheDetails":[{"ttl":"5m","inputTokens":60},{"ttl":"1h","inputTokens":40}]},
                "trace":{"promptRouter":{"invokedModelId":"arn:aws:bedrock:us-east-1::foundation-model/m"}},
                "performanceConfig":{"latency":"optimized"},"serviceTier":{"type":"flex"}}"#,
        ),
    ]);
    assert_eq!(tokens(&call), (Some(153), Some(7)));
    assert_eq!(
        (call.usage.cache_read_input_tokens, call.usage.cache_write_input_tokens, call.usage.cache_write_1h_input_tokens),
        (Some(50), Some(100), Some(40))
    );
    assert_eq!(call.response.finish_reasons, ["guardrail_intervened"]);
    assert_eq!(call.response.model.as_deref(), Some("arn:aws:bedrock:us-east-1::foundation-model/m"));
    assert_eq!((call.response.service_tier.as_deref(), call.response.speed.as_deref()), (Some("flex"), Some("optimized")));
    let parts = &call.content.output_messages[0].parts;
    assert!(matches!(&parts[..], [Part::Reasoning { .. }, Part::ServerToolCall { .. }]), "{parts:?}");
    assert_eq!(call.estimation.output_tool_calls, 0);
}

#[test]
fn hostile_bodies_give_no_numbers_and_no_panics() {
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let bodies = [
        r#"{"usage":{"inputTokens":-1,"outputTokens":18446744073709551615},"output":{"message":{"content":[{"text":1},{"toolUse":[]},7,null]}}}"#.to_owned(),
        r#"{"results":[{"tokenCount":-5,"outputText":"x"},{"tokenCount":5,"outputText":"y"}],"inputTextTokenCount":1e300}"#.to_owned(),
        r#"{"generation":"x","prompt_token_count":-1,"generation_token_count":0.5}"#.to_owned(),
        format!(r#"{{"output":{deep},"choices":{deep}}}"#),
        format!(r#"{{"metadata":{deep},"contentBlockDelta":{deep}}}"#),
        "[]".to_owned(),
        "null".to_owned(),
        "\u{0}".to_owned(),
    ];
    for body in &bodies {
        for request in [r#"{"messages":[[],{},{"content":[[],{"text":[]}]}],"system":[1]}"#, r#"{"prompt":{}}"#, "[]"] {
            let mut call = invoked("amazon.nova-pro-v1:0", request);
            let _unreadable = BedrockInvoke.response(body.as_bytes(), &mut call).is_err();
            invoke::event(body.as_bytes(), &mut call);
            BedrockConverse.chunk(&StreamFrame { event: Some("metadata"), data: body.as_bytes() }, &mut call);
            assert_eq!(tokens(&call.build(CallFrame::default(), Ending::Seen)), (None, None), "{body}");
        }
    }
}

#[test]
fn a_failure_is_named_by_the_head_else_by_the_body() {
    let mut headers = Headers::default();
    headers.push("x-amzn-errortype".to_owned(), HeaderValue::Text("ThrottlingException:http://internal.amazon.com/".to_owned()));
    let head = ResponseHead { version: HttpVersion::Http11, status: 429, headers, first_byte: a11i_common::identity::BootTime(0) };
    let mut call = CallBuilder::new(PROVIDER, Operation::Chat, false);
    call.response.status = Some(429);
    BedrockConverse.response_head(&head, &mut call);
    BedrockConverse.response(br#"{"message":"Too many"}"#, &mut call).unwrap();
    let outcome = call.build(CallFrame::default(), Ending::Seen).outcome;
    assert_eq!((outcome.error_type.as_deref(), outcome.error_message.as_deref()), (Some("ThrottlingException"), Some("Too many")));
    let mut call = CallBuilder::new(PROVIDER, Operation::Chat, false);
    call.response.status = Some(400);
    BedrockConverse.response(br#"{"__type":"com.amazon.coral#ValidationException","Message":"No"}"#, &mut call).unwrap();
    let outcome = call.build(CallFrame::default(), Ending::Seen).outcome;
    assert_eq!((outcome.error_type.as_deref(), outcome.error_message.as_deref()), (Some("ValidationException"), Some("No")));
}

#[test]
fn an_agents_answer_has_text_and_session_and_no_usage() {
    let head = head("bedrock-agent-runtime.us-east-1.amazonaws.com", "/agents/A/agentAliases/B/sessions/s%201/text");
    let mut call = CallBuilder::new(PROVIDER, BedrockAside.claims(&head).unwrap(), true);
    BedrockAside.request_head(&head, &mut call);
    BedrockAside.request(call.operation(), br#"{"inputText":"Hi"}"#, &mut call).unwrap();
    BedrockAside.chunk(&StreamFrame { event: Some("chunk"), data: br#"{"bytes":"SGVsbG8="}"# }, &mut call);
    let trace = br#"{"trace":{"orchestrationTrace":{"modelInvocationOutput":{"metadata":{"usage":{"inputTokens":9,"outputTokens":8}}}}}}"#;
    BedrockAside.chunk(&StreamFrame { event: Some("trace"), data: trace }, &mut call);
    let call = call.build(CallFrame::default(), Ending::Seen);
    assert_eq!((tokens(&call), call.request.conversation_id.as_deref()), ((None, None), Some("s 1")));
    assert_eq!(call.content.output_messages[0].parts, [Part::Text { content: "Hello".into() }]);
}
