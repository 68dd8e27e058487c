//! Calls → cumulative metrics, per observed process. Every call is counted, whatever sampling says.

use std::{collections::BTreeMap, collections::HashMap, sync::Arc};

use a11i_common::identity::ProcessId;

use super::{
    attributes::{count_source, duplicate, identity, is_openai, response_openai, usage_source},
    histogram::{Histogram, MCP_SECONDS, SECONDS, SERVER_FIRST_TOKEN, SERVER_PER_TOKEN, TOKENS},
    mcp,
    resource::ResourceBuilder,
    semconv::{Semconv, a11i, gen_ai, general},
    value::{Attributes, Value, cut},
};
use crate::{
    call::{LlmCall, McpMessage, McpSession, ModalityTokens, Operation, Role, Usage, UsageSource},
    owner::Owner,
    redaction::{RedactedCall, RedactedMcp},
};

/// Series of one metric of one process. The overflow series is one more. A process that talks to more models than this is a gateway, and
/// its tail is summed up.
const SERIES_PER_METRIC: usize = 200;

/// Series of all processes: 10,000 is the threshold at which operators expect an alert.
const SERIES: usize = 10_000;

/// Processes with a resource of their own; the others share one.
const PROCESSES: usize = 1024;

/// A process without a call for this long is forgotten. Its next call begins new sums, with a new start time.
const IDLE_NANOS: u64 = 30 * 60 * 1_000_000_000;

/// Longest text of a metric attribute in bytes: it is kept for as long as its process is active.
const TEXT_BYTES: usize = 256;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Metric {
    TokenUsage,
    OperationDuration,
    OperationTimeToFirstChunk,
    InferenceDuration,
    InferenceTimeToFirstChunk,
    InferenceInputTokens,
    InferenceOutputTokens,
    InferenceCacheReadTokens,
    InferenceCacheWriteTokens,
    InferenceReasoningTokens,
    InferenceOperationInputTokens,
    InferenceOperationOutputTokens,
    ServerRequestDuration,
    ServerTimeToFirstToken,
    ServerTimePerOutputToken,
    CostUsd,
    McpClientOperationDuration,
    McpServerOperationDuration,
    McpClientSessionDuration,
    McpServerSessionDuration,
    UnrecognisedRequests,
}

/// Name, unit and meaning of a metric.
pub(crate) struct Definition {
    pub name: &'static str,
    pub unit: &'static str,
    pub description: &'static str,
    shape: Shape,
}

