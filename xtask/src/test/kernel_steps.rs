//! The parts that need a kernel: the end-to-end tests on this one, and a named few of them in a guest.

use std::path::Path;

use anyhow::Result;

use crate::{
    guest, process, run,
    test::{
        Setting,
        reduced::{KernelRun, Prepared, finish},
        report::Outcome,
    },
};

/// The kernel of the reduced run: it has kprobes and fentry, and none of the newer uprobe links. `cargo xtask guest all` has the others.
const GUEST_KERNEL: &str = "6.1";

pub(super) fn end_to_end(setting: &Setting<'_>) -> Result<Outcome> {
    let prepared = Prepared::build(setting.workspace)?;
    run::mount_file_systems()?;
    let mut command = run::as_root(Path::new("env"))?;
    // Through `env`, since sudo passes on what it is told to only.
    command.arg(prepared.agent_variable());
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
    Ok(KernelRun::in_guest(setting.workspace, &prepared, GUEST_KERNEL, &setting.filters)?.outcome)
}
