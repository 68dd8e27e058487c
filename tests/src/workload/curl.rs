//! curl, as a user would call it: the provider's own URL, resolved to the stand-in.

use std::{path::PathBuf, process::Output};

use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::ended;
use crate::{
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
};

/// curl and the arguments that make every URL lead to the stand-in.
pub struct Curl {
    program: PathBuf,
    arguments: Vec<String>,
    input: Vec<u8>,
}

/// What one curl process did.
#[derive(Debug)]
pub struct Done {
    pub pid: u32,
    pub output: Output,
}

impl Done {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }
}

impl Curl {
    /// # Errors
    /// When there is no curl.
    pub fn to(stub: &ProviderStub) -> Result<Self, Unmet> {
        let program = requirement::program("curl", "install the package `curl`")?;
        let port = stub.port();
        let mut arguments = vec!["--silent".to_owned(), "--show-error".to_owned(), "--no-buffer".to_owned()];
        arguments.push("--noproxy".to_owned());
        arguments.push("*".to_owned());
        arguments.push("--cacert".to_owned());
        arguments.push(stub.ca_file().display().to_string());
        for host in ["api.openai.com", "api.anthropic.com"] {
            arguments.push("--connect-to".to_owned());
            arguments.push(format!("{host}:443:127.0.0.1:{port}"));
        }
        Ok(Self { program, arguments, input: Vec::new() }.arg("--http1.1"))
    }

    /// As an argument of another program, which becomes curl.
    #[must_use]
    pub fn under(mut self, program: PathBuf) -> Self {
        let curl = std::mem::replace(&mut self.program, program);
        self.arguments.insert(0, curl.display().to_string());
        self
    }

    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.arg("--header").arg(format!("{name}: {value}"))
    }

    /// A POST of this JSON to this URL.
    #[must_use]
    pub fn post(mut self, url: &str, body: &Value) -> Self {
        let body = body.to_string();
        // Standard input can be read once, and a command line holds a small body only.
        let data = if body.len() < 4096 {
            body
        } else {
            self.input = body.into_bytes();
            "@-".to_owned()
        };
        self.header("content-type", "application/json")
            .header("authorization", "Bearer sk-test-not-a-real-key")
            .arg("--data-binary")
            .arg(data)
            .arg(url)
    }

    /// Another URL in the same process, on the same connection where it can be kept; global options are repeated by curl's rule.
    #[must_use]
    pub fn then(self) -> Self {
        let again: Vec<String> = self.arguments.iter().take(GLOBAL).cloned().collect();
        let mut next = self.arg("--next");
        next.arguments.extend(again);
        next
    }

    #[must_use]
    pub fn url(self, url: &str) -> Self {
        self.arg(url)
    }

    /// Runs to the end.
    pub async fn run(self) -> Done {
        let child = self.start().await;
        let pid = child.id().expect("curl was just started");
        Done { pid, output: ended("curl", child).await }
    }

    /// Starts it and hands over its input; the caller reads its output or ends it.
    pub async fn start(self) -> tokio::process::Child {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_remove("HTTPS_PROXY").env_remove("https_proxy");
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("curl can be started");
        let mut input = child.stdin.take().expect("piped");
        // curl reads all of `@-` before it connects; a curl without a body closes its input unread.
        input.write_all(&self.input).await.ok();
        drop(input);
        child
    }
}

/// Arguments that [`Curl::to`] sets and that hold for one URL only.
const GLOBAL: usize = 12;

/// The smallest chat request.
pub fn chat(model: &str, prompt: &str) -> Value {
    serde_json::json!({"model": model, "messages": [{"role": "user", "content": prompt}]})
}

/// The same, streamed, with usage at its end.
pub fn chat_stream(model: &str, prompt: &str) -> Value {
    serde_json::json!({"model": model, "stream": true, "stream_options": {"include_usage": true}, "messages": [{"role": "user", "content": prompt}]})
}

/// The smallest Anthropic request.
pub fn message(model: &str, prompt: &str, stream: bool) -> Value {
    serde_json::json!({"model": model, "max_tokens": 64, "stream": stream, "messages": [{"role": "user", "content": prompt}]})
}
