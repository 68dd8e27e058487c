//! Libraries that are loaded late, replaced, deleted, rewritten, or that exist in a mount namespace of their own.

use std::{fs, path::Path, process::Stdio, time::Duration};

use a11i_tests::{
    requirement,
    workload::{
        c_client::post,
        curl::chat,
        late_client::{LateTls, Workshop},
    },
};
use tokio::process::Command;

use crate::scene::{Scene, assert_whole, matched, words};

const HOST: &str = "api.openai.com";
/// Longer than a young process is followed, and than two scans of all processes are apart.
const PAST_EVERY_LOOK: Duration = Duration::from_secs(7);

fn request() -> Vec<u8> {
    post(HOST, "/v1/chat/completions", &[], &chat("gpt-4o-mini", "hello"))
}

/// Waits until the agent has said that it attached this file.
async fn attached(scene: &Scene, library: &Path) {
    scene.agent.wait_for_log(&["attached", &library.display().to_string()]).await;
}

/// The client's calls are reported exactly, once each.
async fn all_are_reported(scene: Scene, client: LateTls) {
    let pid = client.pid;
    let expected = scene.stub.expected();
    scene.agent.calls_of(pid, expected.len()).await;
    client.finish().await;
    matched(&expected, &scene.agent.stop().await, pid);
}

#[tokio::test]
async fn a_library_that_an_old_process_loads_is_noticed_without_a_scan_of_all() {
    let Some(workshop) = requirement::met(Workshop::open("late").await) else { return };
    let Some(scene) = Scene::set().await else { return };
    let library = workshop.copy_of_libssl("libssl.so.3");
    let mut client = workshop.start(&library, &scene.stub, HOST, &request());
    tokio::time::sleep(PAST_EVERY_LOOK).await;
    client.load().await;
    attached(&scene, &library).await;
    client.call().await;
    all_are_reported(scene, client).await;
}

#[tokio::test]
async fn calls_go_on_being_reported_when_the_library_is_replaced_and_deleted() {
    let Some(workshop) = requirement::met(Workshop::open("replaced").await) else { return };
    let Some(scene) = Scene::set().await else { return };
    let library = workshop.copy_of_libssl("libssl.so.3");
    let mut client = workshop.start(&library, &scene.stub, HOST, &request());
    client.load().await;
    attached(&scene, &library).await;
    client.call().await;
    // As a package manager does it: a new file takes the name.
    fs::rename(workshop.copy_of_libssl("libssl.so.3.new"), &library).expect("the folder is writable");
    tokio::time::sleep(PAST_EVERY_LOOK).await;
    client.call().await;
    fs::remove_file(&library).expect("the folder is writable");
    tokio::time::sleep(PAST_EVERY_LOOK).await;
    client.call().await;
    assert!(!scene.agent.log().contains("rewritten in place"), "{}", scene.agent.log());
    all_are_reported(scene, client).await;
}

#[tokio::test]
async fn a_library_that_was_deleted_before_the_agent_came_is_attached_by_its_mapping() {
    let Some(workshop) = requirement::met(Workshop::open("deleted").await) else { return };
    let stub = a11i_tests::provider_stub::ProviderStub::start();
    let library = workshop.copy_of_libssl("libssl.so.3");
    let mut client = workshop.start(&library, &stub, HOST, &request());
    client.load().await;
    fs::remove_file(&library).expect("the folder is writable");
    fs::write(&library, b"another file").expect("the folder is writable");
    let _turn = a11i_tests::serial::one_at_a_time();
    let Some(agent) = a11i_tests::agent::Agent::start().await else { return };
    agent.wait_for_log(&["attached", &library.display().to_string()]).await;
    client.call().await;
    agent.calls_of(client.pid, 1).await;
    let pid = client.pid;
    client.finish().await;
    matched(&stub.expected(), &agent.stop().await, pid);
}

