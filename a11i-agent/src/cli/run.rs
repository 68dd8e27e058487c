//! `a11i run`: the agent in the foreground.

use std::{
    pin::Pin,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::Common;
use crate::{
    admin::{AdminServer, Asked, HostLock, KernelLock, LockError, Place, PullBrake, Request},
    capture::{
        features::Features,
        mmap_events::MmapBuffers,
        sockets::{self, SocketFrontEnd},
    },
    config::Config,
    contain,
    observe::{AdminLink, Brake, Prepared, Scope, Summary},
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
    // Where distributions are stricter than the kernel, this takes what is given up next.
    let mappings = MmapBuffers::open();
    // Before the first thread: capabilities belong to threads.
    let refused = give_up_capabilities(&config);
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
        // Whoever closes the terminal wants an end; a service manager wants the configuration read again.
        let (mut closed, reload_at) =
            if std::io::IsTerminal::is_terminal(&std::io::stdin()) { (Some(hangup), None) } else { (None, Some(hangup)) };
        let mut end = std::pin::pin!(async {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
                _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
                () = next(closed.as_mut()) => tracing::info!("SIGHUP, the terminal is gone: draining"),
            }
        });
        let readiness = Readiness::default();
        let mut health = None;
        let Some(host) = take_host(&config, args.wait, &readiness, &mut health, end.as_mut()).await? else {
            return Ok(ExitCode::SUCCESS);
        };
        // The kernel half first: a host that cannot be observed is told in one sentence, not after a listening port.
        let prepared = Prepared::load(Arc::clone(&config), Scope::Host, mappings)?;
        refused.say();
        let _health = match health {
            Some(mut waited) => {
                waited.listen(&readiness).await;
                waited
            }
            None => HealthServer::start(config.bind_address, [config.health_port, config.metrics_port], &readiness).await,
        };
        // Before the socket in the order of declaration, so after the socket's end in that of dropping.
        let host = host.say();
        let (requests, asked) = AdminServer::requests();
        let admin = host.listen(prepared.brake(), requests.clone(), &readiness);
        // Everything that takes more is there. From here on files of others are read.
        if config.containment {
            contain::limit_system_calls(contain::Role::Observer).say();
        } else {
            tracing::warn!("containment is off: a mistake in the agent could be used for more than observing. Remedy: `containment: on`");
        }
        let mut observer = prepared.observe(Arc::new(Instruments::default()), &[])?;
        let read_config = {
            let common = common.clone();
            Arc::new(move || common.load())
        };
        observer.connect_admin(AdminLink { asked, readiness: readiness.clone(), read_config });
        if let Some(hangup) = reload_at {
            tokio::spawn(reload_at_hangup(hangup, requests));
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
        // As it is by now: it can be changed by a reload.
        let within = observer.config().shutdown_timeout;
        let summary = observer.finish(within).await;
        report(&summary);
        drop(admin);
        drop(host);
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
    let features = Features::once();
    let kprobes = sockets::choose(config.capture.sockets, features) == Some(SocketFrontEnd::Kprobes);
    contain::give_up_capabilities(contain::Needs::of(features, kprobes, [config.health_port, config.metrics_port]))
}

/// The next such signal; never, without one.
async fn next(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// As `a11i control reload` does.
async fn reload_at_hangup(mut hangup: Signal, requests: mpsc::Sender<Asked>) {
    while hangup.recv().await.is_some() {
        tracing::info!("SIGHUP: reading the configuration again");
        let (replies, mut answers) = mpsc::channel(1);
        // What came of it is in the log.
        if requests.send(Asked { request: Request::Reload, replies }).await.is_ok() {
            answers.recv().await;
        }
    }
}

/// The host is ours, as far as that can be known.
struct Host {
    lock: Result<HostLock, LockError>,
    kernel: Result<KernelLock, LockError>,
}

/// The same, when everything about it was said.
struct HeldHost {
    /// Shared with whoever looks after it.
    lock: Option<Arc<Mutex<HostLock>>>,
    _kernel: Option<KernelLock>,
}

impl Host {
    fn say(self) -> HeldHost {
        let Self { lock, kernel } = self;
        if let Err(error) = &kernel {
            tracing::warn!(%error, "agents that see another /run than this one are not recognised");
        }
        match &lock {
            Ok(lock) => {
                if let Some(error) = &lock.unwritten {
                    tracing::warn!(%error, "the lock is held, but who holds it cannot be written down");
                }
                if let Some(error) = lock.place().doubt() {
                    tracing::warn!(
                        folder = %lock.place().folder().display(), %error,
                        "lock and admin socket are not in the host's /run: `a11i control` and `a11i processes` may look for them elsewhere. \
                         Remedy: CAP_SYS_PTRACE, or `run_folder` on a folder that all agents see"
                    );
                }
            }
            Err(error) => tracing::warn!(
                %error,
                "no lock file and no admin socket: a second agent on this host may report every call twice, and `a11i processes` and \
                 `a11i control` find nobody. Remedy: a writable /run, or `run_folder`"
            ),
        }
        let lock = lock.ok().map(|lock| Arc::new(Mutex::new(lock)));
        if let Some(lock) = &lock {
            tokio::spawn(look_after(Arc::downgrade(lock)));
        }
        HeldHost { lock, _kernel: kernel.ok() }
    }
}

impl HeldHost {
    /// The admin socket, in the lock's folder.
    fn listen(&self, brake: Brake, requests: mpsc::Sender<Asked>, readiness: &Readiness) -> Option<AdminServer> {
        let lock = self.lock.as_ref()?;
        let shown = readiness.clone();
        let pull: PullBrake = Arc::new(move || {
            let pulled = brake.pull();
            shown.set_switched_off(true);
            pulled.map_err(|error| error.to_string())
        });
        let started = AdminServer::start(&lock.lock().unwrap_or_else(PoisonError::into_inner), requests, pull);
        started.inspect_err(|error| tracing::warn!(%error, "no admin socket: `a11i processes` and `a11i control` find nobody")).ok()
    }
}

/// How often is looked whether the lock file is still there: a second agent that starts without it costs some seconds of double reports.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// Ends with the lock.
async fn look_after(lock: Weak<Mutex<HostLock>>) {
    let mut lost = false;
    loop {
        tokio::time::sleep(LOOK_AFTER).await;
        let Some(lock) = lock.upgrade() else { return };
        let kept = lock.lock().unwrap_or_else(PoisonError::into_inner).keep();
        match kept {
            Ok(true) => {
                lost = false;
                tracing::warn!(
                    "somebody removed the lock file; it was taken again. If the admin socket went with it, `a11i control` finds nobody \
                     until the next start"
                );
            }
            Err(error) if !lost => {
                lost = true;
                tracing::error!(%error, "somebody removed the lock file, and it cannot be taken again: every call may be reported twice");
            }
            Ok(false) | Err(_) => {}
        }
    }
}

/// None when the end came while another agent observed.
async fn take_host(
    config: &Config,
    wait: bool,
    readiness: &Readiness,
    health: &mut Option<HealthServer>,
    mut end: Pin<&mut impl Future<Output = ()>>,
) -> Result<Option<Host>> {
    loop {
        let held = match claim(config) {
            Ok(host) => {
                readiness.set(Phase::Starting);
                return Ok(Some(host));
            }
            Err(held) => held,
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

/// Both locks, or who has one of them. That a lock cannot be had at all is no obstacle.
fn claim(config: &Config) -> Result<Host, LockError> {
    // The file first: it says who. Anew each time, whoever had it may have removed the folder with it.
    let lock = match Place::make(config.run_folder.as_deref()).map_err(LockError::from).and_then(HostLock::take) {
        Err(held @ (LockError::Held(_) | LockError::Elsewhere { .. })) => return Err(held),
        taken => taken,
    };
    match KernelLock::take() {
        Err(held @ (LockError::Held(_) | LockError::Elsewhere { .. })) => Err(held),
        kernel => Ok(Host { lock, kernel }),
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
