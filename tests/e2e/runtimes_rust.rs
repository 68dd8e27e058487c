//! Stripped Rust programs: reqwest on rustls with either provider of cryptography, and on native-tls.

use std::path::Path;

use a11i_tests::{
    agent::Agent,
    fixtures::{Linked, Optimised, RustBuild, Version},
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::{
        program::Program,
        rust_client::{NativeTlsClient, Provider, RustClient, ShuffledClient},
    },
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::scene::{OPENSSL, RUSTLS, Scene, matched_by};

async fn every_call_is_reported(provider: Provider, options: &[(&str, &str)], work: &[Value]) {
    let Some(client) = requirement::met(RustClient::built(provider).await) else { return };
    let Some(scene) = Scene::set().await else { return };
    let mut program = client.start(&scene.stub, options);
    let pid = program.pid;
    wait_until_attached(&scene.agent, client.path()).await;
    for work in work {
        let answers = program.run(work).await;
        assert!(answers.iter().all(|answer| answer.get("id").is_some_and(Value::is_string)), "{answers:#?}");
    }
    program.finish().await;
    scene.calls_are_reported_by(RUSTLS, pid).await;
}

/// A file that the agent has never seen has to be read first.
async fn wait_until_attached(agent: &Agent, program: &Path) {
    let name = program.file_name().expect("it is a file").display().to_string();
    agent.wait_for_log(&["attached path=", &format!("{name}\"")]).await;
}

/// Whole answers and streams, one after the other on one connection; a request and an answer of many records.
fn jobs() -> Vec<Value> {
    vec![
        json!({"api": "chat"}),
        json!({"api": "chat", "stream": true}),
        json!({"api": "chat", "stream": true, "headers": {"x-stub-chunks": "300"}}),
        json!({"api": "chat", "prompt": "word ".repeat(40_000), "headers": {"x-stub-input-tokens": "40000"}}),
        json!({"api": "chat", "stream": true}),
    ]
}

/// Each on a connection of its own, with numbers of its own.
fn fifty(round: usize) -> Value {
    let job = |n: usize| {
        let headers = json!({
            "x-stub-chunks": (n + 3).to_string(),
            "x-stub-pace-ms": "5",
            "x-stub-input-tokens": (1000 * round + n + 1).to_string(),
        });
        json!({"api": "chat", "stream": !n.is_multiple_of(3), "prompt": format!("stream {n}"), "headers": headers})
    };
    (0..50).map(job).collect()
}

#[tokio::test]
async fn calls_with_ring() {
    every_call_is_reported(Provider::Ring, &[], &jobs()).await;
}

#[tokio::test]
async fn calls_with_aws_lc() {
    every_call_is_reported(Provider::AwsLc, &[], &jobs()).await;
}

#[tokio::test]
async fn calls_with_native_tls() {
    let Some(client) = requirement::met(NativeTlsClient::built().await) else { return };
    for version in ["1.3", "1.2"] {
        let Some(scene) = Scene::set().await else { return };
        let mut program = client.start(&scene.stub, &[("TLS_VERSION", version)]);
        let pid = program.pid;
        for work in jobs() {
            program.run_one(&work).await;
        }
        program.run(&fifty(0)).await;
        program.finish().await;
        scene.calls_are_reported_by(OPENSSL, pid).await;
    }
}

#[tokio::test]
async fn a_program_with_names_of_one_library_and_the_code_of_another_is_seen_through_both() {
    let Some(client) = requirement::met(RustClient::built(Provider::Ring).await) else { return };
    let Some(client) = requirement::met(client.with_names_of_openssl().await) else { return };
    let Some(scene) = Scene::set().await else { return };
    let mut program = client.start(&scene.stub, &[]);
    let pid = program.pid;
    let name = client.path().file_name().expect("it is a file").display().to_string();
    // Names are quick; what the code adds takes nothing of them away.
    scene.agent.wait_for_log(&["attached path=", &name, "library=\"openssl\""]).await;
    scene.agent.wait_for_log(&["attached more of a file", &name]).await;
    for work in jobs() {
        program.run(&work).await;
    }
    program.finish().await;
    let (_, finished) = scene.calls_are_reported_by(RUSTLS, pid).await;
    assert!(!finished.log.contains("rewritten in place"), "{}", finished.log);
}

/// The oldest rustls as the smallest program there is, linked with musl; and the newest at a fixed address. `cargo xtask fixtures` has more,
/// without calls.
#[tokio::test]
async fn calls_of_programs_that_are_linked_otherwise() {
    let smallest =
        RustBuild { rustls: Version::Oldest, provider: Provider::Ring, optimised: Optimised::SmallestLto, linked: Linked::MuslPie };
    let fixed = RustBuild { rustls: Version::Newest, provider: Provider::Ring, optimised: Optimised::Speed, linked: Linked::Fixed };
    for build in named_builds().unwrap_or_else(|| vec![smallest, fixed]) {
        let Some(fixture) = requirement::met(build.made().await) else { return };
        for version in ["1.3", "1.2"] {
            let Some(scene) = Scene::set().await else { return };
            let mut command = Command::new(&fixture.program);
            command.env("STAND_IN_PORT", scene.stub.port().to_string()).env("SSL_CERT_FILE", scene.stub.ca_file());
            let mut program = Program::start(command.env("TLS_VERSION", version));
            let pid = program.pid;
            wait_until_attached(&scene.agent, &fixture.program).await;
            for work in jobs() {
                let answers = program.run(&work).await;
                assert!(
                    answers.iter().all(|answer| answer.get("id").and_then(Value::as_str).is_some_and(|id| !id.is_empty())),
                    "{build}: {answers:#?}"
                );
            }
            program.finish().await;
            scene.calls_are_reported_by(RUSTLS, pid).await;
        }
    }
}

/// Those of the matrix whose names contain `A11I_TEST_FIXTURES`.
fn named_builds() -> Option<Vec<RustBuild>> {
    let word = std::env::var("A11I_TEST_FIXTURES").ok()?;
    Some(RustBuild::matrix().into_iter().filter(|build| build.to_string().contains(&word)).collect())
}

#[tokio::test]
async fn calls_over_tls_1_2() {
    for provider in [Provider::Ring, Provider::AwsLc] {
        every_call_is_reported(provider, &[("TLS_VERSION", "1.2")], &jobs()).await;
    }
}

#[tokio::test]
async fn calls_with_chacha20() {
    for (provider, version) in [(Provider::Ring, "1.3"), (Provider::AwsLc, "1.3"), (Provider::Ring, "1.2"), (Provider::AwsLc, "1.2")] {
        every_call_is_reported(provider, &[("TLS_VERSION", version), ("CIPHER", "chacha20")], &jobs()).await;
    }
}

#[tokio::test]
async fn fifty_connections_of_one_process_are_each_joined_right() {
    for provider in [Provider::Ring, Provider::AwsLc] {
        every_call_is_reported(provider, &[], &[fifty(0), fifty(1)]).await;
    }
}

#[tokio::test]
async fn a_connection_whose_keys_change_stays_one() {
    const CALLS: usize = 12;
    for provider in [Provider::Ring, Provider::AwsLc] {
        let Some(client) = requirement::met(RustClient::built(provider).await) else { return };
        let Some(scene) = Scene::set().await else { return };
        let mut program = client.start_key_update(&scene.stub, CALLS);
        let pid = program.pid;
        wait_until_attached(&scene.agent, client.key_update_path()).await;
        // Its answers come one by one for the one line.
        let answers = program.run(&json!(vec![json!({}); CALLS])).await;
        assert_eq!(answers.len(), CALLS, "{answers:#?}");
        program.finish().await;
        scene.calls_are_reported_by(RUSTLS, pid).await;
    }
}

#[tokio::test]
async fn open_connections_of_a_running_program() {
    for provider in [Provider::Ring, Provider::AwsLc] {
        let Some(client) = requirement::met(RustClient::built(provider).await) else { return };
        open_connections_are_followed(RUSTLS, |stub| client.start(stub, &[])).await;
    }
    let Some(client) = requirement::met(NativeTlsClient::built().await) else { return };
    open_connections_are_followed(OPENSSL, |stub| client.start(stub, &[])).await;
}

async fn open_connections_are_followed(library: &str, start: impl FnOnce(&ProviderStub) -> Program) {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let mut program = start(&stub);
    let pid = program.pid;
    program.run(&fifty(0)).await;
    let unseen = stub.expected().len();

    let Some(agent) = Agent::start().await else { return };
    program.run(&fifty(1)).await;
    program.run_one(&json!({"api": "chat", "stream": true})).await;
    let expected = stub.expected();
    let seen = expected.get(unseen..).expect("there were more calls");
    agent.calls_of(pid, seen.len()).await;
    program.finish().await;
    assert!(stub.exchanges().iter().all(|exchange| exchange.connection < 50), "the client kept its connections");
    matched_by(library, seen, &agent.stop().await, pid);
}

/// What a compiler of tomorrow may do. The first program teaches the agent where its records have what; what comes after it is seen whole.
#[tokio::test]
async fn a_program_whose_structures_are_laid_out_in_another_order_is_understood_from_its_own_records() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(agent) = Agent::start().await else { return };
    let mut seen = Vec::new();
    for (seed, version) in SHUFFLED {
        let Some(client) = requirement::met(ShuffledClient::built(seed).await) else { return };
        let name = client.path().file_name().expect("it is a file").display().to_string();
        let mut first = client.start(&stub, &[("TLS_VERSION", version)]);
        wait_until_attached(&agent, client.path()).await;
        for _ in 0..2 {
            first.run_one(&json!({})).await;
        }
        agent.wait_for_log(&["found the layout", &name]).await;

        let before = stub.expected().len();
        let mut second = client.start(&stub, &[("TLS_VERSION", version)]);
        for _ in 0..6 {
            second.run_one(&json!({})).await;
        }
        let expected = stub.expected().split_off(before);
        agent.calls_of(second.pid, expected.len()).await;
        seen.push((second.pid, expected));
        second.finish().await;
        first.finish().await;
    }
    let finished = agent.stop().await;
    for (pid, expected) in seen {
        matched_by(RUSTLS, &expected, &finished, pid);
    }
}

/// Seeds that give each a layout of its own for records to encrypt and for those to decrypt, and what is spoken.
const SHUFFLED: [(u32, &str); 3] = [(1, "1.3"), (2, "1.2"), (3, "1.3")];
