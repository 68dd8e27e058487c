//! Ties queue, metrics and clients together: what the pipeline hands its calls to.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use a11i_common::identity::ProcessId;
use prost::Message as _;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    metrics::{Metrics, Overflow},
    metrics_worker::MetricsWorker,
    otlp::{Client, ClientError, encode},
    queue::{BATCH_BYTES, Queue, QueueLimits, QueuedSpan},
    resource::{HostFacts, ResourceBuilder},
    semconv::{self, a11i},
    span::{SpanIds, SpanRecord},
    traces_worker::TracesWorker,
    value::Attributes,
};
use crate::{
    call::McpSession,
    clock::Clock,
    config::Config,
    owner::Owner,
    redaction::{RedactedCall, RedactedMcp},
    sampling::Sampler,
    telemetry::{DropReason, Instruments},
};

/// Resources kept ready for the next call of their process; all are forgotten when there are more.
const RESOURCES: usize = 1024;

/// Starts export.
#[derive(Debug)]
pub struct Exporter;

/// Takes finished calls. Dropping it without [`ExporterHandle::shutdown`] flushes in the background for as long as the runtime lives.
#[derive(Debug)]
pub struct ExporterHandle {
    shared: Arc<Shared>,
    traces: Option<JoinHandle<()>>,
    metrics: Option<JoinHandle<bool>>,
    drain: watch::Sender<bool>,
}

/// What the workers and the handle share.
#[derive(Debug)]
pub(super) struct Shared {
    pub queue: Queue,
    /// Spans taken from the queue and not yet accounted for.
    pub in_flight: AtomicUsize,
    pub metrics: Mutex<Metrics>,
    pub instruments: Arc<Instruments>,
    clock: Arc<Clock>,
    sampler: RwLock<Sampler>,
    resources: ResourceBuilder,
    cache: Mutex<HashMap<ProcessId, CachedResource>>,
    exports_traces: bool,
    exports_metrics: bool,
}

#[derive(Clone, Debug)]
struct CachedResource {
    owner: Arc<Owner>,
    resource: Arc<Attributes>,
    bytes: usize,
}

/// How a shutdown went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShutdownReport {
    /// Spans that endpoints took, over the whole life.
    pub exported_spans: u64,
    /// Spans that were not delivered because time was over.
    pub dropped_spans: u64,
    /// The last metrics arrived, or none were configured.
    pub metrics_flushed: bool,
}

impl Exporter {
    /// Starts the workers on the current tokio runtime. With no endpoint configured, calls are only taken in and forgotten.
    ///
    /// # Errors
    /// Certificate files that cannot be read. An endpoint that cannot be reached is none: it is tried again.
    pub fn start(config: &Config, clock: Arc<Clock>, instruments: Arc<Instruments>) -> Result<ExporterHandle, ClientError> {
        let resources = resource_builder(config);
        let instance = Clock::unix_now();
        let shared = Arc::new(Shared {
            queue: Queue::new(QueueLimits {
                items: config.batch.max_queue_size,
                bytes: config.batch.max_queue_bytes,
                batch_items: config.batch.max_export_batch_size,
            }),
            in_flight: AtomicUsize::new(0),
            metrics: Mutex::new(Metrics::new(resources.clone())),
            instruments,
            clock,
            sampler: RwLock::new(config.sampler),
            cache: Mutex::default(),
            exports_traces: config.otlp.traces.is_some(),
            exports_metrics: config.otlp.metrics.is_some(),
            resources,
        });
        let (drain, draining) = watch::channel(false);
        let traces = match &config.otlp.traces {
            Some(endpoint) => {
                let schema_url = config.semconv.schema_url();
                let worker = TracesWorker::new(
                    Client::new(endpoint)?,
                    Arc::clone(&shared),
                    draining.clone(),
                    config.batch.schedule_delay,
                    schema_url,
                );
                Some(tokio::spawn(worker.run()))
            }
            None => None,
        };
        let metrics = match &config.otlp.metrics {
            Some(endpoint) => {
                let agent = shared.resources.agent(std::process::id(), instance);
                let worker =
                    MetricsWorker::new(Client::new(endpoint)?, Arc::clone(&shared), draining, config.metric_interval, agent, instance)
                        .with_schema_url(config.semconv.schema_url());
                Some(tokio::spawn(worker.run()))
            }
            None => None,
        };
        Ok(ExporterHandle { shared, traces, metrics, drain })
    }
}

/// Resources as the configuration and this host say: for the terminal's JSON as well.
pub fn resource_builder(config: &Config) -> ResourceBuilder {
    let uname = rustix::system::uname();
    let host = HostFacts {
        name: uname.nodename().to_str().ok().filter(|name| !name.is_empty()).map(str::to_owned),
        arch: match std::env::consts::ARCH {
            "x86_64" => Some("amd64"),
            "aarch64" => Some("arm64"),
            _ => None,
        },
    };
    ResourceBuilder { host, configured: config.resource_attributes.clone(), layer: config.semconv }
}

impl ExporterHandle {
    /// Takes a finished call. Never waits: what does not fit is dropped and counted. `ids` are those shown elsewhere for this call.
    pub fn offer(&self, redacted: &RedactedCall, ids: SpanIds) {
        let shared = &self.shared;
        self.offer_metrics(redacted);
        self.offer_span(&redacted.call().owner, ids, |cached| {
            SpanRecord::with_resource(redacted, ids, shared.clock.offset(), shared.resources.layer, cached)
        });
    }

