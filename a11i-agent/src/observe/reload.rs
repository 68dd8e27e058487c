//! What a configuration that was read again changes at once, and what it changes after the next start.

use std::mem;

use crate::{config::Config, pipeline::PipelineSettings};

/// Keys by what became of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Difference {
    /// Hold from now on.
    pub(super) applied: Vec<&'static str>,
    /// Were as they are until the next start.
    pub(super) needs_restart: Vec<&'static str>,
}

/// Takes over into `current` what can change while it runs.
pub(super) fn take_over(current: &mut Config, new: Config) -> Difference {
    // Every key is thought about: a new one does not compile until it stands here.
    let Config {
        content,
        output,
        log_level,
        semconv,
        otlp,
        batch,
        metric_interval,
        bind_address,
        health_port,
        metrics_port,
        cost,
        provider_hosts,
        provider_gateways,
        provider_paths,
        body_shape,
        capture,
        guard,
        resource_attributes,
        shutdown_timeout,
        sampler,
        trace_correlation,
        instrumented,
        containment,
        run_folder,
    } = new;
    let mut difference = Difference::default();
    let mut live = |name, changed| {
        if changed {
            difference.applied.push(name);
        }
    };
    live("content", mem::replace(&mut current.content, content) != content);
    live("log_level", mem::replace(&mut current.log_level, log_level) != log_level);
    // The price file may say something else under its old name.
    live("cost", cost.pricing_file.is_some() || current.cost != cost);
    current.cost = cost;
    live("providers.hosts", current.provider_hosts != provider_hosts);
    current.provider_hosts = provider_hosts;
    live("providers.gateways", current.provider_gateways != provider_gateways);
    current.provider_gateways = provider_gateways;
    live("providers.paths", mem::replace(&mut current.provider_paths, provider_paths) != current.provider_paths);
    live("providers.body_shape", mem::replace(&mut current.body_shape, body_shape) != body_shape);
    live("sampler", mem::replace(&mut current.sampler, sampler) != sampler);
    live("trace_correlation", mem::replace(&mut current.trace_correlation, trace_correlation) != trace_correlation);
    live("instrumented", mem::replace(&mut current.instrumented, instrumented.clone()) != instrumented);
    live("shutdown_timeout", mem::replace(&mut current.shutdown_timeout, shutdown_timeout) != shutdown_timeout);
    let fixed = [
        ("output", current.output != output),
        ("semconv", current.semconv != semconv),
        ("otlp", current.otlp != otlp),
        ("batch", current.batch != batch),
        ("metrics.interval", current.metric_interval != metric_interval),
        ("bind_address", current.bind_address != bind_address),
        ("health_port", current.health_port != health_port),
        ("metrics_port", current.metrics_port != metrics_port),
        ("capture", current.capture != capture),
        ("guard", current.guard != guard),
        ("resource_attributes", current.resource_attributes != resource_attributes),
        ("containment", current.containment != containment),
        ("run_folder", current.run_folder != run_folder),
    ];
    difference.needs_restart = fixed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect();
    difference
}

/// Takes over settings of the pure stages. Fingerprints of credentials keep their key, so that they stay comparable.
pub(super) fn take_over_settings(current: &mut PipelineSettings, new: PipelineSettings) {
    let http = std::sync::Arc::clone(&current.http);
    let flows = current.flows;
    *current = PipelineSettings { http, flows, ..new };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{LogLevel, Sources},
        redaction::ContentPolicy,
        sampling::Sampler,
    };

    fn config() -> Config {
        struct Nothing;
        impl crate::config::Environment for Nothing {
            fn variables(&self, _prefixes: &[&str]) -> Vec<(String, String)> {
                Vec::new()
            }
        }
        Config::load(&Sources::default(), &Nothing).unwrap()
    }

    #[test]
    fn what_can_change_changes_and_the_rest_is_named() {
        let mut current = config();
        let sampler = Sampler { ratio: 0.5, parent_based: false };
        let new = Config { log_level: LogLevel::Debug, content: ContentPolicy::Full, sampler, health_port: 1, ..config() };
        let difference = take_over(&mut current, new.clone());
        assert_eq!(difference.applied, ["content", "log_level", "sampler"]);
        assert_eq!(difference.needs_restart, ["health_port"]);
        assert_eq!(current, Config { health_port: config().health_port, ..new });
    }

    #[test]
    fn the_same_changes_nothing() {
        let mut current = config();
        assert_eq!(take_over(&mut current, config()), Difference::default());
        assert_eq!(current, config());
    }
}
