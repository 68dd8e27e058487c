//! The operator's side: one agent per host, and what it is asked and told while it runs.

mod control;
mod hidden;
mod lock;
mod peer;
mod probation;
mod processes;
mod refused;

use std::{process::Output, time::Duration};

use a11i_tests::agent::{PATIENCE, binary};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::Command,
};

use crate::scene::{run, words};

/// Runs `a11i` with these arguments, as root.
async fn a11i(arguments: &[&str]) -> Output {
    run(Command::new(binary().expect("the agent runs already")).args(arguments)).await
}

/// What `a11i processes --json` says.
pub(crate) async fn asked() -> Value {
    let output = a11i(&["processes", "--json"]).await;
    assert!(output.status.success(), "{}", words(&output));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// What it says of this process.
pub(crate) fn process_in(asked: &Value, pid: u32) -> Option<&Value> {
    list(asked, "/coverage/processes").iter().find(|process| process.get("pid") == Some(&json!(pid)))
}

/// The files of which it says something.
fn files_in(asked: &Value) -> &[Value] {
    list(asked, "/coverage/files")
}

/// What stands there, if it is a list.
pub(crate) fn list<'a>(told: &'a Value, pointer: &str) -> &'a [Value] {
    told.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A counter of the kernel half, as the agent tells it.
async fn kernel(counter: &str) -> u64 {
    let asked = asked().await;
    asked.pointer(&format!("/status/kernel/{counter}")).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {counter} in {asked}"))
}

/// The agent's status, by its socket: answered by the event loop alone, however busy the thread is that closes links.
async fn status() -> Value {
    let mut socket = UnixStream::connect("/run/a11i/admin.sock").await.expect("the agent listens");
    socket.write_all(b"{\"request\":\"status\"}\n").await.expect("the agent reads");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    read.expect("the agent answers").expect("the agent says something");
    serde_json::from_slice(&answer).expect("one JSON object")
}

/// A counter of the kernel half in a status.
fn counter(status: &Value, name: &str) -> u64 {
    status.pointer(&format!("/kernel/{name}")).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {name} in {status:#}"))
}

/// Waits for a status like this.
async fn status_when(is_so: impl Fn(&Value) -> bool) -> Value {
    let looked = async {
        loop {
            let status = status().await;
            if is_so(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.expect("the status becomes so")
}
