//! The parts that need a kernel: the end-to-end tests on this one, and a named few of them in a guest.

use std::{env, path::Path};

use anyhow::Result;

use crate::{
    guest, process, run,
    test::{
        Setting,
        reduced::{Prepared, finish},
        report::{Counts, Outcome},
    },
};

/// The kernel of the reduced run: it has kprobes and fentry, and none of the newer uprobe links. Others by [`KERNELS_VARIABLE`]: each takes
/// minutes.
const GUEST_KERNEL: &str = "6.1";
/// Kernels of the reduced run, separated by spaces, or `all`.
const KERNELS_VARIABLE: &str = "A11I_TEST_KERNELS";
/// How often the agent comes and goes in `tests/e2e/restarts.rs`.
const CYCLES_VARIABLE: &str = "A11I_TEST_CYCLES";

pub(super) fn end_to_end(setting: &Setting<'_>) -> Result<Outcome> {
    let prepared = Prepared::build(setting.workspace)?;
    run::mount_file_systems()?;
    let mut command = run::as_root(Path::new("env"))?;
    // Through `env`, since sudo passes on what it is told to only.
    command.arg(prepared.agent_variable());
    if process::in_ci() {
        command.arg("CI=true");
    }
    if let Ok(cycles) = env::var(CYCLES_VARIABLE) {
        command.arg(format!("{CYCLES_VARIABLE}={cycles}"));
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
    let asked = env::var(KERNELS_VARIABLE).unwrap_or_else(|_| GUEST_KERNEL.to_owned());
    let runs = guest::in_guests(setting.workspace, &prepared, &guest::named(&asked), &setting.filters)?;
    let mut all = Outcome { counts: Counts::default(), remarks: Vec::new() };
    for run in runs {
        all.remarks.push(run.summary());
        all.counts = all.counts.plus(run.outcome.counts);
        all.remarks.extend(run.outcome.remarks);
    }
    Ok(all)
}
