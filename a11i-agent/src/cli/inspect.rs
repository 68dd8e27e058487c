//! `a11i inspect PID-or-PATH`.

use std::{io::Write as _, path::Path, process::ExitCode};

use a11i_common::identity::Pid;
use anyhow::{Context as _, Result};
use clap::Args;

use crate::discovery::{inspect, process::ProcFs};

#[derive(Args)]
pub(super) struct InspectArgs {
    /// A process id, or a program or library file
    target: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn inspect(args: &InspectArgs) -> Result<ExitCode> {
    let report = match args.target.parse::<u32>() {
        Ok(pid) => inspect::process(&ProcFs::default(), Pid(pid)).with_context(|| format!("cannot inspect process {pid}"))?,
        Err(_) => inspect::file(Path::new(&args.target)).with_context(|| format!("cannot inspect {}", args.target))?,
    };
    let mut out = std::io::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(ExitCode::SUCCESS)
}
