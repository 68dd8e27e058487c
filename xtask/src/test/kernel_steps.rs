//! The parts that need a kernel: the end-to-end tests on this one, and a named few of them in a guest.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Profile},
    guest, process, run,
    test::{Setting, cargo_steps, counts, report::Outcome},
    workspace::Workspace,
};

/// The kernel of the reduced run: it has kprobes and fentry, and none of the newer uprobe links.
const GUEST_KERNEL: &str = "6.1";
/// In emulation code runs 20 to 40 times slower; this ends a guest that hangs, it measures nothing.
const GUEST_SECONDS: &str = "1500";
/// Names the tests for guests, one a line.
const GUEST_LIST: &str = "tests/vm/guest-tests.txt";
/// The file into which an end-to-end test writes `NAME<tab>REASON` when something it needs is missing.
const SKIP_REPORT: &str = "A11I_SKIP_REPORT";

pub(super) fn end_to_end(setting: &Setting<'_>) -> Result<Outcome> {
    let prepared = Prepared::build(setting.workspace)?;
    run::mount_file_systems()?;
    let skips = prepared.work.join("skipped-end-to-end");
    fs::write(&skips, "")?;
    let mut command = run::as_root(Path::new("env"))?;
    command.arg(assignment(SKIP_REPORT, &skips)).arg(assignment("A11I_BIN", &prepared.agent));
    command.arg(&prepared.tests).args(&setting.filters).current_dir(setting.workspace.root.join("tests"));
    process::without_cargo_run_variables(&mut command);
    finish(&mut command, &skips)
}

pub(super) fn guest(setting: &Setting<'_>) -> Result<Outcome> {
    if let Some(obstacle) = guest::obstacle() {
        return Ok(Outcome::skipped(obstacle));
    }
    let list = setting.workspace.root.join(GUEST_LIST);
    let list = fs::read_to_string(&list).with_context(|| format!("could not read {}", list.display()))?;
    let chosen = |name: &&str| setting.filters.is_empty() || setting.filters.iter().any(|filter| name.contains(filter.as_str()));
    let names: Vec<&str> = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).filter(chosen).collect();
    if names.is_empty() {
        bail!("{GUEST_LIST} names no test{}", if setting.filters.is_empty() { "" } else { " that the filter leaves" });
    }
    let prepared = Prepared::build(setting.workspace)?;
    let shared = prepared.work.join("guest");
    fs::create_dir_all(&shared)?;
    let skips = shared.join("skipped");
    fs::write(&skips, "")?;
    let mut command = guest::runner(setting.workspace, GUEST_KERNEL);
    command.args(["--timeout", GUEST_SECONDS, "--share"]).arg(&shared);
    command.arg("--env").arg(assignment(SKIP_REPORT, &skips)).arg("--env").arg(assignment("A11I_BIN", &prepared.agent));
    command.args(["--env", "A11I_GUEST=1", "--env", "CI"]);
    command.arg("--").arg(&prepared.tests).args(["--test-threads=1", "--exact"]).args(names);
    command.current_dir(setting.workspace.root.join("tests"));
    finish(&mut command, &skips)
}

/// The agent and the test program, both the same on every kernel.
struct Prepared {
    agent: PathBuf,
    tests: PathBuf,
    work: PathBuf,
}

impl Prepared {
    fn build(workspace: &Workspace) -> Result<Self> {
        build::kernel_half(workspace, env::consts::ARCH)?;
        let agent = build::agent(workspace, Profile::Dev)?;
        // The helpers of the tests are programs of their own package.
        let mut programs = process::cargo(workspace);
        process::run(programs.args(["build", "--ignore-rust-version", "--package", "a11i-tests"]))?;
        let mut cargo = process::cargo(workspace);
        cargo.args(["test", "--ignore-rust-version", "--package", "a11i-tests", "--test", "e2e", "--no-run", "--color=never"]);
        let (succeeded, output) = process::tee(&mut cargo)?;
        if !succeeded {
            bail!("the end-to-end tests do not compile");
        }
        let tests = executable(&output).context("cargo does not say where the end-to-end test program is")?;
        let work = workspace.target.join("e2e");
        fs::create_dir_all(&work).with_context(|| format!("could not create {}", work.display()))?;
        Ok(Self { agent, tests: workspace.root.join(tests), work })
    }
}

fn finish(command: &mut Command, skips: &Path) -> Result<Outcome> {
    let (succeeded, output) = process::tee(command)?;
    let mut outcome = cargo_steps::tests(succeeded, counts::of_libtest(&output));
    // For the test program a test that found something missing has passed.
    for line in fs::read_to_string(skips).unwrap_or_default().lines() {
        outcome.counts.passed = outcome.counts.passed.saturating_sub(1);
        outcome.counts.skipped = outcome.counts.skipped.saturating_add(1);
        outcome.remarks.push(format!("skipped {}", line.replace('\t', ": ")));
    }
    Ok(outcome)
}

/// `Executable tests/e2e/main.rs (target/debug/deps/e2e-0123)` → the path.
fn executable(output: &str) -> Option<PathBuf> {
    let line = output.lines().rev().find(|line| line.trim_start().starts_with("Executable "))?;
    Some(PathBuf::from(line.rsplit_once('(')?.1.trim_end().strip_suffix(')')?))
}

fn assignment(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::executable;

    #[test]
    fn cargo_says_where_the_test_program_is() {
        let output = "    Finished `test` profile\n  Executable tests/e2e/main.rs (target/debug/deps/e2e-0a1b)\n";
        assert_eq!(executable(output), Some(PathBuf::from("target/debug/deps/e2e-0a1b")));
        assert_eq!(executable("error"), None);
    }
}
