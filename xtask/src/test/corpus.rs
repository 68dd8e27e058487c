//! The recorded corpus: `a11i replay` over real provider traffic, compared with what the providers said.
//!
//! The corpus is no part of this tree (its records belong to others). It is looked for in `A11I_CORPUS`, then beside the tree.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Profile},
    process,
    test::{
        Setting,
        report::{Counts, Outcome},
    },
    workspace::Workspace,
};

/// The APIs whose calls must be right today.
const FILES: [&str; 3] = ["openai.chat.jsonl", "openai.responses.jsonl", "anthropic.messages.jsonl"];
/// The share of calls of each file in which every field must be right.
const LEAST_SHARE: &str = "0.99";

pub(super) fn score(setting: &Setting<'_>) -> Result<Outcome> {
    let Some(corpus) = folder(setting.workspace) else {
        return Ok(Outcome::skipped("optional; no recorded corpus here (A11I_CORPUS names its folder)"));
    };
    if process::which("python3").is_none() {
        return Ok(Outcome::failed("python3 is missing, with which the corpus scores itself"));
    }
    build::kernel_half(setting.workspace, env::consts::ARCH)?;
    let agent = build::agent(setting.workspace, Profile::Dev)?;
    let work = setting.workspace.target.join("corpus");
    fs::create_dir_all(&work).with_context(|| format!("could not create {}", work.display()))?;
    let (mut counts, mut remarks) = (Counts::default(), Vec::new());
    for name in FILES {
        match one(&corpus, name, &agent, &work)? {
            None => counts.passed = counts.passed.saturating_add(1),
            Some(remark) => {
                counts.failed = counts.failed.saturating_add(1);
                remarks.push(format!("{name}: {remark}"));
            }
        }
    }
    Ok(Outcome { counts, remarks })
}

/// `None` when the calls of the file are right, else the last line of the score.
fn one(corpus: &Path, name: &str, agent: &Path, work: &Path) -> Result<Option<String>> {
    let (records, scorer) = (corpus.join(name), corpus.join("score.py"));
    // What the providers said is taken out first: the agent must not see it.
    let stripped = work.join(name);
    process::run(Command::new("python3").args([&scorer, &records]).arg("--strip").arg(&stripped))?;
    let (got, full) = (work.join(format!("{name}.got")), work.join(format!("{name}.full")));
    replay(agent, &stripped, &got, "none")?;
    replay(agent, &stripped, &full, "full")?;
    let mut python = Command::new("python3");
    python.args([&scorer, &records]).arg("--got").arg(&got).arg("--full").arg(&full).args(["--min", LEAST_SHARE]);
    let (right, output) = process::tee(&mut python)?;
    Ok((!right).then(|| output.lines().rev().find(|line| !line.is_empty()).unwrap_or("no score").to_owned()))
}

fn replay(agent: &Path, records: &Path, into: &Path, content: &str) -> Result<()> {
    let output = File::create(into).with_context(|| format!("could not create {}", into.display()))?;
    let status = Command::new(agent).arg("replay").arg(records).env("A11I_CONTENT", content).stdout(output).status();
    if !status.with_context(|| format!("could not start {}", agent.display()))?.success() {
        bail!("`a11i replay {}` failed", records.display());
    }
    Ok(())
}

fn folder(workspace: &Workspace) -> Option<PathBuf> {
    let beside = || Some(workspace.root.parent()?.join("shared/corpus"));
    env::var_os("A11I_CORPUS").map(PathBuf::from).or_else(beside).filter(|folder| folder.join("score.py").is_file())
}
