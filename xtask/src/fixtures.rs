//! `cargo xtask fixtures`: the finders of stripped libraries on programs in many builds (`tests/src/fixtures`). Hours on a cold cache, so it is
//! polite to the machine and may be started in the background; what is built stays in the tests' cache.

use std::{
    fs,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::{
    arguments::Arguments,
    build::{self, Profile},
    process,
    workspace::Workspace,
};

/// Where the tests look for the agent.
const AGENT_VARIABLE: &str = "A11I_BIN";

pub(crate) fn command(workspace: &Workspace, mut arguments: Arguments) -> Result<ExitCode> {
    let mut words = Vec::new();
    while let Some(word) = arguments.positional() {
        words.push(word);
    }
    arguments.finish()?;
    build::kernel_half(workspace, std::env::consts::ARCH)?;
    let agent = build::agent(workspace, Profile::Fast)?;
    let mut tool = process::cargo(workspace);
    process::run(tool.args(["build", "--ignore-rust-version", "--package", "a11i-tests", "--bin", "fixtures"]))?;
    // Everybody else's work comes first.
    let mut fixtures = Command::new("nice");
    fixtures.args(["-n", "19"]).arg(workspace.target.join("debug/fixtures")).args(words);
    fixtures.env(AGENT_VARIABLE, &agent);
    process::without_cargo_run_variables(&mut fixtures);
    let (succeeded, output) = process::tee(&mut fixtures)?;
    let noted = workspace.target.join("fixtures.md");
    fs::write(&noted, output).with_context(|| format!("could not write {}", noted.display()))?;
    eprintln!("the table stands in {}", noted.display());
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
