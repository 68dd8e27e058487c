//! Against receivers on loopback that decode real OTLP.

use std::{collections::VecDeque, net::SocketAddr};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::any_value,
};
use tokio::net::TcpListener;

use super::*;
use crate::{config::Environment, cost::PricedCall, export::samples};

/// What a receiver got, and what it is to answer next (200 when nothing is said).
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<SinkState>>);

#[derive(Default)]
struct SinkState {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    headers: Vec<http::HeaderMap>,
    answers: VecDeque<u16>,
    rejected: i64,
    requests: usize,
}

impl Sink {
    fn lock(&self) -> MutexGuard<'_, SinkState> {
        self.0.lock().unwrap()
    }

    fn answering(codes: &[u16]) -> Self {
        let sink = Self::default();
        sink.lock().answers = codes.iter().copied().collect();
        sink
    }

    fn spans(&self) -> usize {
        let state = self.lock();
        state.traces.iter().flat_map(|r| &r.resource_spans).flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum()
    }

    /// The next answer, if it is not a plain yes.
    fn next_answer(&self) -> Option<u16> {
        let mut state = self.lock();
        state.requests += 1;
        state.answers.pop_front().filter(|code| *code != 200)
    }

    async fn over_http(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/traces", post(http_traces)).route("/v1/metrics", post(http_metrics)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }

    async fn over_grpc(&self) -> SocketAddr {
        // tonic binds by itself: a port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let traces = TraceServiceServer::new(self.clone()).accept_compressed(tonic::codec::CompressionEncoding::Gzip);
        let metrics = MetricsServiceServer::new(self.clone()).accept_compressed(tonic::codec::CompressionEncoding::Gzip);
        tokio::spawn(tonic::transport::Server::builder().add_service(traces).add_service(metrics).serve(address));
        address
    }
}

fn body(headers: &http::HeaderMap, bytes: &Bytes) -> Vec<u8> {
    if headers.get("content-encoding").is_some_and(|v| v == "gzip") {
        let mut out = Vec::new();
        #[expect(clippy::disallowed_types, reason = "our own small request bodies")]
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes.as_ref()), &mut out).unwrap();
        return out;
    }
    bytes.to_vec()
}

async fn http_traces(State(sink): State<Sink>, headers: http::HeaderMap, bytes: Bytes) -> axum::response::Response {
    if let Some(code) = sink.next_answer() {
        return (StatusCode::from_u16(code).unwrap(), [("retry-after", "0")]).into_response();
    }
    let mut state = sink.lock();
    state.traces.push(ExportTraceServiceRequest::decode(body(&headers, &bytes).as_slice()).unwrap());
    state.headers.push(headers);
    let partial =
        (state.rejected > 0).then(|| ExportTracePartialSuccess { rejected_spans: state.rejected, error_message: "no".to_owned() });
    ExportTraceServiceResponse { partial_success: partial }.encode_to_vec().into_response()
}

