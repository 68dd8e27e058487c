//! The sink against requests built by the protocol's own types.

use std::{io::Write as _, time::Duration};

use a11i_tests::{
    otlp_sink::{OtlpSink, Verdict},
    serial::one_at_a_time,
};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::ExportMetricsServiceRequest,
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_client::TraceServiceClient},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{AggregationTemporality, Histogram, HistogramDataPoint, Metric, ResourceMetrics, ScopeMetrics, metric::Data},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn traces() -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "chat gpt-4o-mini".to_owned(),
        kind: 3,
        start_time_unix_nano: 10,
        end_time_unix_nano: 20,
        attributes: vec![pair("gen_ai.usage.input_tokens", Value::IntValue(42))],
        ..Span::default()
    };
    let resource = Resource { attributes: vec![pair("process.pid", Value::IntValue(7))], ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }] }
}

fn metrics(sum: f64, count: u64, temporality: i32) -> ExportMetricsServiceRequest {
    let point = HistogramDataPoint { sum: Some(sum), count, ..HistogramDataPoint::default() };
    let histogram = Histogram { data_points: vec![point], aggregation_temporality: temporality };
    let metric = Metric {
        name: "gen_ai.client.token.usage".to_owned(),
        unit: "{token}".to_owned(),
        data: Some(Data::Histogram(histogram)),
        ..Metric::default()
    };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }] }
}

/// Status and body of a POST of protobuf.
async fn post(sink: &OtlpSink, path: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let address = sink.endpoint().replace("http://", "");
    let mut socket = TcpStream::connect(address).await.expect("the sink is up");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: sink\r\nConnection: close\r\nContent-Type: application/x-protobuf\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.expect("the sink reads");
    socket.write_all(body).await.expect("the sink reads");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("the sink answers");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let (head, body) = answer.split_at(end);
    let head = String::from_utf8_lossy(head).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head, body.get(4..).unwrap_or_default().to_vec())
}

#[tokio::test]
async fn http_protobuf_is_decoded_plain_and_gzipped() {
    let _turn = one_at_a_time();
    let sink = OtlpSink::start();
    let body = traces().encode_to_vec();
    assert_eq!(post(&sink, "/v1/traces", "", &body).await.0, 200);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&body).expect("memory");
    assert_eq!(post(&sink, "/v1/traces", "Content-Encoding: gzip\r\n", &gzip.finish().expect("memory")).await.0, 200);
    let spans = sink.wait_for_spans(2, PATIENCE).await;
    for span in &spans {
        assert_eq!((span.pid(), span.int("gen_ai.usage.input_tokens")), (Some(7), Some(42)));
        assert_eq!((span.kind.as_str(), span.trace_id.as_str()), ("client", "01010101010101010101010101010101"));
    }
    assert_eq!(sink.received().mistakes, Vec::<String>::new());
}

#[tokio::test]
async fn grpc_is_decoded_on_the_same_port() {
    let _turn = one_at_a_time();
    let sink = OtlpSink::start();
    let channel = tonic::transport::Endpoint::from_shared(sink.endpoint()).expect("an address").connect().await.expect("the sink is up");
    let mut client = TraceServiceClient::new(channel).send_compressed(tonic::codec::CompressionEncoding::Gzip);
    client.export(traces()).await.expect("accepted");
    assert_eq!(sink.wait_for_spans(1, PATIENCE).await.len(), 1);
    sink.answer(Verdict::Unavailable);
    assert_eq!(client.export(traces()).await.expect_err("refused").code(), tonic::Code::Unavailable);
    sink.answer(Verdict::Throttle);
    assert_eq!(client.export(traces()).await.expect_err("refused").code(), tonic::Code::ResourceExhausted);
    sink.answer(Verdict::Partial { rejected: 1 });
    let answer = client.export(traces()).await.expect("accepted").into_inner();
    assert_eq!(answer.partial_success.map(|partial| partial.rejected_spans), Some(1));
    assert_eq!(sink.received().refused, 2);
}

#[tokio::test]
async fn refusals_and_partial_success_over_http() {
    let _turn = one_at_a_time();
    let sink = OtlpSink::start();
    let body = traces().encode_to_vec();
    sink.answer(Verdict::Unavailable);
    let (status, head, _) = post(&sink, "/v1/traces", "", &body).await;
    assert_eq!(status, 503);
    assert!(head.contains("retry-after: 1"), "{head}");
    sink.answer(Verdict::Throttle);
    assert_eq!(post(&sink, "/v1/traces", "", &body).await.0, 429);
    assert!(sink.spans().is_empty());
    sink.answer(Verdict::Partial { rejected: 1 });
    let (status, _, answer) = post(&sink, "/v1/traces", "", &body).await;
    let partial = ExportTraceServiceResponse::decode(&answer[..]).expect("protobuf").partial_success;
    assert_eq!((status, partial.map(|partial| partial.rejected_spans)), (200, Some(1)));
}

#[tokio::test]
async fn a_sink_that_is_down_refuses_connections_and_comes_back_at_its_port() {
    let _turn = one_at_a_time();
    let mut sink = OtlpSink::reserve();
    let address = sink.endpoint().replace("http://", "");
    assert!(TcpStream::connect(&address).await.is_err());
    sink.up();
    assert_eq!(post(&sink, "/v1/traces", "", &traces().encode_to_vec()).await.0, 200);
    sink.down();
    assert!(TcpStream::connect(&address).await.is_err());
    sink.up();
    assert_eq!(post(&sink, "/v1/traces", "", &traces().encode_to_vec()).await.0, 200);
    assert_eq!(sink.spans().len(), 2, "what came before is kept");
}

#[tokio::test]
async fn what_is_no_otlp_is_remembered_as_a_mistake() {
    let _turn = one_at_a_time();
    let sink = OtlpSink::start();
    assert_eq!(post(&sink, "/v1/traces", "", b"no protobuf").await.0, 400);
    assert_eq!(post(&sink, "/v2/traces", "", b"").await.0, 400);
    assert_eq!(sink.received().mistakes.len(), 2);
}

#[tokio::test]
async fn totals_add_deltas_and_replace_cumulative_points() {
    let _turn = one_at_a_time();
    for (temporality, total) in [(AggregationTemporality::Delta, (12.0, 3)), (AggregationTemporality::Cumulative, (7.0, 2))] {
        let sink = OtlpSink::start();
        for (sum, count) in [(5.0, 1), (7.0, 2)] {
            let body = metrics(sum, count, temporality.into()).encode_to_vec();
            assert_eq!(post(&sink, "/v1/metrics", "", &body).await.0, 200);
        }
        assert_eq!(sink.received().total("gen_ai.client.token.usage", |_| true), Some(total));
        assert_eq!(sink.received().total("other", |_| true), None);
    }
}
