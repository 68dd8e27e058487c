//! Raw values → checked values, collecting every mistake.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use super::{
    BatchConfig, CaptureConfig, Config, CostConfig, GuardConfig, LogLevel, Output, ProviderHost, ProviderPath, SocketCapture,
    env::{DEPLOYMENT_ENVIRONMENT, SERVICE_NAME},
    otlp,
    raw::{Entry, Mistake, Mistakes, NodeKind, Origin, RawConfig},
};
use crate::{
    cost::UnknownHosts,
    export::semconv::Semconv,
    redaction::ContentPolicy,
    sampling::{Instrumented, InstrumentedPolicy, Sampler},
};

/// Checks everything; `mistakes` are those of reading.
pub(super) fn check(raw: &RawConfig, mistakes: Vec<Mistake>) -> Result<Config, Mistakes> {
    let mut c = Checker { raw, mistakes };
    let metrics_off_without = otlp::exporters(&mut c);
    let config = Config {
        content: content(&mut c),
        output: c.choice("output", OUTPUTS, Output::Auto),
        log_level: c.choice("log_level", LOG_LEVELS, LogLevel::Info),
        semconv: c.choice("semconv", SEMCONVS, Semconv::V1_41),
        otlp: otlp::check(&mut c, metrics_off_without),
        batch: batch(&mut c),
        metric_interval: c.duration("metrics.interval", Duration::from_mins(1), Duration::from_millis(1)),
        bind_address: c.parsed("bind_address", IpAddr::from([127, 0, 0, 1]), "an IP address such as 127.0.0.1 or ::"),
        health_port: c.parsed("health_port", 9091, "a port from 1 to 65535, or 0 for none"),
        metrics_port: c.parsed("metrics_port", 9090, "a port from 1 to 65535, or 0 for none"),
        cost: CostConfig {
            enabled: c.boolean("cost.enabled", true),
            pricing_file: c.text("cost.pricing_file").map(|(path, _)| PathBuf::from(path)),
            unknown_hosts: c.choice("cost.unknown_hosts", UNKNOWN_HOSTS, UnknownHosts::Unpriced),
        },
        provider_hosts: provider_hosts(&mut c),
        provider_gateways: c.list("providers.gateways").into_iter().map(|host| host.to_lowercase()).collect(),
        provider_paths: provider_paths(&mut c),
        body_shape: c.boolean("providers.body_shape", false),
        capture: capture(&mut c),
        // Above the largest number nobody is ever limited: a probe hit costs a microsecond or more.
        guard: GuardConfig { hits_per_second: c.size("guard.hits_per_second", 2_000, 0..=10_000_000) },
        resource_attributes: resource_attributes(&mut c),
        shutdown_timeout: c.duration("shutdown_timeout", Duration::from_secs(5), Duration::ZERO),
        sampler: sampler(&mut c),
        trace_correlation: c.boolean("trace_correlation", true),
        instrumented: InstrumentedPolicy {
            mode: c.choice("instrumented", Instrumented::CHOICES, Instrumented::Child),
            programs: c.list("instrumented_programs").into(),
        },
        containment: c.boolean("containment", true),
        run_folder: run_folder(&mut c),
    };
    if c.mistakes.is_empty() { Ok(config) } else { Err(Mistakes(c.mistakes)) }
}

const OUTPUTS: &[(&str, Output)] = &[("auto", Output::Auto), ("pretty", Output::Pretty), ("json", Output::Json), ("none", Output::None)];
const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("off", LogLevel::Off),
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
const SEMCONVS: &[(&str, Semconv)] = &[("1.41", Semconv::V1_41), ("latest", Semconv::Latest), ("1.36", Semconv::V1_36)];
const UNKNOWN_HOSTS: &[(&str, UnknownHosts)] = &[("none", UnknownHosts::Unpriced), ("assume", UnknownHosts::Assume)];

/// Reads keys and remembers what is wrong with them.
pub(super) struct Checker<'a> {
    raw: &'a RawConfig,
    mistakes: Vec<Mistake>,
}

