//! From a configuration to everything that runs.

use std::sync::Arc;

use thiserror::Error;

use crate::{
    capture::loader::{LoadError, LoadSettings},
    clock::Clock,
    config::{Config, price_file},
    cost::{CostSettings, Overrides, PriceBook},
    export::ClientError,
    flow::DEFAULT_FLOWS,
    http::HttpSettings,
    pipeline::PipelineSettings,
    provider::{RouteSettings, Routes, UnknownDialect},
    redaction::ContentPolicy,
};

/// Whom to observe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Every process of the host.
    Host,
    /// Processes that are named, and their descendants.
    Tree,
}

#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Export(#[from] ClientError),
    #[error(transparent)]
    Routes(#[from] UnknownDialect),
    #[error("cannot read the price file {path}: {problem}. Remedy: see `cost.pricing_file` in the example configuration")]
    PriceFile { path: String, problem: String },
    #[error("the kernel gives no random numbers: {0}")]
    Random(rustix::io::Errno),
}

/// Unread bytes in the ring from which the reader is woken; below that it looks by itself every few milliseconds.
const WAKE_BYTES: u32 = 256 * 1024;

/// Nanoseconds of a day, for the price table's dates.
const DAY_NANOS: u64 = 86_400 * 1_000_000_000;

/// Settings of the kernel half.
pub fn load_settings(config: &Config, scope: Scope) -> LoadSettings {
    LoadSettings {
        ring_bytes: config.capture.ring_bytes,
        call_limit: u32::try_from(config.capture.call_limit_bytes).unwrap_or(u32::MAX),
        only_watched: scope == Scope::Tree,
        wake_bytes: WAKE_BYTES.min(config.capture.ring_bytes / 8),
    }
}

/// Settings of the pure stages.
pub fn pipeline_settings(config: &Config, content: ContentPolicy) -> Result<PipelineSettings, StartError> {
    let overrides = match &config.cost.pricing_file {
        Some(path) => price_file::read(path).map_err(|problem| StartError::PriceFile { path: path.display().to_string(), problem })?,
        None => Overrides::default(),
    };
    let routes = Routes::new(RouteSettings {
        hosts: config.provider_hosts.iter().map(|h| (h.host.clone(), crate::call::ProviderName(h.provider.clone().into()))).collect(),
        gateways: config.provider_gateways.iter().cloned().chain(overrides.gateways().map(|g| g.host.clone())).collect(),
        paths: Vec::new(),
    })?;
    let mut key = [0u8; 32];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty()).map_err(StartError::Random)?;
    Ok(PipelineSettings {
        http: Arc::new(HttpSettings::new(&key)),
        routes: Arc::new(routes),
        price_book: Arc::new(PriceBook::embedded(overrides)),
        cost: CostSettings { enabled: config.cost.enabled, unknown_hosts: config.cost.unknown_hosts, today: today() },
        content,
        trace_correlation: config.trace_correlation,
        flows: DEFAULT_FLOWS,
    })
}

/// Days since 1970-01-01 UTC.
pub(super) fn today() -> u32 {
    u32::try_from(Clock::unix_now() / DAY_NANOS).unwrap_or(u32::MAX)
}
