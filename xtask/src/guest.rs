//! `cargo xtask guest`: a command, or the reduced list of tests, under other kernels in throw-away virtual machines (tests/vm); and
//! `cargo xtask features`: README's table of kernels, from such runs.

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    arguments::Arguments,
    process,
    test::reduced::{KernelRun, Prepared},
    workspace::Workspace,
};

/// Kernels that are named in README: the oldest with what the agent needs and without attach cookies, the oldest with them, the first
/// stable one with uprobe-multi links, and what is new.
const KERNELS: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7.2"];
const ALL: &str = "all";
const README: &str = "README.md";

pub(crate) fn command(workspace: &Workspace, mut arguments: Arguments) -> Result<ExitCode> {
    let Some(kernel) = arguments.positional() else {
        bail!("a kernel is missing: cargo xtask guest 6.1, cargo xtask guest all, cargo xtask guest 6.1 -- uname -r")
    };
    let options = arguments.rest();
    let guest_command = arguments.finish()?;
    if guest_command.is_empty() {
        return reduced_list(workspace, &named(&kernel), &options);
    }
    let status = runner(workspace, &kernel).args(options).arg("--").args(guest_command).status();
    let status = status.context("could not start tests/vm/run-in-vm")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The reduced list and `doctor` in every guest and on this machine; rewrites README's table.
pub(crate) fn features(workspace: &Workspace, arguments: Arguments) -> Result<ExitCode> {
    if !arguments.finish()?.is_empty() {
        bail!("`features` passes nothing on");
    }
    can_start()?;
    let prepared = Prepared::build(workspace)?;
    let mut runs = in_guests(workspace, &prepared, &KERNELS, &[])?;
    runs.push(KernelRun::on_this_machine(workspace, &prepared, &[])?);
    tell(workspace, &runs, true)
}

fn reduced_list(workspace: &Workspace, kernels: &[&str], filters: &[String]) -> Result<ExitCode> {
    can_start()?;
    let prepared = Prepared::build(workspace)?;
    let runs = in_guests(workspace, &prepared, kernels, filters)?;
    tell(workspace, &runs, false)
}

fn can_start() -> Result<()> {
    match obstacle() {
        Some(obstacle) => bail!("{obstacle}"),
        None => Ok(()),
    }
}

/// `all`, or versions separated by spaces.
pub(crate) fn named(kernels: &str) -> Vec<&str> {
    if kernels == ALL { KERNELS.to_vec() } else { kernels.split_whitespace().collect() }
}

/// One after another: a guest is slow enough when it is alone.
pub(crate) fn in_guests(workspace: &Workspace, prepared: &Prepared, kernels: &[&str], filters: &[String]) -> Result<Vec<KernelRun>> {
    let mut runs = Vec::new();
    for kernel in kernels {
        eprintln!("\n== kernel {kernel} ==");
        let run = KernelRun::in_guest(workspace, prepared, kernel, filters)?;
        eprintln!("{}", run.summary());
        runs.push(run);
    }
    Ok(runs)
}

/// A line for each kernel, and the table of what was found there.
fn tell(workspace: &Workspace, runs: &[KernelRun], write: bool) -> Result<ExitCode> {
    println!();
    for run in runs {
        println!("{}", run.summary());
    }
    println!();
    // Made by a program of the tests, which has a JSON parser: xtask stays quick to build.
    let mut table = process::cargo(workspace);
    table.args(["run", "--quiet", "--ignore-rust-version", "--package", "a11i-tests", "--bin", "feature_table", "--"]);
    if write {
        table.arg("--write").arg(workspace.root.join(README));
    }
    for run in runs {
        let (passed, tests) = run.score();
        table.arg(if run.host { "host" } else { "guest" }).args([passed.to_string(), tests.to_string()]).arg(&run.doctor);
    }
    process::run(&mut table)?;
    Ok(if runs.iter().all(KernelRun::has_passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
