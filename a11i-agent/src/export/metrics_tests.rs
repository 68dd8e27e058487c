use super::*;
use crate::{
    call::{Outcome, UsageSource},
    cost::PricedCall,
    export::samples,
};

fn metrics(layer: Semconv) -> Metrics {
    Metrics::new(ResourceBuilder { layer, ..ResourceBuilder::default() })
}

fn record(metrics: &mut Metrics, priced: &PricedCall) -> Overflow {
    metrics.record(&samples::redacted(priced), 1)
}

fn names(metrics: &mut Metrics) -> Vec<&'static str> {
    metrics.collect(1).iter().flat_map(|p| p.series.keys().map(|m| m.definition().name).collect::<Vec<_>>()).collect()
}

#[test]
fn the_default_layer_counts_tokens_duration_first_chunk_and_cost() {
    let mut metrics = metrics(Semconv::V1_41);
    record(&mut metrics, &samples::chat());
    record(&mut metrics, &samples::chat());
    let collected = metrics.collect(1);
    let [process] = collected.as_slice() else { unreachable!() };
    let usage = &process.series[&Metric::TokenUsage];
    let sums: BTreeMap<&str, (f64, u64)> = usage
        .iter()
        .map(|(attributes, point)| match point {
            Point::Histogram(h) => (attributes.get("gen_ai.token.type").and_then(Value::as_str).unwrap(), (h.sum, h.count)),
            Point::Count(_) | Point::NanoUsd(_) => unreachable!(),
        })
        .collect();
    assert_eq!(sums, BTreeMap::from([("input", (200.0, 2)), ("output", (40.0, 2))]));
    assert!(usage.keys().all(|a| a.get("a11i.usage.source").and_then(Value::as_str) == Some("reported")));
    assert_eq!(process.series[&Metric::CostUsd].values().next(), Some(&Point::NanoUsd(740_000)));
    assert_eq!(
        names(&mut metrics),
        ["gen_ai.client.token.usage", "gen_ai.client.operation.duration", "gen_ai.client.operation.time_to_first_chunk", "a11i.cost.usd"]
    );
}

#[test]
fn layers_have_their_own_names() {
    let mut old = metrics(Semconv::V1_36);
    record(&mut old, &samples::chat());
    assert_eq!(names(&mut old), ["gen_ai.client.token.usage", "gen_ai.client.operation.duration", "a11i.cost.usd"]);
    let mut latest = metrics(Semconv::Latest);
    record(&mut latest, &samples::chat());
    let names = names(&mut latest);
    assert!(names.iter().all(|n| n.starts_with("gen_ai.client.inference.") || *n == "a11i.cost.usd"), "{names:?}");
    assert_eq!(names.len(), 9);
}

#[test]
fn a_modality_split_sums_up_to_its_total() {
    let mut priced = samples::chat();
    priced.call.usage.input_by_modality = ModalityTokens { text: Some(70), image: None, audio: Some(20) };
    let mut metrics = metrics(Semconv::Latest);
    record(&mut metrics, &priced);
    let collected = metrics.collect(1);
    let mut counts: Vec<(&str, &Point)> = collected[0].series[&Metric::InferenceInputTokens]
        .iter()
        .map(|(a, p)| (a.get("gen_ai.token.modality").and_then(Value::as_str).unwrap(), p))
        .collect();
    counts.sort_by_key(|(name, _)| *name);
    assert_eq!(counts, [("audio", &Point::Count(20)), ("text", &Point::Count(70)), ("unknown", &Point::Count(10))]);
}

#[test]
fn a_call_without_usage_adds_no_tokens() {
    let mut priced = samples::chat();
    priced.call.usage = Usage::default();
    priced.cost = None;
    let mut metrics = metrics(Semconv::V1_41);
    record(&mut metrics, &priced);
    assert_eq!(names(&mut metrics), ["gen_ai.client.operation.duration", "gen_ai.client.operation.time_to_first_chunk"]);
}

#[test]
fn estimates_and_failures_have_series_of_their_own() {
    let mut metrics = metrics(Semconv::V1_41);
    record(&mut metrics, &samples::chat());
    let mut priced = samples::chat();
    (priced.call.usage.input_source, priced.call.usage.output_source) = (UsageSource::Estimated, UsageSource::Estimated);
    priced.call.outcome = Outcome { error_type: Some("cancelled".to_owned()), error_message: None };
    record(&mut metrics, &priced);
    let collected = metrics.collect(1);
    assert_eq!(collected[0].series[&Metric::TokenUsage].len(), 4);
    assert_eq!(collected[0].series[&Metric::OperationDuration].len(), 2);
}

#[test]
fn a_reported_count_beside_an_estimate_stays_reported() {
    for (layer, input, output) in [
        (Semconv::V1_41, Metric::TokenUsage, Metric::TokenUsage),
        (Semconv::Latest, Metric::InferenceOperationInputTokens, Metric::InferenceOperationOutputTokens),
    ] {
        let mut priced = samples::chat();
        priced.call.usage.output_source = UsageSource::Estimated;
        let mut metrics = metrics(layer);
        record(&mut metrics, &priced);
        let collected = metrics.collect(1);
        let sources: std::collections::BTreeSet<_> = [input, output]
            .iter()
            .flat_map(|metric| collected[0].series[metric].keys())
            .map(|a| {
                let text = |name| a.get(name).and_then(Value::as_str).map(str::to_owned);
                (text("gen_ai.token.type"), text("a11i.usage.source").unwrap())
            })
            .collect();
        let kind = |kind: &str| (layer == Semconv::V1_41).then(|| kind.to_owned());
        assert_eq!(sources, [(kind("input"), "reported".to_owned()), (kind("output"), "estimated".to_owned())].into());
    }
}

