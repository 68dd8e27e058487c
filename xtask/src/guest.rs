//! `cargo xtask guest`: a command under another kernel, in a throw-away virtual machine (tests/vm).

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{arguments::Arguments, process, workspace::Workspace};

pub(crate) fn command(workspace: &Workspace, mut arguments: Arguments) -> Result<ExitCode> {
    let Some(kernel) = arguments.positional() else { bail!("a kernel is missing: cargo xtask guest 6.1 -- uname -r") };
    let options = arguments.rest();
    let guest_command = arguments.finish()?;
    if guest_command.is_empty() {
        bail!("a command is missing: cargo xtask guest {kernel} -- uname -r");
    }
    let status = runner(workspace, &kernel).args(options).arg("--").args(guest_command).status();
    let status = status.context("could not start tests/vm/run-in-vm")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The guest runner for `kernel`; options, `--` and the command follow.
pub(crate) fn runner(workspace: &Workspace, kernel: &str) -> Command {
    let mut command = Command::new(workspace.root.join("tests/vm/run-in-vm"));
    command.args(["--kernel", kernel]);
    process::without_cargo_run_variables(&mut command);
    command
}

/// Why no guest can be started here, if so.
pub(crate) fn obstacle() -> Option<String> {
    if env::consts::ARCH != "x86_64" {
        return Some(format!("guests are x86-64 only, this machine is {}", env::consts::ARCH));
    }
    if !Path::new("/etc/debian_version").exists() || process::which("apt-get").is_none() {
        return Some("guest kernels come from Debian's archive: not a Debian machine".to_owned());
    }
    if !process::is_root() {
        return Some("the guest runner needs root".to_owned());
    }
    None
}