impl<'a> Checker<'a> {
    pub(super) fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.raw.get(key)
    }

    pub(super) fn mistake(&mut self, origin: Origin, what: impl Into<String>, remedy: impl Into<String>) {
        self.mistakes.push(Mistake { origin, what: what.into(), remedy: remedy.into() });
    }

    /// A single value.
    pub(super) fn text(&mut self, key: &str) -> Option<(&'a str, Origin)> {
        let entry = self.entry(key)?;
        match &entry.node.kind {
            NodeKind::Scalar(text) => Some((text.as_str(), entry.origin.clone())),
            NodeKind::Null => None,
            NodeKind::List(_) | NodeKind::Map(_) => {
                self.mistake(entry.origin.clone(), format!("`{key}` is {}", entry.node.describe()), "write a single value");
                None
            }
        }
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)], default: T) -> T {
        let Some((text, origin)) = self.text(key) else { return default };
        let lower = text.to_lowercase();
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == lower) {
            return *value;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.mistake(origin, format!("`{key}` cannot be `{text}`"), format!("use one of {}", names.join(", ")));
        default
    }

    pub(super) fn boolean(&mut self, key: &str, default: bool) -> bool {
        const WORDS: &[(&str, bool)] =
            &[("true", true), ("false", false), ("1", true), ("0", false), ("yes", true), ("no", false), ("on", true), ("off", false)];
        self.choice(key, WORDS, default)
    }

    fn parsed<T: std::str::FromStr>(&mut self, key: &str, default: T, expected: &str) -> T {
        let Some((text, origin)) = self.text(key) else { return default };
        text.parse().unwrap_or_else(|_| {
            self.mistake(origin, format!("`{key}` cannot be `{text}`"), format!("write {expected}"));
            default
        })
    }

    /// `5000` and `5000ms`, `5s`, `1m`: a plain number is milliseconds, as in the `OTEL_*` variables.
    pub(super) fn duration(&mut self, key: &str, default: Duration, least: Duration) -> Duration {
        let Some((text, origin)) = self.text(key) else { return default };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let millis = match text.strip_prefix(digits).unwrap_or_default() {
            "" | "ms" => Some(1),
            "s" => Some(1000),
            "m" => Some(60_000),
            _ => None,
        };
        let value = millis.zip(digits.trim().parse::<u64>().ok()).and_then(|(unit, n)| n.checked_mul(unit)).map(Duration::from_millis);
        // A day is longer than any interval here; sums with it cannot overflow.
        if let Some(duration) = value.filter(|d| (least..=Duration::from_hours(24)).contains(d)) {
            duration
        } else {
            self.mistake(origin, format!("`{key}` cannot be `{text}`"), "write milliseconds, or a number with ms, s or m, up to a day");
            default
        }
    }

    /// A number of bytes or items, `KiB` and `MiB` understood.
    fn size(&mut self, key: &str, default: u64, range: std::ops::RangeInclusive<u64>) -> u64 {
        let Some((text, origin)) = self.text(key) else { return default };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text.strip_prefix(digits).unwrap_or_default() {
            "" => Some(1_u64),
            "KiB" => Some(1024),
            "MiB" => Some(1024 * 1024),
            _ => None,
        };
        let value = unit.zip(digits.trim().replace('_', "").parse::<u64>().ok()).and_then(|(unit, n)| n.checked_mul(unit));
        if let Some(value) = value.filter(|n| range.contains(n)) {
            value
        } else {
            self.mistake(
                origin,
                format!("`{key}` cannot be `{text}`"),
                format!("write a number from {} to {} (KiB and MiB are understood)", range.start(), range.end()),
            );
            default
        }
    }

    /// A list in a file, `a,b` in a variable.
    fn list(&mut self, key: &str) -> Vec<String> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let items = match &entry.node.kind {
            NodeKind::Null => return Vec::new(),
            NodeKind::Scalar(text) => return text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect(),
            NodeKind::List(items) => items.as_slice(),
            NodeKind::Map(_) => {
                self.mistake(entry.origin.clone(), format!("`{key}` is a mapping"), "write a list");
                &[]
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match &item.kind {
                NodeKind::Scalar(text) => texts.push(text.clone()),
                NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => {
                    self.mistake(entry.origin_of(item.line), format!("an item of `{key}` is {}", item.describe()), "write a single value");
                }
            }
        }
        texts
    }

    /// `{a: 1}` in a file, `a=1,b=2` in a variable (values percent-encoded, as W3C Baggage has it).
    pub(super) fn pairs(&mut self, key: &str) -> Vec<(String, String)> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let mut pairs = Vec::new();
        match &entry.node.kind {
            NodeKind::Null => {}
            NodeKind::Scalar(text) => {
                for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
                    match part.split_once('=') {
                        Some((name, value)) if !name.trim().is_empty() => {
                            pairs.push((name.trim().to_owned(), percent_decoded(value.trim())));
                        }
                        // The part is not shown: it may be a secret whose name was forgotten.
                        _ => {
                            self.mistake(
                                entry.origin.clone(),
                                format!("`{key}` has a part without `name=`"),
                                "write name=value,name=value",
                            );
                        }
                    }
                }
            }
            NodeKind::Map(members) => {
                for (name, line, node) in members {
                    match &node.kind {
                        NodeKind::Scalar(value) => pairs.push((name.clone(), value.clone())),
                        NodeKind::Null => pairs.push((name.clone(), String::new())),
                        NodeKind::List(_) | NodeKind::Map(_) => {
                            self.mistake(entry.origin_of(*line), format!("`{key}.{name}` is {}", node.describe()), "write a single value");
                        }
                    }
                }
            }
            NodeKind::List(_) => self.mistake(entry.origin.clone(), format!("`{key}` is a list"), "write `name: value` lines"),
        }
        pairs
    }
}

