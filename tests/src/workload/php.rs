//! PHP, which loads libssl with its extensions: `curl` and the stream wrapper.

use std::path::PathBuf;

use super::{clients, own_hosts, program::Program};
use crate::{
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
};

/// The interpreter.
pub struct Php {
    program: PathBuf,
}

impl Php {
    /// # Errors
    /// When it is not installed.
    pub fn installed() -> Result<Self, Unmet> {
        let program = requirement::program("php", "install the packages `php-cli` and `php-curl`")?;
        let modules = std::process::Command::new(&program).arg("-m").output().map(|output| output.stdout).unwrap_or_default();
        if !String::from_utf8_lossy(&modules).lines().any(|module| module == "curl") {
            return Err(Unmet::new("php has no module `curl`", "install the package `php-curl`"));
        }
        Ok(Self { program })
    }

    /// Starts `clients/php/chat.php`, which calls the stand-in by the providers' names.
    ///
    /// # Errors
    /// When names cannot be made the stand-in's.
    pub fn start(&self, stub: &ProviderStub) -> Result<Program, Unmet> {
        let mut command = own_hosts::command(&self.program)?;
        command.arg(clients().join("php/chat.php")).arg(stub.port().to_string()).arg(stub.ca_file());
        Ok(Program::start(&mut command))
    }
}
