//! What a contributor types: `cargo xtask build | run | test | fixtures | bench | tidy | guest | features`.
//!
//! Everything that is needed beside git, a C compiler and cargo is installed where that is possible, or named in one message
//! together with the way to get it. `xtask/README.md` explains the choices.
#![expect(clippy::print_stdout, reason = "a command line tool: its output is its purpose")]

mod arguments;
mod bench;
mod bpf_linker;
mod build;
mod fixtures;
mod guest;
mod packages;
mod prices;
mod process;
mod run;
mod test;
mod tidy;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{arguments::Arguments, workspace::Workspace};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  build [--release] [--kernel-only] [--arch x86_64|aarch64]
        set up what is missing, compile the kernel half, then the agent
  run [--release] [-- ARGS]
        build, then start `a11i run ARGS`, through sudo when not root
  test [--lint] [--unit] [--corpus] [--e2e] [--guest] [FILTER...]
        all parts, or the named ones; a table at the end says what ran
  fixtures [WORD...]
        the finders on rustls and Go in many versions and builds (those whose names have a WORD); hours when nothing is built yet
  bench kernel|pipeline|memory
        what it costs, as tables (BENCHMARKS.md); kernel needs root
  tidy  the rules of this tree that no compiler checks
  prices FROM.json
        the agent's embedded price table, from a collection of prices
  guest KERNEL|all [FILTER...]
        the reduced list of tests and `doctor` under another kernel, or all that README names; a table at the end
  guest KERNEL [OPTIONS] -- COMMAND
        COMMAND under another kernel (tests/vm/README.md)
  features
        the same under all kernels and on this one; README's table of kernels is made of it
";

fn main() -> ExitCode {
    let arguments = Arguments::new(std::env::args().skip(1));
    match dispatch(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(mut arguments: Arguments) -> Result<ExitCode> {
    let command = arguments.positional();
    if arguments.flag("--help") || arguments.flag("-h") {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::locate()?;
    match command.as_deref() {
        Some("build") => build::command(&workspace, arguments),
        Some("run") => run::command(&workspace, arguments),
        Some("test") => test::command(&workspace, arguments),
        Some("fixtures") => fixtures::command(&workspace, arguments),
        Some("bench") => bench::command(&workspace, arguments),
        Some("tidy") => tidy::command(&workspace, arguments),
        Some("prices") => prices::command(&workspace, arguments),
        Some("guest") => guest::command(&workspace, arguments),
        Some("features") => guest::features(&workspace, arguments),
        Some(other) => bail!("no command `{other}`\n\n{USAGE}"),
        None => bail!("a command is missing\n\n{USAGE}"),
    }
}