#[test]
fn a_served_call_has_server_metrics_and_no_cost() {
    let mut priced = samples::chat();
    priced.call.role = Role::Server;
    let mut metrics = metrics(Semconv::V1_41);
    record(&mut metrics, &priced);
    let collected = metrics.collect(1);
    assert_eq!(
        names(&mut metrics),
        ["gen_ai.server.request.duration", "gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token"]
    );
    let Some(Point::Histogram(per_token)) = collected[0].series[&Metric::ServerTimePerOutputToken].values().next() else { unreachable!() };
    assert!((per_token.sum - 1.15 / 19.0).abs() < 1e-9, "{per_token:?}");
}

#[test]
fn invented_model_names_end_in_one_overflow_series() {
    let mut metrics = metrics(Semconv::V1_41);
    let mut overflowed = 0;
    for n in 0..SERIES_PER_METRIC + 50 {
        let mut priced = samples::chat();
        priced.call.request.model = Some(format!("m{n}"));
        overflowed += record(&mut metrics, &priced).measurements;
    }
    let collected = metrics.collect(1);
    let durations = &collected[0].series[&Metric::OperationDuration];
    assert_eq!(durations.len(), SERIES_PER_METRIC + 1);
    let Some(Point::Histogram(overflow)) = durations.get(&overflow_attributes()) else { unreachable!() };
    assert_eq!(overflow.count, 50, "nothing is lost");
    assert!(overflowed >= 50);
}

#[test]
fn too_many_processes_share_a_resource_and_idle_ones_are_forgotten() {
    let mut metrics = metrics(Semconv::V1_41);
    let mut call = |pid: usize, now: u64| {
        let mut priced = samples::chat();
        let owner = Owner {
            process: ProcessId { pid: a11i_common::identity::Pid(u32::try_from(pid).unwrap()), start_ticks: 1 },
            ..Owner::default()
        };
        priced.call.owner = Arc::new(owner);
        let overflow = metrics.record(&samples::redacted(&priced), now);
        (overflow.shared_resource, metrics.processes.len())
    };
    for pid in 0..PROCESSES {
        assert!(!call(pid, 1).0);
    }
    assert_eq!(call(PROCESSES, 1), (true, PROCESSES));
    assert_eq!(call(PROCESSES, 1 + IDLE_NANOS), (false, 1), "the idle made room");
}

#[test]
fn what_its_program_reports_itself_has_marked_series() {
    let mut priced = samples::chat();
    priced.call.correlation.is_duplicate = true;
    let mut metrics = metrics(Semconv::V1_41);
    record(&mut metrics, &priced);
    record(&mut metrics, &samples::chat());
    let collected = metrics.collect(1);
    for (metric, series) in &collected[0].series {
        let marked = series.keys().filter(|key| key.get("a11i.duplicate_of_sdk") == Some(&Value::Bool(true))).count();
        assert_eq!(marked * 2, series.len(), "{metric:?}");
    }
}

#[test]
fn a_session_has_its_length_at_either_end_and_its_server_at_the_clients() {
    use a11i_common::identity::BootTime;
    let server = crate::call::ServerAddress { address: Some("tools.local".to_owned()), port: Some(8000), known_host: false };
    let session = |role, error_type| McpSession {
        role,
        server: server.clone(),
        protocol_version: Some("2025-06-18".to_owned()),
        error_type,
        start: BootTime(1_000_000_000),
        end: BootTime(3_500_000_000),
        ..McpSession::default()
    };
    let mut metrics = metrics(Semconv::V1_41);
    metrics.record_mcp_session(&session(Role::Client, None), 1);
    metrics.record_mcp_session(&session(Role::Server, Some("404".to_owned())), 1);
    let collected = metrics.collect(1);
    let of = |metric: Metric| collected[0].series[&metric].iter().next().unwrap();
    let text = |attributes: &Attributes, name: &str| attributes.get(name).and_then(Value::as_str).map(str::to_owned);
    for (metric, error, address) in
        [(Metric::McpClientSessionDuration, None, Some("tools.local")), (Metric::McpServerSessionDuration, Some("404"), None)]
    {
        let (attributes, point) = of(metric);
        assert_eq!(text(attributes, "mcp.protocol.version").as_deref(), Some("2025-06-18"));
        assert_eq!((text(attributes, "error.type").as_deref(), text(attributes, "server.address").as_deref()), (error, address));
        let Point::Histogram(histogram) = point else { panic!("{point:?}") };
        assert_eq!((histogram.count, histogram.sum), (1, 2.5));
    }
}

#[test]
fn what_nobody_knows_is_counted_by_host_and_path() {
    let mut metrics = metrics(Semconv::V1_41);
    for pattern in ["/v9/dreams/{id}", "/v9/dreams/{id}", "/v9/sleep"] {
        let mut priced = samples::chat();
        priced.call.operation = Operation::Other("unrecognised");
        priced.call.request.path_pattern = Some(pattern.to_owned());
        record(&mut metrics, &priced);
    }
    let collected = metrics.collect(1);
    let [process] = collected.as_slice() else { unreachable!() };
    let mut counted: Vec<_> = process.series[&Metric::UnrecognisedRequests]
        .iter()
        .map(|(attributes, point)| (attributes.get("url.template").and_then(Value::as_str).unwrap().to_owned(), point.clone()))
        .collect();
    counted.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(counted, [("/v9/dreams/{id}".to_owned(), Point::Count(2)), ("/v9/sleep".to_owned(), Point::Count(1))]);
}