async fn http_metrics(State(sink): State<Sink>, headers: http::HeaderMap, bytes: Bytes) -> axum::response::Response {
    sink.lock().metrics.push(ExportMetricsServiceRequest::decode(body(&headers, &bytes).as_slice()).unwrap());
    StatusCode::OK.into_response()
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        if self.next_answer().is_some() {
            return Err(tonic::Status::unavailable("later"));
        }
        let headers = request.metadata().clone().into_headers();
        let mut state = self.lock();
        state.headers.push(headers);
        state.traces.push(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        self.lock().metrics.push(request.into_inner());
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

struct Variables(Vec<(String, String)>);

impl Environment for Variables {
    fn variables(&self, _: &[&str]) -> Vec<(String, String)> {
        self.0.clone()
    }
}

fn start(variables: &[(&str, &str)]) -> (ExporterHandle, Arc<Instruments>) {
    let variables = Variables(variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
    let config = Config::load(&crate::config::Sources::default(), &variables).unwrap();
    let instruments = Arc::new(Instruments::default());
    (Exporter::start(&config, Arc::new(Clock::new()), Arc::clone(&instruments)).unwrap(), instruments)
}

fn offer(handle: &ExporterHandle, priced: &PricedCall) {
    handle.offer(&samples::redacted(priced), SpanIds::of(&priced.call));
}

/// Far longer than any of these tests takes: it is not what they measure.
const PLENTY: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_call_arrives_over_http_as_a_span_and_as_metrics_under_its_process() {
    let sink = Sink::default();
    let endpoint = format!("http://{}", sink.over_http().await);
    let (handle, instruments) = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ]);
    offer(&handle, &samples::chat());
    let report = handle.shutdown(PLENTY).await;
    assert_eq!(report, ShutdownReport { exported_spans: 1, dropped_spans: 0, metrics_flushed: true });
    let state = sink.lock();
    let resource_spans = &state.traces[0].resource_spans[0];
    let span = &resource_spans.scope_spans[0].spans[0];
    assert_eq!(span.name, "chat gpt-4o");
    let text = |key: &str| {
        let pairs = &resource_spans.resource.as_ref().unwrap().attributes;
        let value = pairs.iter().find(|p| p.key == key)?.value.as_ref()?.value.as_ref()?;
        if let any_value::Value::StringValue(text) = value { Some(text.clone()) } else { None }
    };
    assert_eq!(text("service.name").as_deref(), Some("unknown_service:python3"));
    assert_eq!(state.headers[0].get("x-tenant").unwrap(), "blue");
    assert_eq!(state.headers[0].get("content-encoding").unwrap(), "gzip");
    let names: Vec<&str> =
        state.metrics.iter().flat_map(|r| &r.resource_metrics).flat_map(|r| &r.scope_metrics[0].metrics).map(|m| m.name.as_str()).collect();
    assert!(
        names.contains(&"gen_ai.client.token.usage") && names.contains(&"a11i.cost.usd") && names.contains(&"a11i.dropped"),
        "{names:?}"
    );
    assert_eq!(instruments.queue_spans.value(), 0);
}

#[tokio::test]
async fn a_call_arrives_over_grpc_after_the_server_was_unavailable() {
    let sink = Sink::answering(&[503, 200]);
    let endpoint = format!("http://{}", sink.over_grpc().await);
    let (handle, instruments) = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ]);
    offer(&handle, &samples::chat());
    let report = handle.shutdown(PLENTY).await;
    assert_eq!(report, ShutdownReport { exported_spans: 1, dropped_spans: 0, metrics_flushed: true });
    assert_eq!(sink.spans(), 1);
    assert_eq!(sink.lock().headers[0].get("x-tenant").unwrap(), "blue");
    assert!(instruments.export_requests_retried.value() >= 1);
}

#[tokio::test]
async fn a_busy_endpoint_gets_the_same_spans_again_and_each_once() {
    let sink = Sink::answering(&[503, 429, 200]);
    let endpoint = format!("http://{}/v1/traces", sink.over_http().await);
    let (handle, instruments) = start(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str())]);
    for _ in 0..3 {
        offer(&handle, &samples::chat());
    }
    let report = handle.shutdown(PLENTY).await;
    assert_eq!((report.exported_spans, sink.spans(), sink.lock().requests), (3, 3, 3));
    assert_eq!(instruments.export_requests_retried.value(), 2);
}

#[tokio::test]
async fn a_refusal_for_good_is_counted_and_not_repeated() {
    let sink = Sink::answering(&[400]);
    let endpoint = format!("http://{}/v1/traces", sink.over_http().await);
    let (handle, instruments) = start(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str())]);
    offer(&handle, &samples::chat());
    let report = handle.shutdown(PLENTY).await;
    assert_eq!((report.exported_spans, sink.lock().requests), (0, 1));
    assert_eq!(instruments.drops(DropReason::SpanRefused), 1);
}

