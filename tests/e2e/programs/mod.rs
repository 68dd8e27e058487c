//! Real programs of every kind, each streaming and not, new and already running: what the agent reports is what the provider answered.

mod gnutls;
mod grpc;
mod libcurl_gnutls;
mod node;
mod php;
mod pyopenssl;
mod ruby;
mod ssl_bio;
mod static_openssl;
mod wget;

use a11i_tests::{
    agent::Agent,
    provider_stub::{Options, ProviderStub},
    requirement::{self, Unmet},
    serial::one_at_a_time,
    workload::program::Program,
};
use serde_json::{Value, json};

use crate::scene::{OPENSSL, Scene, matched_by};

/// The jobs of a program that starts after the agent, on a library that is attached before anyone maps it.
async fn new(start: impl FnOnce(&ProviderStub) -> Result<Program, Unmet>, jobs: &[Value]) {
    new_by(OPENSSL, start, jobs).await;
}

/// The same for a program of another library.
async fn new_by(library: &str, start: impl FnOnce(&ProviderStub) -> Result<Program, Unmet>, jobs: &[Value]) {
    let Some(scene) = Scene::set().await else { return };
    let Some(mut program) = requirement::met(start(&scene.stub)) else { return };
    let pid = program.pid;
    run(&mut program, &scene.stub, jobs).await;
    program.finish().await;
    scene.calls_are_reported_by(library, pid).await;
}

/// The same for a program that brings its library in a file (the end of its path) that the agent has never seen: it has to be read first,
/// and this program's first call waits for that.
async fn new_with_own(file: &str, start: impl FnOnce(&ProviderStub) -> Result<Program, Unmet>, jobs: &[Value]) {
    let Some(scene) = Scene::set().await else { return };
    let Some(mut program) = requirement::met(start(&scene.stub)) else { return };
    let pid = program.pid;
    scene.agent.wait_for_log(&["attached path=", &format!("{file}\"")]).await;
    run(&mut program, &scene.stub, jobs).await;
    program.finish().await;
    scene.calls_are_reported(pid).await;
}

/// The jobs of a program that has done some before the agent starts, on the connection it has kept.
async fn running(start: impl FnOnce(&ProviderStub) -> Result<Program, Unmet>, jobs: &[Value]) {
    running_by(OPENSSL, start, jobs).await;
}

/// The same for a program of another library.
pub(crate) async fn running_by(library: &str, start: impl FnOnce(&ProviderStub) -> Result<Program, Unmet>, jobs: &[Value]) {
    running_with(Options::default(), library, start, jobs).await;
}

/// The same with such a provider.
pub(crate) async fn running_with(
    provider: Options,
    library: &str,
    start: impl FnOnce(&ProviderStub) -> Result<Program, Unmet>,
    jobs: &[Value],
) {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start_with(provider);
    let Some(mut program) = requirement::met(start(&stub)) else { return };
    let pid = program.pid;
    run(&mut program, &stub, jobs).await;
    let unseen = stub.expected().len();
    let Some(agent) = Agent::start().await else { return };
    run(&mut program, &stub, jobs).await;
    let expected = stub.expected();
    let seen = expected.get(unseen..).expect("there were more calls");
    agent.calls_of(pid, seen.len()).await;
    program.finish().await;
    matched_by(library, seen, &agent.stop().await, pid);
}

/// Every job is answered, and the program has seen the answer.
pub(crate) async fn run(program: &mut Program, stub: &ProviderStub, jobs: &[Value]) {
    for job in jobs {
        let answer = program.run_one(job).await;
        let id = stub.expected().last().and_then(|expected| expected.response_id.clone());
        assert!(id.is_some() && answer.get("id") == Some(&json!(id)), "{answer}");
    }
}

/// A whole answer and a stream, by one way of the program's.
pub(crate) fn both(via: &str) -> [Value; 2] {
    [
        json!({"via": via, "stream": false, "headers": {"x-stub-input-tokens": "1234", "x-stub-output-tokens": "56"}}),
        json!({"via": via, "stream": true, "headers": {"x-stub-chunks": "30", "x-stub-pace-ms": "3"}}),
    ]
}