enum Shape {
    Histogram(&'static [f64]),
    Count,
    NanoUsd,
}

impl Metric {
    pub(crate) const fn definition(self) -> Definition {
        const fn histogram(name: &'static str, unit: &'static str, description: &'static str, bounds: &'static [f64]) -> Definition {
            Definition { name, unit, description, shape: Shape::Histogram(bounds) }
        }
        const fn tokens(name: &'static str, description: &'static str) -> Definition {
            Definition { name, unit: "{token}", description, shape: Shape::Count }
        }
        match self {
            Self::TokenUsage => histogram("gen_ai.client.token.usage", "{token}", "Input and output tokens of a call.", TOKENS),
            Self::OperationDuration => histogram("gen_ai.client.operation.duration", "s", "Duration of a call.", SECONDS),
            Self::OperationTimeToFirstChunk => {
                histogram("gen_ai.client.operation.time_to_first_chunk", "s", "Time to the first chunk of a stream.", SECONDS)
            }
            Self::InferenceDuration => histogram("gen_ai.client.inference.duration", "s", "Duration of an inference.", SECONDS),
            Self::InferenceTimeToFirstChunk => {
                histogram("gen_ai.client.inference.time_to_first_chunk", "s", "Time to the first chunk of a stream.", SECONDS)
            }
            Self::InferenceInputTokens => tokens("gen_ai.client.inference.usage.input_tokens", "Input tokens, cached ones included."),
            Self::InferenceOutputTokens => tokens("gen_ai.client.inference.usage.output_tokens", "Output tokens, reasoning included."),
            Self::InferenceCacheReadTokens => {
                tokens("gen_ai.client.inference.usage.cache_read.input_tokens", "Input tokens read from a cache.")
            }
            Self::InferenceCacheWriteTokens => {
                tokens("gen_ai.client.inference.usage.cache_write.input_tokens", "Input tokens written to a cache.")
            }
            Self::InferenceReasoningTokens => {
                tokens("gen_ai.client.inference.usage.reasoning.output_tokens", "Output tokens of reasoning.")
            }
            Self::InferenceOperationInputTokens => {
                histogram("gen_ai.client.inference.operation.input_tokens", "{token}", "Input tokens of a call.", TOKENS)
            }
            Self::InferenceOperationOutputTokens => {
                histogram("gen_ai.client.inference.operation.output_tokens", "{token}", "Output tokens of a call.", TOKENS)
            }
            Self::ServerRequestDuration => histogram("gen_ai.server.request.duration", "s", "Duration of a served request.", SECONDS),
            Self::ServerTimeToFirstToken => {
                histogram("gen_ai.server.time_to_first_token", "s", "Time to the first token of a served request.", SERVER_FIRST_TOKEN)
            }
            Self::ServerTimePerOutputToken => {
                histogram("gen_ai.server.time_per_output_token", "s", "Time per token after the first.", SERVER_PER_TOKEN)
            }
            Self::McpClientOperationDuration => histogram(
                "mcp.client.operation.duration",
                "s",
                "Duration of an MCP request or notification, as its sender saw it.",
                MCP_SECONDS,
            ),
            Self::McpServerOperationDuration => histogram(
                "mcp.server.operation.duration",
                "s",
                "Duration of an MCP request or notification, as its receiver saw it.",
                MCP_SECONDS,
            ),
            Self::McpClientSessionDuration => {
                histogram("mcp.client.session.duration", "s", "Duration of an MCP session, as its client saw it.", MCP_SECONDS)
            }
            Self::McpServerSessionDuration => {
                histogram("mcp.server.session.duration", "s", "Duration of an MCP session, as its server saw it.", MCP_SECONDS)
            }
            Self::UnrecognisedRequests => Definition {
                name: a11i::UNRECOGNISED_REQUESTS,
                unit: "{request}",
                description: "Requests to providers' hosts of which nobody knows what they ask.",
                shape: Shape::Count,
            },
            Self::CostUsd => Definition { name: a11i::COST_USD, unit: "USD", description: "Cost of calls.", shape: Shape::NanoUsd },
        }
    }
}

/// The sum of one series.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Point {
    Histogram(Histogram),
    Count(u64),
    /// Summed as integers, shown as USD.
    NanoUsd(i64),
}

#[derive(Clone, Copy, Debug)]
enum Measurement {
    Double(f64),
    Count(u64),
    NanoUsd(i64),
}

/// All series of one process.
#[derive(Clone, Debug)]
pub(crate) struct ProcessMetrics {
    owner: Option<Arc<Owner>>,
    pub resource: Arc<Attributes>,
    pub start_unix_nanos: u64,
    used_unix_nanos: u64,
    pub series: BTreeMap<Metric, HashMap<Attributes, Point>>,
}

/// What recording did beside recording: for the agent's counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Overflow {
    /// Measurements that went to an overflow series.
    pub measurements: u64,
    /// The process had to share the overflow resource.
    pub shared_resource: bool,
}

/// The metrics of all observed processes.
#[derive(Debug)]
pub(crate) struct Metrics {
    resources: ResourceBuilder,
    processes: HashMap<ProcessId, ProcessMetrics>,
    /// Calls of processes beyond [`PROCESSES`].
    shared: Option<ProcessMetrics>,
    series: usize,
}

impl Metrics {
    pub(crate) fn new(resources: ResourceBuilder) -> Self {
        Self { resources, processes: HashMap::new(), shared: None, series: 0 }
    }

    pub(crate) const fn series(&self) -> usize {
        self.series
    }

    /// Counts a call.
    pub(crate) fn record(&mut self, redacted: &RedactedCall, now_unix_nanos: u64) -> Overflow {
        let measured = measure(redacted, self.resources.layer);
        self.add(&redacted.call().owner, measured, now_unix_nanos)
    }

