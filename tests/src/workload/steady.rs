//! A program that calls a model without end and sums up every byte itself: see `clients/c/steady.c`.

use std::{path::PathBuf, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{c_program, ended};
use crate::{agent::GUEST_PATIENCE, provider_stub::ProviderStub, requirement::Unmet};

/// The compiled client.
pub struct Steady {
    program: PathBuf,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Calls whose answer was right, by the sums of both bodies.
    pub calls: u64,
    /// Whatever else happened.
    pub errors: u64,
    /// Plaintext that went through `SSL_write` and `SSL_read`.
    pub sent: u64,
    pub received: u64,
}

/// The running client.
pub struct Running {
    pub pid: u32,
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Steady {
    /// # Errors
    /// When there is no C compiler or no libssl to compile against.
    pub async fn compiled() -> Result<Self, Unmet> {
        Ok(Self { program: c_program::compiled("steady", &["-lssl", "-lcrypto", "-lpthread"]).await? })
    }

    /// Starts it with so many threads; it waits for a command.
    pub fn start(&self, stub: &ProviderStub, host: &str, threads: usize, options: &[&str]) -> Running {
        let mut command = Command::new(&self.program);
        command.arg(stub.port().to_string()).arg(host).arg(stub.ca_file()).arg(threads.to_string()).args(options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the client can be started");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        Running { pid: child.id().expect("it was just started"), child, input, output }
    }
}

impl Running {
    /// Every thread makes so many calls; returns when all are done.
    pub async fn run(&mut self, calls: u64) -> Progress {
        self.command(&format!("run {calls}")).await
    }

    /// Every thread makes calls from now on.
    pub async fn begin(&mut self) -> Progress {
        self.command("start").await
    }

    pub async fn told(&mut self) -> Progress {
        self.command("told").await
    }

    /// Every thread ends the call it is in.
    pub async fn pause(&mut self) -> Progress {
        self.command("stop").await
    }

    /// Waits until so many more calls are done.
    ///
    /// # Panics
    /// When it makes no progress: the agent may never be in a client's way.
    pub async fn more(&mut self, calls: u64) -> Progress {
        let target = self.told().await.calls.saturating_add(calls);
        let reached = async {
            loop {
                let progress = self.told().await;
                if progress.calls >= target {
                    return progress;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(GUEST_PATIENCE, reached).await.expect("the client makes calls")
    }

    /// Lets it close its connections and end, and checks that it saw nothing wrong.
    ///
    /// # Panics
    /// With its own words.
    pub async fn finish(mut self) {
        drop(self.input.take());
        let output = ended("steady", self.child).await;
        assert!(output.status.success(), "steady ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }

    async fn command(&mut self, words: &str) -> Progress {
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(format!("{words}\n").as_bytes()).await.expect("steady reads its input");
        let line = tokio::time::timeout(GUEST_PATIENCE, self.output.next_line()).await.expect("steady answers in the end");
        let line = line.expect("its output is text").expect("it has not ended");
        let number = |name: &str| {
            let word = line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {line}"));
            word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
        };
        Progress { calls: number("calls="), errors: number("errors="), sent: number("sent="), received: number("received=") }
    }
}

const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(5);
