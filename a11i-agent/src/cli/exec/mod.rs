//! `a11i exec -- CMD ARGS`.
//!
//! ```text
//!  launch   the caller's own process: starts CMD behind the gate, opens it when everything is attached, passes signals on
//!  gate     the process that becomes CMD: uid, groups, environment, descriptors, directory and terminal are the caller's, untouched
//!  attend   the privileged half: loads, attaches, observes CMD and its descendants, prints. Part of `launch` as root, else this
//!           program again, started through sudo
//!  hide     asks the `run` of this host not to report CMD as well
//! ```
//! Until the gate is open, whatever goes wrong here means that CMD does not run. From then on nothing that happens to a11i
//! happens to CMD.

mod attend;
mod gate;
mod hide;
mod launch;
mod request;
mod signals;

use std::{ffi::OsString, io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;

use super::{Common, in_words, run::runtime};
use crate::observe::Summary;

#[derive(Args)]
pub(super) struct ExecArgs {
    /// The process that waits at the gate and then becomes the command: the program file (used by a11i itself)
    #[arg(long, hide = true, value_name = "PROGRAM")]
    gate: Option<PathBuf>,
    /// The privileged half: take a request from standard input (used by a11i itself)
    #[arg(long, hide = true)]
    attend: bool,
    /// The privileged half, its request taken: observe this process and its descendants (used by a11i itself)
    #[arg(long, hide = true, value_name = "PID")]
    observe: Option<u32>,
    /// The command and its arguments
    #[arg(required_unless_present = "attend", trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// The command was not run because of something of ours; as `env`, `timeout` and `docker run` say it.
const NOT_RUN: u8 = 125;

/// The command's file is there and cannot be run; as shells say it.
const NOT_EXECUTABLE: u8 = 126;

/// The command is not there; as shells say it.
const NOT_FOUND: u8 = 127;

/// The exit status: the command's, or one of those above with a sentence on standard error.
pub(super) fn exec(common: &Common, args: ExecArgs) -> ExitCode {
    if let Some(program) = args.gate {
        // Before anything else of a11i: this process is going to be the command.
        return gate::pass(&program, &args.command);
    }
    let done = if args.attend {
        attend::take_request(common)
    } else if let Some(pid) = args.observe {
        attend::observe(common, pid, args.command)
    } else {
        launch::launch(common, &args.command)
    };
    done.unwrap_or_else(|error| {
        say(&format!("a11i: {}", in_words(&error)));
        ExitCode::from(NOT_RUN)
    })
}

/// A line on standard error. That nobody reads it must not end what says it.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(work)
}

fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find a11i's own program file. Remedy: mount /proc")
}

#[expect(clippy::cast_precision_loss, reason = "for reading")]
fn summary_text(summary: &Summary) -> String {
    let mut text = vec![format!(
        "a11i: {} calls, {} failed, {} input and {} output tokens, ${:.6}",
        summary.calls,
        summary.errors,
        summary.input_tokens,
        summary.output_tokens,
        summary.cost_nano_usd as f64 / 1e9
    )];
    if summary.unpriced > 0 {
        text.push(format!("{} without a price", summary.unpriced));
    }
    if summary.incomplete > 0 {
        text.push(format!("{} not seen whole", summary.incomplete));
    }
    if let Some(export) = summary.export {
        if export.dropped_spans > 0 {
            text.push(format!("{} spans could not be delivered", export.dropped_spans));
        }
        if !export.metrics_flushed {
            text.push("the last metrics could not be delivered".to_owned());
        }
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::ShutdownReport;

    #[test]
    fn the_summary_says_what_was_not_delivered() {
        let undelivered = ShutdownReport { exported_spans: 3, dropped_spans: 2, metrics_flushed: false };
        let text = summary_text(&Summary { calls: 5, export: Some(undelivered), ..Summary::default() });
        assert!(text.contains("2 spans could not be delivered"), "{text}");
        assert!(text.contains("the last metrics could not be delivered"), "{text}");
        let delivered = ShutdownReport { exported_spans: 5, dropped_spans: 0, metrics_flushed: true };
        let text = summary_text(&Summary { calls: 5, export: Some(delivered), ..Summary::default() });
        assert!(!text.contains("delivered"), "{text}");
    }
}
