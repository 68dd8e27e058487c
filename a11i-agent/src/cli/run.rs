//! `a11i run`: the agent in the foreground.

use std::{pin::Pin, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::Common;
use crate::{
    admin::{AdminServer, HostLock, LockError, Place, PullBrake},
    capture::features::Features,
    config::Config,
    contain,
    observe::{AdminLink, Observer, Scope, Summary},
    telemetry::{HealthServer, Instruments, Phase, Readiness},
};

#[derive(Args)]
pub(super) struct RunArgs {
    /// Wait as `standby` while another agent observes this host, and take over when it ends
    #[arg(long)]
    wait: bool,
}

pub(super) fn run(common: &Common, args: &RunArgs) -> Result<ExitCode> {
    let config = Arc::new(common.start()?);
    let shutdown_timeout = config.shutdown_timeout;
    // Before the first thread: capabilities belong to threads.
    let refused = give_up_capabilities(&config);
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
        let mut health = None;
        let Some(lock) = take_lock(&config, args.wait, &readiness, &mut health, end.as_mut()).await? else {
            return Ok(ExitCode::SUCCESS);
        };
        // The probes first: a host that cannot be observed is told in one sentence, not after a listening port.
        let mut observer = Observer::start(Arc::clone(&config), Scope::Host, Arc::new(Instruments::default()), &[])?;
        refused.say();
        let _health = match health {
            Some(mut waited) => {
                waited.listen(&readiness).await;
                waited
            }
            None => HealthServer::start(config.bind_address, [config.health_port, config.metrics_port], &readiness).await,
        };
        // Before the lock in the order of declaration, so after the socket's end in that of dropping.
        let lock = lock.say();
        let admin = lock.as_ref().and_then(|lock| connect_admin(&mut observer, lock, common, &readiness));
        if config.containment {
            contain::limit_system_calls(contain::Role::Observer).say();
        } else {
            tracing::warn!("containment is off: a mistake in the agent could be used for more than observing. Remedy: `containment: on`");
        }
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
        drop(admin);
        drop(lock);
        Ok(ExitCode::SUCCESS)
    });
    // Tasks that block are left behind; they end with the process.
    runtime.shutdown_timeout(LAST_TASKS.min(shutdown_timeout));
    done
}

/// Everything has been flushed by then.
const LAST_TASKS: Duration = Duration::from_millis(100);

/// How often a standby looks whether the host is free: the kernel tells nobody that a lock was given back without blocking a thread for it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Two workers: export must not wait for parsing.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("cannot start the event loop's threads")
}

/// Keeps what observing takes on this kernel. Nothing is said yet: a host that cannot be observed is one sentence.
pub(super) fn give_up_capabilities(config: &Config) -> contain::Steps {
    if !config.containment {
        return contain::Steps::default();
    }
    contain::give_up_capabilities(contain::Needs::of(Features::once(), [config.health_port, config.metrics_port]))
}

/// The host is ours, as far as that can be known.
enum Host {
    Locked(HostLock),
    /// There is no place for a lock.
    Unlocked(LockError),
}

impl Host {
    fn say(self) -> Option<HostLock> {
        match self {
            Self::Locked(lock) => {
                if let Some(error) = &lock.unwritten {
                    tracing::warn!(%error, "the lock is held, but who holds it cannot be written down");
                }
                Some(lock)
            }
            Self::Unlocked(error) => {
                tracing::warn!(
                    %error,
                    "no lock and no admin socket: a second agent on this host would report every call twice, and `a11i processes` and \
                     `a11i control` find nobody. Remedy: a writable /run, or `run_folder`"
                );
                None
            }
        }
    }
}

/// None when the end came while another agent observed.
async fn take_lock(
    config: &Config,
    wait: bool,
    readiness: &Readiness,
    health: &mut Option<HealthServer>,
    mut end: Pin<&mut impl Future<Output = ()>>,
) -> Result<Option<Host>> {
    loop {
        // Anew each time: whoever had it removes the folder with the file.
        let held = match Place::make(config.run_folder.as_deref()).map_err(LockError::from).and_then(HostLock::take) {
            Ok(lock) => {
                readiness.set(Phase::Starting);
                return Ok(Some(Host::Locked(lock)));
            }
            Err(held @ LockError::Held(_)) => held,
            Err(error @ (LockError::Place(_) | LockError::File(_))) => {
                readiness.set(Phase::Starting);
                return Ok(Some(Host::Unlocked(error)));
            }
        };
        if !wait {
            return Err(held)
                .context("a second agent would report every call twice. Remedy: stop the first, or wait for its end with --wait");
        }
        if health.is_none() {
            tracing::info!("standby: {held}");
            readiness.set(Phase::Standby);
            *health = Some(HealthServer::start(config.bind_address, [config.health_port, config.metrics_port], readiness).await);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = end.as_mut() => return Ok(None),
        }
    }
}

fn connect_admin(observer: &mut Observer, lock: &HostLock, common: &Common, readiness: &Readiness) -> Option<AdminServer> {
    let (brake, shown) = (observer.brake(), readiness.clone());
    let pull: PullBrake = Arc::new(move || {
        let pulled = brake.pull();
        shown.set_switched_off(true);
        pulled.map_err(|error| error.to_string())
    });
    match AdminServer::start(lock, pull) {
        Ok((server, asked)) => {
            let common = common.clone();
            let read_config = Arc::new(move || common.load());
            observer.connect_admin(AdminLink { asked, readiness: readiness.clone(), read_config });
            Some(server)
        }
        Err(error) => {
            tracing::warn!(%error, "no admin socket: `a11i processes` and `a11i control` find nobody");
            None
        }
    }
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
