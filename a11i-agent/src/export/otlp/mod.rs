//! OTLP: one client per signal, over HTTP/protobuf or gRPC, and what its answers mean.

pub(crate) mod encode;
mod grpc;
mod http;
pub(crate) mod retry;
mod tls;

use std::time::Duration;

use opentelemetry_proto::tonic::collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest};

use crate::config::{Endpoint, Protocol};

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

/// The endpoint took the request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Taken {
    /// Items it rejected all the same (partial success); they must not be sent again.
    pub rejected: u64,
    /// Its words about that.
    pub message: String,
}

/// The endpoint did not take the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refused {
    /// Whether the specification allows to send it again.
    pub retryable: bool,
    /// How long the endpoint asks to wait.
    pub wait: Option<Duration>,
    /// For the log; holds no payload and no header.
    pub reason: String,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot read {path}; check the file and its permissions")]
    File {
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} holds no {what} in PEM form")]
    Pem { path: std::path::PathBuf, what: &'static str },
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// A client of one signal.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    Http(Box<http::HttpClient>),
    Grpc(Box<grpc::GrpcClient>),
}

impl Client {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self, ClientError> {
        Ok(match endpoint.protocol {
            Protocol::HttpProtobuf => Self::Http(Box::new(http::HttpClient::new(endpoint)?)),
            Protocol::Grpc => Self::Grpc(Box::new(grpc::GrpcClient::new(endpoint)?)),
        })
    }

    /// One attempt, within the endpoint's time.
    pub(crate) async fn send(&mut self, payload: &Payload) -> Result<Taken, Refused> {
        match self {
            Self::Http(client) => client.send(payload).await,
            Self::Grpc(client) => client.send(payload).await,
        }
    }
}
