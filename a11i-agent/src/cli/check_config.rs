//! `a11i check-config FILE`.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;

use super::Common;

#[derive(Args)]
pub(super) struct CheckConfigArgs {
    /// The file; without it, environment and flags alone are checked
    file: Option<PathBuf>,
}

pub(super) fn check_config(common: &Common, args: &CheckConfigArgs) -> Result<ExitCode> {
    let mut common = common.clone();
    common.config = args.file.clone().or(common.config);
    let config = common.load()?;
    writeln!(std::io::stdout(), "{config}")?;
    Ok(ExitCode::SUCCESS)
}
