//! `cargo xtask tidy`: the rules of this tree that no compiler and no lint checks.
//!
//! The one that matters most is purity: bytes and time in, values out. It holds because this looks at every path that the source
//! names, not because everyone remembers.

mod files;
mod layers;
mod paths;
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{arguments::Arguments, process, workspace::Workspace};

pub(crate) fn command(workspace: &Workspace, arguments: Arguments) -> Result<ExitCode> {
    arguments.finish()?;
    let findings = check(workspace)?;
    findings.print();
    eprintln!("tidy: {} errors, {} warnings", findings.errors(), findings.all.len().saturating_sub(findings.errors()));
    Ok(if findings.errors() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads every file that git knows (or would: new ones too) and applies all rules.
pub(crate) fn check(workspace: &Workspace) -> Result<Findings> {
    let list = process::output(Command::new("git").current_dir(&workspace.root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]));
    let list = list.context("`git ls-files` failed: tidy works in a git checkout")?;
    let mut findings = Findings::default();
    let places = files::places_of_this_machine(&workspace.root);
    for name in list.split('\0').filter(|name| !name.is_empty()) {
        let path = workspace.root.join(name);
        // Deleted but not yet committed, a link, or no text: nothing to read.
        if !fs::symlink_metadata(&path).is_ok_and(|file| file.is_file()) {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        findings.all.extend(of_file(Path::new(name), &text, &places));
    }
    if findings.all.is_empty() && list.is_empty() {
        bail!("git lists no file in {}", workspace.root.display());
    }
    Ok(findings)
}

fn of_file(name: &Path, text: &str, places: &[String]) -> Vec<Finding> {
    let mut all = files::check(name, text, places);
    if name.extension().is_some_and(|extension| extension == "rs") {
        all.extend(layers::check(name, text));
    }
    all
}

/// What breaks a rule, and where.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: PathBuf,
    /// From 1; 0 for the file as a whole.
    line: usize,
    text: String,
    is_error: bool,
}

/// All findings of one run.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    pub(crate) fn errors(&self) -> usize {
        self.all.iter().filter(|finding| finding.is_error).count()
    }

    pub(crate) fn print(&self) {
        for Finding { file, line, text, is_error } in &self.all {
            let level = if *is_error { "error" } else { "warning" };
            match line {
                0 => println!("{level}: {}: {text}", file.display()),
                line => println!("{level}: {}:{line}: {text}", file.display()),
            }
        }
    }
}
