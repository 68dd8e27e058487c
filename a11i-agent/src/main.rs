//! Arguments → command → exit status. The only place that ends the process.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = a11i_agent::cli::Cli::parse();
    match a11i_agent::cli::dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("a11i: {}", a11i_agent::cli::in_words(&error));
            ExitCode::FAILURE
        }
    }
}
