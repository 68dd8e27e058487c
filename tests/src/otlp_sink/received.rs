//! What has come, flattened for questions.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    metrics::v1::{AggregationTemporality, metric, number_data_point},
};

use crate::observed::{Attributes, ObservedCall, attributes};

/// Everything the sink accepted, in order of arrival; and how many requests it did not.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub spans: Vec<ObservedCall>,
    pub metrics: Vec<MetricPoint>,
    /// Log records, whole.
    pub logs: Vec<ExportLogsServiceRequest>,
    /// Export requests that were accepted, of all signals.
    pub requests: usize,
    /// Largest accepted request, in bytes after decompression.
    pub largest_request: usize,
    /// Export requests that were refused on purpose.
    pub refused: usize,
    /// Requests that were no OTLP: a sentence each. Tests assert that it stays empty.
    pub mistakes: Vec<String>,
}

/// One data point of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    pub name: String,
    pub unit: String,
    pub resource: Attributes,
    pub attributes: Attributes,
    pub time_unix_nano: u64,
    /// Sum of a histogram, value of a sum or a gauge.
    pub sum: f64,
    /// Count of a histogram; 1 else.
    pub count: u64,
    /// Cumulative points replace earlier ones, delta points add up.
    pub cumulative: bool,
    /// Upper bounds of the buckets of a histogram.
    pub bounds: Vec<f64>,
}

impl Received {
    pub(super) fn add_traces(&mut self, request: &ExportTraceServiceRequest) {
        for group in &request.resource_spans {
            let spans = group.scope_spans.iter().flat_map(|scope| &scope.spans);
            self.spans.extend(spans.map(|span| ObservedCall::from_otlp(group.resource.as_ref(), span)));
        }
    }

    pub(super) fn add_metrics(&mut self, request: &ExportMetricsServiceRequest) {
        for group in &request.resource_metrics {
            let resource = group.resource.as_ref().map(|resource| attributes(&resource.attributes)).unwrap_or_default();
            for metric in group.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                let blank = MetricPoint {
                    name: metric.name.clone(),
                    unit: metric.unit.clone(),
                    resource: resource.clone(),
                    attributes: Attributes::new(),
                    time_unix_nano: 0,
                    sum: 0.0,
                    count: 1,
                    cumulative: false,
                    bounds: Vec::new(),
                };
                self.metrics.extend(points(metric.data.as_ref(), &blank));
            }
        }
    }

    pub(super) fn add_logs(&mut self, request: ExportLogsServiceRequest) {
        self.logs.push(request);
    }

    /// A counter of the agent's kernel half (`a11i.capture.kernel`) as last exported; 0 before.
    pub fn kernel_counter(&self, name: &str) -> u64 {
        let named = |point: &MetricPoint| point.attributes.get("counter").is_some_and(|value| value == name);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, far below 2^53")]
        self.total("a11i.capture.kernel", named).map_or(0, |(sum, _)| sum as u64)
    }

    /// Sum and count of a histogram or counter over the points that `select` takes, after delta points were added up and
    /// cumulative points replaced by their successors. None when there is no such point.
    pub fn total(&self, name: &str, select: impl Fn(&MetricPoint) -> bool) -> Option<(f64, u64)> {
        let mut series: Vec<(&Attributes, &Attributes, f64, u64)> = Vec::new();
        for point in self.metrics.iter().filter(|point| point.name == name && select(point)) {
            match series.iter_mut().find(|(resource, attributes, ..)| *resource == &point.resource && *attributes == &point.attributes) {
                Some((_, _, sum, count)) if point.cumulative => (*sum, *count) = (point.sum, point.count),
                Some((_, _, sum, count)) => {
                    *sum += point.sum;
                    *count = count.saturating_add(point.count);
                }
                None => series.push((&point.resource, &point.attributes, point.sum, point.count)),
            }
        }
        if series.is_empty() {
            return None;
        }
        Some(series.iter().fold((0.0, 0_u64), |(sum, count), (_, _, more, one)| (sum + more, count.saturating_add(*one))))
    }
}

fn points(data: Option<&metric::Data>, blank: &MetricPoint) -> Vec<MetricPoint> {
    let number = |point: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint, cumulative| MetricPoint {
        attributes: attributes(&point.attributes),
        time_unix_nano: point.time_unix_nano,
        sum: match point.value {
            #[expect(clippy::cast_precision_loss, reason = "the tests count far below 2^53")]
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            Some(number_data_point::Value::AsDouble(value)) => value,
            None => 0.0,
        },
        cumulative,
        ..blank.clone()
    };
    let is_cumulative = |temporality: i32| temporality == i32::from(AggregationTemporality::Cumulative);
    match data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.iter().map(|point| number(point, true)).collect(),
        Some(metric::Data::Sum(sum)) => {
            sum.data_points.iter().map(|point| number(point, is_cumulative(sum.aggregation_temporality))).collect()
        }
        Some(metric::Data::Histogram(histogram)) => histogram
            .data_points
            .iter()
            .map(|point| MetricPoint {
                attributes: attributes(&point.attributes),
                time_unix_nano: point.time_unix_nano,
                sum: point.sum.unwrap_or_default(),
                count: point.count,
                cumulative: is_cumulative(histogram.aggregation_temporality),
                bounds: point.explicit_bounds.clone(),
                ..blank.clone()
            })
            .collect(),
        Some(metric::Data::ExponentialHistogram(histogram)) => histogram
            .data_points
            .iter()
            .map(|point| MetricPoint {
                attributes: attributes(&point.attributes),
                time_unix_nano: point.time_unix_nano,
                sum: point.sum.unwrap_or_default(),
                count: point.count,
                cumulative: is_cumulative(histogram.aggregation_temporality),
                ..blank.clone()
            })
            .collect(),
        Some(metric::Data::Summary(_)) | None => Vec::new(),
    }
}
