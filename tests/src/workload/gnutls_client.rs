//! A small C program on GnuTLS, for what no high-level client does on purpose: see `clients/c/raw_gnutls.c`.

use std::{path::PathBuf, process::Stdio};

use tokio::{io::AsyncWriteExt as _, process::Command};

use super::{c_client::Done, c_program, ended};
use crate::{provider_stub::ProviderStub, requirement::Unmet};

/// The compiled client.
pub struct RawGnuTls {
    program: PathBuf,
}

impl RawGnuTls {
    /// Compiled now, or before.
    ///
    /// # Errors
    /// When there is no C compiler or no GnuTLS to compile against.
    pub async fn compiled() -> Result<Self, Unmet> {
        Ok(Self { program: c_program::compiled("raw_gnutls", &["-lgnutls", "-pthread"]).await? })
    }

    /// Sends these bytes as the first thing on a connection to `host`, and reads until the server closes.
    ///
    /// # Panics
    /// With the client's own words when it fails.
    pub async fn send(&self, stub: &ProviderStub, host: &str, request: &[u8], options: &[&str]) -> Done {
        let mut command = Command::new(&self.program);
        command.arg(stub.port().to_string()).arg(host).arg(stub.ca_file()).args(options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the client can be started");
        let pid = child.id().expect("it was just started");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(request).await.expect("the client reads its input first");
        drop(input);
        Done::of("raw_gnutls", pid, &ended("raw_gnutls", child).await)
    }
}
