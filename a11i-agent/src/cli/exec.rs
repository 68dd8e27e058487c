//! `a11i exec -- CMD ARGS`.
//!
//! Two halves. The unprivileged half is the caller's own process: it starts CMD, so that uid, groups, environment, directory and
//! terminal are the caller's without any restoring, and passes signals on. CMD waits at a gate before it runs. The privileged half
//! loads and attaches, opens the gate, observes the tree and prints. As root both are in this process; otherwise the privileged half
//! is this program again, started through sudo.

use std::{
    ffi::OsString,
    os::unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus, Stdio},
    sync::Arc,
};

use a11i_common::identity::Pid;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use super::{Common, run::runtime};
use crate::{
    observe::{Observer, Scope, Summary},
    telemetry::Instruments,
};

#[derive(Args)]
pub(super) struct ExecArgs {
    /// The privileged half: observe this process and its descendants (used by a11i itself)
    #[arg(long, hide = true, value_name = "PID")]
    attend: Option<u32>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What the gate's shell runs: wait for a line (or for the end of whoever would write it), then become the command. The line comes
/// on descriptor 3, so that standard input stays the command's.
const GATE: &str = "read -r _ <&3; exec 3<&-; exec \"$@\"";

/// The privileged half says this when everything is attached.
const ATTACHED: &str = "attached";

pub(super) fn exec(common: &Common, args: ExecArgs) -> Result<ExitCode> {
    let config = Arc::new(common.start()?);
    let program = resolve(&args.command)?;
    runtime()?.block_on(async {
        match args.attend {
            Some(pid) => attend(config, pid, program).await,
            None => launch(common, config, args.command, program).await,
        }
    })
}

/// The unprivileged half (and as root, both).
async fn launch(common: &Common, config: Arc<crate::config::Config>, command: Vec<OsString>, program: PathBuf) -> Result<ExitCode> {
    let (gate_reader, gate_writer) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = gated(&command, gate_reader)?;
    let pid = child.id().context("the command ended before it began")?;
    let status = if rustix::process::geteuid().is_root() {
        let mut observer = match Observer::start(Arc::clone(&config), Scope::Tree, Arc::new(Instruments::default()), &[program]) {
            Ok(observer) => observer,
            Err(error) => {
                stop(&mut child).await;
                return Err(error.into());
            }
        };
        observer.watch(Pid(pid)).context("cannot tell the kernel half which process to follow")?;
        drop(gate_writer);
        let mut status = None;
        observer.run(async { status = Some(wait(&mut child).await) }).await;
        let summary = observer.finish(config.shutdown_timeout).await;
        print_summary(&summary);
        status.context("the command's end was missed")??
    } else {
        let mut attendant = attendant(common, pid, &command)?;
        let mut said = BufReader::new(attendant.stderr.take().context("no pipe to the privileged half")?);
        let mut line = String::new();
        loop {
            line.clear();
            if said.read_line(&mut line).await.context("cannot hear the privileged half")? == 0 {
                stop(&mut child).await;
                bail!("the privileged half did not start. Remedy: allow sudo for this user, or run `sudo a11i exec` yourself");
            }
            if line.trim_end() == ATTACHED {
                break;
            }
            eprint!("{line}");
        }
        drop(gate_writer);
        let forward = tokio::spawn(async move {
            let mut bytes = Vec::new();
            while let Ok(read) = said.read_until(b'\n', &mut bytes).await {
                if read == 0 || tokio::io::stderr().write_all(&bytes).await.is_err() {
                    break;
                }
                bytes.clear();
            }
        });
        let status = wait(&mut child).await?;
        // Its standard input ends: it finishes and prints the summary.
        drop(attendant.stdin.take());
        attendant.wait().await.context("cannot wait for the privileged half")?;
        forward.await.context("cannot hear the privileged half")?;
        status
    };
    Ok(exit_code(status))
}

/// The privileged half in a process of its own: standard input ends when the command has ended.
async fn attend(config: Arc<crate::config::Config>, pid: u32, program: PathBuf) -> Result<ExitCode> {
    // Ctrl-C reaches the whole terminal; this half ends with the command, not before it.
    let _interrupt = signal(SignalKind::interrupt()).context("cannot hold SIGINT back")?;
    let mut observer = Observer::start(Arc::clone(&config), Scope::Tree, Arc::new(Instruments::default()), &[program])?;
    observer.watch(Pid(pid)).context("cannot tell the kernel half which process to follow")?;
    eprintln!("{ATTACHED}");
    let mut rest = Vec::new();
    observer.run(async { tokio::io::stdin().read_to_end(&mut rest).await }).await;
    let summary = observer.finish(config.shutdown_timeout).await;
    print_summary(&summary);
    Ok(ExitCode::SUCCESS)
}

/// The command, waiting at the gate.
fn gated(command: &[OsString], gate: std::io::PipeReader) -> Result<Child> {
    use command_fds::{CommandFdExt as _, FdMapping};
    let mut shell = std::process::Command::new("/bin/sh");
    shell.arg("-c").arg(GATE).arg("a11i-exec").args(command);
    shell.fd_mappings(vec![FdMapping { parent_fd: gate.into(), child_fd: 3 }]).context("cannot hand the gate to the command")?;
    Command::from(shell).spawn().context("cannot start /bin/sh")
}

fn attendant(common: &Common, pid: u32, command: &[OsString]) -> Result<Child> {
    let own = std::env::current_exe().context("cannot find a11i's own program file")?;
    let mut sudo = Command::new("sudo");
    // Settings come by environment too; everything else of it is not the privileged half's business.
    sudo.arg("--preserve-env=").arg("--").arg("env");
    for (name, value) in std::env::vars_os() {
        let bytes = name.as_bytes();
        if bytes.starts_with(b"A11I_") || bytes.starts_with(b"OTEL_") || bytes == b"NO_COLOR" {
            let mut pair = name;
            pair.push("=");
            pair.push(value);
            sudo.arg(pair);
        }
    }
    sudo.arg(own).arg("exec").arg("--attend").arg(pid.to_string());
    for (flag, value) in [("--log-level", &common.log_level), ("--output", &common.output)] {
        if let Some(value) = value {
            sudo.arg(flag).arg(value);
        }
    }
    if let Some(config) = &common.config {
        sudo.arg("--config").arg(std::path::absolute(config).context("cannot resolve the configuration's path")?);
    }
    sudo.arg("--").args(command);
    sudo.stdin(Stdio::piped()).stderr(Stdio::piped());
    sudo.spawn().context("cannot start sudo. Remedy: install it, or run a11i as root")
}

/// Waits for the command; what would end this half ends the command instead.
async fn wait(child: &mut Child) -> Result<ExitStatus> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    loop {
        let passed_on = tokio::select! {
            status = child.wait() => return status.context("cannot wait for the command"),
            // The terminal sends SIGINT to the command as well.
            _ = interrupt.recv() => continue,
            _ = terminate.recv() => rustix::process::Signal::TERM,
            _ = hangup.recv() => rustix::process::Signal::HUP,
        };
        if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)) {
            rustix::process::kill_process(pid, passed_on).context("cannot pass a signal on")?;
        }
    }
}

