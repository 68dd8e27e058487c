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

/// The share of all calls in which every field must be right.
const LEAST_SHARE: &str = "0.995";
/// The same of one API, where it has more records than [`FEW_RECORDS`]: of fewer, one more or less says little.
const LEAST_SHARE_OF_API: &str = "0.98";
const FEW_RECORDS: usize = 20;

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
    // What the providers said is taken out first: the agent must not see it.
    let (scorer, stripped) = (corpus.join("score.py"), work.join("stripped"));
    process::run(Command::new("python3").arg(&scorer).arg(&corpus).arg("--strip").arg(&stripped))?;
    let (got, full) = (work.join("got"), work.join("full"));
    replay(&agent, &stripped, &got, "none")?;
    replay(&agent, &stripped, &full, "full")?;
    let (mut counts, mut remarks) = (Counts::default(), Vec::new());
    let mut check = |records: &Path, least: &str| -> Result<()> {
        let mut python = Command::new("python3");
        python.arg(&scorer).arg(records).arg("--got").arg(&got).arg("--full").arg(&full).args(["--min", least]);
        let (right, output) = process::tee(&mut python)?;
        if right {
            counts.passed = counts.passed.saturating_add(1);
        } else {
            counts.failed = counts.failed.saturating_add(1);
            let last = output.lines().rev().find(|line| !line.is_empty()).unwrap_or("no score");
            remarks.push(format!("{}: {last}", records.display()));
        }
        Ok(())
    };
    check(&corpus, LEAST_SHARE)?;
    for records in apis(&corpus)? {
        check(&records, LEAST_SHARE_OF_API)?;
    }
    Ok(Outcome { counts, remarks })
}

/// The files of APIs with enough records to say something of each.
fn apis(corpus: &Path) -> Result<Vec<PathBuf>> {
    let attempt = || format!("could not read {}", corpus.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(corpus).with_context(attempt)? {
        let path = entry.with_context(attempt)?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl")
            && fs::read_to_string(&path).with_context(attempt)?.lines().count() > FEW_RECORDS
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
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
