//! Processes that come of fork without exec, and thousands of short-lived ones: see `clients/c/forks.c`.

use std::{path::PathBuf, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{c_program, ended};
use crate::{agent::GUEST_PATIENCE, provider_stub::ProviderStub, requirement::Unmet};

/// The compiled program.
pub struct Forks {
    program: PathBuf,
}

/// A call as the process that made it tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub pid: u32,
    pub response_id: String,
}

/// Many short-lived processes under way.
pub struct Many {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    told: Vec<Told>,
}

impl Forks {
    /// # Errors
    /// When there is no C compiler or no libssl to compile against.
    pub async fn compiled() -> Result<Self, Unmet> {
        Ok(Self { program: c_program::compiled("forks", &["-lssl", "-lcrypto"]).await? })
    }

    /// Runs a mode to its end: the pid of the parent, and the answered calls in the order of their answers.
    ///
    /// # Panics
    /// With the program's own words when it fails.
    pub async fn run(&self, stub: &ProviderStub, mode: &str, arguments: &[&str]) -> (u32, Vec<Told>) {
        let child = self.command(stub, mode, arguments).spawn().expect("the program can be started");
        let pid = child.id().expect("it was just started");
        let output = ended("forks", child).await;
        assert!(output.status.success(), "forks ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        (pid, String::from_utf8_lossy(&output.stdout).lines().map(told).collect())
    }

    /// Starts `count` short-lived processes of which each `every`th makes a call. They pause after the first tenth.
    pub fn many(&self, stub: &ProviderStub, count: usize, every: usize, idle: &str) -> Many {
        let mut command = self.command(stub, "many", &[&count.to_string(), &every.to_string(), idle]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the program can be started");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        Many { child, input, output, told: Vec::new() }
    }

    fn command(&self, stub: &ProviderStub, mode: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(mode).arg(stub.port().to_string()).arg("api.openai.com").arg(stub.ca_file()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

impl Many {
    /// Waits until it pauses: after the first tenth, and after the last process.
    pub async fn ready(&mut self) {
        loop {
            let line = tokio::time::timeout(GUEST_PATIENCE, self.output.next_line()).await.expect("it says something in the end");
            let line = line.expect("its output is text").expect("it has not ended");
            if line == "ready" {
                return;
            }
            self.told.push(told(&line));
        }
    }

    /// Lets it go on after a pause.
    pub async fn go_on(&mut self) {
        self.input.write_all(b"\n").await.expect("it reads its input");
    }

    /// After the last pause: every answered call.
    ///
    /// # Panics
    /// With the program's own words when it fails.
    pub async fn finish(mut self) -> Vec<Told> {
        self.go_on().await;
        let output = ended("forks", self.child).await;
        assert!(output.status.success(), "forks ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        self.told
    }
}

fn told(line: &str) -> Told {
    let (pid, response_id) = line.split_once(' ').unwrap_or_else(|| panic!("not understood: {line}"));
    Told { pid: pid.parse().expect("a process id"), response_id: response_id.to_owned() }
}
