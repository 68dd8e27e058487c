//! JavaScript on Bun, whose BoringSSL is linked into the program and stripped: the modules `https` and `fetch`.

use std::path::{Path, PathBuf};

use super::{clients, npm, own_hosts, program::Program};
use crate::{provider_stub::ProviderStub, requirement::Unmet};

/// The program of the npm package.
#[derive(Clone, Debug)]
pub struct Bun {
    program: PathBuf,
}

/// The package holds the program alone; package and version of what is tested.
const PACKAGE: &str = if cfg!(target_arch = "aarch64") { "@oven/bun-linux-aarch64" } else { "@oven/bun-linux-x64" };
const VERSION: &str = "1.3.14";

impl Bun {
    /// From the cache, or fetched now.
    ///
    /// # Errors
    /// What is missing, with npm's own words.
    pub async fn from_its_package() -> Result<Self, Unmet> {
        let program = npm::program("bun", PACKAGE, VERSION, "bin/bun").await?;
        Ok(Self { program })
    }

    /// The runtime's file.
    pub fn path(&self) -> &Path {
        &self.program
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
