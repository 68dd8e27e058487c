//! OTLP over HTTP with binary protobuf.

use std::{io::Write as _, time::Duration};

use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry_proto::tonic::collector::{metrics::v1::ExportMetricsServiceResponse, trace::v1::ExportTraceServiceResponse};
use prost::Message as _;

use super::{ClientError, Payload, Refused, Taken, tls};
use crate::{
    clock::Clock,
    config::{Compression, Endpoint},
};

/// Most bytes read of an answer: partial-success messages are a sentence (the specification suggests a limit of 4 MiB).
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Idle connections are kept shorter than usual servers do, so that a request rarely meets one that is just being closed.
const IDLE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    headers: HeaderMap,
    timeout: Duration,
    compression: Compression,
}

impl HttpClient {
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self, ClientError> {
        // Plain endpoints need no certificates: a host without any must do.
        let tls = if endpoint.is_tls() {
            tls::client_config(endpoint)?
        } else {
            let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
            rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|e| ClientError::Tls(e.to_string()))?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let mut headers = HeaderMap::new();
        for (name, value) in &endpoint.headers {
            headers.append(name.clone(), value.0.clone());
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("a11i/", env!("CARGO_PKG_VERSION"))));
        if endpoint.compression == Compression::Gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(connector),
            url: endpoint.url.clone(),
            headers,
            timeout: endpoint.timeout,
            compression: endpoint.compression,
        })
    }

    pub(super) async fn send(&self, payload: &Payload) -> Result<Taken, Refused> {
        match tokio::time::timeout(self.timeout, self.attempt(payload)).await {
            Ok(result) => result,
            Err(_) => Err(Refused { retryable: true, wait: None, reason: "no answer in time".to_owned() }),
        }
    }

    async fn attempt(&self, payload: &Payload) -> Result<Taken, Refused> {
        let encoded = match payload {
            Payload::Traces(request) => request.encode_to_vec(),
            Payload::Metrics(request) => request.encode_to_vec(),
        };
        let body = match self.compression {
            Compression::None => encoded,
            Compression::Gzip => gzip(&encoded).map_err(|e| for_good(format!("cannot compress: {e}")))?,
        };
        let mut request = Request::post(self.url.clone()).body(Full::new(Bytes::from(body))).map_err(|e| for_good(e.to_string()))?;
        *request.headers_mut() = self.headers.clone();
        let answer = self.client.request(request).await.map_err(|error| Refused {
            // Nothing was answered: the endpoint is not there (yet, or any more).
            retryable: true,
            wait: None,
            reason: chain(&error),
        })?;
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            return Err(Refused {
                retryable: is_retryable(head.status),
                wait: retry_after(&head.headers, Clock::unix_now()),
                reason: format!("the endpoint answered {}", head.status),
            });
        }
        // The request was taken, whatever happens to the rest of the answer.
        let body = Limited::new(body, ANSWER_BYTES).collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok(taken(payload, &body))
    }
}

/// OTLP specification, "Retryable Response Codes".
fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// Seconds or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, unix_now_nanos: u64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_nanos(unix_now_nanos)))
}

/// An answer that does not decode says nothing: many receivers send `{}` or nothing at all.
fn taken(payload: &Payload, body: &[u8]) -> Taken {
    let partial = match payload {
        Payload::Traces(_) => {
            ExportTraceServiceResponse::decode(body).ok().and_then(|r| r.partial_success).map(|p| (p.rejected_spans, p.error_message))
        }
        Payload::Metrics(_) => ExportMetricsServiceResponse::decode(body)
            .ok()
            .and_then(|r| r.partial_success)
            .map(|p| (p.rejected_data_points, p.error_message)),
    };
    partial.map(|(rejected, message)| Taken { rejected: u64::try_from(rejected).unwrap_or_default(), message }).unwrap_or_default()
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Level::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

const fn for_good(reason: String) -> Refused {
    Refused { retryable: false, wait: None, reason }
}

/// An error and its causes: hyper's own words end at "connection error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let after = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(value))]);
            retry_after(&headers, 784_111_770 * 1_000_000_000)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(after("Sat, 06 Nov 1993 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn only_what_the_specification_names_is_sent_again() {
        let retried: Vec<u16> = (400..600).filter(|code| is_retryable(StatusCode::from_u16(*code).unwrap())).collect();
        assert_eq!(retried, [429, 502, 503, 504]);
    }
}