fn content(c: &mut Checker<'_>) -> ContentPolicy {
    if let Some((text, origin)) = c.text("content")
        && text.eq_ignore_ascii_case("redacted")
    {
        c.mistake(origin, "redacted content is not available yet", "use `none`, or `full` to export prompts and answers as they are");
        return ContentPolicy::None;
    }
    c.choice("content", &[("none", ContentPolicy::None), ("full", ContentPolicy::Full)], ContentPolicy::None)
}

#[expect(clippy::cast_possible_truncation, reason = "bounded by the ranges, which fit 32 bits")]
fn batch(c: &mut Checker<'_>) -> BatchConfig {
    let max_queue_size = c.size("batch.max_queue_size", 2048, 1..=1_000_000) as usize;
    let asked = c.entry("batch.max_export_batch_size").map(|entry| entry.origin.clone());
    let max_export_batch_size = c.size("batch.max_export_batch_size", 512, 1..=1_000_000) as usize;
    match asked {
        Some(origin) if max_export_batch_size > max_queue_size => {
            c.mistake(
                origin,
                "`batch.max_export_batch_size` is larger than `batch.max_queue_size`",
                format!("use at most {max_queue_size}"),
            );
        }
        Some(_) | None => {}
    }
    BatchConfig {
        schedule_delay: c.duration("batch.schedule_delay", Duration::from_secs(5), Duration::ZERO),
        max_queue_size,
        // Room for a full queue of ordinary spans (2 KiB each) and for some megabytes of content.
        max_queue_bytes: c.size("batch.max_queue_bytes", 32 * 1024 * 1024, 64 * 1024..=1024 * 1024 * 1024) as usize,
        max_export_batch_size: max_export_batch_size.min(max_queue_size),
    }
}

/// The largest record has 64 KiB of payload, and many of them must fit while others are being read.
const SMALLEST_RING: u64 = 1024 * 1024;
const LARGEST_RING: u64 = 1024 * 1024 * 1024;

