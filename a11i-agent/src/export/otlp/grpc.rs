//! OTLP over gRPC.

use std::time::Duration;

use http::HeaderMap;
use opentelemetry_proto::tonic::collector::{
    metrics::v1::metrics_service_client::MetricsServiceClient, trace::v1::trace_service_client::TraceServiceClient,
};
use prost::Message as _;
use tonic::{
    Code, Request, Status,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

use super::{ClientError, Payload, Refused, Taken, tls};
use crate::config::{Compression, Endpoint};

#[derive(Clone, Debug)]
pub(crate) struct GrpcClient {
    traces: TraceServiceClient<Channel>,
    metrics: MetricsServiceClient<Channel>,
    headers: MetadataMap,
    timeout: Duration,
}

impl GrpcClient {
    /// Connects at the first request, and again whenever the connection is gone. Needs a tokio runtime.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let tls_error = |e: tonic::transport::Error| ClientError::Tls(e.to_string());
        let mut channel = Channel::builder(endpoint.url.clone())
            .connect_timeout(endpoint.timeout)
            .user_agent(concat!("a11i/", env!("CARGO_PKG_VERSION")))
            .map_err(tls_error)?;
        if endpoint.is_tls() {
            channel = channel.tls_config(tls_config(endpoint)?).map_err(tls_error)?;
        }
        let channel = channel.connect_lazy();
        let mut headers = HeaderMap::new();
        for (name, value) in &endpoint.headers {
            headers.append(name.clone(), value.0.clone());
        }
        let (mut traces, mut metrics) = (TraceServiceClient::new(channel.clone()), MetricsServiceClient::new(channel));
        if endpoint.compression == Compression::Gzip {
            traces = traces.send_compressed(CompressionEncoding::Gzip);
            metrics = metrics.send_compressed(CompressionEncoding::Gzip);
        }
        Ok(Self { traces, metrics, headers: MetadataMap::from_headers(headers), timeout: endpoint.timeout })
    }

    pub(super) async fn send(&mut self, payload: &Payload) -> Result<Taken, Refused> {
        let sent = tokio::time::timeout(self.timeout, self.attempt(payload)).await;
        match sent {
            Ok(Ok(taken)) => Ok(taken),
            Ok(Err(status)) => Err(refused(&status)),
            Err(_) => Err(Refused { retryable: true, wait: None, reason: "no answer in time".to_owned() }),
        }
    }

    async fn attempt(&mut self, payload: &Payload) -> Result<Taken, Status> {
        let partial = match payload {
            Payload::Traces(message) => {
                let answer = self.traces.export(request(message.clone(), &self.headers)).await?;
                answer.into_inner().partial_success.map(|p| (p.rejected_spans, p.error_message))
            }
            Payload::Metrics(message) => {
                let answer = self.metrics.export(request(message.clone(), &self.headers)).await?;
                answer.into_inner().partial_success.map(|p| (p.rejected_data_points, p.error_message))
            }
        };
        Ok(partial.map(|(rejected, message)| Taken { rejected: u64::try_from(rejected).unwrap_or_default(), message }).unwrap_or_default())
    }
}

fn request<T>(message: T, headers: &MetadataMap) -> Request<T> {
    let mut request = Request::new(message);
    *request.metadata_mut() = headers.clone();
    request
}

fn tls_config(endpoint: &Endpoint) -> Result<ClientTlsConfig, ClientError> {
    let config = match &endpoint.certificate {
        Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(tls::read(path)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    Ok(match (&endpoint.client_certificate, &endpoint.client_key) {
        (Some(certificate), Some(key)) => config.identity(Identity::from_pem(tls::read(certificate)?, tls::read(key)?)),
        _ => config,
    })
}

/// OTLP specification, "Failures" of OTLP/gRPC.
fn refused(status: &Status) -> Refused {
    let wait = retry_info(status.details());
    let retryable = match status.code() {
        Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::OutOfRange | Code::Unavailable | Code::DataLoss => true,
        // Only where the server says that it can recover.
        Code::ResourceExhausted => wait.is_some(),
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal
        | Code::Unauthenticated => false,
    };
    Refused { retryable, wait, reason: format!("the endpoint answered {:?}: {}", status.code(), status.message()) }
}

/// `google.rpc.RetryInfo` in the details of a status (`grpc-status-details-bin`).
fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok().filter(|n| *n < 1_000_000_000)?))
}

/// `google.rpc.Status`: the one message of it that is read does not justify a crate.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(seconds: i64, nanos: i32) -> Vec<u8> {
        let info = RetryInfo { retry_delay: Some(ProtoDuration { seconds, nanos }) };
        let any = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: info.encode_to_vec() };
        RpcStatus { details: vec![any] }.encode_to_vec()
    }

    #[test]
    fn an_exhausted_server_is_asked_again_only_when_it_says_when() {
        let exhausted = |details: Vec<u8>| refused(&Status::with_details(Code::ResourceExhausted, "full", details.into()));
        assert!(!exhausted(Vec::new()).retryable);
        let later = exhausted(details(2, 500_000_000));
        assert!(later.retryable);
        assert_eq!(later.wait, Some(Duration::from_millis(2500)));
        assert!(!exhausted(details(-1, 0)).retryable, "a hostile delay is none");
    }

    #[test]
    fn a_refusal_for_good_is_not_repeated() {
        assert!(!refused(&Status::unauthenticated("no")).retryable);
        assert!(refused(&Status::unavailable("later")).retryable);
    }
}
