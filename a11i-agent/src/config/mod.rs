//! Configuration: files, environment and flags → [`Config`] of checked values.
//!
//! Flags win over environment, environment over files, later files over earlier ones. Everything that is wrong is reported at once, each
//! [`Mistake`] with where it stands and what to do. Reads the environment through [`Environment`], so that tests need none.

mod effective;
mod env;
mod file;
mod keys;
mod otlp;
pub mod price_file;
mod raw;
mod validate;

pub use env::{Environment, ProcessEnvironment};
pub use otlp::{Compression, Endpoint, OtlpConfig, Protocol, Secret};
pub use raw::{Mistake, Mistakes, Origin};

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cost::UnknownHosts,
    export::semconv::Semconv,
    redaction::ContentPolicy,
    sampling::{InstrumentedPolicy, Sampler},
};

/// Every value checked. `Display` prints it as YAML that would be read back as the same (secrets masked).
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    pub content: ContentPolicy,
    pub output: Output,
    pub log_level: LogLevel,
    pub semconv: Semconv,
    pub otlp: OtlpConfig,
    pub batch: BatchConfig,
    /// `OTEL_METRIC_EXPORT_INTERVAL`.
    pub metric_interval: Duration,
    /// Where the health and metrics ports are bound: loopback unless configured.
    pub bind_address: IpAddr,
    /// 0 = off.
    pub health_port: u16,
    /// 0 = off.
    pub metrics_port: u16,
    pub cost: CostConfig,
    /// `providers.hosts`: gateways and further hosts, with the provider whose dialect and prices apply.
    pub provider_hosts: Vec<ProviderHost>,
    /// `providers.gateways`: host patterns of own gateways. List prices apply; the provider is told by the format.
    pub provider_gateways: Vec<String>,
    /// `providers.paths`: paths that are none of the known ones, with the format that is spoken there.
    pub provider_paths: Vec<ProviderPath>,
    /// `providers.body_shape`: whether bodies that look like calls are calls, at any host and path.
    pub body_shape: bool,
    pub capture: CaptureConfig,
    pub guard: GuardConfig,
    /// Added to every resource, below what the kernel says.
    pub resource_attributes: Vec<(String, String)>,
    /// How long a shutdown may drain and flush.
    pub shutdown_timeout: Duration,
    pub sampler: Sampler,
    /// Read trace context from requests.
    pub trace_correlation: bool,
    /// `instrumented` and `instrumented_programs`: calls that their programs report themselves.
    pub instrumented: InstrumentedPolicy,
    /// Whether the agent gives up what it does not need after its start.
    pub containment: bool,
    /// `run_folder`: where lock and admin socket are, instead of the host's `/run/a11i`.
    pub run_folder: Option<PathBuf>,
}

/// What is printed on standard output per call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Output {
    /// `pretty` where no OTLP endpoint is configured, else nothing.
    #[default]
    Auto,
    Pretty,
    Json,
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// `OTEL_BSP_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchConfig {
    pub schedule_delay: Duration,
    pub max_queue_size: usize,
    /// Bound of the queue in bytes of encoded spans: content may make a span megabytes large.
    pub max_queue_bytes: usize,
    pub max_export_batch_size: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CostConfig {
    pub enabled: bool,
    pub pricing_file: Option<PathBuf>,
    pub unknown_hosts: UnknownHosts,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProviderHost {
    pub host: String,
    pub provider: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProviderPath {
    /// The end of the path, `*` = one or more characters.
    pub path: String,
    /// One of [`crate::provider::dialect_names`].
    pub dialect: String,
    /// Only at these hosts.
    pub host: Option<String>,
    pub provider: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CaptureConfig {
    /// A power of two and a multiple of the page size, as the kernel asks of a ring buffer.
    pub ring_bytes: u32,
    pub call_limit_bytes: u64,
    pub sockets: SocketCapture,
}

/// How traffic without TLS is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SocketCapture {
    /// By kprobes where the kernel has them, else not.
    #[default]
    Auto,
    Kprobes,
    /// By the tracepoints of socket calls (6.3+).
    Tracepoints,
    Off,
}

impl SocketCapture {
    pub const CHOICES: &[(&str, Self)] =
        &[("auto", Self::Auto), ("kprobes", Self::Kprobes), ("tracepoints", Self::Tracepoints), ("off", Self::Off)];

    /// As the file names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kprobes => "kprobes",
            Self::Tracepoints => "tracepoints",
            Self::Off => "off",
        }
    }
}

/// The bystander guard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuardConfig {
    /// Calls that processes without LLM traffic may make through one TLS library in a second while they are probed. 0 = no limit.
    pub hits_per_second: u64,
}

/// Where configuration comes from, in ascending precedence.
#[derive(Clone, Debug, Default)]
pub struct Sources<'a> {
    /// `--config`: read with the `*.d` folder next to it (`a11i.yaml` and `a11i.yaml.d/*.yaml` or `a11i.d/*.yaml`).
    pub file: Option<&'a Path>,
    /// `(key path, value)` of flags: `("output", "json")`.
    pub flags: Vec<(&'static str, String)>,
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// All mistakes of all sources.
    pub fn load(sources: &Sources<'_>, environment: &dyn Environment) -> Result<Self, Mistakes> {
        let mut raw = raw::RawConfig::default();
        let mut mistakes = Vec::new();
        if let Some(path) = sources.file {
            file::read(path, &mut raw, &mut mistakes);
        }
        env::read(environment, &mut raw, &mut mistakes);
        for (key, value) in &sources.flags {
            raw.set_text(key, value, Origin::Flag(format!("--{}", key.replace(['.', '_'], "-"))));
        }
        validate::check(&raw, mistakes)
    }

    /// Whether a call is sent anywhere but to standard output.
    pub const fn exports(&self) -> bool {
        self.otlp.traces.is_some() || self.otlp.metrics.is_some()
    }
}

#[cfg(test)]
mod tests;