#[expect(clippy::cast_possible_truncation, reason = "bounded by the range, which fits 32 bits")]
fn capture(c: &mut Checker<'_>) -> CaptureConfig {
    let default = u64::from(a11i_common::limits::DEFAULT_RING_BYTES);
    let mut ring = c.size("capture.ring_bytes", default, 1..=LARGEST_RING);
    if !ring.is_power_of_two() || ring < SMALLEST_RING {
        if let Some(entry) = c.entry("capture.ring_bytes") {
            c.mistake(
                entry.origin.clone(),
                format!("`capture.ring_bytes` is {ring}, but must be a power of two from {SMALLEST_RING}"),
                format!("use {}", ring.next_power_of_two().max(SMALLEST_RING)),
            );
        }
        ring = default;
    }
    let call_limit = a11i_common::limits::DEFAULT_CALL_LIMIT;
    CaptureConfig {
        ring_bytes: ring as u32,
        // The programs cut a call into at most CHUNKS_PER_CALL chunks: more cannot be asked for.
        call_limit_bytes: c.size("capture.call_limit_bytes", call_limit, 4096..=call_limit),
        sockets: c.choice("capture.sockets", SocketCapture::CHOICES, SocketCapture::default()),
    }
}

fn run_folder(c: &mut Checker<'_>) -> Option<PathBuf> {
    let (path, origin) = c.text("run_folder")?;
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        c.mistake(origin, format!("`run_folder` cannot be `{}`", path.display()), "write an absolute path");
        return None;
    }
    Some(path)
}

fn resource_attributes(c: &mut Checker<'_>) -> Vec<(String, String)> {
    let mut pairs = c.pairs("resource_attributes");
    for (key, name) in [(SERVICE_NAME, "service.name"), (DEPLOYMENT_ENVIRONMENT, "deployment.environment.name")] {
        if let Some((value, _)) = c.text(key) {
            // A variable of its own wins over the list (OpenTelemetry environment variable specification).
            pairs.retain(|(n, _)| n != name);
            pairs.push((name.to_owned(), value.to_owned()));
        }
    }
    pairs
}

fn provider_hosts(c: &mut Checker<'_>) -> Vec<ProviderHost> {
    const SHAPE: &str = "write a list of `{host: llm.example.internal, provider: openai}`, or host=provider,host=provider in the variable";
    let Some(entry) = c.entry("providers.hosts") else { return Vec::new() };
    let items = match &entry.node.kind {
        NodeKind::Scalar(_) => {
            return c
                .pairs("providers.hosts")
                .into_iter()
                .map(|(host, provider)| ProviderHost { host: host.to_lowercase(), provider })
                .collect();
        }
        NodeKind::List(items) => items,
        NodeKind::Null | NodeKind::Map(_) => {
            c.mistake(entry.origin.clone(), "`providers.hosts` is not a list", SHAPE);
            return Vec::new();
        }
    };
    let mut hosts = Vec::with_capacity(items.len());
    for item in items {
        let mut host = None;
        let mut provider = None;
        if let NodeKind::Map(members) = &item.kind {
            for (name, line, node) in members {
                match (name.as_str(), &node.kind) {
                    ("host", NodeKind::Scalar(text)) => host = Some(text.to_lowercase()),
                    ("provider", NodeKind::Scalar(text)) => provider = Some(text.clone()),
                    _ => c.mistake(entry.origin_of(*line), format!("`providers.hosts` has no `{name}` of this kind"), SHAPE),
                }
            }
        }
        match (host, provider) {
            (Some(host), Some(provider)) if !host.is_empty() && !provider.is_empty() && !host.contains('/') => {
                hosts.push(ProviderHost { host, provider });
            }
            _ => c.mistake(entry.origin_of(item.line), "an item of `providers.hosts` lacks a host name or a provider", SHAPE),
        }
    }
    hosts
}

