//! The caller's own process: starts the command behind the gate, and is there for it until it ends.

use std::{
    ffi::{OsStr, OsString},
    io::Write as _,
    os::unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus, Stdio},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    io::Errno,
    process::Signal,
};
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStderr, Command},
};

use super::{
    Common, NOT_EXECUTABLE, NOT_FOUND,
    attend::{ATTACHED, Attendance, flags},
    block_on,
    gate::Gate,
    own_program,
    request::{Request, is_setting},
    say,
    signals::{Signals, pid_of},
};
use crate::{capture::mmap_events::MmapBuffers, config::Config, contain::Role};

/// Where a command is looked for when nothing says where (execvp(3)).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Why a command cannot be run, as the shell would find out.
#[derive(Debug, Error)]
enum NotRunnable {
    #[error("cannot run {}: there is no such file", .0.display())]
    NoFile(PathBuf),
    #[error("cannot run {}: no folder of PATH has it", .0.display())]
    NotInPath(PathBuf),
    #[error("cannot run {}: it is no file that this user may execute", .0.display())]
    NotExecutable(PathBuf),
}

/// A signal came before the command was let go.
#[derive(Debug, Error)]
#[error("ended by a signal; the command was not run")]
struct Interrupted(Signal);

pub(super) fn launch(common: &Common, command: &[OsString]) -> Result<ExitCode> {
    let config = Arc::new(common.start()?);
    let name = command.first().context("no command was given")?;
    let program = match find(Path::new(name), &std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into())) {
        Ok(program) => program,
        Err(error) => {
            say(&format!("a11i: {error}"));
            return Ok(ExitCode::from(match error {
                NotRunnable::NoFile(_) | NotRunnable::NotInPath(_) => NOT_FOUND,
                NotRunnable::NotExecutable(_) => NOT_EXECUTABLE,
            }));
        }
    };
    let ended = block_on(async {
        let mut signals = Signals::hold()?;
        if rustix::process::geteuid().is_root() {
            Box::pin(observed_here(&mut signals, config, &program, command)).await
        } else {
            observed_through_sudo(&mut signals, common, &program, command).await
        }
    });
    match ended {
        Ok(status) => Ok(exit_code(status)),
        Err(error) => match error.downcast_ref::<Interrupted>() {
            Some(Interrupted(signal)) => {
                say(&format!("a11i: {error}"));
                Ok(exit_code(ExitStatus::from_raw(signal.as_raw())))
            }
            None => Err(error),
        },
    }
}

/// As root: both halves in this process.
async fn observed_here(signals: &mut Signals, config: Arc<Config>, program: &Path, command: &[OsString]) -> Result<ExitStatus> {
    // Before the process is there that becomes the command: what cannot be observed is not even begun.
    let mut attendance = Attendance::begin(config, absolute(program)?, MmapBuffers::open())?;
    let gate = Gate::close_before(program, command)?;
    let watched = match gate.pid() {
        Ok(pid) => attendance.watch(pid).await,
        Err(error) => Err(error),
    };
    // The process that becomes the command is there, and has nothing of what this one gives up.
    attendance.contain(Role::Launcher);
    let mut child = open(gate, watched, signals).await?;
    Box::pin(attendance.until(wait(&mut child, signals))).await.context("the command's end was missed")?
}

