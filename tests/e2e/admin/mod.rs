//! The operator's side: one agent per host, and what it is asked and told while it runs.

mod control;
mod hidden;
mod lock;
mod peer;
mod processes;

use std::process::Output;

use a11i_tests::agent::binary;
use serde_json::Value;
use tokio::process::Command;

use crate::scene::{run, words};

/// Runs `a11i` with these arguments, as root.
async fn a11i(arguments: &[&str]) -> Output {
    run(Command::new(binary().expect("the agent runs already")).args(arguments)).await
}

/// What `a11i processes --json` says.
async fn asked() -> Value {
    let output = a11i(&["processes", "--json"]).await;
    assert!(output.status.success(), "{}", words(&output));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// A counter of the kernel half, as the agent tells it.
async fn kernel(counter: &str) -> u64 {
    let asked = asked().await;
    asked.pointer(&format!("/status/kernel/{counter}")).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {counter} in {asked}"))
}