    /// The same of a call without a span.
    pub fn offer_metrics(&self, redacted: &RedactedCall) {
        let shared = &self.shared;
        if shared.exports_metrics {
            shared.record_metrics(|metrics, now| metrics.record(redacted, now));
        }
    }

    /// The same of an MCP message.
    pub fn offer_mcp(&self, redacted: &RedactedMcp, ids: SpanIds) {
        let shared = &self.shared;
        if shared.exports_metrics {
            shared.record_metrics(|metrics, now| metrics.record_mcp(redacted, now));
        }
        self.offer_span(&redacted.message().owner, ids, |cached| {
            SpanRecord::of_mcp_with_resource(redacted, ids, shared.clock.offset(), cached)
        });
    }

    /// Counts an MCP session.
    pub fn offer_mcp_session(&self, session: &McpSession) {
        if self.shared.exports_metrics {
            self.shared.record_metrics(|metrics, now| metrics.record_mcp_session(session, now));
        }
    }

    fn offer_span(&self, owner: &Arc<Owner>, ids: SpanIds, record: impl FnOnce(Arc<Attributes>) -> SpanRecord) {
        let shared = &self.shared;
        if !shared.exports_traces {
            return;
        }
        if !self.sampler().keeps(ids.trace_id, ids.parent_sampled) {
            shared.instruments.spans_sampled_out.add(1);
            return;
        }
        let cached = shared.resource_of(owner);
        let mut record = record(cached.resource);
        let mut span = QueuedSpan::new(Arc::clone(&record.resource), cached.bytes, encode::span(&record));
        if span.bytes() > BATCH_BYTES && record.attributes.retain(|name| !semconv::CONTENT.contains(&name)) > 0 {
            shared.instruments.dropped(DropReason::SpanContentTooLarge, 1);
            record.attributes.set(a11i::CONTENT_TRUNCATED, true);
            span = QueuedSpan::new(Arc::clone(&record.resource), cached.bytes, encode::span(&record));
        }
        if let Err(reason) = shared.queue.push(span) {
            shared.instruments.dropped(reason, 1);
        }
        shared.show_levels();
    }

    /// Which calls become spans.
    pub fn sampler(&self) -> Sampler {
        *self.shared.sampler.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the next call on.
    pub fn set_sampler(&self, sampler: Sampler) {
        *self.shared.sampler.write().unwrap_or_else(PoisonError::into_inner) = sampler;
    }

    /// Sends what waits, for at most `within`; counts what is left then.
    pub async fn shutdown(mut self, within: Duration) -> ShutdownReport {
        self.drain.send_replace(true);
        let (traces, metrics) = (self.traces.take(), self.metrics.take());
        let aborts: Vec<_> = traces.iter().map(JoinHandle::abort_handle).chain(metrics.iter().map(JoinHandle::abort_handle)).collect();
        let both = async {
            let (_, metrics) = tokio::join!(joined(traces), joined(metrics));
            metrics
        };
        let metrics_flushed = if let Ok(metrics) = tokio::time::timeout(within, both).await {
            metrics.unwrap_or(!self.shared.exports_metrics)
        } else {
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
            !self.shared.exports_metrics
        };
        let instruments = &self.shared.instruments;
        let left = self.shared.queue.abandon().saturating_add(self.shared.in_flight.swap(0, Ordering::Relaxed)) as u64;
        instruments.dropped(DropReason::SpanShutdown, left);
        self.shared.show_levels();
        ShutdownReport { exported_spans: instruments.spans_exported.value(), dropped_spans: left, metrics_flushed }
    }
}

/// A worker's last word, if there is a worker and it did not panic.
async fn joined<T>(task: Option<JoinHandle<T>>) -> Option<T> {
    match task {
        Some(task) => task.await.ok(),
        None => None,
    }
}

impl Shared {
    fn record_metrics(&self, record: impl FnOnce(&mut Metrics, u64) -> Overflow) {
        let now = self.clock.unix_nanos(Clock::boot_now());
        // Held by the metrics worker for a copy once per interval: microseconds per process.
        let (overflow, series) = {
            let mut metrics = self.metrics();
            (record(&mut metrics, now), metrics.series())
        };
        self.instruments.metric_series.set(series as u64);
        if overflow.measurements > 0 {
            self.instruments.dropped(DropReason::MetricOverflow, overflow.measurements);
        }
        if overflow.shared_resource {
            self.instruments.dropped(DropReason::MetricResourceOverflow, 1);
        }
    }

    pub(super) fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn show_levels(&self) {
        let (spans, bytes) = self.queue.level();
        self.instruments.queue_spans.set(spans as u64);
        self.instruments.queue_bytes.set(bytes as u64);
    }

    /// The resource of a process, built once per owner.
    fn resource_of(&self, owner: &Arc<Owner>) -> CachedResource {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cache.get(&owner.process).filter(|cached| Arc::ptr_eq(&cached.owner, owner) || cached.owner == *owner) {
            return cached.clone();
        }
        let resource = self.resources.process(owner);
        let bytes = encode::resource(&resource).encoded_len();
        let cached = CachedResource { owner: Arc::clone(owner), resource, bytes };
        if cache.len() >= RESOURCES {
            cache.clear();
        }
        cache.insert(owner.process, cached.clone());
        cached
    }
}

#[cfg(test)]
#[path = "exporter_tests.rs"]
mod tests;
