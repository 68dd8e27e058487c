//! `a11i exec -- CMD`: the command and its descendants, and nobody else.

mod late;
mod launch;
mod sudo;

use std::process::Stdio;

use a11i_tests::{
    agent::{PATIENCE, binary, calls_in},
    observed::ObservedCall,
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::{
        curl::{Curl, chat},
        python::{Python, Script},
    },
};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::scene::{OPENAI_CHAT, assert_whole, run, words};

/// The calls among lines that a command writes itself.
fn calls_among(output: &str) -> Vec<ObservedCall> {
    calls_in(&output.lines().filter(|line| line.contains("\"span_name\"")).collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn a_python_program_is_seen_from_its_first_call_and_its_neighbours_are_not() {
    let _turn = one_at_a_time();
    let Some(()) = requirement::met(requirement::root()) else { return };
    let Some(agent) = requirement::met(binary()) else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let stub = ProviderStub::start();
    let (line, environment) = python.command_line(Script::OpenAiSync, &stub);
    let mut command = Command::new(agent);
    command.args(["exec", "--output", "json", "--"]).args(line).envs(environment).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the agent can be started");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(format!("{}\n", json!({"api": "chat"})).as_bytes()).await.expect("the program reads");
    let begun = std::time::Instant::now();
    while stub.expected().is_empty() {
        assert!(child.try_wait().expect("it can be waited for").is_none(), "it ended early");
        assert!(begun.elapsed() < PATIENCE, "the program has made no call yet");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // A neighbour calls while the program still runs.
    let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
    curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "not to be seen")).run().await;
    input.write_all(format!("{}\n", json!({"api": "chat", "stream": true})).as_bytes()).await.expect("the program reads");
    drop(input);
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends when its program does");
    let output = ended.expect("it can be waited for");
    assert!(output.status.success(), "{}", words(&output));

    // Its own lines go where they would have gone; the calls stand among them.
    let text = String::from_utf8_lossy(&output.stdout);
    let calls = calls_among(&text);
    let expected = stub.expected();
    let [first, neighbour, second] = &expected[..] else { panic!("{expected:#?}") };
    let [one, two] = &calls[..] else { panic!("two calls were made: {}", words(&output)) };
    first.assert_reported_as(one);
    second.assert_reported_as(two);
    assert_whole(one);
    assert!(!text.contains(neighbour.response_id.as_deref().expect("it was answered")), "{text}");
}

#[tokio::test]
async fn descendants_are_seen_and_the_status_is_the_commands() {
    let _turn = one_at_a_time();
    let Some(()) = requirement::met(requirement::root()) else { return };
    let Some(agent) = requirement::met(binary()) else { return };
    let Some(curl) = requirement::met(requirement::program("curl", "install the package `curl`")) else { return };
    let stub = ProviderStub::start();
    let script = format!(
        "{} --silent --http1.1 --cacert {} --connect-to api.openai.com:443:127.0.0.1:{} --json '{}' {OPENAI_CHAT} > /dev/null; exit 7",
        curl.display(),
        stub.ca_file().display(),
        stub.port(),
        chat("gpt-4o-mini", "from a grandchild"),
    );
    let mut command = Command::new(agent);
    command.args(["exec", "--output", "json", "--", "sh", "-c", &script]);
    let output = run(&mut command).await;
    assert_eq!(output.status.code(), Some(7), "{}", words(&output));
    let calls = calls_in(&String::from_utf8_lossy(&output.stdout));
    let expected = stub.expected();
    let ([expected], [call]) = (&expected[..], &calls[..]) else { panic!("{expected:#?}\n{}", words(&output)) };
    expected.assert_reported_as(call);
    assert_whole(call);
}