/// Ends a command that never passed the gate.
async fn stop(child: &mut Child) {
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, "the waiting command could not be ended");
    }
}

/// The command's program file, as the shell would find it.
fn resolve(command: &[OsString]) -> Result<PathBuf> {
    let name = command.first().context("no command was given")?;
    let path = Path::new(name);
    if name.as_bytes().contains(&b'/') {
        if path.is_file() {
            return Ok(path.to_owned());
        }
        bail!("cannot run {}: there is no such file", path.display());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(path)).find(|candidate| is_executable(candidate));
    found.with_context(|| format!("cannot run {}: no folder of PATH has it", path.display()))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// As a shell reports it: 128 + signal for a command that was ended by one.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128))).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

#[expect(clippy::cast_precision_loss, reason = "for reading")]
fn print_summary(summary: &Summary) {
    let mut text = format!(
        "a11i: {} calls, {} failed, {} input and {} output tokens, ${:.6}",
        summary.calls,
        summary.errors,
        summary.input_tokens,
        summary.output_tokens,
        summary.cost_nano_usd as f64 / 1e9
    );
    if summary.unpriced > 0 {
        text.push_str(&format!(" ({} without a price)", summary.unpriced));
    }
    if summary.incomplete > 0 {
        text.push_str(&format!(", {} not seen whole", summary.incomplete));
    }
    eprintln!("{text}");
}
