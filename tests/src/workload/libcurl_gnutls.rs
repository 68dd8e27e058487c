//! libcurl on GnuTLS, as git and others use it: see `clients/python/libcurl_gnutls.py`.

use std::path::Path;

use tokio::process::Command;

use super::{clients, program::Program};
use crate::{
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
};

/// Starts the program; it connects at its first job.
///
/// # Errors
/// When there is no such libcurl, or no Python to call it.
pub fn start(stub: &ProviderStub) -> Result<Program, Unmet> {
    let python = requirement::program("python3", "install the package `python3`")?;
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    if !folders.iter().any(|folder| Path::new(folder).join("libcurl-gnutls.so.4").exists()) {
        return Err(Unmet::new("there is no libcurl-gnutls.so.4", "install the package `libcurl3-gnutls`"));
    }
    let mut command = Command::new(python);
    command.arg(clients().join("python/libcurl_gnutls.py"));
    command.env("SSL_CERT_FILE", stub.ca_file()).env("STAND_IN_PORT", stub.port().to_string()).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(Program::start(&mut command))
}
