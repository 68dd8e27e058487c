//! `a11i processes`: asks the running agent for the coverage of every process.

use std::{collections::HashMap, io::Write as _, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::Common;
use crate::{
    admin::{Reply, Request, Status, client},
    observe::{CoverageReport, FileReport, ProcessReport},
};

#[derive(Args)]
pub(super) struct ProcessesArgs {
    /// Everything as one JSON object, with the kernel half's counters
    #[arg(long)]
    json: bool,
}

/// Exit status 1 when no agent answers.
pub(super) fn processes(common: &Common, args: &ProcessesArgs) -> Result<ExitCode> {
    match ask(common, Request::Processes, |_| {})? {
        Reply::Processes { status, coverage } => {
            let mut out = std::io::stdout();
            if args.json {
                writeln!(out, "{}", serde_json::json!({"status": status, "coverage": coverage}))?;
            } else {
                write!(out, "{}", table(&status, &coverage))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Reply::Refused { reason } => bail!(reason),
        Reply::Progress(_) | Reply::Done { .. } | Reply::Status(_) | Reply::Reloaded { .. } => {
            bail!("the agent's answer is not what was asked")
        }
    }
}

/// Asks the agent of this host. The configuration may say where it is; mistakes in it are no matter here but that one.
pub(super) fn ask(common: &Common, request: Request, progress: impl FnMut(&Reply)) -> Result<Reply> {
    let config = common.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot wait for an answer")?;
    Ok(runtime.block_on(client::ask(config.run_folder.as_deref(), request, progress))?)
}

/// Widest column of a name that others chose.
const NAME_WIDTH: usize = 40;

fn table(status: &Status, coverage: &CoverageReport) -> String {
    let files: HashMap<u64, &FileReport> = coverage.files.iter().map(|file| (file.file, file)).collect();
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(words.trim_end());
        text.push('\n');
    };
    let off = if status.switched_off { "; copying is switched off" } else { "" };
    line(format!(
        "a11i {} (process {}): {}, {} probes, {} calls{off}",
        status.version, status.pid, status.phase, status.probes, status.calls
    ));
    line(format!("{:>8}  {:<24} {:<12} {:<12} {:>8} {:>10}  {}", "PID", "EXECUTABLE", "LIBRARY", "METHOD", "CALLS", "LOST BYTES", ""));
    for process in &coverage.processes {
        let of: Vec<&FileReport> = process.files.iter().filter_map(|file| files.get(file).copied()).collect();
        let words = |pick: fn(&FileReport) -> &str| {
            let mut words: Vec<&str> = of.iter().map(|file| pick(file)).filter(|word| !word.is_empty()).collect();
            words.dedup();
            if words.is_empty() { "-".to_owned() } else { words.join(",") }
        };
        line(format!(
            "{:>8}  {:<24} {:<12} {:<12} {:>8} {:>10}  {}",
            process.pid,
            shown(process.executable.as_deref().unwrap_or("-")),
            words(|file| &file.library),
            words(|file| &file.method),
            process.calls,
            process.lost_bytes,
            remarks(process, &of)
        ));
        for not_covered in &process.not_covered {
            let remedy = not_covered.remedy.as_ref().map(|remedy| format!("; {}", shown(remedy))).unwrap_or_default();
            line(format!("{:>10}not covered: {}{remedy}", "", shown(&not_covered.reason)));
        }
    }
    for file in coverage.files.iter().filter(|file| file.reason.is_some()) {
        let remedy = file.remedy.as_ref().map(|remedy| format!("; {}", shown(remedy))).unwrap_or_default();
        line(format!("file {}: {}{remedy}", shown(&file.path), shown(file.reason.as_deref().unwrap_or_default())));
    }
    text
}

fn remarks(process: &ProcessReport, files: &[&FileReport]) -> String {
    let mut remarks = Vec::new();
    if process.attached_late {
        remarks.push("attached late");
    }
    if files.iter().any(|file| !file.attached) {
        remarks.push("not attached");
    }
    if files.iter().any(|file| file.scope == "processes") {
        remarks.push("probes for some processes only");
    }
    remarks.join(", ")
}

/// Names and paths belong to others: no control characters on the terminal, and the end of a long path says most.
fn shown(name: &str) -> String {
    let escaped: String = name.chars().flat_map(char::escape_debug).collect();
    let length = escaped.chars().count();
    if length <= NAME_WIDTH || escaped.contains(' ') {
        return escaped;
    }
    std::iter::once('…').chain(escaped.chars().skip(length.saturating_sub(NAME_WIDTH - 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::NotCoveredReport;

    #[test]
    fn the_table_has_a_line_per_process_and_the_reasons_below() {
        let file =
            FileReport { file: 1, library: "openssl".to_owned(), method: "symbol".to_owned(), attached: true, ..FileReport::default() };
        let covered = ProcessReport {
            pid: 7,
            executable: Some("/usr/bin/cu\nrl".to_owned()),
            files: vec![1],
            calls: 3,
            lost_bytes: 5,
            attached_late: true,
            ..ProcessReport::default()
        };
        let reason = NotCoveredReport { reason: "no finder".to_owned(), remedy: Some("wait".to_owned()) };
        let not = ProcessReport { pid: 8, not_covered: vec![reason], ..ProcessReport::default() };
        let coverage = CoverageReport { files: vec![file], processes: vec![covered, not] };
        let status = Status { switched_off: true, ..Status::default() };
        let text = table(&status, &coverage);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("switched off"), "{text}");
        for word in ["7", "/usr/bin/cu\\nrl", "openssl", "symbol", "3", "5", "attached late"] {
            assert!(lines[2].contains(word), "{word}: {text}");
        }
        assert!(lines[4].contains("not covered: no finder; wait"), "{text}");
    }

    #[test]
    fn a_long_path_shows_its_end() {
        let long = format!("/{}/bin/python", "x".repeat(80));
        assert!(shown(&long).ends_with("x/bin/python") && shown(&long).chars().count() == NAME_WIDTH);
    }
}
