//! The reduced list of end-to-end tests (named `guest_...`, most in `tests/e2e/guest.rs`) and `a11i doctor`, in a guest or on this machine:
//! what one kernel can do.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Profile},
    guest, packages, process, run,
    test::{
        cargo_steps, counts,
        report::{Counts, Outcome},
    },
    workspace::Workspace,
};

/// In emulation code runs 20 to 40 times slower; this ends a guest that hangs, it measures nothing.
const GUEST_SECONDS: &str = "1800";
/// How the names of the end-to-end tests for guests begin, in whatever module they are.
const GUEST_TESTS: &str = "::guest_";
/// What the clients of the tests need, beside what they fetch themselves.
const PACKAGES: [&str; 15] = [
    "curl",
    "g++",
    "gcc",
    "libc6-dev",
    "libcurl3-gnutls",
    "libgnutls28-dev",
    "libssl-dev",
    "musl-tools",
    "nodejs",
    "php-cli",
    "php-curl",
    "python3",
    "python3-venv",
    "ruby",
    "wget",
];
/// What a test writes on standard error when something it needs is missing (a11i-tests, requirement.rs): `TEST: WHAT; REMEDY`.
const UNMET: &str = "requirement not met: ";
/// Where the end-to-end tests look for the agent.
const AGENT_VARIABLE: &str = "A11I_BIN";
/// `$1 doctor --json` into the file `$2`, then the tests. A doctor that fails is a failed test as well: there it is told in full.
const DOCTOR_THEN_TESTS: &str = r#""$1" doctor --json >"$2"; shift 2; exec "$@""#;

/// The agent and the test program, both the same on every kernel.
pub(crate) struct Prepared {
    pub(crate) agent: PathBuf,
    pub(crate) tests: PathBuf,
}

impl Prepared {
    pub(crate) fn build(workspace: &Workspace) -> Result<Self> {
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

    /// `A11I_BIN=...`
    pub(crate) fn agent_variable(&self) -> String {
        format!("{AGENT_VARIABLE}={}", self.agent.display())
    }

    /// The names of the tests for guests that `filters` leave.
    fn names(&self, filters: &[String]) -> Result<Vec<String>> {
        let list = process::output(Command::new(&self.tests).args(["--list", "--format", "terse", GUEST_TESTS]));
        let list = list.with_context(|| format!("{} does not list its tests", self.tests.display()))?;
        let all = list.lines().filter_map(|line| line.strip_suffix(": test"));
        let names: Vec<String> =
            all.filter(|name| filters.is_empty() || filters.iter().any(|filter| name.contains(filter))).map(str::to_owned).collect();
        if names.is_empty() {
            bail!("no test whose name begins with `guest_` is left to run");
        }
        Ok(names)
    }
}

/// What became of the list on one kernel.
pub(crate) struct KernelRun {
    pub(crate) kernel: String,
    pub(crate) host: bool,
    pub(super) outcome: Outcome,
    /// What `doctor --json` wrote there.
    pub(crate) doctor: PathBuf,
    seconds: u64,
}

impl KernelRun {
    /// In a guest with this kernel.
    pub(crate) fn in_guest(workspace: &Workspace, prepared: &Prepared, kernel: &str, filters: &[String]) -> Result<Self> {
        let folder = folder(workspace)?;
        let doctor = folder.join(format!("doctor-{kernel}.json"));
        let mut command = guest::runner(workspace, kernel);
        command.args(["--timeout", GUEST_SECONDS, "--share"]).arg(&folder).args(["--env", &prepared.agent_variable()]);
        command.args(["--env", "A11I_GUEST=1", "--env", "A11I_TEST_CACHE", "--env", "XDG_CACHE_HOME", "--env", "CI", "--", "sh"]);
        Self::run(command, workspace, prepared, kernel, false, doctor, filters)
    }

    /// On this machine's own kernel.
    pub(crate) fn on_this_machine(workspace: &Workspace, prepared: &Prepared, filters: &[String]) -> Result<Self> {
        run::mount_file_systems()?;
        let doctor = folder(workspace)?.join("doctor-host.json");
        let mut command = run::as_root(Path::new("env"))?;
        command.arg(prepared.agent_variable()).arg("sh");
        Self::run(command, workspace, prepared, "of this machine", true, doctor, filters)
    }

    fn run(
        mut command: Command,
        workspace: &Workspace,
        prepared: &Prepared,
        kernel: &str,
        host: bool,
        doctor: PathBuf,
        filters: &[String],
    ) -> Result<Self> {
        let begun = Instant::now();
        if doctor.exists() {
            fs::remove_file(&doctor).with_context(|| format!("could not remove {}", doctor.display()))?;
        }
        command.args(["-c", DOCTOR_THEN_TESTS, "sh"]).arg(&prepared.agent).arg(&doctor).arg(&prepared.tests);
        command.args(["--test-threads=1", "--exact"]).args(prepared.names(filters)?);
        command.current_dir(workspace.root.join("tests"));
        process::without_cargo_run_variables(&mut command);
        let outcome = finish(&mut command)?;
        Ok(Self { kernel: kernel.to_owned(), host, outcome, doctor, seconds: begun.elapsed().as_secs() })
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.outcome.counts.failed == 0 && self.outcome.counts.passed > 0
    }

    /// Tests that passed, and all of them.
    pub(crate) fn score(&self) -> (u64, u64) {
        let Counts { passed, failed, skipped } = self.outcome.counts;
        (passed, passed.saturating_add(failed).saturating_add(skipped))
    }

    /// In one line.
    pub(crate) fn summary(&self) -> String {
        let Counts { passed, failed, skipped } = self.outcome.counts;
        format!("kernel {}: {passed} passed, {failed} failed, {skipped} skipped, {} s", self.kernel, self.seconds)
    }
}

/// Runs a program of tests; its counts.
pub(super) fn finish(command: &mut Command) -> Result<Outcome> {
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

/// Where reports of guests are kept; shared with them.
fn folder(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("guests");
    fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
    Ok(folder)
}

/// `Executable tests/e2e/main.rs (target/debug/deps/e2e-0123)` → the path.
fn executable(output: &str) -> Option<PathBuf> {
    let line = output.lines().rev().find(|line| line.trim_start().starts_with("Executable "))?;
    Some(PathBuf::from(line.rsplit_once('(')?.1.trim_end().strip_suffix(')')?))
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
