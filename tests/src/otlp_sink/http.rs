//! OTLP over HTTP/protobuf.

use std::{
    io::Read as _,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
    metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse},
};
use prost::Message;
use tonic::body::Body;

use super::{State, Verdict, lock};

/// Largest body taken after decompression: far above anything a test sends.
const LARGEST_BODY: u64 = 64 << 20;

pub(super) async fn answer(state: &Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(match take(state, &head, &body) {
        Ok((status, answer)) => {
            let mut response = Response::new(whole(answer));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-protobuf"));
            if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
                response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            }
            response
        }
        Err(mistake) => {
            let mut response = Response::new(whole(mistake.clone().into_bytes()));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            lock(state).received.mistakes.push(mistake);
            response
        }
    })
}

fn whole(bytes: Vec<u8>) -> Body {
    Body::new(Full::new(Bytes::from(bytes)))
}

fn take(state: &Mutex<State>, head: &hyper::http::request::Parts, body: &[u8]) -> Result<(StatusCode, Vec<u8>), String> {
    let path = head.uri.path();
    let of = |name: header::HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    if head.method != hyper::Method::POST {
        return Err(format!("{} {path}: OTLP is sent by POST", head.method));
    }
    if of(header::CONTENT_TYPE) != Some("application/x-protobuf") {
        return Err(format!("{path}: content-type {:?} is not application/x-protobuf", of(header::CONTENT_TYPE)));
    }
    let body = match of(header::CONTENT_ENCODING) {
        None | Some("identity") => body.to_vec(),
        Some("gzip") => {
            let mut inflated = Vec::new();
            flate2::read::GzDecoder::new(body)
                .take(LARGEST_BODY)
                .read_to_end(&mut inflated)
                .map_err(|error| format!("{path}: gzip: {error}"))?;
            inflated
        }
        Some(other) => return Err(format!("{path}: content-encoding {other} was not offered")),
    };
    let mut state = lock(state);
    let rejected = match state.verdict {
        Verdict::Accept => None,
        Verdict::Partial { rejected } => Some(rejected),
        refusal @ (Verdict::Unavailable | Verdict::Throttle | Verdict::Reject) => {
            state.received.refused = state.received.refused.saturating_add(1);
            let status = match refusal {
                Verdict::Throttle => StatusCode::TOO_MANY_REQUESTS,
                Verdict::Reject => StatusCode::BAD_REQUEST,
                Verdict::Accept | Verdict::Partial { .. } | Verdict::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            };
            return Ok((status, Vec::new()));
        }
    };
    let told = "rejected on purpose".to_owned();
    let answer = match path {
        "/v1/traces" => {
            state.received.add_traces(&decode::<ExportTraceServiceRequest>(path, &body)?);
            let partial_success = rejected.map(|rejected_spans| ExportTracePartialSuccess { rejected_spans, error_message: told });
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        }
        "/v1/metrics" => {
            state.received.add_metrics(&decode::<ExportMetricsServiceRequest>(path, &body)?);
            let partial_success =
                rejected.map(|rejected_data_points| ExportMetricsPartialSuccess { rejected_data_points, error_message: told });
            ExportMetricsServiceResponse { partial_success }.encode_to_vec()
        }
        "/v1/logs" => {
            state.received.add_logs(decode::<ExportLogsServiceRequest>(path, &body)?);
            let partial_success =
                rejected.map(|rejected_log_records| ExportLogsPartialSuccess { rejected_log_records, error_message: told });
            ExportLogsServiceResponse { partial_success }.encode_to_vec()
        }
        other => return Err(format!("{other} is no path of OTLP")),
    };
    state.received.requests = state.received.requests.saturating_add(1);
    state.received.largest_request = state.received.largest_request.max(body.len());
    Ok((StatusCode::OK, answer))
}

fn decode<M: Message + Default>(path: &str, body: &[u8]) -> Result<M, String> {
    M::decode(body).map_err(|error| format!("{path}: {error}"))
}
