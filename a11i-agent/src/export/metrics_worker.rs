//! Sends metrics by interval and at the end: those of observed processes under their resources, the agent's own under its.

use std::{sync::Arc, time::Duration};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric as OtlpMetric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
        Sum, metric, number_data_point,
    },
};
use prost::Message as _;
use tokio::sync::watch;

use super::{
    delivery::Delivery,
    exporter::Shared,
    metrics::{Metric, Point, ProcessMetrics},
    otlp::{Client, Payload, encode},
    queue::BATCH_BYTES,
    value::Attributes,
};
use crate::{
    call::NanoUsd,
    clock::Clock,
    telemetry::{DropReason, instruments::Observation},
};

/// Tries of one export: the next interval's sums include what did not arrive.
const ATTEMPTS: u32 = 3;

#[derive(Debug)]
pub(super) struct MetricsWorker {
    delivery: Delivery,
    shared: Arc<Shared>,
    draining: watch::Receiver<bool>,
    interval: Duration,
    agent: Arc<Attributes>,
    started_unix_nanos: u64,
    schema_url: &'static str,
}

impl MetricsWorker {
    pub(super) const fn new(
        client: Client,
        shared: Arc<Shared>,
        draining: watch::Receiver<bool>,
        interval: Duration,
        agent: Arc<Attributes>,
        started_unix_nanos: u64,
    ) -> Self {
        Self { delivery: Delivery::new(client, "metrics"), shared, draining, interval, agent, started_unix_nanos, schema_url: "" }
    }

    pub(super) const fn with_schema_url(mut self, schema_url: &'static str) -> Self {
        self.schema_url = schema_url;
        self
    }

    /// Until draining was asked for. True when the last export arrived.
    pub(super) async fn run(mut self) -> bool {
        loop {
            let draining = *self.draining.borrow_and_update()
                || tokio::select! {
                    () = tokio::time::sleep(self.interval) => false,
                    changed = self.draining.changed() => changed.is_err() || *self.draining.borrow(),
                };
            let delivered = self.export(draining).await;
            if draining {
                return delivered;
            }
        }
    }

    async fn export(&mut self, last: bool) -> bool {
        let now = Clock::unix_now();
        let collected = self.shared.metrics().collect(now);
        let mut all: Vec<ResourceMetrics> = collected.iter().map(|process| process_metrics(process, now, self.schema_url)).collect();
        all.push(agent_metrics(&self.agent, &self.shared.instruments.observe(), self.started_unix_nanos, now));
        let mut delivered = true;
        for request in requests(all) {
            let points = data_points(&request);
            let payload = Payload::Metrics(request);
            let instruments = Arc::clone(&self.shared.instruments);
            // The last export is tried until the time of the shutdown is over.
            let attempts = (!last).then_some(ATTEMPTS);
            if let Ok(taken) = self.delivery.deliver(&payload, attempts, &mut self.draining, &instruments).await {
                instruments.dropped(DropReason::MetricRejected, taken.rejected);
            } else {
                instruments.dropped(DropReason::MetricNotDelivered, points);
                delivered = false;
            }
        }
        delivered
    }
}

/// As many resources per request as its bytes allow.
fn requests(all: Vec<ResourceMetrics>) -> Vec<ExportMetricsServiceRequest> {
    let mut requests = vec![ExportMetricsServiceRequest::default()];
    let mut bytes: usize = 0;
    for resource_metrics in all {
        let size = resource_metrics.encoded_len();
        if bytes > 0 && bytes.saturating_add(size) > BATCH_BYTES {
            requests.push(ExportMetricsServiceRequest::default());
            bytes = 0;
        }
        bytes = bytes.saturating_add(size);
        if let Some(request) = requests.last_mut() {
            request.resource_metrics.push(resource_metrics);
        }
    }
    requests
}

