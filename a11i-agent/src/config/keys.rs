//! Every key, every variable that stands for one, and the names that are answered instead of accepted.

/// Key paths of the file. As variables: `A11I_` and the path in upper snake case.
pub(super) const KEYS: &[&str] = &[
    "batch.max_export_batch_size",
    "batch.max_queue_bytes",
    "batch.max_queue_size",
    "batch.schedule_delay",
    "bind_address",
    "capture.call_limit_bytes",
    "capture.ring_bytes",
    "capture.sockets",
    "containment",
    "content",
    "cost.enabled",
    "cost.pricing_file",
    "cost.unknown_hosts",
    "guard.hits_per_second",
    "health_port",
    "instrumented",
    "instrumented_programs",
    "log_level",
    "metrics.exporter",
    "metrics.interval",
    "metrics_port",
    "otlp.certificate",
    "otlp.client_certificate",
    "otlp.client_key",
    "otlp.compression",
    "otlp.endpoint",
    "otlp.headers",
    "otlp.insecure",
    "otlp.metrics.certificate",
    "otlp.metrics.client_certificate",
    "otlp.metrics.client_key",
    "otlp.metrics.compression",
    "otlp.metrics.endpoint",
    "otlp.metrics.headers",
    "otlp.metrics.insecure",
    "otlp.metrics.protocol",
    "otlp.metrics.timeout",
    "otlp.protocol",
    "otlp.timeout",
    "otlp.traces.certificate",
    "otlp.traces.client_certificate",
    "otlp.traces.client_key",
    "otlp.traces.compression",
    "otlp.traces.endpoint",
    "otlp.traces.headers",
    "otlp.traces.insecure",
    "otlp.traces.protocol",
    "otlp.traces.timeout",
    "output",
    "providers.body_shape",
    "providers.gateways",
    "providers.hosts",
    "providers.paths",
    "resource_attributes",
    "run_folder",
    "sampler.ratio",
    "sampler.type",
    "semconv",
    "shutdown_timeout",
    "trace_correlation",
    "traces.exporter",
];

/// Variables with names of their own. Where both are set, the key's own `A11I_` variable wins.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "batch.max_export_batch_size"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "batch.max_queue_size"),
    ("OTEL_BSP_SCHEDULE_DELAY", "batch.schedule_delay"),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "otlp.certificate"),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "otlp.client_certificate"),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "otlp.client_key"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "otlp.compression"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp.endpoint"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "otlp.headers"),
    ("OTEL_EXPORTER_OTLP_INSECURE", "otlp.insecure"),
    ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "otlp.metrics.certificate"),
    ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "otlp.metrics.client_certificate"),
    ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "otlp.metrics.client_key"),
    ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "otlp.metrics.compression"),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "otlp.metrics.endpoint"),
    ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "otlp.metrics.headers"),
    ("OTEL_EXPORTER_OTLP_METRICS_INSECURE", "otlp.metrics.insecure"),
    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "otlp.metrics.protocol"),
    ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "otlp.metrics.timeout"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "otlp.protocol"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "otlp.timeout"),
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "otlp.traces.certificate"),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "otlp.traces.client_certificate"),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "otlp.traces.client_key"),
    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "otlp.traces.compression"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "otlp.traces.endpoint"),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "otlp.traces.headers"),
    ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "otlp.traces.insecure"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "otlp.traces.protocol"),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "otlp.traces.timeout"),
    ("OTEL_METRICS_EXPORTER", "metrics.exporter"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "metrics.interval"),
    ("OTEL_RESOURCE_ATTRIBUTES", "resource_attributes"),
    ("OTEL_TRACES_EXPORTER", "traces.exporter"),
    ("OTEL_TRACES_SAMPLER", "sampler.type"),
    ("OTEL_TRACES_SAMPLER_ARG", "sampler.ratio"),
    ("A11I_BATCH_MAX_EXPORT_SIZE", "batch.max_export_batch_size"),
    ("A11I_BATCH_TIMEOUT_MILLIS", "batch.schedule_delay"),
    ("A11I_COST_TRACKING_ENABLED", "cost.enabled"),
    ("A11I_PROXY_TRACE_CORRELATION", "trace_correlation"),
    ("A11I_SAMPLE_RATE", "sampler.ratio"),
];

/// Names of the build, the tests and `--config`: not settings, and never unknown. A name that ends in `_` is a prefix.
pub(super) const RESERVED: &[&str] = &[
    "A11I_BIN",
    "A11I_CONFIG",
    "A11I_CORPUS",
    "A11I_EBPF_OBJECT",
    "A11I_GUEST",
    "A11I_LOG",
    "A11I_RUSTC_WRAPPER",
    "A11I_SKIP_REPORT",
    "A11I_TEST_",
];

/// What observed processes say of themselves; `exec` inherits them from the caller.
pub(super) const OF_OBSERVED_PROCESSES: &[&str] = &["A11I_SERVICE_NAME", "A11I_SERVICE_NAMESPACE", "A11I_SERVICE_VERSION"];

/// Names of designs that stood in the traffic, and why they cannot mean anything here. A name that ends in `_` is a prefix.
pub(super) const ANSWERED: &[(&str, &str)] = &[
    ("A11I_AUTO_INSTRUMENT", "there is no SDK in the program to switch on"),
    ("A11I_BATCH_SPAN_PROCESSOR", "there is no SDK in the program; batches are always made"),
    ("A11I_CIRCUIT_BREAKER_", "it neither carries nor changes traffic"),
    ("A11I_INJECT_TRACE_CONTEXT", "it never writes into other programs' traffic"),
    ("A11I_INSTRUMENT_", "there is no SDK in the program to switch on"),
    ("A11I_PROXY_PORT", "it neither carries nor changes traffic"),
    ("A11I_RETRY_", "it neither carries nor changes traffic"),
];

/// Public names whose feature is not in this version: accepted with a value that changes nothing, answered otherwise.
pub(super) const NOT_YET: &[(&str, &[&str], &str)] = &[
    ("A11I_PII_DETECTION", &["false", "0", "off", "no"], "redaction"),
    ("A11I_PII_PATTERNS", &[], "redaction"),
    ("A11I_PII_REDACTION", &["none"], "redaction"),
    ("OTEL_LOGS_EXPORTER", &["none"], "the logs signal"),
];

/// Whether `name` is one of `names`, where one that ends in `_` is a prefix.
pub(super) fn is_listed(name: &str, pattern: &str) -> bool {
    name == pattern || pattern.ends_with('_') && name.starts_with(pattern)
}

/// `A11I_` variable of a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("A11I_{}", key.replace('.', "_").to_uppercase())
}

/// The candidate with the smallest edit distance, if it is near enough to be what was meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = name.chars().count().div_ceil(3).max(2);
    candidates.map(|c| (distance(name, c), c)).min().filter(|(d, _)| *d <= near).map(|(_, c)| c)
}

/// Levenshtein distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let substituted = diagonal.saturating_add(usize::from(x != *y));
            diagonal = *cell;
            *cell = substituted.min(left.saturating_add(1)).min(diagonal.saturating_add(1));
            left = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_single_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn a_slip_finds_its_key_and_noise_finds_none() {
        assert_eq!(nearest("ouput", KEYS.iter().copied()), Some("output"));
        assert_eq!(nearest("qqqqqqqqqqqqqqqq", KEYS.iter().copied()), None);
    }

    #[test]
    fn keys_are_sorted_and_aliases_point_at_keys() {
        assert!(KEYS.is_sorted());
        assert!(ALIASES.iter().all(|(_, key)| KEYS.contains(key)));
    }
}
