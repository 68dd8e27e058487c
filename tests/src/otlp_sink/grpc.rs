//! OTLP over gRPC, by tonic's generated services.

use std::sync::{Arc, Mutex};

use hyper::{Request as HttpRequest, Response as HttpResponse, body::Incoming};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
        logs_service_server::{LogsService, LogsServiceServer},
    },
    metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use prost::Message as _;
use tonic::{Request, Response, Status, body::Body, codec::CompressionEncoding};
use tower_service::Service as _;

use super::{State, Verdict, lock};

pub(super) async fn answer(state: &Arc<Mutex<State>>, request: HttpRequest<Incoming>) -> HttpResponse<Body> {
    let signal = Signal(Arc::clone(state));
    let path = request.uri().path().to_owned();
    // The generated services never fail: errors are gRPC statuses inside the response.
    let answered = match path.as_str() {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
            TraceServiceServer::new(signal).accept_compressed(CompressionEncoding::Gzip).call(request).await
        }
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
            MetricsServiceServer::new(signal).accept_compressed(CompressionEncoding::Gzip).call(request).await
        }
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => {
            LogsServiceServer::new(signal).accept_compressed(CompressionEncoding::Gzip).call(request).await
        }
        other => {
            let mistake = format!("{other} is no method of OTLP");
            lock(state).received.mistakes.push(mistake.clone());
            Ok(Status::unimplemented(mistake).into_http())
        }
    };
    let Ok(response) = answered;
    response
}

struct Signal(Arc<Mutex<State>>);

impl Signal {
    /// Takes a request or refuses it; the number is how many items to call rejected.
    fn take(&self, size: usize, add: impl FnOnce(&mut super::Received)) -> Result<Option<i64>, Status> {
        let mut state = lock(&self.0);
        let refusal = match state.verdict {
            Verdict::Accept | Verdict::Partial { .. } => None,
            Verdict::Unavailable => Some(Status::unavailable("down on purpose")),
            Verdict::Throttle => Some(Status::resource_exhausted("throttled on purpose")),
            Verdict::Reject => Some(Status::invalid_argument("rejected on purpose")),
        };
        if let Some(status) = refusal {
            state.received.refused = state.received.refused.saturating_add(1);
            return Err(status);
        }
        add(&mut state.received);
        state.received.requests = state.received.requests.saturating_add(1);
        state.received.largest_request = state.received.largest_request.max(size);
        Ok(if let Verdict::Partial { rejected } = state.verdict { Some(rejected) } else { None })
    }
}

const TOLD: &str = "rejected on purpose";

#[tonic::async_trait]
impl TraceService for Signal {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        let rejected = self.take(request.encoded_len(), |received| received.add_traces(&request))?;
        let partial_success = rejected.map(|rejected_spans| ExportTracePartialSuccess { rejected_spans, error_message: TOLD.to_owned() });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[tonic::async_trait]
impl MetricsService for Signal {
    async fn export(&self, request: Request<ExportMetricsServiceRequest>) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let request = request.into_inner();
        let rejected = self.take(request.encoded_len(), |received| received.add_metrics(&request))?;
        let partial_success =
            rejected.map(|rejected_data_points| ExportMetricsPartialSuccess { rejected_data_points, error_message: TOLD.to_owned() });
        Ok(Response::new(ExportMetricsServiceResponse { partial_success }))
    }
}

#[tonic::async_trait]
impl LogsService for Signal {
    async fn export(&self, request: Request<ExportLogsServiceRequest>) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let request = request.into_inner();
        let size = request.encoded_len();
        let rejected = self.take(size, |received| received.add_logs(request))?;
        let partial_success =
            rejected.map(|rejected_log_records| ExportLogsPartialSuccess { rejected_log_records, error_message: TOLD.to_owned() });
        Ok(Response::new(ExportLogsServiceResponse { partial_success }))
    }
}
