//! `a11i processes`.

use a11i_tests::requirement;
use a11i_tests::workload::python::{Python, Script};
use serde_json::{Value, json};

use super::{a11i, asked};
use crate::scene::{Scene, words};

#[tokio::test]
async fn a_client_stands_there_with_its_library_and_its_calls() {
    let Some(scene) = Scene::set().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::OpenAiSync, &scene.stub);
    for _ in 0..2 {
        program.run_one(&json!({"api": "chat"})).await;
    }
    scene.agent.calls_of(program.pid, 2).await;
    let asked = asked().await;
    let processes = asked.pointer("/coverage/processes").and_then(Value::as_array).cloned().unwrap_or_default();
    let client = processes.iter().find(|process| process.get("pid") == Some(&json!(program.pid)));
    let Some(client) = client else { panic!("process {} is not in {asked:#}", program.pid) };
    assert_eq!((client.get("calls"), client.get("lost_bytes")), (Some(&json!(2)), Some(&json!(0))), "{client:#}");
    let executable = client.get("executable").and_then(Value::as_str).unwrap_or_default();
    assert!(executable.contains("python"), "{client:#}");
    let files = asked.pointer("/coverage/files").and_then(Value::as_array).cloned().unwrap_or_default();
    let used = client.get("files").and_then(Value::as_array).cloned().unwrap_or_default();
    let libraries: Vec<&Value> = files.iter().filter(|file| file.get("file").is_some_and(|id| used.contains(id))).collect();
    let library = libraries.iter().find(|file| file.get("library") == Some(&json!("openssl")));
    assert!(library.is_some_and(|file| file.get("attached") == Some(&json!(true))), "{libraries:#?}");

    let table = a11i(&["processes"]).await;
    let pid = program.pid.to_string();
    let line = String::from_utf8_lossy(&table.stdout).lines().find(|line| line.split_whitespace().next() == Some(&pid)).map(str::to_owned);
    assert!(line.is_some_and(|line| line.contains("openssl") && line.contains("symbol")), "{}", words(&table));
    program.finish().await;
    scene.agent.stop().await;
}

#[tokio::test]
async fn without_an_agent_the_remedy_is_told() {
    let _turn = a11i_tests::serial::one_at_a_time();
    let Some(()) = requirement::met(requirement::root()) else { return };
    let Some(_) = requirement::met(a11i_tests::agent::binary()) else { return };
    let output = a11i(&["processes"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("a11i run"), "{}", words(&output));
}
