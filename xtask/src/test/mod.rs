//! `cargo xtask test`: every part, whatever became of the others, and a table of what that was.

mod cargo_steps;
mod corpus;
mod counts;
mod kernel_steps;
pub(crate) mod reduced;
mod report;

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    arguments::Arguments,
    build, process,
    test::report::{Outcome, Report},
    workspace::Workspace,
};

/// What every part is given.
pub(crate) struct Setting<'a> {
    workspace: &'a Workspace,
    /// Only tests whose names contain one of these.
    filters: Vec<String>,
}

/// One part: its name in the table, the switch that selects it, whether CI must run it, and its work.
struct Step {
    name: &'static str,
    group: &'static str,
    required: bool,
    work: fn(&Setting<'_>) -> Result<Outcome>,
}

/// Cheap ones first; a failure stops none of the others.
const STEPS: [Step; 16] = [
    Step { name: "formatting", group: "--lint", required: true, work: cargo_steps::formatting },
    Step { name: "tidy", group: "--lint", required: true, work: cargo_steps::tidy },
    Step { name: "kernel half", group: "", required: true, work: kernel_half },
    Step { name: "kernel half, arm64", group: "--lint", required: true, work: kernel_half_arm64 },
    Step { name: "unit and golden", group: "--unit", required: true, work: cargo_steps::unit },
    Step { name: "unit, test package", group: "--unit", required: true, work: cargo_steps::unit_of_the_test_package },
    Step { name: "fuzz corpora", group: "--unit", required: true, work: cargo_steps::fuzz_corpora },
    Step { name: "documentation examples", group: "--unit", required: true, work: cargo_steps::doc_examples },
    Step { name: "recorded corpus", group: "--corpus", required: false, work: corpus::score },
    Step { name: "end to end", group: "--e2e", required: true, work: kernel_steps::end_to_end },
    Step { name: "guest kernels", group: "--guest", required: true, work: kernel_steps::guest },
    Step { name: "pure half alone", group: "--lint", required: true, work: cargo_steps::pure_half },
    Step { name: "agent, arm64", group: "--lint", required: false, work: cargo_steps::agent_for_arm64 },
    Step { name: "clippy", group: "--lint", required: true, work: cargo_steps::clippy },
    Step { name: "dependencies (deny)", group: "--lint", required: false, work: cargo_steps::deny },
    Step { name: "spelling (typos)", group: "--lint", required: false, work: cargo_steps::typos },
];
const GROUPS: [&str; 5] = ["--lint", "--unit", "--corpus", "--e2e", "--guest"];

pub(crate) fn command(workspace: &Workspace, mut arguments: Arguments) -> Result<ExitCode> {
    let groups: Vec<&str> = GROUPS.into_iter().filter(|group| arguments.flag(group)).collect();
    let mut filters = Vec::new();
    while let Some(filter) = arguments.positional() {
        filters.push(filter);
    }
    arguments.finish()?;
    let setting = Setting { workspace, filters };
    let mut report = Report::new(process::in_ci());
    for step in STEPS {
        // The kernel half belongs to no group: whatever is compiled or run needs it, but for the parts that only read.
        let selected = groups.is_empty() || groups.contains(&step.group) || (step.group.is_empty() && groups != ["--corpus"]);
        if selected {
            report.run(step.name, step.required, || (step.work)(&setting));
        }
    }
    Ok(report.finish())
}

fn kernel_half(setting: &Setting<'_>) -> Result<Outcome> {
    build::kernel_half(setting.workspace, std::env::consts::ARCH)?;
    Ok(Outcome::passed())
}

fn kernel_half_arm64(setting: &Setting<'_>) -> Result<Outcome> {
    build::kernel_half(setting.workspace, "aarch64")?;
    Ok(Outcome::passed())
}
