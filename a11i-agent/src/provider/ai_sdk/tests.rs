use super::*;
use crate::call::{CallFrame, Ending, LlmCall, NanoUsd};

const ASKED: &str = r#"{"prompt":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"tool-call","toolCallId":"c1","toolName":"w","input":{"a":1}}]},{"role":"tool","content":[{"type":"tool-result","toolCallId":"c1","toolName":"w","output":{"type":"text","value":"40 C"}}]}],"maxOutputTokens":9,"temperature":0.5,"stopSequences":["x"],"tools":[{"type":"function","name":"w","description":"weather","inputSchema":{"type":"object"}}]}"#;

fn call(operation: Operation, request: &str, answers: &[&str], whole: bool) -> LlmCall {
    let mut call = CallBuilder::new(ProviderName::of("vercel_ai_gateway"), operation, true);
    AiSdk.request(operation, request.as_bytes(), &mut call).unwrap();
    call.response.status = Some(200);
    for answer in answers {
        if whole {
            AiSdk.response(answer.as_bytes(), &mut call).unwrap();
        } else {
            AiSdk.chunk(&StreamFrame { event: None, data: answer.as_bytes() }, &mut call);
        }
    }
    call.build(CallFrame::default(), Ending::Seen)
}

#[test]
fn an_answer_is_read_in_every_version() {
    let second = r#"{"content":[{"type":"reasoning","text":"hm"},{"type":"text","text":"yo"},{"type":"tool-call","toolCallId":"c","toolName":"w","input":"{\"a\":2}"}],"finishReason":"tool-calls","usage":{"inputTokens":10,"outputTokens":4,"totalTokens":14,"reasoningTokens":2,"cachedInputTokens":3},"response":{"id":"r","modelId":"m-1"},"providerMetadata":{"gateway":{"cost":"0.0045405"}}}"#;
    let third = r#"{"content":[{"type":"reasoning","text":"hm"},{"type":"text","text":"yo"},{"type":"tool-call","toolCallId":"c","toolName":"w","input":"{\"a\":2}"}],"finishReason":{"unified":"tool-calls","raw":"tool_use"},"usage":{"inputTokens":{"total":10,"noCache":7,"cacheRead":3,"cacheWrite":0},"outputTokens":{"total":4,"text":2,"reasoning":2}},"response":{"id":"r","modelId":"m-1"},"providerMetadata":{"gateway":{"cost":"0.0045405"}}}"#;
    for answer in [second, third] {
        let call = call(Operation::Chat, ASKED, &[answer], true);
        let usage = &call.usage;
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(10), Some(4)));
        assert_eq!((usage.cache_read_input_tokens, usage.reasoning_output_tokens), (Some(3), Some(2)));
        assert_eq!(
            (call.response.finish_reasons.as_slice(), call.response.stated_cost),
            (&["tool-calls".to_owned()][..], Some(NanoUsd(4_540_500)))
        );
        assert_eq!((call.response.id.as_deref(), call.response.model.as_deref()), (Some("r"), Some("m-1")));
        let [Part::Reasoning { .. }, Part::Text { .. }, Part::ToolCall { arguments, .. }] = &call.content.output_messages[0].parts[..]
        else {
            panic!()
        };
        assert_eq!(*arguments, Some(serde_json::json!({"a": 2})));
        assert_eq!((call.estimation.input_messages, call.estimation.tool_definitions, call.request.max_tokens), (4, 1, Some(9)));
        assert_eq!(call.content.input_messages.len(), 4);
    }
}