    /// Counts an MCP message.
    pub(crate) fn record_mcp(&mut self, redacted: &RedactedMcp, now_unix_nanos: u64) -> Overflow {
        self.add(&redacted.message().owner, measure_mcp(redacted.message()), now_unix_nanos)
    }

    /// Counts an MCP session.
    pub(crate) fn record_mcp_session(&mut self, session: &McpSession, now_unix_nanos: u64) -> Overflow {
        self.add(&session.owner, measure_mcp_session(session), now_unix_nanos)
    }

    fn add(&mut self, owner: &Arc<Owner>, measured: Measured, now_unix_nanos: u64) -> Overflow {
        let mut overflow = Overflow::default();
        let id = owner.process;
        if !self.processes.contains_key(&id) && self.processes.len() >= PROCESSES {
            self.expire(now_unix_nanos);
        }
        let resources = &self.resources;
        let process = if self.processes.contains_key(&id) || self.processes.len() < PROCESSES {
            let process = self.processes.entry(id).or_insert_with(|| ProcessMetrics::new(resources.process(owner), now_unix_nanos));
            // What is known of a process may grow after its first call.
            if process.owner.as_ref().is_none_or(|known| !Arc::ptr_eq(known, owner)) {
                process.resource = resources.process(owner);
                process.owner = Some(Arc::clone(owner));
            }
            process
        } else {
            overflow.shared_resource = true;
            self.shared.get_or_insert_with(|| ProcessMetrics::new(shared_resource(), now_unix_nanos))
        };
        process.used_unix_nanos = now_unix_nanos;
        for (metric, attributes, measurement) in measured {
            let series = process.series.entry(metric).or_default();
            let known = series.contains_key(&attributes);
            let key = if known || series.len() < SERIES_PER_METRIC && self.series < SERIES {
                attributes
            } else {
                overflow.measurements = overflow.measurements.saturating_add(1);
                overflow_attributes()
            };
            if !series.contains_key(&key) {
                self.series = self.series.saturating_add(1);
            }
            series.entry(key).or_insert_with(|| Point::new(metric)).add(measurement);
        }
        overflow
    }

    /// A copy of everything; forgets processes that have been idle.
    pub(crate) fn collect(&mut self, now_unix_nanos: u64) -> Vec<ProcessMetrics> {
        let all = self.processes.values().chain(&self.shared).cloned().collect();
        self.expire(now_unix_nanos);
        all
    }

    fn expire(&mut self, now_unix_nanos: u64) {
        self.processes.retain(|_, process| now_unix_nanos.saturating_sub(process.used_unix_nanos) < IDLE_NANOS);
        self.series = self.processes.values().chain(&self.shared).map(ProcessMetrics::len).sum();
    }
}

impl ProcessMetrics {
    const fn new(resource: Arc<Attributes>, now_unix_nanos: u64) -> Self {
        Self { owner: None, resource, start_unix_nanos: now_unix_nanos, used_unix_nanos: now_unix_nanos, series: BTreeMap::new() }
    }

    fn len(&self) -> usize {
        self.series.values().map(HashMap::len).sum()
    }
}

