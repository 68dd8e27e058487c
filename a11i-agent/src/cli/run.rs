//! `a11i run`: the agent in the foreground.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::Common;
use crate::{
    observe::{Observer, Scope, Summary},
    telemetry::{HealthServer, Instruments, Phase, Readiness},
};

pub(super) fn run(common: &Common) -> Result<ExitCode> {
    let config = Arc::new(common.start()?);
    let shutdown_timeout = config.shutdown_timeout;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut end = std::pin::pin!(async {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
                _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
            }
        });
        let readiness = Readiness::default();
        // The probes first: a host that cannot be observed is told in one sentence, not after a listening port.
        let mut observer = Observer::start(Arc::clone(&config), Scope::Host, Arc::new(Instruments::default()), &[])?;
        let _health = HealthServer::start(config.bind_address, [config.health_port, config.metrics_port], &readiness).await;
        let covered = tokio::select! {
            () = observer.cover_host() => true,
            () = &mut end => false,
        };
        if covered {
            readiness.set_ready();
            tracing::info!("observing every process of this host");
            observer.run(&mut end).await;
        }
        readiness.set(Phase::Draining);
        let summary = observer.finish(config.shutdown_timeout).await;
        report(&summary);
        Ok(ExitCode::SUCCESS)
    });
    // Tasks that block are left behind; they end with the process.
    runtime.shutdown_timeout(LAST_TASKS.min(shutdown_timeout));
    done
}

/// Everything has been flushed by then.
const LAST_TASKS: Duration = Duration::from_millis(100);

/// Two workers: export must not wait for parsing.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("cannot start the event loop's threads")
}

fn report(summary: &Summary) {
    let export = summary.export;
    let (exported, dropped) = export.map_or((0, 0), |e| (e.exported_spans, e.dropped_spans));
    tracing::info!(calls = summary.calls, errors = summary.errors, incomplete = summary.incomplete, exported, dropped, "stopped");
    if let Some(export) = export
        && (export.dropped_spans > 0 || !export.metrics_flushed)
    {
        tracing::warn!(
            dropped = export.dropped_spans,
            metrics_flushed = export.metrics_flushed,
            "not everything was delivered before the time for shutting down was over"
        );
    }
}