#[test]
fn a_stream_tells_the_same() {
    let events = [
        r#"{"type":"stream-start","warnings":[]}"#,
        r#"{"type":"response-metadata","id":"r","modelId":"m-1","timestamp":"2025-01-01T00:00:00Z"}"#,
        r#"{"type":"reasoning-delta","id":"0","delta":"hm"}"#,
        r#"{"type":"text-start","id":"1"}"#,
        r#"{"type":"text-delta","id":"1","delta":"y"}"#,
        r#"{"type":"text-delta","id":"1","delta":"o"}"#,
        r#"{"type":"tool-input-delta","id":"c","delta":"{"}"#,
        r#"{"type":"tool-call","toolCallId":"c","toolName":"w","input":"{}"}"#,
        r#"{"type":"finish","finishReason":{"unified":"stop","raw":"stop"},"usage":{"inputTokens":{"total":10},"outputTokens":{"total":4}},"providerMetadata":{"gateway":{"cost":"0.001"}}}"#,
    ];
    let told = call(Operation::Chat, ASKED, &events, false);
    assert_eq!((told.usage.input_tokens, told.usage.output_tokens), (Some(10), Some(4)));
    assert_eq!((told.response.model.as_deref(), told.response.stated_cost), (Some("m-1"), Some(NanoUsd(1_000_000))));
    assert_eq!((told.estimation.output.text(), told.estimation.output_tool_calls), ("hmyow{}", 1));
    let failed = call(Operation::Chat, ASKED, &[r#"{"type":"error","error":{"message":"no","type":"rate_limit_exceeded"}}"#], false);
    assert_eq!(failed.outcome.error_type.as_deref(), Some("rate_limit_exceeded"));
}

#[test]
fn plain_counts_mean_what_they_mean_to_whoever_served_the_call() {
    let told = |model: &str, usage: &str, provider: &str| {
        let mut call = CallBuilder::new(ProviderName::of("vercel_ai_gateway"), Operation::Chat, false);
        call.request.model = Some(model.to_owned());
        let answer = format!(r#"{{"content":[],"finishReason":"stop","usage":{usage},"providerMetadata":{provider}}}"#);
        AiSdk.response(answer.as_bytes(), &mut call).unwrap();
        let usage = call.build(CallFrame::default(), Ending::Seen).usage;
        (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_write_input_tokens, usage.output_tokens)
    };
    let cached = r#"{"inputTokens":10,"outputTokens":4,"totalTokens":14,"cachedInputTokens":3}"#;
    let own =
        r#"{"anthropic":{"usage":{"input_tokens":10,"cache_read_input_tokens":3,"cache_creation_input_tokens":5,"output_tokens":4}}}"#;
    assert_eq!(told("openai/gpt-5", cached, "{}"), (Some(10), Some(3), None, Some(4)));
    assert_eq!(told("anthropic/claude-sonnet-4", cached, own), (Some(18), Some(3), Some(5), Some(4)));
    assert_eq!(told("anthropic/claude-sonnet-4", cached, r#"{"bedrock":{"usage":{"cacheWriteInputTokens":2}}}"#).0, Some(15));
    // Nobody says how much was written.
    assert_eq!(told("anthropic/claude-sonnet-4", cached, "{}"), (None, Some(3), None, Some(4)));
    let more = r#"{"inputTokens":3,"outputTokens":4,"cachedInputTokens":10}"#;
    assert_eq!(told("other/claude", more, "{}").0, None);
    let beside = r#"{"inputTokens":10,"outputTokens":4,"totalTokens":20,"reasoningTokens":6}"#;
    assert_eq!(told("google/gemini-2.5-pro", beside, "{}").3, Some(10));
    let within = r#"{"inputTokens":10,"outputTokens":8,"totalTokens":18,"reasoningTokens":6}"#;
    assert_eq!(told("openai/gpt-5", within, "{}").3, Some(8));
}

#[test]
fn an_embedding_says_one_number() {
    let told = call(Operation::Embeddings, r#"{"values":["a","b"]}"#, &[r#"{"embeddings":[[1]],"usage":{"tokens":7}}"#], true);
    assert_eq!((told.usage.input_tokens, told.usage.output_tokens, told.estimation.input.text()), (Some(7), None, "ab"));
}

#[test]
fn nothing_hostile_becomes_a_number() {
    for event in ["null", "[[[[", r#"{"type":"finish","usage":{"inputTokens":[-1],"outputTokens":{"total":"x"}},"finishReason":7}"#] {
        let told = call(Operation::Chat, "{}", &[event], false);
        assert!(told.usage.is_absent() && told.response.stated_cost.is_none(), "{event}");
    }
}