/// As anybody else: the privileged half is this program again, through sudo.
async fn observed_through_sudo(signals: &mut Signals, common: &Common, program: &Path, command: &[OsString]) -> Result<ExitStatus> {
    let gate = Gate::close_before(program, command)?;
    let attached = async {
        let settings = std::env::vars_os().filter(|(name, _)| is_setting(name)).collect();
        let request = Request { pid: gate.pid()?, program: absolute(program)?, settings };
        attendant(common, &request).await
    };
    let attached = tokio::select! {
        attached = attached => attached,
        signal = signals.next_ending() => Err(Interrupted(signal).into()),
    };
    let (attached, opened) = match attached {
        Ok(attendant) => (Some(attendant), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let mut child = open(gate, opened, signals).await?;
    let Some((mut attendant, said)) = attached else { bail!("the privileged half is missing") };
    let forward = tokio::spawn(forward(said));
    let status = wait(&mut child, signals).await;
    // Its standard input ends: it finishes and prints the summary.
    drop(attendant.stdin.take());
    match attendant.wait().await {
        Ok(status) if status.success() => {}
        Ok(status) => say(&format!("a11i: the privileged half ended with {status}: not everything may have been observed")),
        Err(error) => say(&format!("a11i: cannot wait for the privileged half: {error}")),
    }
    if let Err(error) = forward.await {
        tracing::warn!(%error, "what the privileged half said was not all passed on");
    }
    status
}

/// Opens the gate if everything before went well and no signal came; else the command is not run.
async fn open(gate: Gate, ready: Result<()>, signals: &mut Signals) -> Result<Child> {
    let interrupted = tokio::select! {
        biased;
        signal = signals.next_ending() => Err(Interrupted(signal).into()),
        // What arrived while this thread was busy is known one turn of the event loop later.
        () = tokio::task::yield_now() => Ok(()),
    };
    match ready.and(interrupted) {
        Ok(()) => gate.open(),
        Err(error) => {
            gate.remove().await;
            Err(error)
        }
    }
}

/// Starts the privileged half and waits until it has attached.
async fn attendant(common: &Common, request: &Request) -> Result<(Child, BufReader<ChildStderr>)> {
    const DID_NOT_START: &str =
        "the privileged half did not start; the command was not run. Remedy: allow sudo for this user, or run `sudo a11i exec` yourself";
    let mut sudo = Command::new("sudo");
    sudo.arg("--").arg(own_program()?).arg("exec").args(flags(common)?).arg("--attend");
    let mut attendant = sudo
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start sudo; the command was not run. Remedy: install it, or run a11i as root")?;
    let mut said = BufReader::new(attendant.stderr.take().context("no pipe from the privileged half")?);
    let input = attendant.stdin.as_mut().context("no pipe to the privileged half")?;
    let bytes = request.encode()?;
    // One that is already gone has said why: read on.
    let asked = input.write_all(&bytes).await;
    let mut line = Vec::new();
    loop {
        line.clear();
        if said.read_until(b'\n', &mut line).await.context("cannot hear the privileged half")? == 0 {
            return Err(asked
                .err()
                .map_or_else(|| anyhow::anyhow!(DID_NOT_START), |error| anyhow::Error::new(error).context(DID_NOT_START)));
        }
        if line.trim_ascii_end() == ATTACHED.as_bytes() {
            return Ok((attendant, said));
        }
        std::io::stderr().write_all(&line).ok();
    }
}

/// Passes on what the privileged half says until it ends.
async fn forward(mut said: BufReader<ChildStderr>) {
    let mut line = Vec::new();
    while said.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        // That nobody reads it here is no reason to stop reading there: the other end would fail.
        std::io::stderr().write_all(&line).ok();
        line.clear();
    }
}

/// Waits for the command; signals go to it.
async fn wait(child: &mut Child, signals: &mut Signals) -> Result<ExitStatus> {
    let pid = pid_of(child);
    tokio::select! {
        biased;
        status = child.wait() => status.context("cannot wait for the command"),
        () = signals.pass_on(pid) => bail!("signals ended"),
    }
}

fn absolute(program: &Path) -> Result<PathBuf> {
    std::path::absolute(program).context("cannot resolve the program's path")
}

/// The command's program file, as the shell would find it.
fn find(name: &Path, folders: &OsStr) -> Result<PathBuf, NotRunnable> {
    if name.as_os_str().as_bytes().contains(&b'/') {
        return match executable(name) {
            Ok(true) => Ok(name.to_owned()),
            Ok(false) => Err(NotRunnable::NotExecutable(name.to_owned())),
            Err(_) => Err(NotRunnable::NoFile(name.to_owned())),
        };
    }
    let mut denied = None;
    for folder in std::env::split_paths(folders) {
        // An empty folder is the current one; the path must say so, or it would be looked for again.
        let candidate = if folder.as_os_str().is_empty() { Path::new(".").join(name) } else { folder.join(name) };
        match executable(&candidate) {
            Ok(true) => return Ok(candidate),
            Ok(false) => denied = denied.or(Some(candidate)),
            Err(_) => {}
        }
    }
    Err(denied.map_or_else(|| NotRunnable::NotInPath(name.to_owned()), NotRunnable::NotExecutable))
}

/// Whether this user may execute it; an error when it is not there.
fn executable(path: &Path) -> Result<bool, std::io::Error> {
    let is_file = path.metadata()?.is_file();
    match accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(is_file),
        Err(Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// As a shell reports it: 128 + signal for a command that was ended by one.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128))).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_as_a_shell_finds_it() {
        assert_eq!(find(Path::new("sh"), "/nowhere:/bin".as_ref()).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find(Path::new("/bin/sh"), "".as_ref()).unwrap(), Path::new("/bin/sh"));
        assert!(matches!(find(Path::new("/bin"), "".as_ref()), Err(NotRunnable::NotExecutable(_))));
        assert!(matches!(find(Path::new("./no-such-file"), "/bin".as_ref()), Err(NotRunnable::NoFile(_))));
        assert!(matches!(find(Path::new("no-such-command"), "/bin".as_ref()), Err(NotRunnable::NotInPath(_))));
        assert!(matches!(find(Path::new("passwd"), "/etc:/nowhere".as_ref()), Err(NotRunnable::NotExecutable(_))));
    }
}
