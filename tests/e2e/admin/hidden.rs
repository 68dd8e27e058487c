//! The tree of an `exec` is not reported by `run`.

use a11i_tests::{
    agent::{binary, calls_in},
    requirement,
    workload::curl::chat,
};
use tokio::process::Command;

use crate::scene::{OPENAI_CHAT, Scene, assert_whole, run, words};

#[tokio::test]
async fn what_exec_observes_is_reported_once_and_its_neighbours_by_run() {
    let Some(scene) = Scene::set().await else { return };
    let Some(program) = requirement::met(requirement::program("curl", "install the package `curl`")) else { return };
    let script = format!(
        "{} --silent --http1.1 --cacert {} --connect-to api.openai.com:443:127.0.0.1:{} --json '{}' {OPENAI_CHAT} > /dev/null",
        program.display(),
        scene.stub.ca_file().display(),
        scene.stub.port(),
        chat("gpt-4o-mini", "to exec alone"),
    );
    let mut command = Command::new(binary().expect("the agent runs already"));
    command.args(["exec", "--output", "json", "--", "sh", "-c", &script]);
    let output = run(&mut command).await;
    assert!(output.status.success(), "{}", words(&output));
    let calls = calls_in(&String::from_utf8_lossy(&output.stdout));
    let expected = scene.stub.expected();
    let ([expected], [call]) = (&expected[..], &calls[..]) else { panic!("{expected:#?}\n{}", words(&output)) };
    expected.assert_reported_as(call);
    assert_whole(call);

    let Some(curl) = scene.curl() else { return };
    let neighbour = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "to run")).run().await;
    scene.agent.calls_of(neighbour.pid, 1).await;
    let finished = scene.agent.stop().await;
    let id = expected.response_id.as_deref();
    assert!(!finished.calls.iter().any(|call| call.response_id() == id), "{:#?}\n{}", finished.calls, finished.log);
}
