//! The parts that need a kernel: the end-to-end tests on this one, and a named few of them in a guest.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Profile},
    guest, packages, process, run,
    test::{Setting, cargo_steps, counts, report::Outcome},
    workspace::Workspace,
};

/// The kernel of the reduced run: it has kprobes and fentry, and none of the newer uprobe links.
const GUEST_KERNEL: &str = "6.1";
/// In emulation code runs 20 to 40 times slower; this ends a guest that hangs, it measures nothing.
const GUEST_SECONDS: &str = "1500";
/// The module of the end-to-end tests that is the list for guests.
const GUEST_TESTS: &str = "guest::";
/// What the clients of the tests need, beside Node and the like that they ask for themselves.
const PACKAGES: [&str; 6] = ["curl", "gcc", "libc6-dev", "libssl-dev", "python3", "python3-venv"];
/// What a test writes on standard error when something it needs is missing (a11i-tests, requirement.rs): `TEST: WHAT; REMEDY`.
const UNMET: &str = "requirement not met: ";
/// Where the end-to-end tests look for the agent.
const AGENT_VARIABLE: &str = "A11I_BIN";

pub(super) fn end_to_end(setting: &Setting<'_>) -> Result<Outcome> {
    let prepared = Prepared::build(setting.workspace)?;
    run::mount_file_systems()?;
    let mut command = run::as_root(Path::new("env"))?;
    // Through `env`, since sudo passes on what it is told to only.
    command.arg(assignment(AGENT_VARIABLE, &prepared.agent));
    if process::in_ci() {
        command.arg("CI=true");
    }
    command.arg(&prepared.tests).args(&setting.filters).current_dir(setting.workspace.root.join("tests"));
    process::without_cargo_run_variables(&mut command);
    finish(&mut command)
}

pub(super) fn guest(setting: &Setting<'_>) -> Result<Outcome> {
    if let Some(obstacle) = guest::obstacle() {
        return Ok(Outcome::skipped(obstacle));
    }
    let prepared = Prepared::build(setting.workspace)?;
    let names = guest_tests(&prepared.tests, &setting.filters)?;
    let mut command = guest::runner(setting.workspace, GUEST_KERNEL);
    command.args(["--timeout", GUEST_SECONDS, "--env"]).arg(assignment(AGENT_VARIABLE, &prepared.agent));
    command.args(["--env", "A11I_GUEST=1", "--env", "A11I_TEST_CACHE", "--env", "XDG_CACHE_HOME", "--env", "CI"]);
    command.arg("--").arg(&prepared.tests).args(["--test-threads=1", "--exact"]).args(names);
    command.current_dir(setting.workspace.root.join("tests"));
    finish(&mut command)
}

/// The names of the tests for guests that `filters` leave.
fn guest_tests(program: &Path, filters: &[String]) -> Result<Vec<String>> {
    let list = process::output(Command::new(program).args(["--list", "--format", "terse", GUEST_TESTS]));
    let list = list.with_context(|| format!("{} does not list its tests", program.display()))?;
    let all = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let names: Vec<String> =
        all.filter(|name| filters.is_empty() || filters.iter().any(|filter| name.contains(filter))).map(str::to_owned).collect();
    if names.is_empty() {
        bail!("no test of the module `{GUEST_TESTS}` is left to run");
    }
    Ok(names)
}

/// The agent and the test program, both the same on every kernel.
struct Prepared {
    agent: PathBuf,
    tests: PathBuf,
}

impl Prepared {
    fn build(workspace: &Workspace) -> Result<Self> {
        if packages::usable().is_ok()
            && let Err(error) = packages::install(&PACKAGES)
        {
            // The tests say themselves what they miss.
            eprintln!("xtask: {error:#}; going on without");
        }
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
        Ok(Self { agent, tests: workspace.root.join(tests) })
    }
}

fn finish(command: &mut Command) -> Result<Outcome> {
    let (succeeded, output) = process::tee(command)?;
    Ok(with_unmet(cargo_steps::tests(succeeded, counts::of_libtest(&output)), &output))
}

/// For the test program a test that found something missing has passed; here it was skipped.
fn with_unmet(mut outcome: Outcome, output: &str) -> Outcome {
    for unmet in output.lines().filter_map(|line| line.strip_prefix(UNMET)) {
        outcome.counts.passed = outcome.counts.passed.saturating_sub(1);
        outcome.counts.skipped = outcome.counts.skipped.saturating_add(1);
        outcome.remarks.push(format!("skipped {unmet}"));
    }
    outcome
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

    use super::{executable, with_unmet};
    use crate::test::report::{Counts, Outcome};

    #[test]
    fn a_test_that_misses_something_was_skipped() {
        let outcome = Outcome { counts: Counts { passed: 3, failed: 0, skipped: 0 }, remarks: Vec::new() };
        let outcome = with_unmet(outcome, "requirement not met: a_call: no `curl`; install curl\ntest a_call ... ok\n");
        assert_eq!(outcome.counts, Counts { passed: 2, failed: 0, skipped: 1 });
        assert_eq!(outcome.remarks, ["skipped a_call: no `curl`; install curl"]);
    }

    #[test]
    fn cargo_says_where_the_test_program_is() {
        let output = "    Finished `test` profile\n  Executable tests/e2e/main.rs (target/debug/deps/e2e-0a1b)\n";
        assert_eq!(executable(output), Some(PathBuf::from("target/debug/deps/e2e-0a1b")));
        assert_eq!(executable("error"), None);
    }
}
