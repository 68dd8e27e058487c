//! Small C programs on libssl, for what no high-level client does on purpose: see `clients/c/raw_tls.c` and `clients/c/bio_tls.c`.

use std::{
    path::PathBuf,
    process::{Output, Stdio},
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::{c_program, ended};
use crate::{provider_stub::ProviderStub, requirement::Unmet};

/// The compiled client.
pub struct RawTls {
    program: PathBuf,
}

/// What one run did.
#[derive(Debug)]
pub struct Done {
    pub pid: u32,
    /// Everything that came back, head and body.
    pub answer: Vec<u8>,
    /// Calls of the library's write, and how many of them had to be repeated.
    pub writes: u64,
    pub retries: u64,
}

impl RawTls {
    /// Compiled now, or before.
    ///
    /// # Errors
    /// When there is no C compiler or no libssl to compile against.
    pub async fn compiled() -> Result<Self, Unmet> {
        Ok(Self { program: c_program::compiled("raw_tls", &["-lssl", "-lcrypto"]).await? })
    }

    /// The one whose TLS is a filter of OpenSSL's input and output. It has no options.
    ///
    /// # Errors
    /// As [`Self::compiled`].
    pub async fn by_filter() -> Result<Self, Unmet> {
        Ok(Self { program: c_program::compiled("bio_tls", &["-lssl", "-lcrypto"]).await? })
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
        Done::of("raw_tls", pid, &ended("raw_tls", child).await)
    }
}

impl Done {
    /// What a raw client of this name told of its run.
    pub(super) fn of(program: &str, pid: u32, output: &Output) -> Self {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} ended with {}: {words}", output.status);
        let count = |name: &str| {
            let value = words.split([' ', '\n']).find_map(|word| word.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {words}"));
            value.parse().unwrap_or_else(|_| panic!("{value} is no number"))
        };
        Self { pid, answer: output.stdout.clone(), writes: count("writes="), retries: count("retries=") }
    }
}

/// A POST as bytes, head and body in one piece; the last one on its connection.
pub fn post(host: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Vec<u8> {
    request(host, path, headers, body, "close")
}

/// A POST that leaves the connection open: for several in one write.
pub fn post_keep_alive(host: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Vec<u8> {
    request(host, path, headers, body, "keep-alive")
}

fn request(host: &str, path: &str, headers: &[(&str, &str)], body: &Value, connection: &str) -> Vec<u8> {
    let body = body.to_string();
    let more: String = headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-test-not-a-real-key\r\n{more}Content-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
