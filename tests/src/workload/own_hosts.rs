//! A program for which the providers' names are this machine's, as by `/etc/hosts`, without touching the machine's: in a mount namespace
//! where that file is another one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::cache;
use crate::requirement::{self, Unmet};

/// A command that becomes `program`, under the same pid.
///
/// # Errors
/// When there is no `unshare`.
pub fn command(program: &Path) -> Result<Command, Unmet> {
    let unshare = requirement::program("unshare", "install the package `util-linux`")?;
    let mut command = Command::new(unshare);
    command.args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#]).arg(hosts()).arg(program);
    Ok(command)
}

/// Written whole or not at all: several tests may want it at once.
fn hosts() -> PathBuf {
    let file = cache().join("hosts");
    if !file.is_file() {
        fs::create_dir_all(cache()).expect("the cache folder is writable");
        let fresh = cache().join(format!("hosts.{}", std::process::id()));
        fs::write(&fresh, "127.0.0.1 localhost api.openai.com api.anthropic.com\n").expect("the cache folder is writable");
        fs::rename(&fresh, &file).expect("the cache folder is writable");
    }
    file
}
