//! `cargo xtask prices FROM.json`: the agent's embedded price table, made anew from a collection of prices.
//!
//! The work is done by an example of `a11i-agent`, which has a JSON parser; xtask stays quick to build.

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, Result};

use crate::{
    arguments::Arguments,
    process::{cargo, run},
    workspace::Workspace,
};

const TABLE: &str = "a11i-agent/src/cost/prices.tsv";

pub(crate) fn command(workspace: &Workspace, mut arguments: Arguments) -> Result<ExitCode> {
    let from = arguments.positional().context("which file? usage: cargo xtask prices FROM.json")?;
    arguments.finish()?;
    let from = Path::new(&from).canonicalize().with_context(|| format!("could not read {from}"))?;
    let mut command = cargo(workspace);
    command.args(["run", "--quiet", "-p", "a11i-agent", "--no-default-features", "--example", "price_table", "--"]);
    run(command.arg(from).arg(TABLE))?;
    eprintln!("wrote {TABLE}; `cargo test -p a11i-agent --no-default-features --lib cost` checks it");
    Ok(ExitCode::SUCCESS)
}
