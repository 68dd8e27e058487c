//! A client that a seccomp filter kills for the system calls that probes make in a process: it is seen where the kernel hides them from
//! filters, left out with a reason where it does not, and unharmed everywhere.

use a11i_tests::{
    agent::binary,
    requirement,
    workload::{c_program::compiled, curl::chat},
};
use serde_json::Value;
use tokio::process::Command;

use crate::scene::{OPENAI_CHAT, Scene, run, words};

#[tokio::test]
async fn a_seccomp_confined_client_is_unharmed_and_seen_where_that_is_safe() {
    let Some(confine) = requirement::met(compiled("confine", &["-lssl", "-lcrypto"]).await) else { return };
    let Some(scene) = Scene::set().await else { return };
    let Some(curl) = scene.curl() else { return };
    let doctor = run(Command::new(binary().expect("it runs")).args(["doctor", "--json"])).await;
    let facts: Value = serde_json::from_slice(&doctor.stdout).unwrap_or_else(|error| panic!("{error}: {}", words(&doctor)));
    let safe = ["return_call", "entry_call"].iter().all(|call| {
        let found = facts.pointer(&format!("/features/hazards/{call}")).and_then(Value::as_str);
        matches!(found.unwrap_or_else(|| panic!("no {call} in {facts:#}")), "absent" | "unfiltered")
    });
    let done = curl.under(confine).post(OPENAI_CHAT, &chat("gpt-4o-mini", "hello")).run().await;
    assert!(done.output.status.success(), "{done:?}");
    if safe {
        scene.calls_are_reported(done.pid).await;
    } else {
        let finished = scene.agent.stop().await;
        assert!(finished.calls.iter().all(|call| call.pid() != Some(done.pid)), "it was probed: {:#?}", finished.calls);
    }
}
