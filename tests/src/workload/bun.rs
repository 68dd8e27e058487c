//! JavaScript on Bun, whose BoringSSL is linked into the program and stripped: the modules `https` and `fetch`.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use super::{cache, clients, own_hosts, program::Program};
use crate::{
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
};

/// The program of the npm package.
#[derive(Clone, Debug)]
pub struct Bun {
    program: PathBuf,
}

/// The package holds the program alone; package and version of what is tested.
const PACKAGE: &str = if cfg!(target_arch = "aarch64") { "@oven/bun-linux-aarch64" } else { "@oven/bun-linux-x64" };
const VERSION: &str = "1.3.14";
/// 40 MB, where registries are slow; it happens once.
const DOWNLOAD: Duration = Duration::from_mins(10);

impl Bun {
    /// From the cache, or fetched now.
    ///
    /// # Errors
    /// What is missing, with npm's own words.
    pub async fn from_its_package() -> Result<Self, Unmet> {
        let folder = cache().join(format!("bun-{VERSION}"));
        let program = folder.join("package/bin/bun");
        if program.is_file() {
            return Ok(Self { program });
        }
        let npm = requirement::program("npm", "install the package `npm`")?;
        let tar = requirement::program("tar", "install the package `tar`")?;
        fs::create_dir_all(cache())
            .map_err(|error| Unmet::new(format!("the cache folder cannot be made: {error}"), "set A11I_TEST_CACHE"))?;
        // Several test processes may want it at once.
        let lock = File::create(cache().join("bun.lock")).expect("the cache folder is writable");
        lock.lock().expect("a file can be locked");
        if !program.is_file() {
            let fresh = cache().join("bun.fetched");
            fs::remove_dir_all(&fresh).ok();
            fs::create_dir_all(&fresh).expect("the cache folder is writable");
            let package = format!("{PACKAGE}@{VERSION}");
            said(Command::new(npm).args(["pack", "--silent", "--pack-destination"]).arg(&fresh).arg(&package), "npm pack").await?;
            let packed = fs::read_dir(&fresh).expect("it was just made").flatten().map(|entry| entry.path());
            let packed = packed.filter(|path| path.extension().is_some_and(|extension| extension == "tgz")).last();
            let packed = packed.ok_or_else(|| Unmet::new(format!("npm brought no {package}"), REMEDY))?;
            said(Command::new(tar).arg("-xzf").arg(&packed).arg("-C").arg(&fresh), "tar").await?;
            fs::remove_file(&packed).ok();
            fs::remove_dir_all(&folder).ok();
            fs::rename(&fresh, &folder).expect("the cache folder is writable");
        }
        Ok(Self { program })
    }

    /// Starts `clients/node/chat.js`, an ordinary client for either runtime, which calls the stand-in by the providers' names.
    ///
    /// # Errors
    /// When names cannot be made the stand-in's.
    pub fn start(&self, stub: &ProviderStub) -> Result<Program, Unmet> {
        let mut command = own_hosts::command(&self.program)?;
        command.arg(clients().join("node/chat.js")).arg(stub.port().to_string()).arg(stub.ca_file());
        // `fetch` takes certificates from nowhere else.
        command.env("NODE_EXTRA_CA_CERTS", stub.ca_file());
        Ok(Program::start(&mut command))
    }
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
