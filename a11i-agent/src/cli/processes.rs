//! `a11i processes`: asks the running agent for the coverage of every process.

use std::{collections::HashMap, io::Write as _, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::Common;
use crate::{
    admin::{Reply, Request, Status, client},
    observe::{CoverageReport, FileReport, PlanReport, ProcessReport},
};

#[derive(Args)]
pub(super) struct ProcessesArgs {
    /// Everything as one JSON object, with the kernel half's counters
    #[arg(long)]
    json: bool,
    /// Also the functions that are probed in each file, with their offsets
    #[arg(long)]
    functions: bool,
}

/// Exit status 1 when no agent answers.
pub(super) fn processes(common: &Common, args: &ProcessesArgs) -> Result<ExitCode> {
    match ask(common, Request::Processes, |_| {})? {
        Reply::Processes { status, coverage } => {
            let mut out = std::io::stdout();
            if args.json {
                writeln!(out, "{}", serde_json::json!({"status": status, "coverage": coverage}))?;
            } else {
                write!(out, "{}", table(&status, &coverage, args.functions))?;
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

fn table(status: &Status, coverage: &CoverageReport, with_functions: bool) -> String {
    let files: HashMap<u64, &FileReport> = coverage.files.iter().map(|file| (file.file, file)).collect();
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(words.trim_end());
        text.push('\n');
    };
    let off = if status.switched_off { "; copying is switched off" } else { "" };
    line(format!(
        "a11i {} (process {}): {}, {} probes, {} calls, {} incomplete, {} bytes lost, {} connections joined late{off}",
        status.version,
        status.pid,
        status.phase,
        status.probes,
        status.calls,
        status.incomplete,
        status.lost_bytes,
        status.late_attachments
    ));
    line(match (&status.sockets.front_end, &status.sockets.reason) {
        (Some(front_end), _) => format!("traffic without TLS: seen by {front_end}"),
        (None, reason) => {
            let remedy = status.sockets.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
            let why = reason.as_deref().unwrap_or("the agent does not say why");
            format!("traffic without TLS: {}: {why}{remedy}", status.sockets.missing())
        }
    });
    line(format!("{:>8}  {:<24} {:<20} {:<12} {:>8} {:>10}  {}", "PID", "EXECUTABLE", "LIBRARY", "METHOD", "CALLS", "LOST BYTES", ""));
    for process in &coverage.processes {
        let of: Vec<&FileReport> = process.files.iter().filter_map(|file| files.get(file).copied()).collect();
        let (libraries, methods) = how(process, &of);
        line(format!(
            "{:>8}  {:<24} {:<20} {:<12} {:>8} {:>10}  {}",
            process.pid,
            shown(process.executable.as_deref().unwrap_or("-")),
            libraries,
            methods,
            process.calls,
            process.lost_bytes,
            remarks(process, &of)
        ));
        for not_covered in &process.not_covered {
            let remedy = not_covered.remedy.as_ref().map(|remedy| format!("; {}", shown(remedy))).unwrap_or_default();
            line(format!("{:>10}not covered: {}{remedy}", "", shown(&not_covered.reason)));
        }
    }
    for file in &coverage.files {
        of_file(file, with_functions, &mut line);
    }
    text
}

/// Libraries with their versions, and the methods by which they were found; of a process without any, how its calls were seen.
fn how(process: &ProcessReport, files: &[&FileReport]) -> (String, String) {
    let plans = || files.iter().flat_map(|file| &file.plans);
    let (mut libraries, mut methods): (Vec<String>, Vec<String>) =
        (plans().map(named).collect(), plans().map(|plan| plan.method.clone()).collect());
    for through in &process.seen_through {
        let (library, method) = through.split_once('/').unwrap_or((through, "?"));
        if !plans().any(|plan| plan.library == library) {
            libraries.push(library.to_owned());
            methods.push(method.to_owned());
        }
    }
    let words = |mut words: Vec<String>| {
        words.dedup();
        if words.is_empty() { "-".to_owned() } else { words.join(", ") }
    };
    (words(libraries), words(methods))
}

fn named(plan: &PlanReport) -> String {
    let version = plan.version.as_ref().map(|version| format!(" {}", shown(version))).unwrap_or_default();
    format!("{}{version}", plan.library)
}

/// What is in a file, for whom it is probed, and what came of it.
fn of_file(file: &FileReport, with_functions: bool, line: &mut impl FnMut(String)) {
    line(format!("file {}: {} processes, {} calls of its functions a second", shown(&file.path), file.users, file.hits_per_second));
    for plan in &file.plans {
        let scope = match (file.attached && plan.reason.is_none(), file.scope.as_str()) {
            (false, _) => "not attached",
            (true, "everyone") => "attached for everyone",
            (true, _) => "attached for some processes",
        };
        let probation = plan.probation.as_str().map(|state| format!("; {state}")).unwrap_or_default();
        let (functions, seen) = (plan.functions.len(), plan.seen.as_str());
        line(format!("    {} by {}, {functions} functions, {scope}; {seen}{probation}", named(plan), plan.method));
        if let Some(reason) = &plan.reason {
            let remedy = plan.remedy.as_ref().map(|remedy| format!("; {}", shown(remedy))).unwrap_or_default();
            line(format!("        not attached: {}{remedy}", shown(reason)));
        }
        if with_functions {
            for function in &plan.functions {
                line(format!("        {:<29} {:#10x}  {}", shown(&function.name), function.offset, function.probed()));
            }
            plan.refused.iter().for_each(|refused| line(format!("        not probed: {}", shown(refused))));
        }
    }
    if let Some(reason) = &file.reason {
        let remedy = file.remedy.as_ref().map(|remedy| format!("; {}", shown(remedy))).unwrap_or_default();
        line(format!("    not for everyone, or not at all: {}{remedy}", shown(reason)));
    }
}

fn remarks(process: &ProcessReport, files: &[&FileReport]) -> String {
    let mut remarks = Vec::new();
    if process.attached_late {
        remarks.push("attached late".to_owned());
    }
    if files.iter().any(|file| !file.attached) {
        remarks.push("not attached".to_owned());
    }
    if files.iter().any(|file| file.scope == "processes") {
        remarks.push("probes for some processes only".to_owned());
    }
    if process.incomplete_calls > 0 {
        remarks.push(format!("{} calls incomplete", process.incomplete_calls));
    }
    if process.joined_late_calls > 0 {
        remarks.push(format!("{} of connections joined late", process.joined_late_calls));
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
    use crate::{
        capture::sockets::SocketStanding,
        discovery::inspect::FunctionReport,
        observe::{NotCoveredReport, ProbationState, Seen},
    };

    fn coverage() -> CoverageReport {
        let plan = PlanReport {
            library: "openssl".to_owned(),
            method: "symbol".to_owned(),
            version: Some("3.0.17".to_owned()),
            functions: vec![FunctionReport { name: "SSL_read".to_owned(), offset: 0x35470, is_return_probed: true, exits: 0 }],
            refused: vec!["SSL_free: why".to_owned()],
            seen: Seen::Http,
            probation: ProbationState::NotNeeded,
            reason: None,
            remedy: None,
        };
        let file = FileReport {
            file: 1,
            path: "/lib/libssl.so.3".to_owned(),
            plans: vec![plan],
            attached: true,
            scope: "everyone".to_owned(),
            ..FileReport::default()
        };
        let covered = ProcessReport {
            pid: 7,
            executable: Some("/usr/bin/cu\nrl".to_owned()),
            files: vec![1],
            calls: 3,
            lost_bytes: 5,
            incomplete_calls: 2,
            attached_late: true,
            seen_through: vec!["openssl/symbol".to_owned()],
            ..ProcessReport::default()
        };
        let reason = NotCoveredReport { reason: "no finder".to_owned(), remedy: Some("wait".to_owned()) };
        let not = ProcessReport { pid: 8, not_covered: vec![reason], ..ProcessReport::default() };
        let clear = ProcessReport { pid: 9, calls: 1, seen_through: vec!["plaintext/socket".to_owned()], ..ProcessReport::default() };
        CoverageReport { files: vec![file], processes: vec![covered, not, clear] }
    }

    #[test]
    fn the_table_has_a_line_per_process_and_the_reasons_below() {
        let sockets =
            SocketStanding { reason: Some("no kprobes".to_owned()), remedy: Some("ask for it".to_owned()), ..SocketStanding::default() };
        let status = Status { switched_off: true, sockets, lost_bytes: 44, late_attachments: 55, ..Status::default() };
        let text = table(&status, &coverage(), false);
        let lines: Vec<&str> = text.lines().collect();
        for word in ["switched off", "44 bytes lost", "55 connections joined late"] {
            assert!(lines[0].contains(word), "{word}: {text}");
        }
        assert_eq!(lines[1], "traffic without TLS: not seen: no kprobes; ask for it");
        for word in ["7", "/usr/bin/cu\\nrl", "openssl 3.0.17", "symbol", "3", "5", "attached late", "2 calls incomplete"] {
            assert!(lines[3].contains(word), "{word}: {text}");
        }
        assert!(lines[5].contains("not covered: no finder; wait"), "{text}");
        assert!(lines[6].contains("plaintext") && lines[6].contains("socket"), "{text}");
        assert!(text.contains("openssl 3.0.17 by symbol, 1 functions, attached for everyone; confirmed"), "{text}");
        assert!(!text.contains("SSL_read"), "{text}");
    }

    #[test]
    fn functions_are_listed_with_their_offsets_when_they_are_asked_for() {
        let sockets = SocketStanding { front_end: Some("tracepoints".to_owned()), ..SocketStanding::default() };
        let text = table(&Status { sockets, ..Status::default() }, &coverage(), true);
        assert!(text.contains("seen by tracepoints"), "{text}");
        let line = text.lines().find(|line| line.contains("SSL_read")).unwrap_or_default();
        assert!(line.contains("0x35470") && line.contains("entry and return"), "{text}");
        assert!(text.contains("not probed: SSL_free: why"), "{text}");
    }

    #[test]
    fn a_long_path_shows_its_end() {
        let long = format!("/{}/bin/python", "x".repeat(80));
        assert!(shown(&long).ends_with("x/bin/python") && shown(&long).chars().count() == NAME_WIDTH);
    }
}
