//! The agent's own log: on standard error, since standard output is for calls. Levels: per record trace, per call debug, changes of state
//! info, degraded warn, broken error. Payloads, keys and headers are never logged.

use std::{io::IsTerminal as _, sync::OnceLock};

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};

use crate::config::LogLevel;

/// The filter of this process, for [`set_level`].
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging. Says whether it did: a second start in one process does not.
pub fn start(level: LogLevel) -> bool {
    let (filter, handle) = reload::Layer::new(filter(level));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(false);
    let started = tracing_subscriber::registry().with(filter).with(layer).try_init().is_ok();
    started && FILTER.set(handle).is_ok()
}

/// From the next line on.
pub fn set_level(level: LogLevel) {
    if let Some(Err(error)) = FILTER.get().map(|handle| handle.reload(filter(level))) {
        tracing::warn!(%error, "the log level cannot be changed");
    }
}

/// Libraries below the agent speak only when something is wrong.
fn filter(level: LogLevel) -> EnvFilter {
    match level {
        LogLevel::Off => EnvFilter::new("off"),
        LogLevel::Error => EnvFilter::new("error"),
        LogLevel::Warn | LogLevel::Info | LogLevel::Debug | LogLevel::Trace => {
            EnvFilter::new(format!("warn,a11i={0},a11i_agent={0}", level.as_str()))
        }
    }
}