impl Point {
    fn new(metric: Metric) -> Self {
        match metric.definition().shape {
            Shape::Histogram(bounds) => Self::Histogram(Histogram::new(bounds)),
            Shape::Count => Self::Count(0),
            Shape::NanoUsd => Self::NanoUsd(0),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a histogram's sum is a double")]
    fn add(&mut self, measurement: Measurement) {
        match (self, measurement) {
            (Self::Histogram(histogram), Measurement::Double(value)) => histogram.record(value),
            (Self::Histogram(histogram), Measurement::Count(value)) => histogram.record(value as f64),
            (Self::Count(sum), Measurement::Count(value)) => *sum = sum.saturating_add(value),
            (Self::NanoUsd(sum), Measurement::NanoUsd(value)) => *sum = sum.saturating_add(value),
            // `measure` pairs each metric with its shape.
            (Self::Histogram(_) | Self::Count(_) | Self::NanoUsd(_), _) => {}
        }
    }
}

fn overflow_attributes() -> Attributes {
    let mut attributes = Attributes::default();
    attributes.push(general::METRIC_OVERFLOW, true);
    attributes
}

/// Names no process: the calls of many are in it.
fn shared_resource() -> Arc<Attributes> {
    let mut attributes = Attributes::default();
    attributes.push("service.name", "unknown_service");
    attributes.push(general::METRIC_OVERFLOW, true);
    Arc::new(attributes)
}

type Measured = Vec<(Metric, Attributes, Measurement)>;

fn measure(redacted: &RedactedCall, layer: Semconv) -> Measured {
    let call = redacted.call();
    let mut base = Attributes::default();
    identity(call, layer, &mut base);
    if is_openai(call) && call.role == Role::Client {
        response_openai(call, layer, &mut base);
    }
    duplicate(call, &mut base);
    let base = short(&base);
    let mut failed = base.clone();
    failed.push_some(general::ERROR_TYPE, call.outcome.error_type.as_deref().map(|e| Value::from(cut(e, TEXT_BYTES).to_owned())));
    let mut out = Vec::with_capacity(8);
    match (call.role, layer, is_inference(call.operation)) {
        (Role::Server, ..) => server(call, base, failed, &mut out),
        (Role::Client, Semconv::Latest, true) => inference(call, &base, failed, &mut out),
        (Role::Client, ..) => client(call, &base, failed, layer, &mut out),
    }
    if let Some(pattern) = &call.request.path_pattern {
        let mut attributes = Attributes::default();
        attributes
            .push_some(general::SERVER_ADDRESS, call.server.address.as_deref().map(|host| Value::from(cut(host, TEXT_BYTES).to_owned())));
        attributes.push(general::URL_TEMPLATE, Value::from(cut(pattern, TEXT_BYTES).to_owned()));
        out.push((Metric::UnrecognisedRequests, attributes, Measurement::Count(1)));
    }
    // A served call is paid for by its client; counting both ends would bill it twice.
    if let Some(cost) = redacted.cost().filter(|_| call.role == Role::Client) {
        let mut attributes = short_identity(call, layer);
        duplicate(call, &mut attributes);
        attributes.push(a11i::COST_SOURCE, cost.source.as_str());
        attributes.push_some(a11i::USAGE_SOURCE, usage_source(&call.usage));
        out.push((Metric::CostUsd, attributes, Measurement::NanoUsd(cost.total.0)));
    }
    out
}

fn measure_mcp(message: &McpMessage) -> Measured {
    let mut attributes = Attributes::default();
    mcp::identity(message, &mut attributes);
    let metric = match message.role {
        Role::Client => Metric::McpClientOperationDuration,
        Role::Server => Metric::McpServerOperationDuration,
    };
    vec![(metric, short(&attributes), seconds(message.timing.end.nanos_since(message.timing.start)))]
}

fn measure_mcp_session(session: &McpSession) -> Measured {
    let mut attributes = Attributes::default();
    mcp::session_identity(session, &mut attributes);
    let metric = match session.role {
        Role::Client => Metric::McpClientSessionDuration,
        Role::Server => Metric::McpServerSessionDuration,
    };
    vec![(metric, short(&attributes), seconds(session.end.nanos_since(session.start)))]
}

/// Up to 1.41, and what is no inference in the latest layer.
fn client(call: &LlmCall, base: &Attributes, failed: Attributes, layer: Semconv, out: &mut Measured) {
    out.push((Metric::OperationDuration, failed, duration(call)));
    if layer == Semconv::Latest {
        return;
    }
    if let Some(first) = first_chunk(call).filter(|_| layer == Semconv::V1_41) {
        out.push((Metric::OperationTimeToFirstChunk, base.clone(), first));
    }
    let usage = &call.usage;
    for (kind, count, source) in [("input", usage.input_tokens, usage.input_source), ("output", usage.output_tokens, usage.output_source)] {
        if let Some(count) = count {
            let mut attributes = base.clone();
            attributes.push(gen_ai::TOKEN_TYPE, kind);
            attributes.push(a11i::USAGE_SOURCE, count_source(source));
            out.push((Metric::TokenUsage, attributes, Measurement::Count(count)));
        }
    }
}

fn inference(call: &LlmCall, base: &Attributes, failed: Attributes, out: &mut Measured) {
    out.push((Metric::InferenceDuration, failed, duration(call)));
    if let Some(first) = first_chunk(call) {
        out.push((Metric::InferenceTimeToFirstChunk, base.clone(), first));
    }
    let usage: &Usage = &call.usage;
    let sourced = |source: UsageSource| {
        let mut base = base.clone();
        base.push(a11i::USAGE_SOURCE, count_source(source));
        base
    };
    let none = ModalityTokens::default();
    // Parts are reported, or absent.
    let reported = UsageSource::Reported;
    let counters = [
        (Metric::InferenceInputTokens, usage.input_tokens, usage.input_by_modality, usage.input_source),
        (Metric::InferenceOutputTokens, usage.output_tokens, usage.output_by_modality, usage.output_source),
        (Metric::InferenceCacheReadTokens, usage.cache_read_input_tokens, usage.cache_read_by_modality, reported),
        (Metric::InferenceCacheWriteTokens, usage.cache_write_input_tokens, none, reported),
        (Metric::InferenceReasoningTokens, usage.reasoning_output_tokens, none, reported),
    ];
    for (metric, total, split, source) in counters {
        let Some(total) = total else { continue };
        let base = sourced(source);
        let mut rest = total;
        for (modality, count) in [("text", split.text), ("image", split.image), ("audio", split.audio)] {
            // A split that exceeds its total is cut: the total is what is billed.
            if let Some(count) = count.map(|n| n.min(rest)).filter(|n| *n > 0) {
                rest = rest.saturating_sub(count);
                out.push((metric, with_modality(&base, modality), Measurement::Count(count)));
            }
        }
        if rest > 0 || total == 0 {
            out.push((metric, with_modality(&base, "unknown"), Measurement::Count(rest)));
        }
    }
    for (metric, total, source) in [
        (Metric::InferenceOperationInputTokens, usage.input_tokens, usage.input_source),
        (Metric::InferenceOperationOutputTokens, usage.output_tokens, usage.output_source),
    ] {
        if let Some(total) = total {
            out.push((metric, sourced(source), Measurement::Count(total)));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds")]
fn server(call: &LlmCall, base: Attributes, failed: Attributes, out: &mut Measured) {
    out.push((Metric::ServerRequestDuration, failed, duration(call)));
    let (Some(first), None) = (call.timing.first_token, &call.outcome.error_type) else { return };
    out.push((Metric::ServerTimeToFirstToken, base.clone(), seconds(first.nanos_since(call.timing.start))));
    let later_tokens = call.usage.output_tokens.and_then(|n| n.checked_sub(1)).filter(|n| *n > 0);
    if let (Some(last), Some(tokens)) = (call.timing.last_token, later_tokens) {
        let per_token = last.nanos_since(first) as f64 / 1e9 / tokens as f64;
        out.push((Metric::ServerTimePerOutputToken, base, Measurement::Double(per_token)));
    }
}

const fn is_inference(operation: Operation) -> bool {
    matches!(operation, Operation::Chat | Operation::TextCompletion | Operation::GenerateContent)
}

fn duration(call: &LlmCall) -> Measurement {
    seconds(call.timing.end.nanos_since(call.timing.start))
}

fn first_chunk(call: &LlmCall) -> Option<Measurement> {
    let first = call.timing.first_chunk.filter(|_| call.request.stream)?;
    Some(seconds(first.nanos_since(call.timing.start)))
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn seconds(nanos: u64) -> Measurement {
    Measurement::Double(nanos as f64 / 1e9)
}

fn with_modality(base: &Attributes, modality: &'static str) -> Attributes {
    let mut attributes = base.clone();
    attributes.push(gen_ai::TOKEN_MODALITY, modality);
    attributes
}

fn short_identity(call: &LlmCall, layer: Semconv) -> Attributes {
    let mut attributes = Attributes::default();
    identity(call, layer, &mut attributes);
    short(&attributes)
}

fn short(attributes: &Attributes) -> Attributes {
    let mut out = Attributes::default();
    for (name, value) in attributes.iter() {
        let value = match value.as_str() {
            Some(text) => Value::from(cut(text, TEXT_BYTES).to_owned()),
            None => value.clone(),
        };
        out.set(name.to_owned(), value);
    }
    out
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
