//! JavaScript on Node, whose OpenSSL is linked into the program: modules `https` and `http2`, and `fetch`.

use std::path::PathBuf;

use super::{clients, own_hosts, program::Program};
use crate::{
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
};

/// The interpreter.
pub struct Node {
    program: PathBuf,
}

impl Node {
    /// # Errors
    /// When it is not installed.
    pub fn installed() -> Result<Self, Unmet> {
        Ok(Self { program: requirement::program("node", "install the package `nodejs`")? })
    }

    /// Whether OpenSSL is linked into the program; distributions may build it on the system's library.
    pub fn has_own_openssl(&self) -> bool {
        let asked = std::process::Command::new(&self.program).args(["-p", "process.config.variables.node_shared_openssl"]).output();
        asked.is_ok_and(|answer| answer.stdout.trim_ascii() != b"true")
    }

    /// Starts `clients/node/chat.js`, which calls the stand-in by the providers' names.
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