fn provider_paths(c: &mut Checker<'_>) -> Vec<ProviderPath> {
    const SHAPE: &str = "write a list of `{path: /ask, dialect: openai.chat}`, each with a `host` and a `provider` if you like, or \
        path=dialect,path=dialect in the variable";
    let Some(entry) = c.entry("providers.paths") else { return Vec::new() };
    let mut paths = Vec::new();
    match &entry.node.kind {
        NodeKind::Scalar(_) => {
            for (path, dialect) in c.pairs("providers.paths") {
                paths.push((entry.origin.clone(), ProviderPath { path, dialect, host: None, provider: None }));
            }
        }
        NodeKind::List(items) => {
            for item in items {
                let (mut path, mut dialect, mut host, mut provider) = (None, None, None, None);
                if let NodeKind::Map(members) = &item.kind {
                    for (name, line, node) in members {
                        match (name.as_str(), &node.kind) {
                            ("path", NodeKind::Scalar(text)) => path = Some(text.clone()),
                            ("dialect", NodeKind::Scalar(text)) => dialect = Some(text.clone()),
                            ("host", NodeKind::Scalar(text)) => host = Some(text.to_lowercase()),
                            ("provider", NodeKind::Scalar(text)) => provider = Some(text.clone()),
                            _ => c.mistake(entry.origin_of(*line), format!("`providers.paths` has no `{name}` of this kind"), SHAPE),
                        }
                    }
                }
                let origin = entry.origin_of(item.line);
                match (path, dialect) {
                    (Some(path), Some(dialect)) => paths.push((origin, ProviderPath { path, dialect, host, provider })),
                    _ => c.mistake(origin, "an item of `providers.paths` lacks a path or a dialect", SHAPE),
                }
            }
        }
        NodeKind::Null | NodeKind::Map(_) => c.mistake(entry.origin.clone(), "`providers.paths` is not a list", SHAPE),
    }
    for (origin, ProviderPath { path, dialect, host, .. }) in &paths {
        let known = crate::provider::dialect_names();
        if !known.contains(&dialect.as_str()) {
            let what = format!("`providers.paths` names `{dialect}`, which is no dialect");
            c.mistake(origin.clone(), what, format!("write one of {}", known.join(", ")));
        }
        // A single letter or a star would take everything that is sent anywhere.
        if !path.starts_with('/') || path.len() < 2 || path.ends_with('*') {
            c.mistake(origin.clone(), format!("`providers.paths` cannot have the path `{path}`"), "write the end of a path, from a `/` on");
        }
        if host.as_ref().is_some_and(|host| host.is_empty() || host.contains('/')) {
            c.mistake(origin.clone(), "a host of `providers.paths` is none", "write a host name, without scheme and path");
        }
    }
    paths.into_iter().map(|(_, path)| path).collect()
}

/// The standard's names; the parent-based ones follow the program's decision where it sent one.
fn sampler(c: &mut Checker<'_>) -> Sampler {
    #[derive(Clone, Copy)]
    enum Kind {
        On,
        Off,
        Ratio,
    }
    const KINDS: &[(&str, (Kind, bool))] = &[
        ("always_on", (Kind::On, false)),
        ("always_off", (Kind::Off, false)),
        ("traceidratio", (Kind::Ratio, false)),
        ("parentbased_always_on", (Kind::On, true)),
        ("parentbased_always_off", (Kind::Off, true)),
        ("parentbased_traceidratio", (Kind::Ratio, true)),
    ];
    let (kind, parent_based) = c.choice("sampler.type", KINDS, (Kind::On, false));
    let mut ratio: f64 = c.parsed("sampler.ratio", 1.0, "a number from 0 to 1");
    if !(0.0..=1.0).contains(&ratio) {
        if let Some(entry) = c.entry("sampler.ratio") {
            c.mistake(entry.origin.clone(), format!("`sampler.ratio` cannot be `{ratio}`"), "write a number from 0 to 1");
        }
        ratio = 1.0;
    }
    match kind {
        Kind::On => Sampler { ratio: 1.0, parent_based },
        Kind::Off => Sampler { ratio: 0.0, parent_based },
        Kind::Ratio => Sampler { ratio, parent_based },
    }
}

/// Bytes that are no valid escape stay as they are.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = match (first, tail.split_first_chunk::<2>()) {
            (b'%', Some((digits, after))) => {
                std::str::from_utf8(digits).ok().and_then(|d| u8::from_str_radix(d, 16).ok()).map(|byte| (byte, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, tail));
        out.push(byte);
        rest = after;
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}
