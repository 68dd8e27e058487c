//! wget, which Debian builds on GnuTLS.

use std::{net::Ipv4Addr, path::PathBuf, process::Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use super::{ended, own_hosts};
use crate::{
    agent::PATIENCE,
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
};

/// wget, to be given URLs.
pub struct Wget {
    command: Command,
    port: u16,
}

/// A wget that was started and waits for the answer to a request in clear text, everything it needs loaded.
pub struct Waiting {
    pub pid: u32,
    child: Child,
    held: TcpStream,
}

impl Wget {
    /// # Errors
    /// When there is no wget, or it is one on another library.
    pub fn to(stub: &ProviderStub) -> Result<Self, Unmet> {
        let program: PathBuf = requirement::program("wget", "install the package `wget`")?;
        let about = std::process::Command::new(&program).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
        if !String::from_utf8_lossy(&about).contains("+ssl/gnutls") {
            return Err(Unmet::new("this wget is not built on GnuTLS", "use Debian's package `wget`"));
        }
        let mut command = own_hosts::command(&program)?;
        command.args(["--quiet", "--no-config", "--no-proxy", "--no-hsts", "--tries=1", "--output-document=-"]);
        command.arg(format!("--ca-certificate={}", stub.ca_file().display()));
        command.args(["--header=Content-Type: application/json", "--header=Authorization: Bearer sk-test-not-a-real-key"]);
        Ok(Self { command, port: stub.port() })
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.command.arg(format!("--header={name}: {value}"));
        self
    }

    /// A POST of this JSON to these paths of `host`, one after another.
    #[must_use]
    pub fn post(mut self, host: &str, paths: &[&str], body: &Value) -> Self {
        self.command.arg(format!("--post-data={body}"));
        self.command.args(paths.iter().map(|path| format!("https://{host}:{}{path}", self.port)));
        self
    }

    /// Runs to the end, which is good.
    ///
    /// # Panics
    /// With wget's words if it is not.
    pub async fn run(mut self) -> u32 {
        let child = self.start();
        let pid = child.id().expect("wget was just started");
        finish(child).await;
        pid
    }

    /// Starts it with a request before all others that is answered when [`Waiting::go_on`] says so.
    ///
    /// # Panics
    /// When it does not ask.
    pub async fn waiting(mut self, host: &str, paths: &[&str], body: &Value) -> Waiting {
        let gate = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port of this machine");
        let port = gate.local_addr().expect("it is bound").port();
        self.command.arg(format!("http://127.0.0.1:{port}/"));
        let child = self.post(host, paths, body).start();
        let (held, _) = tokio::time::timeout(PATIENCE, gate.accept()).await.expect("wget connects").expect("a connection");
        Waiting { pid: child.id().expect("wget was just started"), child, held }
    }

    fn start(&mut self) -> Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        self.command.spawn().expect("wget can be started")
    }
}

impl Waiting {
    /// Answers, and lets it do the rest to its end.
    pub async fn go_on(mut self) {
        let mut request = [0; 4096];
        let read = self.held.read(&mut request).await.expect("wget asks");
        assert!(read > 0, "wget asks");
        self.held.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.expect("wget waits for it");
        drop(self.held);
        finish(self.child).await;
    }
}

async fn finish(child: Child) {
    let output = ended("wget", child).await;
    assert!(output.status.success(), "wget ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}
