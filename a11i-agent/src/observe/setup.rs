//! From a configuration to everything that runs.

use std::sync::Arc;

use thiserror::Error;

use crate::{
    capture::{
        control::KernelTables,
        features::Features,
        loader::{LoadError, LoadSettings},
        sockets,
    },
    clock::Clock,
    config::{Config, ProviderPath, price_file},
    cost::{CostSettings, Overrides, PriceBook},
    export::ClientError,
    flow::DEFAULT_FLOWS,
    http::HttpSettings,
    pipeline::PipelineSettings,
    provider::{PathRule, RouteSettings, Routes, UnknownDialect},
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

/// Every attached file holds four descriptors, every process with probes of its own three: the customary limit of 1,024 is soon reached. The
/// hard limit is what the administrator allows. Not for [`Scope::Tree`]: the command would inherit it, and old programs count on 1,024.
pub(super) fn allow_many_descriptors(scope: Scope) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if scope != Scope::Host {
        return;
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays: on a host with many libraries some will not be attached");
    }
}

/// Settings of the kernel half.
pub fn load_settings(config: &Config, scope: Scope) -> LoadSettings {
    LoadSettings {
        ring_bytes: config.capture.ring_bytes,
        call_limit: u32::try_from(config.capture.call_limit_bytes).unwrap_or(u32::MAX),
        only_watched: scope == Scope::Tree,
        sockets: sockets::choose(config.capture.sockets, Features::once()),
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
        paths: config.provider_paths.iter().map(path_rule).collect(),
        body_shape: config.body_shape,
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
        instrumented: config.instrumented.clone(),
        flows: DEFAULT_FLOWS,
    })
}

fn path_rule(path: &ProviderPath) -> PathRule {
    let ProviderPath { path, dialect, host, provider } = path.clone();
    PathRule { path, dialect, host, provider: provider.map(|name| crate::call::ProviderName(name.into())) }
}

/// Tells the kernel half what it can know by itself. Where there is no room it takes a little longer, until a verdict comes.
pub(super) fn presume(tables: &mut KernelTables, routes: &Routes) {
    let mut refused = 0_usize;
    let mut count = |result: Result<(), LoadError>| {
        if let Err(error) = result {
            refused = refused.saturating_add(1);
            tracing::debug!(%error, "not entered");
        }
    };
    for path in routes.presumed_paths() {
        count(tables.presume_path(&path));
    }
    for name in routes.presumed_server_names() {
        count(tables.presume_server_name(&name));
    }
    if refused > 0 {
        tracing::warn!(refused, "paths and server names that the kernel programs do not know: their requests wait for a verdict");
    }
}

/// The same after a change: what only `before` knew is forgotten first, since two paths may end alike.
pub(super) fn presume_instead(tables: &mut KernelTables, before: &Routes, now: &Routes) {
    let (paths, names) = (now.presumed_paths(), now.presumed_server_names());
    for path in before.presumed_paths().iter().filter(|path| !paths.contains(path)) {
        tables.forget_path(path);
    }
    for name in before.presumed_server_names().iter().filter(|name| !names.contains(name)) {
        tables.forget_server_name(name);
    }
    presume(tables, now);
}

/// Days since 1970-01-01 UTC.
pub(super) fn today() -> u32 {
    u32::try_from(Clock::unix_now() / DAY_NANOS).unwrap_or(u32::MAX)
}