#[tokio::test]
async fn a_library_that_is_rewritten_in_place_loses_its_probes() {
    let Some(workshop) = requirement::met(Workshop::open("rewritten").await) else { return };
    let Some(scene) = Scene::set().await else { return };
    let library = workshop.copy_of_libssl("libssl.so.3");
    let mut client = workshop.start(&library, &scene.stub, HOST, &request());
    client.load().await;
    attached(&scene, &library).await;
    // The same code, so that the client can still run (a truncation would take its pages away); another version all the same.
    let mut file = fs::File::options().append(true).open(&library).expect("a mapped library can be written");
    std::io::Write::write_all(&mut file, &[0; 64]).expect("there is room");
    drop(file);
    scene.agent.wait_for_log(&["rewritten in place"]).await;
    client.call().await; // whoever maps it works on
    client.finish().await;
    scene.agent.stop().await;
}

#[tokio::test]
async fn a_process_in_its_own_mount_pid_and_net_namespace_is_reported_like_any_other() {
    let Some(unshare) = requirement::met(requirement::program("unshare", "install the package `util-linux`")) else { return };
    let needed = ["ip", "curl"].map(|name| requirement::met(requirement::program(name, "install it")).is_some());
    let Some(workshop) = requirement::met(Workshop::open("namespace").await) else { return };
    let stub = std::env::current_exe().ok().and_then(|test| Some(test.parent()?.parent()?.join("stub"))).filter(|stub| stub.is_file());
    let missing = || requirement::Unmet::new("no `stub` beside the tests", "build the programs of the tests too (`--bins`)");
    let (Some(stub), true) = (requirement::met(stub.ok_or_else(missing)), needed == [true; 2]) else { return };
    let Some(scene) = Scene::set().await else { return };
    // The library is on a file system that only this namespace has; calls to an uninteresting path make it known: each is over within
    // some ten milliseconds, so that one alone may not be.
    let script = r#"
        set -e
        mount -t tmpfs none "$ROOM" && cp "$LIBSSL" "$ROOM/libssl.so.3"
        ip link set lo up
        "$STUB" 44443 > "$OUT" & provider=$!
        until grep -q '^CA ' "$OUT"; do sleep 0.1; done
        export LD_LIBRARY_PATH="$ROOM"
        ask() { curl --silent --show-error --http1.1 --noproxy '*' --cacert "$(sed -n 's/^CA *//p' "$OUT")" \
            --connect-to api.openai.com:443:127.0.0.1:44443 "$@"; }
        until [ -e "$GO" ]; do ask https://api.openai.com/health; sleep 0.1; done
        ask https://api.openai.com/v1/chat/completions -H 'content-type: application/json' -H 'x-stub-input-tokens: 1234' \
            -d '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hello"}]}'
        until grep -q ' -> 200' "$OUT"; do sleep 0.1; done
        kill $provider
    "#;
    let (room, out, go) = (workshop.path("room"), workshop.path("out"), workshop.path("go"));
    fs::create_dir(&room).expect("the folder is writable");
    let mut command = Command::new(unshare);
    command.args(["--mount", "--pid", "--net", "--fork", "--mount-proc", "--kill-child", "sh", "-c", script]);
    command.env("ROOM", &room).env("LIBSSL", workshop.libssl()).env("STUB", stub).env("OUT", &out).env("GO", &go);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().expect("unshare can be started");
    attached(&scene, &room.join("libssl.so.3")).await;
    fs::write(&go, b"").expect("the folder is writable");
    let output = a11i_tests::workload::ended("the namespace", child).await;
    assert!(output.status.success(), "{}", words(&output));

    let told = fs::read_to_string(&out).expect("the stand-in wrote it");
    let line = told.lines().find(|line| line.contains(" -> 200")).unwrap_or_else(|| panic!("{told}"));
    let word_after =
        |mark: &str| line.split(mark).nth(1).and_then(|rest| rest.split([' ', ',']).next()).expect("the stand-in's own format");
    let call = scene.agent.call_with_id(word_after(" -> 200 ")).await;
    assert_whole(&call);
    assert_eq!(call.int("gen_ai.usage.input_tokens"), Some(1234), "{call:#?}");
    assert_eq!(call.int("gen_ai.usage.output_tokens"), word_after("tokens in, ").parse().ok(), "{call:#?}");
    scene.agent.wait_for_log(&["observing"]).await;
    let finished = scene.agent.stop().await;
    let of_it = finished.calls.iter().filter(|other| other.response_id() == call.response_id()).count();
    assert_eq!(of_it, 1, "{:#?}", finished.calls);
}
