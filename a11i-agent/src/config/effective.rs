//! The effective configuration as YAML, secrets masked.

use std::{fmt, time::Duration};

use super::{Compression, Config, Endpoint, Output, Protocol};
use crate::{cost::UnknownHosts, redaction::ContentPolicy};

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = match self.content {
            ContentPolicy::None => "none",
            ContentPolicy::Full => "full",
        };
        let output = match self.output {
            Output::Auto => "auto",
            Output::Pretty => "pretty",
            Output::Json => "json",
            Output::None => "none",
        };
        writeln!(f, "content: {content}\noutput: {output}\nlog_level: {}", self.log_level.as_str())?;
        writeln!(f, "semconv: {}", quoted(self.semconv.as_str()))?;
        self.otlp(f)?;
        writeln!(f, "batch:\n  schedule_delay: {}", millis(self.batch.schedule_delay))?;
        writeln!(f, "  max_queue_size: {}\n  max_queue_bytes: {}", self.batch.max_queue_size, self.batch.max_queue_bytes)?;
        writeln!(f, "  max_export_batch_size: {}", self.batch.max_export_batch_size)?;
        let exporter = |on: bool| if on { "otlp" } else { "none" };
        writeln!(f, "traces:\n  exporter: {}", exporter(self.otlp.traces.is_some()))?;
        writeln!(f, "metrics:\n  exporter: {}\n  interval: {}", exporter(self.otlp.metrics.is_some()), millis(self.metric_interval))?;
        writeln!(f, "bind_address: {}", quoted(&self.bind_address.to_string()))?;
        writeln!(f, "health_port: {}\nmetrics_port: {}", self.health_port, self.metrics_port)?;
        writeln!(f, "cost:\n  enabled: {}", self.cost.enabled)?;
        if let Some(path) = &self.cost.pricing_file {
            writeln!(f, "  pricing_file: {}", quoted(&path.to_string_lossy()))?;
        }
        let unknown_hosts = match self.cost.unknown_hosts {
            UnknownHosts::Unpriced => "none",
            UnknownHosts::Assume => "assume",
        };
        writeln!(f, "  unknown_hosts: {unknown_hosts}")?;
        writeln!(f, "providers:\n  body_shape: {}", self.body_shape)?;
        if !self.provider_gateways.is_empty() {
            let list: Vec<String> = self.provider_gateways.iter().map(|host| quoted(host)).collect();
            writeln!(f, "  gateways: [{}]", list.join(", "))?;
        }
        if !self.provider_hosts.is_empty() {
            writeln!(f, "  hosts:")?;
            for host in &self.provider_hosts {
                writeln!(f, "    - {{host: {}, provider: {}}}", quoted(&host.host), quoted(&host.provider))?;
            }
        }
        if !self.provider_paths.is_empty() {
            writeln!(f, "  paths:")?;
            for rule in &self.provider_paths {
                write!(f, "    - {{path: {}, dialect: {}", quoted(&rule.path), quoted(&rule.dialect))?;
                for (name, value) in [("host", &rule.host), ("provider", &rule.provider)] {
                    if let Some(value) = value {
                        write!(f, ", {name}: {}", quoted(value))?;
                    }
                }
                writeln!(f, "}}")?;
            }
        }
        writeln!(
            f,
            "capture:\n  ring_bytes: {}\n  call_limit_bytes: {}\n  sockets: {}",
            self.capture.ring_bytes,
            self.capture.call_limit_bytes,
            self.capture.sockets.as_str()
        )?;
        writeln!(f, "guard:\n  hits_per_second: {}", self.guard.hits_per_second)?;
        if !self.resource_attributes.is_empty() {
            writeln!(f, "resource_attributes:")?;
            for (name, value) in &self.resource_attributes {
                let shown = if names_a_secret(name) { MASK } else { value };
                writeln!(f, "  {}: {}", quoted(name), quoted(shown))?;
            }
        }
        writeln!(f, "sampler:\n  type: {}\n  ratio: {}", self.sampler.standard_name(), self.sampler.ratio)?;
        writeln!(f, "instrumented: {}", self.instrumented.mode.as_str())?;
        if !self.instrumented.programs.is_empty() {
            let list: Vec<String> = self.instrumented.programs.iter().map(|name| quoted(name)).collect();
            writeln!(f, "instrumented_programs: [{}]", list.join(", "))?;
        }
        writeln!(f, "containment: {}", if self.containment { "on" } else { "off" })?;
        if let Some(path) = &self.run_folder {
            writeln!(f, "run_folder: {}", quoted(&path.to_string_lossy()))?;
        }
        writeln!(f, "trace_correlation: {}\nshutdown_timeout: {}", self.trace_correlation, millis(self.shutdown_timeout))
    }
}

impl Config {
    fn otlp(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.exports() {
            return Ok(());
        }
        writeln!(f, "otlp:")?;
        for (name, endpoint) in [("traces", &self.otlp.traces), ("metrics", &self.otlp.metrics)] {
            if let Some(endpoint) = endpoint {
                writeln!(f, "  {name}:")?;
                write_endpoint(f, endpoint)?;
            }
        }
        Ok(())
    }
}

const MASK: &str = "***";

fn write_endpoint(f: &mut fmt::Formatter<'_>, endpoint: &Endpoint) -> fmt::Result {
    let protocol = match endpoint.protocol {
        Protocol::HttpProtobuf => "http/protobuf",
        Protocol::Grpc => "grpc",
    };
    let compression = match endpoint.compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
    };
    writeln!(f, "    endpoint: {}\n    protocol: {protocol}", quoted(&without_secrets(&endpoint.url)))?;
    writeln!(f, "    timeout: {}\n    compression: {compression}", millis(endpoint.timeout))?;
    let files = [
        ("certificate", &endpoint.certificate),
        ("client_certificate", &endpoint.client_certificate),
        ("client_key", &endpoint.client_key),
    ];
    for (name, file) in files {
        if let Some(file) = file {
            writeln!(f, "    {name}: {}", quoted(&file.to_string_lossy()))?;
        }
    }
    if !endpoint.headers.is_empty() {
        writeln!(f, "    headers:")?;
        for (name, _) in &endpoint.headers {
            // Any header may be a credential; none is worth showing.
            writeln!(f, "      {}: {}", quoted(name.as_str()), quoted(MASK))?;
        }
    }
    Ok(())
}

/// User information and query parameters may be credentials.
pub(crate) fn without_secrets(url: &http::Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("http");
    let authority = url.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let host = authority.rsplit_once('@').map_or_else(|| authority.to_owned(), |(_, host)| format!("{MASK}@{host}"));
    let query = if url.query().is_some() { format!("?{MASK}") } else { String::new() };
    format!("{scheme}://{host}{}{query}", url.path())
}

fn names_a_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    ["key", "token", "secret", "password", "credential", "auth"].iter().any(|word| name.contains(word))
}

/// JSON strings are YAML strings.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
