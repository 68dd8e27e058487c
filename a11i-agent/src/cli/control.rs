//! `a11i control`: tells the running agent something.

use std::{io::Write as _, process::ExitCode};

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{Common, processes::ask};
use crate::admin::{Reply, Request};

#[derive(Args)]
pub(super) struct ControlArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// The emergency brake: copy nothing from now on, then close every probe
    Detach,
    /// Bring the probes back and go on
    Attach,
    /// Export this share of all traces (0 to 1), until the next start or reload; metrics count every call
    Sampling { ratio: f64 },
    /// Read the configuration again; a mistake changes nothing
    Reload,
}

/// Exit status 1 when the agent refused.
pub(super) fn control(common: &Common, args: &ControlArgs) -> Result<ExitCode> {
    let request = match args.action {
        Action::Detach => Request::Detach,
        Action::Attach => Request::Attach,
        Action::Sampling { ratio } => Request::Sampling { ratio },
        Action::Reload => Request::Reload,
    };
    let reply = ask(common, request, |reply| {
        if let Reply::Progress(progress) = reply {
            let failed = match progress.failed {
                0 => String::new(),
                failed => format!(", {failed} without all their probes (`a11i processes` says why)"),
            };
            writeln!(std::io::stderr(), "{} of {} files{failed}", progress.done, progress.of).ok();
        }
    })?;
    let mut out = std::io::stdout();
    match reply {
        Reply::Done { said } => writeln!(out, "{said}")?,
        Reply::Reloaded { applied, needs_restart } => {
            writeln!(
                out,
                "{}",
                if applied.is_empty() { "nothing changed".to_owned() } else { format!("changed: {}", applied.join(", ")) }
            )?;
            if !needs_restart.is_empty() {
                writeln!(out, "needs a restart: {}", needs_restart.join(", "))?;
            }
        }
        Reply::Refused { reason } => {
            writeln!(std::io::stderr(), "a11i: {reason}").ok();
            return Ok(ExitCode::FAILURE);
        }
        Reply::Progress(_) | Reply::Status(_) | Reply::Processes { .. } => writeln!(out, "{}", serde_json::to_string(&reply)?)?,
    }
    Ok(ExitCode::SUCCESS)
}
