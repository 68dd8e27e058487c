//! A program of the tests that takes jobs on its input and says on its output what its client saw of each: JSON, a line each.
//!
//! A line with a list is done concurrently by programs that can.

use std::process::Stdio;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::ended;
use crate::agent::GUEST_PATIENCE;

/// A running program.
pub struct Program {
    pub pid: u32,
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts it; no proxy of this machine is in its way.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the program can be started");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { pid: child.id().expect("it was just started"), child, input, output }
    }

    /// Gives it one line of work (a job, or a list of concurrent jobs) and returns what the client saw of each, in order.
    ///
    /// # Panics
    /// With the program's standard error when it ends instead.
    pub async fn run(&mut self, work: &Value) -> Vec<Value> {
        let count = work.as_array().map_or(1, Vec::len);
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(format!("{work}\n").as_bytes()).await.expect("the program reads its input");
        let mut answers = Vec::with_capacity(count);
        while answers.len() < count {
            answers.push(self.answer().await);
        }
        answers
    }

    /// A further answer, of a job that has several.
    ///
    /// # Panics
    /// With the program's standard error when it ends instead.
    pub async fn answer(&mut self) -> Value {
        let line = tokio::time::timeout(GUEST_PATIENCE, self.output.next_line()).await.expect("the program answers in the end");
        let Some(line) = line.expect("output of the program is text") else {
            let mut words = String::new();
            if let Some(mut errors) = self.child.stderr.take() {
                errors.read_to_string(&mut words).await.expect("standard error is text");
            }
            panic!("the program ended instead: {words}");
        };
        serde_json::from_str(&line).expect("the program answers in JSON")
    }

    /// One job, one answer.
    pub async fn run_one(&mut self, job: &Value) -> Value {
        self.run(job).await.pop().expect("one job has one answer")
    }

    /// Lets it end, and checks that it ended well.
    pub async fn finish(mut self) {
        drop(self.input.take());
        let output = ended("the program", self.child).await;
        assert!(output.status.success(), "the program ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
}