fn data_points(request: &ExportMetricsServiceRequest) -> u64 {
    let metrics = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
    metrics
        .map(|metric| match &metric.data {
            Some(metric::Data::Gauge(gauge)) => gauge.data_points.len() as u64,
            Some(metric::Data::Sum(sum)) => sum.data_points.len() as u64,
            Some(metric::Data::Histogram(histogram)) => histogram.data_points.len() as u64,
            Some(metric::Data::ExponentialHistogram(_) | metric::Data::Summary(_)) | None => 0,
        })
        .sum()
}

fn process_metrics(process: &ProcessMetrics, now: u64, schema_url: &str) -> ResourceMetrics {
    let metrics = process.series.iter().map(|(metric, series)| encoded(*metric, series.iter(), process.start_unix_nanos, now)).collect();
    resource_metrics(&process.resource, metrics, schema_url)
}

fn resource_metrics(resource: &Attributes, metrics: Vec<OtlpMetric>, schema_url: &str) -> ResourceMetrics {
    ResourceMetrics {
        resource: Some(encode::resource(resource)),
        scope_metrics: vec![ScopeMetrics { scope: Some(encode::scope()), metrics, schema_url: schema_url.to_owned() }],
        schema_url: String::new(),
    }
}

fn encoded<'a>(metric: Metric, series: impl Iterator<Item = (&'a Attributes, &'a Point)>, start: u64, now: u64) -> OtlpMetric {
    let definition = metric.definition();
    let mut histograms = Vec::new();
    let mut numbers = Vec::new();
    for (attributes, point) in series {
        match point {
            Point::Histogram(h) => histograms.push(HistogramDataPoint {
                attributes: encode::key_values(attributes),
                start_time_unix_nano: start,
                time_unix_nano: now,
                count: h.count,
                sum: Some(h.sum),
                bucket_counts: h.counts.clone(),
                explicit_bounds: h.bounds.to_vec(),
                min: (h.count > 0).then_some(h.min),
                max: (h.count > 0).then_some(h.max),
                ..HistogramDataPoint::default()
            }),
            Point::Count(sum) => numbers.push(number(attributes, number_data_point::Value::AsInt(saturated(*sum)), start, now)),
            Point::NanoUsd(sum) => numbers.push(number(attributes, number_data_point::Value::AsDouble(NanoUsd(*sum).as_usd()), start, now)),
        }
    }
    let data = if histograms.is_empty() {
        sum(numbers)
    } else {
        metric::Data::Histogram(Histogram { data_points: histograms, aggregation_temporality: AggregationTemporality::Cumulative.into() })
    };
    otlp_metric(definition.name, definition.description, definition.unit, data)
}

fn agent_metrics(resource: &Attributes, observations: &[Observation], start: u64, now: u64) -> ResourceMetrics {
    let metrics = observations
        .chunk_by(|a, b| a.name == b.name)
        .filter_map(|group| {
            let first = group.first()?;
            let points = group
                .iter()
                .map(|observation| {
                    let mut attributes = Attributes::default();
                    if let Some((name, value)) = observation.label {
                        attributes.push(name, value);
                    }
                    number(&attributes, number_data_point::Value::AsInt(saturated(observation.value)), start, now)
                })
                .collect();
            let data = if first.monotonic { sum(points) } else { metric::Data::Gauge(Gauge { data_points: points }) };
            Some(otlp_metric(first.name, first.description, first.unit, data))
        })
        .collect();
    resource_metrics(resource, metrics, "")
}

fn otlp_metric(name: &str, description: &str, unit: &str, data: metric::Data) -> OtlpMetric {
    OtlpMetric {
        name: name.to_owned(),
        description: description.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..OtlpMetric::default()
    }
}

fn sum(data_points: Vec<NumberDataPoint>) -> metric::Data {
    metric::Data::Sum(Sum { data_points, aggregation_temporality: AggregationTemporality::Cumulative.into(), is_monotonic: true })
}

fn number(attributes: &Attributes, value: number_data_point::Value, start: u64, now: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: encode::key_values(attributes),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
