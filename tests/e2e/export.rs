//! OTLP, over both protocols, in good times and bad.

use a11i_tests::{
    agent::{AgentOptions, PATIENCE},
    otlp_sink::{MetricPoint, OtlpSink, Received, Verdict},
    provider_stub::{Expected, Options},
    workload::curl::{chat, chat_stream},
};
use serde_json::json;

use crate::scene::{OPENAI_CHAT, Scene};

/// Two calls with known numbers in one curl process; its process id.
async fn two_calls(scene: &Scene) -> Option<u32> {
    let curl = scene.curl()?.header("x-stub-input-tokens", "1000").header("x-stub-output-tokens", "20");
    let curl = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "one")).then();
    let curl = curl.header("x-stub-input-tokens", "1000").header("x-stub-output-tokens", "20");
    let done = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "one")).run().await;
    assert!(done.output.status.success(), "{done:?}");
    Some(done.pid)
}

fn of(pid: u32) -> impl Fn(&MetricPoint) -> bool {
    move |point| point.resource.get("process.pid") == Some(&json!(pid))
}

/// The sink has one span for each, exactly as answered.
#[track_caller]
fn assert_exported(received: &Received, expected: &[Expected]) {
    assert_eq!(received.mistakes, Vec::<String>::new());
    for expected in expected {
        let id = expected.response_id.as_deref();
        let spans: Vec<_> = received.spans.iter().filter(|span| span.response_id() == id).collect();
        let [span] = &spans[..] else { panic!("{id:?} was exported {} times: {spans:#?}", spans.len()) };
        expected.assert_reported_as(span);
        assert_eq!((span.trace_id.len(), span.span_id.len()), (32, 16), "{span:#?}");
    }
}

async fn spans_and_metrics(protocol: &str) {
    let sink = OtlpSink::start();
    let Some(scene) = Scene::set_with(Options::default(), AgentOptions::default().export_to(&sink, protocol)).await else { return };
    let Some(pid) = two_calls(&scene).await else { return };
    let expected = scene.stub.expected();
    let exported = |received: &Received| {
        expected
            .iter()
            .all(|expected| received.spans.iter().any(|span| span.response_id() == expected.response_id.as_deref()))
            .then_some(())
    };
    sink.wait("both spans", PATIENCE, exported).await;
    let kind =
        |name: &'static str| move |point: &MetricPoint| of(pid)(point) && point.attributes.get("gen_ai.token.type") == Some(&json!(name));
    let tokens = |received: &Received, name: &'static str| received.total("gen_ai.client.token.usage", kind(name));
    sink.wait("the token metric", PATIENCE, |received| (tokens(received, "input") == Some((2000.0, 2))).then_some(())).await;
    scene.agent.stop().await;

    let received = sink.received();
    assert_exported(&received, &expected);
    assert_eq!(tokens(&received, "input"), Some((2000.0, 2)));
    assert_eq!(tokens(&received, "output"), Some((40.0, 2)));
    let duration = received.total("gen_ai.client.operation.duration", of(pid)).expect("the duration is measured");
    assert_eq!(duration.1, 2, "{duration:?}");
    for point in received.metrics.iter().filter(|point| of(pid)(point) && point.name == "gen_ai.client.token.usage") {
        assert_eq!(point.unit, "{token}");
        assert_eq!(point.attributes.get("gen_ai.provider.name"), Some(&json!("openai")));
        assert_eq!(point.attributes.get("gen_ai.operation.name"), Some(&json!("chat")));
        assert_eq!(point.attributes.get("gen_ai.request.model"), Some(&json!("gpt-4o-mini")), "{point:#?}");
        assert_eq!(point.attributes.get("a11i.usage.source"), Some(&json!("reported")));
    }
}

#[tokio::test]
async fn spans_and_metrics_over_grpc() {
    spans_and_metrics("grpc").await;
}

#[tokio::test]
async fn spans_and_metrics_over_http_protobuf() {
    spans_and_metrics("http/protobuf").await;
}

async fn an_endpoint_that_is_down(protocol: &str) {
    let mut sink = OtlpSink::reserve();
    let Some(scene) = Scene::set_with(Options::default(), AgentOptions::default().export_to(&sink, protocol)).await else { return };
    assert_eq!(scene.agent.health("/ready").await, Some(200), "capture does not depend on the endpoint");
    let Some(pid) = two_calls(&scene).await else { return };
    // Nothing is blocked: the calls are reported on the terminal all the same.
    scene.agent.calls_of(pid, 2).await;
    sink.up();
    let expected = scene.stub.expected();
    sink.wait("the spans of the time when it was down", PATIENCE * 2, |received| {
        expected
            .iter()
            .all(|expected| received.spans.iter().any(|span| span.response_id() == expected.response_id.as_deref()))
            .then_some(())
    })
    .await;
    scene.agent.stop().await;
    assert_exported(&sink.received(), &expected);
}

#[tokio::test]
async fn a_grpc_endpoint_that_is_down_and_comes_up() {
    an_endpoint_that_is_down("grpc").await;
}

#[tokio::test]
async fn an_http_endpoint_that_is_down_and_comes_up() {
    an_endpoint_that_is_down("http/protobuf").await;
}

#[tokio::test]
async fn an_endpoint_that_refuses_for_a_while_gets_every_span_once() {
    for (protocol, verdict) in
        [("http/protobuf", Verdict::Unavailable), ("http/protobuf", Verdict::Throttle), ("grpc", Verdict::Unavailable)]
    {
        let sink = OtlpSink::start();
        sink.answer(verdict);
        let Some(scene) = Scene::set_with(Options::default(), AgentOptions::default().export_to(&sink, protocol)).await else { return };
        if two_calls(&scene).await.is_none() {
            return;
        }
        sink.wait("a refused request", PATIENCE, |received| (received.refused > 0).then_some(())).await;
        sink.answer(Verdict::Accept);
        let expected = scene.stub.expected();
        sink.wait("the refused spans", PATIENCE * 2, |received| {
            expected
                .iter()
                .all(|expected| received.spans.iter().any(|span| span.response_id() == expected.response_id.as_deref()))
                .then_some(())
        })
        .await;
        scene.agent.stop().await;
        assert_exported(&sink.received(), &expected);
    }
}

#[tokio::test]
async fn a_stop_flushes_what_no_batch_had_taken_yet() {
    let sink = OtlpSink::start();
    // A batch delay that would not end within this test.
    let options = AgentOptions::default().export_to(&sink, "http/protobuf").env("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let Some(scene) = Scene::set_with(Options::default(), options).await else { return };
    let Some(curl) = scene.curl() else { return };
    let done = curl.post(OPENAI_CHAT, &chat_stream("gpt-4o-mini", "one")).run().await;
    scene.agent.calls_of(done.pid, 1).await;
    scene.agent.stop().await;
    assert_exported(&sink.received(), &scene.stub.expected());
}

#[tokio::test]
async fn a_stop_ends_although_the_endpoint_is_down() {
    let sink = OtlpSink::reserve();
    let Some(scene) = Scene::set_with(Options::default(), AgentOptions::default().export_to(&sink, "grpc")).await else { return };
    let Some(pid) = two_calls(&scene).await else { return };
    scene.agent.calls_of(pid, 2).await;
    scene.agent.stop().await; // exit status 0, within the stated time: a hang fails the test
}
