//! Ruby's `net/http`, which loads libssl when the script asks for it.

use std::path::PathBuf;

use super::{clients, own_hosts, program::Program};
use crate::{
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
};

/// The interpreter.
pub struct Ruby {
    program: PathBuf,
}

impl Ruby {
    /// # Errors
    /// When it is not installed.
    pub fn installed() -> Result<Self, Unmet> {
        Ok(Self { program: requirement::program("ruby", "install the package `ruby`")? })
    }

    /// Starts `clients/ruby/chat.rb`, which calls the stand-in by the providers' names.
    ///
    /// # Errors
    /// When names cannot be made the stand-in's.
    pub fn start(&self, stub: &ProviderStub) -> Result<Program, Unmet> {
        let mut command = own_hosts::command(&self.program)?;
        command.arg(clients().join("ruby/chat.rb")).arg(stub.port().to_string()).arg(stub.ca_file());
        Ok(Program::start(&mut command))
    }
}
