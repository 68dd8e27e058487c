//! The commands of the binary, one file each: arguments in, exit status out.

mod check_config;
mod control;
mod doctor;
mod exec;
mod inspect;
mod processes;
mod replay;
mod run;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Config, Mistakes, ProcessEnvironment, Sources},
    telemetry::logging,
};

/// Sees the LLM calls of every process on this node and turns them into tokens, dollars, latencies and traces in OpenTelemetry.
#[derive(Parser)]
#[command(name = "a11i", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone)]
struct Common {
    /// YAML file with settings; drop-ins are read from the folder of the same name with `.d`
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How much a11i says about itself on standard error: off, error, warn, info, debug, trace
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Calls on standard output: pretty, json, none, auto (pretty unless an OTLP endpoint is configured)
    #[arg(long, global = true, value_name = "FORM")]
    output: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Observe every process of this host until SIGTERM or SIGINT
    Run(run::RunArgs),
    /// Run a command with its libraries probed before it starts, observe it and its descendants, print its calls and a summary
    Exec(exec::ExecArgs),
    /// Try what this host offers and say what is missing and what that costs
    Doctor(doctor::DoctorArgs),
    /// Say which TLS libraries and functions a process or file has, or why nothing is seen of it
    Inspect(inspect::InspectArgs),
    /// Ask the running agent which processes are covered, by what, and why others are not
    Processes(processes::ProcessesArgs),
    /// Tell the running agent to stop copying, go on, change sampling, or read its configuration again
    Control(control::ControlArgs),
    /// Send recorded exchanges through the pipeline, without a kernel; one JSON line per call
    Replay(replay::ReplayArgs),
    /// Check a configuration file and print the effective configuration
    CheckConfig(check_config::CheckConfigArgs),
}

/// Runs the command.
///
/// # Errors
/// What was attempted, what is wrong, what to do.
pub fn dispatch(cli: Cli) -> Result<ExitCode> {
    let Cli { common, command } = cli;
    match command {
        Command::Run(args) => run::run(&common, &args),
        Command::Exec(args) => Ok(exec::exec(&common, args)),
        Command::Doctor(args) => doctor::doctor(&common, &args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Processes(args) => processes::processes(&common, &args),
        Command::Control(args) => control::control(&common, &args),
        Command::Replay(args) => replay::replay(&common, &args),
        Command::CheckConfig(args) => check_config::check_config(&common, &args),
    }
}

/// An error with its causes, in a line. Many errors have the words of their cause in theirs: those are said once.
pub fn in_words(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |said, cause| if said.contains(&cause) { said } else { format!("{said}: {cause}") })
}

impl Common {
    /// The checked configuration of flags, environment and file.
    fn load(&self) -> Result<Config, Mistakes> {
        let mut flags = Vec::new();
        if let Some(level) = &self.log_level {
            flags.push(("log_level", level.clone()));
        }
        if let Some(output) = &self.output {
            flags.push(("output", output.clone()));
        }
        Config::load(&Sources { file: self.config.as_deref(), flags }, &ProcessEnvironment)
    }

    /// The same, with logging started.
    fn start(&self) -> Result<Config, Mistakes> {
        let config = self.load()?;
        logging::start(config.log_level);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{path}: {source}")]
    struct Named {
        path: &'static str,
        source: std::fmt::Error,
    }

    #[test]
    fn words_of_a_cause_are_said_once() {
        let named = Named { path: "/x", source: std::fmt::Error };
        let cause = std::fmt::Error.to_string();
        let error = anyhow::Error::from(named).context("cannot inspect it");
        assert_eq!(in_words(&error), format!("cannot inspect it: /x: {cause}"));
        assert_eq!(in_words(&anyhow::anyhow!("b").context("a")), "a: b");
    }
}
