//! A wheel that has OpenSSL inside its extension module, whose functions it does not export.

use a11i_tests::{
    requirement,
    workload::python::{Python, Script},
};
use serde_json::json;

use super::{new_with_own, running};

const MODULE: &str = "/_rust.abi3.so";

#[tokio::test]
async fn a_new_program() {
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let jobs = [json!({"stream": false}), json!({"stream": true, "headers": {"x-stub-chunks": "30"}})];
    new_with_own(MODULE, |stub| Ok(python.start(Script::PyOpenSsl, stub)), &jobs).await;
}

#[tokio::test]
async fn a_running_program() {
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let jobs = [json!({"stream": false}), json!({"stream": true, "headers": {"x-stub-chunks": "30"}})];
    running(|stub| Ok(python.start(Script::PyOpenSsl, stub)), &jobs).await;
}
