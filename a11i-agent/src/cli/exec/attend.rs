//! The privileged half.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use a11i_common::identity::Pid;
use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::AsyncReadExt as _;

use super::{Common, block_on, hide::Hidden, own_program, request::Request, say, signals::Signals, summary_text};
use crate::{
    capture::mmap_events::{MmapBuffers, MmapEventsError},
    cli::run::give_up_capabilities,
    config::Config,
    contain::{self, Role},
    observe::{Observer, Prepared, Scope, Summary},
    telemetry::Instruments,
};

/// The privileged half says this, as a line of its own, when everything is attached.
pub(super) const ATTACHED: &str = "a11i-attached";

/// What one half does in two processes and both do in one: an observer of one process and its descendants.
pub(super) struct Attendance {
    observer: Observer,
    config: Arc<Config>,
    hidden: Option<Hidden>,
}

impl Attendance {
    /// Loads and attaches to everything `program` needs.
    pub(super) fn begin(config: Arc<Config>, program: PathBuf, mappings: Result<MmapBuffers, MmapEventsError>) -> Result<Self> {
        let observer = Prepared::load(Arc::clone(&config), Scope::Tree, mappings)?.observe(Arc::new(Instruments::default()), &[program])?;
        Ok(Self { observer, config, hidden: None })
    }

    /// Follows the process and its descendants; the agent of this host, if there is one, does not.
    pub(super) async fn watch(&mut self, pid: u32) -> Result<()> {
        self.observer.watch(Pid(pid)).context("cannot tell the kernel half which process to follow")?;
        self.hidden = Some(Hidden::begin(self.config.run_folder.clone(), pid).await);
        Ok(())
    }

    /// Gives up what observing does not take, from here on: the command has its process by now.
    pub(super) fn contain(&self, role: Role) {
        if self.config.containment {
            contain::no_core_files().say();
            contain::limit_system_calls(role).say();
        } else {
            tracing::warn!("containment is off: a mistake in the agent could be used for more than observing. Remedy: `containment: on`");
        }
    }

    /// Observes until `end` comes; reads, flushes and prints everything.
    pub(super) async fn until<T>(mut self, end: impl Future<Output = T>) -> Option<T> {
        let mut ended = None;
        self.observer.run(async { ended = Some(end.await) }).await;
        drop(self.hidden.take());
        let summary: Summary = self.observer.finish(self.config.shutdown_timeout).await;
        say(&summary_text(&summary));
        ended
    }
}

/// Takes the request, and becomes the privileged half with its settings for environment.
pub(super) fn take_request(common: &Common) -> Result<ExitCode> {
    let request = Request::read(std::io::stdin().lock()).context("the privileged half was not told what to do")?;
    let mut own = std::process::Command::new(own_program()?);
    own.arg("exec").args(flags(common)?).arg("--observe").arg(request.pid.to_string()).arg("--").arg(request.program);
    let error = own.envs(request.settings).exec();
    Err(error).context("cannot start the privileged half")
}

/// The privileged half in a process of its own: standard input ends when the command has ended.
pub(super) fn observe(common: &Common, pid: u32, program: Vec<OsString>) -> Result<ExitCode> {
    let config = Arc::new(common.start()?);
    let program = PathBuf::from(program.into_iter().next().context("no program was given")?);
    let mappings = MmapBuffers::open();
    // Before the first thread: capabilities belong to threads.
    let refused = give_up_capabilities(&config);
    block_on(async {
        // What ends others of the terminal, or the caller, does not end this half: it has to print and to flush.
        let _held = Signals::hold()?;
        let mut attendance = Attendance::begin(config, program, mappings)?;
        refused.say();
        attendance.watch(pid).await?;
        // Afterwards: the pid cannot have become another's between the question and the answer.
        check_owner(pid)?;
        attendance.contain(Role::Observer);
        say(ATTACHED);
        let mut rest = Vec::new();
        Box::pin(attendance.until(async { tokio::io::stdin().read_to_end(&mut rest).await })).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// The common flags, for another process of this program.
pub(super) fn flags(common: &Common) -> Result<Vec<OsString>> {
    let mut flags = Vec::new();
    for (flag, value) in [("--log-level", &common.log_level), ("--output", &common.output)] {
        if let Some(value) = value {
            flags.extend([flag.into(), value.into()]);
        }
    }
    if let Some(config) = &common.config {
        flags.extend(["--config".into(), std::path::absolute(config).context("cannot resolve the configuration's path")?.into()]);
    }
    Ok(flags)
}

/// Who may have this half started may observe its own processes, and nobody else's.
fn check_owner(pid: u32) -> Result<()> {
    let invoker = match std::env::var("SUDO_UID") {
        Ok(uid) => uid.parse().context("SUDO_UID is not a user's number")?,
        Err(std::env::VarError::NotPresent) => rustix::process::getuid().as_raw(),
        Err(error @ std::env::VarError::NotUnicode(_)) => return Err(error).context("SUDO_UID is not a user's number"),
    };
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let Some(owner) = status.with_context(|| format!("there is no process {pid}"))?.lines().find_map(real_uid) else {
        bail!("/proc does not say whose process {pid} is");
    };
    ensure!(invoker == 0 || owner == invoker, "process {pid} is not one of user {invoker}, who asked to observe it");
    Ok(())
}

/// The real uid: the first number of this line of `/proc/PID/status` (proc_pid_status(5)).
fn real_uid(line: &str) -> Option<u32> {
    line.strip_prefix("Uid:")?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_the_real_user() {
        let status = "Name:\tUid: 7\nUid:\t1000\t0\t0\t0\nGid:\t1\t1\t1\t1\n";
        assert_eq!(status.lines().find_map(real_uid), Some(1000));
    }
}