#[tokio::test]
async fn what_the_endpoint_rejects_of_a_taken_request_is_counted() {
    let sink = Sink::default();
    sink.lock().rejected = 1;
    let endpoint = format!("http://{}/v1/traces", sink.over_http().await);
    let (handle, instruments) = start(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str())]);
    offer(&handle, &samples::chat());
    offer(&handle, &samples::chat());
    assert_eq!(handle.shutdown(PLENTY).await.exported_spans, 1);
    assert_eq!(instruments.drops(DropReason::SpanRejected), 1);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_blocks_nobody_and_every_span_is_accounted_for() {
    // Bound and never accepted from would answer; a closed port refuses.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let endpoint = format!("http://{closed}");
    let (handle, instruments) = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5"),
    ]);
    for _ in 0..100 {
        offer(&handle, &samples::chat());
        tokio::task::yield_now().await;
    }
    assert!(instruments.queue_spans.value() <= 10);
    let report = handle.shutdown(Duration::from_millis(50)).await;
    let full = instruments.drops(DropReason::SpanQueueFull);
    assert!(full >= 85, "{full}");
    assert_eq!(full + report.dropped_spans, 100);
    assert_eq!(instruments.drops(DropReason::SpanShutdown), report.dropped_spans);
    assert!(!report.metrics_flushed);
}

#[tokio::test]
async fn calls_of_one_process_share_a_resource_and_those_of_another_have_their_own() {
    let sink = Sink::default();
    let endpoint = format!("http://{}/v1/traces", sink.over_http().await);
    let (handle, _) = start(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str())]);
    let mut other = samples::chat();
    let process = ProcessId { pid: a11i_common::identity::Pid(43), start_ticks: 1 };
    other.call.owner = Arc::new(Owner { process, ..Owner::default() });
    for priced in [&samples::chat(), &other, &samples::chat()] {
        offer(&handle, priced);
    }
    handle.shutdown(PLENTY).await;
    let state = sink.lock();
    let mut sizes: Vec<usize> = state.traces.iter().flat_map(|r| &r.resource_spans).map(|r| r.scope_spans[0].spans.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2]);
}

#[tokio::test]
async fn content_that_no_request_could_hold_is_left_out_and_said_so() {
    let sink = Sink::default();
    let endpoint = format!("http://{}/v1/traces", sink.over_http().await);
    let (handle, instruments) = start(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str())]);
    let mut priced = samples::chat();
    let part = crate::call::Part::Text { content: "x".repeat(BATCH_BYTES) };
    priced.call.content.input_messages = vec![crate::call::Message { role: "user".to_owned(), parts: vec![part], ..Default::default() }];
    offer(&handle, &priced);
    assert_eq!(handle.shutdown(PLENTY).await.exported_spans, 1);
    let state = sink.lock();
    let keys: Vec<&str> = state.traces[0].resource_spans[0].scope_spans[0].spans[0].attributes.iter().map(|a| a.key.as_str()).collect();
    assert!(keys.contains(&"a11i.content.truncated") && !keys.contains(&"gen_ai.input.messages"));
    assert_eq!(instruments.drops(DropReason::SpanContentTooLarge), 1);
}

#[tokio::test]
async fn calls_that_sampling_leaves_out_are_still_counted_as_metrics() {
    let sink = Sink::default();
    let endpoint = format!("http://{}", sink.over_http().await);
    let (handle, instruments) = start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_TRACES_SAMPLER", "always_off")]);
    offer(&handle, &samples::chat());
    handle.shutdown(PLENTY).await;
    assert_eq!((sink.spans(), instruments.spans_sampled_out.value()), (0, 1));
    let names: Vec<String> = sink
        .lock()
        .metrics
        .iter()
        .flat_map(|r| &r.resource_metrics)
        .flat_map(|r| &r.scope_metrics[0].metrics)
        .map(|m| m.name.clone())
        .collect();
    assert!(names.iter().any(|n| n == "gen_ai.client.operation.duration"));
}

#[tokio::test]
async fn with_no_endpoint_calls_are_taken_in_and_a_shutdown_is_immediate() {
    let (handle, _) = start(&[]);
    offer(&handle, &samples::chat());
    assert_eq!(handle.shutdown(PLENTY).await, ShutdownReport { exported_spans: 0, dropped_spans: 0, metrics_flushed: true });
}

#[tokio::test]
async fn a_full_batch_does_not_wait_for_the_delay() {
    let sink = Sink::default();
    let endpoint = format!("http://{}/v1/traces", sink.over_http().await);
    // The delay is an hour: what arrives, arrives because the batch is full.
    let (handle, instruments) = start(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"),
    ]);
    offer(&handle, &samples::chat());
    offer(&handle, &samples::chat());
    while instruments.spans_exported.value() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(sink.spans(), 2);
}
