//! `cargo xtask bench`: what a11i costs, as tables. Never part of `test`: a time is no assertion.

mod child;
mod kernel;
mod table;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{arguments::Arguments, process, workspace::Workspace};

pub(crate) fn command(workspace: &Workspace, mut arguments: Arguments) -> Result<ExitCode> {
    let part = arguments.positional();
    match part.as_deref() {
        Some("kernel") => {
            if !arguments.finish()?.is_empty() {
                bail!("`bench kernel` passes nothing on");
            }
            kernel::run(workspace)?;
        }
        Some(bench @ ("pipeline" | "memory")) => {
            let passed_on = arguments.finish()?;
            let mut cargo = process::cargo(workspace);
            cargo.args(["bench", "--ignore-rust-version", "--package", "a11i-agent", "--no-default-features", "--profile", "fast"]);
            process::run(cargo.args(["--bench", bench, "--"]).args(passed_on))?;
        }
        _ => bail!("`bench` measures one of: kernel, pipeline, memory"),
    }
    Ok(ExitCode::SUCCESS)
}
