//! JavaScript runtimes with a TLS library of their own in the program, without symbols.

mod bun;
mod deno;

use a11i_tests::{
    provider_stub::ProviderStub,
    requirement::{self, Unmet},
    workload::program::Program,
};
use serde_json::Value;

use crate::{programs::run, scene::Scene};

/// The jobs of a program that starts after the agent, in a file (the end of its path) that the agent has never seen: it has to be read
/// first, and this program's first call waits for that.
async fn new(library: &str, file: &str, start: impl FnOnce(&ProviderStub) -> Result<Program, Unmet>, jobs: &[Value]) {
    let Some(scene) = Scene::set().await else { return };
    let Some(mut program) = requirement::met(start(&scene.stub)) else { return };
    let pid = program.pid;
    scene.agent.wait_for_log(&["attached path=", &format!("{file}\"")]).await;
    run(&mut program, &scene.stub, jobs).await;
    program.finish().await;
    scene.calls_are_reported_by(library, pid).await;
}
