//! Where OTLP goes: `OTEL_EXPORTER_OTLP_*`, general and per signal.

use std::{fmt, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue, Uri};

use super::{raw::Origin, validate::Checker};

/// Endpoints per signal; `None` = the signal is not exported.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct OtlpConfig {
    pub traces: Option<Endpoint>,
    pub metrics: Option<Endpoint>,
}

/// One signal's destination.
#[derive(Clone, PartialEq, Debug)]
pub struct Endpoint {
    /// The exact URL for HTTP; scheme and authority for gRPC.
    pub url: Uri,
    pub protocol: Protocol,
    pub headers: Vec<(HeaderName, Secret)>,
    /// Of one attempt.
    pub timeout: Duration,
    pub compression: Compression,
    /// PEM files.
    pub certificate: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

impl Endpoint {
    pub fn is_tls(&self) -> bool {
        self.url.scheme_str() == Some("https")
    }
}

/// A header's value: sent, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub HeaderValue);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    HttpProtobuf,
    Grpc,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    #[default]
    None,
    Gzip,
}

/// Which signals were asked for by `OTEL_{TRACES,METRICS}_EXPORTER`; `None` = nothing said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exporters {
    traces: Option<bool>,
    metrics: Option<bool>,
}

pub(super) fn exporters(c: &mut Checker<'_>) -> Exporters {
    let mut read = |key: &str| {
        c.entry(key)?;
        // `console` is what `output` does; the Prometheus page needs no exporter here.
        let choices = &[("otlp", true), ("none", false), ("console", false), ("prometheus", false)];
        Some(c.choice(key, choices, true))
    };
    Exporters { traces: read("traces.exporter"), metrics: read("metrics.exporter") }
}

pub(super) fn check(c: &mut Checker<'_>, asked: Exporters) -> OtlpConfig {
    OtlpConfig { traces: signal(c, "traces", asked.traces), metrics: signal(c, "metrics", asked.metrics) }
}

/// Nothing is exported to an endpoint that nobody named, unless the exporter was asked for by name.
fn signal(c: &mut Checker<'_>, name: &str, asked: Option<bool>) -> Option<Endpoint> {
    let protocol = protocol(c, name);
    let compression = {
        let key = of_signal(c, name, "compression");
        c.choice(&key, &[("none", Compression::None), ("gzip", Compression::Gzip)], Compression::None)
    };
    let timeout_key = of_signal(c, name, "timeout");
    let timeout = c.duration(&timeout_key, Duration::from_secs(10), Duration::from_millis(1));
    let headers = headers(c, name);
    let insecure = {
        let key = of_signal(c, name, "insecure");
        c.boolean(&key, false)
    };
    let mut path = |what: &str| {
        let key = of_signal(c, name, what);
        c.text(&key).map(|(path, _)| PathBuf::from(path))
    };
    let (certificate, client_certificate, client_key) = (path("certificate"), path("client_certificate"), path("client_key"));
    if client_certificate.is_some() != client_key.is_some() {
        let key = of_signal(c, name, if client_key.is_some() { "client_key" } else { "client_certificate" });
        if let Some(entry) = c.entry(&key) {
            c.mistake(entry.origin.clone(), "a client certificate and its key belong together", "set both or none");
        }
    }
    let url = url(c, name, protocol, insecure, asked == Some(true))?;
    (asked != Some(false)).then_some(Endpoint { url, protocol, headers, timeout, compression, certificate, client_certificate, client_key })
}

/// The signal's own key where it is set, else the general one.
fn of_signal(c: &Checker<'_>, signal: &str, what: &str) -> String {
    let own = format!("otlp.{signal}.{what}");
    if c.entry(&own).is_some() { own } else { format!("otlp.{what}") }
}

fn protocol(c: &mut Checker<'_>, signal: &str) -> Protocol {
    let key = of_signal(c, signal, "protocol");
    if let Some((text, origin)) = c.text(&key)
        && text == "http/json"
    {
        c.mistake(origin, "OTLP as JSON is not spoken", "use http/protobuf or grpc, which every OTLP receiver takes");
        return Protocol::HttpProtobuf;
    }
    let choices = &[("http/protobuf", Protocol::HttpProtobuf), ("grpc", Protocol::Grpc), ("http", Protocol::HttpProtobuf)];
    c.choice(&key, choices, Protocol::HttpProtobuf)
}

fn headers(c: &mut Checker<'_>, signal: &str) -> Vec<(HeaderName, Secret)> {
    let key = of_signal(c, signal, "headers");
    let origin = c.entry(&key).map(|entry| entry.origin.clone());
    let mut out = Vec::new();
    for (name, value) in c.pairs(&key) {
        let header = HeaderName::try_from(name.to_lowercase()).ok().zip(HeaderValue::try_from(&value).ok());
        match (header, &origin) {
            (Some((name, mut value)), _) => {
                value.set_sensitive(true);
                out.push((name, Secret(value)));
            }
            // Neither part is shown: what is not a header may be a secret in the wrong place.
            (None, Some(origin)) => {
                c.mistake(origin.clone(), format!("`{key}` has a name or value that HTTP does not allow"), "write name=value");
            }
            (None, None) => {}
        }
    }
    out
}

/// A signal's own endpoint is used as it is; `/v1/{signal}` is appended to the general one (OTLP exporter specification, endpoint URLs for HTTP).
fn url(c: &mut Checker<'_>, signal: &str, protocol: Protocol, insecure: bool, default: bool) -> Option<Uri> {
    let key = of_signal(c, signal, "endpoint");
    let own = key != "otlp.endpoint";
    let (text, origin) = match c.text(&key) {
        Some((text, origin)) => (text.to_owned(), origin),
        None if default => match protocol {
            Protocol::HttpProtobuf => ("http://localhost:4318".to_owned(), Origin::Variable(key.clone())),
            Protocol::Grpc => ("http://localhost:4317".to_owned(), Origin::Variable(key.clone())),
        },
        None => return None,
    };
    // `INSECURE` decides only where the endpoint has no scheme, which gRPC allows.
    let with_scheme = match (text.contains("://"), protocol) {
        (false, Protocol::Grpc) => format!("{}://{text}", if insecure { "http" } else { "https" }),
        (true, _) | (false, Protocol::HttpProtobuf) => text.clone(),
    };
    let full = match protocol {
        Protocol::HttpProtobuf if !own => format!("{}/v1/{signal}", with_scheme.trim_end_matches('/')),
        Protocol::HttpProtobuf | Protocol::Grpc => with_scheme,
    };
    match full.parse::<Uri>() {
        Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty()) => Some(uri),
        Ok(_) | Err(_) => {
            // Not shown: it may carry a user name and password.
            c.mistake(origin, format!("`{key}` is not an http:// or https:// URL"), "write for example http://localhost:4318");
            None
        }
    }
}
