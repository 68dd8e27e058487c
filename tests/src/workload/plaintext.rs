//! A small C program that speaks over sockets without TLS, in the shapes that programs use: see `clients/c/plaintext.c`.

use std::{path::PathBuf, process::Stdio};

use tokio::{io::AsyncWriteExt as _, process::Command};

use super::{c_program, ended};
use crate::requirement::Unmet;

/// The compiled client.
pub struct PlaintextClient {
    program: PathBuf,
}

/// What one run did.
#[derive(Debug)]
pub struct Done {
    pub pid: u32,
    /// Everything that came back, head and body.
    pub answer: Vec<u8>,
}

impl PlaintextClient {
    /// Compiled now, or before.
    ///
    /// # Errors
    /// When there is no C compiler.
    pub async fn compiled() -> Result<Self, Unmet> {
        Ok(Self { program: c_program::compiled("plaintext", &[]).await? })
    }

    /// Sends these bytes to `address` and reads until the server closes.
    ///
    /// # Panics
    /// With the client's own words when it fails.
    pub async fn send(&self, address: &str, request: &[u8], sending: &str, receiving: &str) -> Done {
        let mut command = Command::new(&self.program);
        command.args([address, sending, receiving]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the client can be started");
        let pid = child.id().expect("it was just started");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(request).await.expect("the client reads its input first");
        drop(input);
        let output = ended("plaintext", child).await;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "plaintext ended with {}: {words}", output.status);
        Done { pid, answer: output.stdout }
    }
}
