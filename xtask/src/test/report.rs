//! What ran, what did not and why, how long it took: the table at the end.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;

/// How many tests of a part passed, failed and were skipped; a part without tests of its own counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Counts {
    pub(super) fn plus(self, more: Self) -> Self {
        Self {
            passed: self.passed.saturating_add(more.passed),
            failed: self.failed.saturating_add(more.failed),
            skipped: self.skipped.saturating_add(more.skipped),
        }
    }
}

/// What became of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) counts: Counts,
    /// Why it was skipped, in part or as a whole, or how it failed.
    pub(super) remarks: Vec<String>,
}

impl Outcome {
    pub(super) fn passed() -> Self {
        Self { counts: Counts { passed: 1, ..Counts::default() }, remarks: Vec::new() }
    }

    pub(super) fn failed(remark: impl Into<String>) -> Self {
        Self { counts: Counts { failed: 1, ..Counts::default() }, remarks: vec![remark.into()] }
    }

    pub(super) fn skipped(reason: impl Into<String>) -> Self {
        Self { counts: Counts { skipped: 1, ..Counts::default() }, remarks: vec![reason.into()] }
    }
}

struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// The rows so far.
pub(super) struct Report {
    in_ci: bool,
    rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(in_ci: bool) -> Self {
        Self { in_ci, rows: Vec::new() }
    }

    /// Runs a part; an error is a failure of that part only.
    pub(super) fn run(&mut self, name: &'static str, required: bool, work: impl FnOnce() -> Result<Outcome>) {
        eprintln!("\n== {name} ==");
        let start = Instant::now();
        let outcome = work().unwrap_or_else(|error| Outcome::failed(format!("{error:#}")));
        let outcome = if required && self.in_ci { without_excuses(outcome) } else { outcome };
        for remark in &outcome.remarks {
            eprintln!("{name}: {remark}");
        }
        self.rows.push(Row { name, outcome, took: start.elapsed() });
    }

    /// Prints the table; success when nothing failed and something passed.
    pub(super) fn finish(self) -> ExitCode {
        let total = self.total();
        println!("{}", self.table());
        println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
        if total.failed == 0 && total.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn total(&self) -> Counts {
        self.rows.iter().fold(Counts::default(), |sum, row| sum.plus(row.outcome.counts))
    }

    fn table(&self) -> String {
        let mut lines = vec![format!("\n{:24} {:8} {:>7} {:>7} {:>8} {:>8}", "part", "result", "passed", "failed", "skipped", "seconds")];
        for Row { name, outcome: Outcome { counts, remarks }, took } in &self.rows {
            let result = match counts {
                Counts { failed: 1.., .. } => "FAILED",
                Counts { passed: 0, .. } => "skipped",
                Counts { .. } => "passed",
            };
            let Counts { passed, failed, skipped } = counts;
            let seconds = took.as_secs_f64();
            lines.push(format!("{name:24} {result:8} {passed:7} {failed:7} {skipped:8} {seconds:8.1}"));
            lines.extend(remarks.iter().map(|remark| format!("    {}", remark.lines().next().unwrap_or_default())));
        }
        lines.join("\n")
    }
}

/// In CI a skip of a required part is a failure: otherwise a test could stop running for months and nobody would know.
fn without_excuses(outcome: Outcome) -> Outcome {
    let Outcome { counts: Counts { passed, failed, skipped }, mut remarks } = outcome;
    if skipped > 0 {
        remarks.insert(0, "required in CI, so what was skipped counts as failed".to_owned());
    }
    Outcome { counts: Counts { passed, failed: failed.saturating_add(skipped), skipped: 0 }, remarks }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::{Counts, Outcome, Report};

    fn report(in_ci: bool) -> Report {
        let mut report = Report::new(in_ci);
        report.run("required", true, || Ok(Outcome::skipped("no kernel")));
        report.run("optional", false, || Ok(Outcome::skipped("no tool")));
        report.run("fine", true, || Ok(Outcome::passed()));
        report
    }

    #[test]
    fn a_skip_is_a_skip_on_a_developers_machine() {
        assert_eq!(report(false).total(), Counts { passed: 1, failed: 0, skipped: 2 });
    }

    #[test]
    fn a_skip_of_a_required_part_fails_in_ci() {
        let report = report(true);
        assert_eq!(report.total(), Counts { passed: 1, failed: 1, skipped: 1 });
        assert!(report.table().contains("no kernel"));
    }

    #[test]
    fn an_error_fails_its_part_only() {
        let mut report = Report::new(false);
        report.run("broken", true, || Err(anyhow!("could not start")));
        report.run("fine", true, || Ok(Outcome::passed()));
        assert_eq!(report.total(), Counts { passed: 1, failed: 1, skipped: 0 });
        assert!(report.table().contains("could not start"));
    }
}
