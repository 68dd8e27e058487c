//! `a11i processes`.

use a11i_tests::requirement;
use a11i_tests::workload::python::{Python, Script};
use serde_json::{Value, json};

use super::{a11i, asked, files_in, list, process_in};
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
    let Some(client) = process_in(&asked, program.pid) else { panic!("process {} is not in {asked:#}", program.pid) };
    assert_eq!((client.get("calls"), client.get("lost_bytes")), (Some(&json!(2)), Some(&json!(0))), "{client:#}");
    let executable = client.get("executable").and_then(Value::as_str).unwrap_or_default();
    assert!(executable.contains("python"), "{client:#}");
    let used = list(client, "/files");
    let libraries: Vec<&Value> = files_in(&asked).iter().filter(|file| file.get("file").is_some_and(|id| used.contains(id))).collect();
    let library = libraries.iter().find(|file| file.get("library") == Some(&json!("openssl")));
    assert!(library.is_some_and(|file| file.get("attached") == Some(&json!(true))), "{libraries:#?}");
    let plan = library.and_then(|file| file.pointer("/plans/0")).cloned().unwrap_or_default();
    assert_eq!(plan.get("seen"), Some(&json!("http")), "{plan:#}");
    let write = list(&plan, "/functions").iter().find(|function| function.get("name") == Some(&json!("SSL_write")));
    assert!(write.and_then(|function| function.get("offset")).and_then(Value::as_u64).is_some_and(|offset| offset > 0), "{plan:#}");
    assert_eq!(client.get("seen_through"), Some(&json!(["openssl/symbol"])), "{client:#}");
    // Here it is off by itself, or on: which is told, and why.
    let sockets = asked.pointer("/status/sockets").cloned().unwrap_or_default();
    let is_told = |name: &str| sockets.get(name).is_some_and(Value::is_string);
    assert!(is_told("front_end") != (is_told("reason") && is_told("remedy")), "{sockets:#}");

    let listed = a11i(&["processes", "--functions"]).await;
    assert!(words(&listed).contains("SSL_write") && words(&listed).contains("confirmed: HTTP was read through it"), "{}", words(&listed));
    let table = a11i(&["processes"]).await;
    let pid = program.pid.to_string();
    let line = String::from_utf8_lossy(&table.stdout).lines().find(|line| line.split_whitespace().next() == Some(&pid)).map(str::to_owned);
    assert!(line.is_some_and(|line| line.contains("openssl") && line.contains("symbol")), "{}", words(&table));
    program.finish().await;
    scene.agent.stop().await;
}

#[tokio::test]
async fn the_version_of_openssl_is_the_one_that_it_states_itself() {
    let Some(scene) = Scene::set().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::OpenAiSync, &scene.stub);
    program.run_one(&json!({"api": "chat"})).await;
    let mine = python.openssl_version().await;
    let begun = std::time::Instant::now();
    let told = loop {
        let asked = asked().await;
        let used = process_in(&asked, program.pid).and_then(|process| process.pointer("/files/0"));
        let version = files_in(&asked).iter().find(|file| file.get("file") == used).and_then(|file| file.get("version")).cloned();
        // It is looked for when nothing else is to be done.
        if version.as_ref().and_then(Value::as_str) == Some(mine.as_str()) || begun.elapsed() > a11i_tests::agent::PATIENCE {
            break version;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(told, Some(json!(mine)));
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
