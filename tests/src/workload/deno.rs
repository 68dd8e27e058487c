//! JavaScript on Deno, whose rustls is linked into the program and stripped.

use std::path::{Path, PathBuf};

use super::{cache, clients, npm, own_hosts, program::Program};
use crate::{provider_stub::ProviderStub, requirement::Unmet};

/// The program of the npm package.
#[derive(Clone, Debug)]
pub struct Deno {
    program: PathBuf,
}

/// The package holds the program alone; package and version of what is tested.
const PACKAGE: &str = if cfg!(target_arch = "aarch64") { "@deno/linux-arm64-glibc" } else { "@deno/linux-x64-glibc" };
const VERSION: &str = "2.9.6";

impl Deno {
    /// From the cache, or fetched now.
    ///
    /// # Errors
    /// What is missing, with npm's own words.
    pub async fn from_its_package() -> Result<Self, Unmet> {
        let program = npm::program("deno", PACKAGE, VERSION, "deno").await?;
        Ok(Self { program })
    }

    /// The runtime's file.
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// Starts `clients/deno/chat.mjs`, which calls the stand-in by the provider's name.
    ///
    /// # Errors
    /// When names cannot be made the stand-in's.
    pub fn start(&self, stub: &ProviderStub) -> Result<Program, Unmet> {
        let mut command = own_hosts::command(&self.program)?;
        command.args(["run", "--quiet", "--no-remote", "--allow-all"]).arg(clients().join("deno/chat.mjs"));
        command.arg(stub.port().to_string()).arg(stub.ca_file());
        command.env("DENO_DIR", cache().join("deno-cache")).env("DENO_NO_UPDATE_CHECK", "1");
        Ok(Program::start(&mut command))
    }
}
