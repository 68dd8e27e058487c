//! What the command loads long after its start.

use std::{fs, process::Stdio, time::Duration};

use a11i_tests::{
    agent::{PATIENCE, binary},
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::{c_client::post, curl::chat, late_client::Workshop},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

use super::calls_among;
use crate::scene::assert_whole;

const HOST: &str = "api.openai.com";
/// Longer than a young process is followed, and than two looks at an old one are apart.
const PAST_EVERY_LOOK: Duration = Duration::from_secs(7);

#[tokio::test]
async fn a_library_that_an_old_process_loads_is_noticed() {
    let _turn = one_at_a_time();
    let Some(()) = requirement::met(requirement::root()) else { return };
    let Some(agent) = requirement::met(binary()) else { return };
    let Some(workshop) = requirement::met(Workshop::open("late-exec").await) else { return };
    let stub = ProviderStub::start();
    let (library, request) = (workshop.copy_of_libssl("libssl.so.3"), workshop.path("request"));
    fs::write(&request, post(HOST, "/v1/chat/completions", &[], &chat("gpt-4o-mini", "hello"))).expect("the folder is writable");
    let mut command = Command::new(agent);
    command.args(["exec", "--log-level", "info", "--output", "json", "--"]).arg(workshop.path("late_tls"));
    command.arg(&library).arg(stub.port().to_string()).arg(HOST).arg(stub.ca_file()).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the agent can be started");
    let mut input = child.stdin.take().expect("piped");
    let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
    tokio::time::sleep(PAST_EVERY_LOOK).await;

    input.write_all(b"load\n").await.expect("the program reads");
    let attached = async {
        while let Some(line) = log.next_line().await.expect("the log is text") {
            if line.contains("attached") && line.contains(&library.display().to_string()) {
                return;
            }
        }
        panic!("the agent ended and had not attached {}", library.display());
    };
    tokio::time::timeout(PATIENCE, attached).await.expect("the library is attached");
    input.write_all(format!("call {}\n", request.display()).as_bytes()).await.expect("the program reads");
    drop(input);

    let mut said = String::new();
    let read = child.stdout.as_mut().expect("piped").read_to_string(&mut said);
    tokio::time::timeout(PATIENCE, read).await.expect("it ends when its program does").expect("it is text");
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it can be waited for");
    assert!(status.success(), "{status}: {said}");
    let calls = calls_among(&said);
    let expected = stub.expected();
    let ([expected], [call]) = (&expected[..], &calls[..]) else { panic!("{expected:#?}\n{said}") };
    expected.assert_reported_as(call);
    assert_whole(call);
}
