use a11i_common::event::cause;

use super::*;
use crate::{
    call::{LossCauses, Message, Outcome, Part, ProviderName, ToolDefinition, Usage, UsageSource},
    cost::PricedCall,
    export::samples,
};

fn attributes(priced: &PricedCall, layer: Semconv) -> Attributes {
    span_attributes(&samples::redacted(priced), layer)
}

fn names(attributes: &Attributes) -> Vec<String> {
    attributes.iter().map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn a_chat_has_the_attributes_of_the_default_layer() {
    let got = attributes(&samples::chat(), Semconv::V1_41);
    let expected = serde_json::json!({
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "server.address": "api.openai.com",
        "server.port": 443,
        "network.peer.address": "203.0.113.7",
        "network.peer.port": 443,
        "gen_ai.request.top_k": 5.0,
        "gen_ai.request.stream": true,
        "http.response.status_code": 200,
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.5,
        "a11i.response.time_to_first_token": 0.75,
        "a11i.response.chunks": 12,
        "openai.api.type": "chat_completions",
        "openai.response.service_tier": "default",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 64,
        "gen_ai.usage.cache_creation.input_tokens": 8,
        "a11i.usage.source": "reported",
        "a11i.cost.usd": 0.00037,
        "a11i.cost.input_usd": 0.00009,
        "a11i.cost.output_usd": 0.0002,
        "a11i.cost.cache_read_usd": 0.00008,
        "a11i.cost.source": "exact",
        "a11i.context.saturation": 0.000_781_25,
        "a11i.capture.library": "openssl",
        "a11i.capture.method": "symbol",
        "a11i.capture.complete": true,
    });
    assert_eq!(serde_json::to_value(&got).unwrap(), expected);
}

#[test]
fn an_estimate_beside_a_reported_count_is_named() {
    let source = |input: Option<UsageSource>, output: Option<UsageSource>| {
        let mut priced = samples::chat();
        let usage = &mut priced.call.usage;
        (usage.input_tokens, usage.output_tokens) = (input.map(|_| 1), output.map(|_| 1));
        (usage.input_source, usage.output_source) = (input.unwrap_or_default(), output.unwrap_or_default());
        let told = serde_json::to_value(attributes(&priced, Semconv::V1_41)).unwrap();
        told["a11i.usage.source"].as_str().map(str::to_owned)
    };
    let (reported, estimated) = (Some(UsageSource::Reported), Some(UsageSource::Estimated));
    for (input, output, want) in [
        (None, None, None),
        (reported, reported, Some("reported")),
        (reported, None, Some("reported")),
        (estimated, estimated, Some("estimated")),
        (estimated, None, Some("estimated")),
        (None, estimated, Some("estimated")),
        (reported, estimated, Some("output_estimated")),
        (estimated, reported, Some("input_estimated")),
    ] {
        assert_eq!(source(input, output).as_deref(), want, "{input:?} {output:?}");
    }
}

#[test]
fn no_name_is_written_twice_in_any_layer() {
    for layer in [Semconv::V1_36, Semconv::V1_41, Semconv::Latest] {
        let mut names = names(&attributes(&samples::chat(), layer));
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{layer:?}");
    }
}

#[test]
fn layers_are_never_mixed() {
    let old = names(&attributes(&samples::chat(), Semconv::V1_36));
    assert!(old.contains(&"gen_ai.system".to_owned()) && old.contains(&"gen_ai.openai.response.service_tier".to_owned()));
    assert!(
        !old.iter().any(|n| n == "gen_ai.provider.name" || n.starts_with("openai.") || n.contains("cache_") && n.starts_with("gen_ai"))
    );
    let latest = names(&attributes(&samples::chat(), Semconv::Latest));
    assert!(latest.contains(&"gen_ai.usage.cache_write.input_tokens".to_owned()));
    assert!(!latest.iter().any(|n| n == "gen_ai.system" || n.contains("cache_creation")));
    assert_eq!(attributes(&samples::chat(), Semconv::Latest).get("gen_ai.request.top_k"), Some(&Value::Int(5)));
}

#[test]
fn openai_attributes_are_only_for_the_provider_openai() {
    let mut priced = samples::chat();
    priced.call.provider = ProviderName::of("azure.ai.openai");
    priced.call.request.service_tier = Some("flex".to_owned());
    let got = attributes(&priced, Semconv::V1_41);
    assert!(!names(&got).iter().any(|n| n.starts_with("openai.")));
    assert_eq!(got.get("a11i.request.service_tier").and_then(Value::as_str), Some("flex"));
    priced.call.provider = ProviderName::of("openai");
    assert_eq!(attributes(&priced, Semconv::V1_41).get("openai.request.service_tier").and_then(Value::as_str), Some("flex"));
}

#[test]
fn what_nobody_said_is_absent_and_not_zero() {
    let mut priced = samples::chat();
    priced.call.usage = Usage::default();
    priced.call.request.stream = false;
    priced.call.response = crate::call::ResponseFacts::default();
    priced.cost = None;
    let got = names(&attributes(&priced, Semconv::V1_41));
    let unwanted = ["usage", "cost", "saturation", "status_code", "finish_reasons", "stream", "chunk", "time_to"];
    assert!(!got.iter().any(|name| unwanted.iter().any(|u| name.contains(u))), "{got:?}");
}

#[test]
fn a_gap_says_how_much_was_lost_and_why() {
    let mut priced = samples::chat();
    priced.call.completeness = Completeness::Gap { lost: Some(77), causes: LossCauses::of_kernel(cause::RING_FULL | cause::CALL_LIMIT) };
    let got = attributes(&priced, Semconv::V1_41);
    assert_eq!(got.get("a11i.capture.complete"), Some(&Value::Bool(false)));
    assert_eq!(got.get("a11i.capture.lost_bytes"), Some(&Value::Int(77)));
    assert_eq!(got.get("a11i.capture.loss_causes"), Some(&Value::Texts(vec!["ring_full".to_owned(), "call_limit".to_owned()])));
    priced.call.completeness = Completeness::JoinedLate;
    let got = attributes(&priced, Semconv::V1_41);
    assert_eq!(got.get("a11i.capture.complete"), Some(&Value::Bool(false)));
    assert_eq!(got.get("a11i.capture.lost_bytes"), None, "unknown is absent");
}

#[test]
fn content_is_a_json_string_per_attribute_where_policy_left_some() {
    let mut priced = samples::chat();
    let message = Message { role: "user".to_owned(), parts: vec![Part::Text { content: "hi".to_owned() }], ..Message::default() };
    priced.call.content.input_messages = vec![message];
    priced.call.content.tool_definitions =
        vec![ToolDefinition { r#type: "function".to_owned(), name: "f".to_owned(), description: None, parameters: None }];
    let got = attributes(&priced, Semconv::V1_41);
    assert_eq!(
        got.get("gen_ai.input.messages").and_then(Value::as_str),
        Some(r#"[{"role":"user","parts":[{"type":"text","content":"hi"}]}]"#)
    );
    assert_eq!(got.get("gen_ai.tool.definitions").and_then(Value::as_str), Some(r#"[{"type":"function","name":"f"}]"#));
    assert_eq!(got.get("gen_ai.output.messages"), None);
    assert_eq!(attributes(&priced, Semconv::V1_36).get("gen_ai.input.messages"), None);
}

#[test]
fn a_failure_has_its_type_and_an_error_status() {
    let mut priced = samples::chat();
    priced.call.outcome = Outcome { error_type: Some("rate_limit_exceeded".to_owned()), error_message: None };
    priced.call.request.model = None;
    let span = samples::span(&priced, crate::export::span::ClockOffset(0));
    assert_eq!(span.name, "chat");
    assert_eq!(span.status, crate::export::span::SpanStatus::Error(String::new()));
    assert_eq!(span.attributes.get("error.type").and_then(Value::as_str), Some("rate_limit_exceeded"));
}

#[test]
fn a_hostile_model_name_is_cut() {
    let mut priced = samples::chat();
    priced.call.request.model = Some("m".repeat(1_000_000));
    let got = attributes(&priced, Semconv::V1_41);
    assert_eq!(got.get("gen_ai.request.model").and_then(Value::as_str).map(str::len), Some(crate::export::value::VALUE_BYTES));
}
