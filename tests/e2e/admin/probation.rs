//! Functions that are found without names, and are not what they seem.

use std::time::Duration;

use a11i_tests::{
    agent::Agent,
    requirement,
    serial::one_at_a_time,
    workload::{c_program, program::Program},
};
use serde_json::json;
use tokio::process::Command;

use super::a11i;
use crate::scene::words;

/// More often than anyone calls: contradictions count from when the first was read.
const ROUNDS: Duration = Duration::from_millis(200);

#[tokio::test]
async fn functions_that_no_call_of_a_library_fits_are_detached_and_their_code_is_not_attached_again() {
    let options = ["-s", "-fno-ipa-ra", "-fno-ipa-stack-alignment"];
    let Some(path) = requirement::met(c_program::compiled_by("cc", "c/not_openssl.c", "not_openssl", &options).await) else { return };
    let _turn = one_at_a_time();
    let Some(agent) = Agent::start().await else { return };
    let mut program = Program::start(&mut Command::new(&path));
    agent.wait_for_log(&["attached path=", "not_openssl"]).await;
    let (mut sum, mut rounds) = (0, 0);
    while !agent.log().contains("detached functions that are not what they were taken for") {
        let answer = program.run_one(&json!({})).await;
        let more = answer.get("sum").and_then(serde_json::Value::as_u64).expect("it adds up");
        assert!(more > sum, "it computes what it always does");
        sum = more;
        tokio::time::sleep(ROUNDS).await;
        rounds += 1;
        assert!(rounds < MOST, "the agent keeps its probes:\n{}", agent.log());
    }
    // Another copy of the same code.
    let copy = path.with_file_name("not_openssl_copy");
    std::fs::copy(&path, &copy).expect("the cache folder is writable");
    let mut again = Program::start(&mut Command::new(&copy));
    again.run_one(&json!({})).await;
    let report = loop {
        let text = words(&a11i(&["processes"]).await);
        if text.contains("not_openssl_copy") {
            break text;
        }
        tokio::time::sleep(ROUNDS).await;
    };
    let of_copy = report.split("file ").find(|part| part.contains("not_openssl_copy:")).unwrap_or_else(|| panic!("{report}"));
    for said in ["disproven by live calls", "not attached", "detached: no call was"] {
        assert!(of_copy.contains(said), "{said} in {of_copy}");
    }
    assert!(!agent.log().lines().any(|line| line.contains("attached path=") && line.contains("not_openssl_copy")), "{}", agent.log());
    again.finish().await;
    program.finish().await;
    agent.stop().await;
}

#[tokio::test]
async fn functions_that_write_and_are_never_understood_are_told_although_those_that_read_are() {
    let options = ["-s", "-fno-ipa-ra", "-fno-ipa-stack-alignment", "-DHALF"];
    let Some(path) = requirement::met(c_program::compiled_by("cc", "c/not_openssl.c", "half_openssl", &options).await) else { return };
    let _turn = one_at_a_time();
    let Some(agent) = Agent::start().await else { return };
    let mut program = Program::start(&mut Command::new(&path));
    agent.wait_for_log(&["attached path=", "half_openssl"]).await;
    let mut rounds = 0;
    while !agent.log().contains("functions of one direction are not what they were taken for") {
        program.run_one(&json!({})).await;
        tokio::time::sleep(ROUNDS).await;
        rounds += 1;
        assert!(rounds < MOST, "nothing is said of them:\n{}", agent.log());
    }
    let report = words(&a11i(&["processes"]).await);
    let of_it = report.split("file ").find(|part| part.contains("half_openssl:")).unwrap_or_else(|| panic!("{report}"));
    for said in ["attached for everyone", "writes are not understood: what is sent is not seen"] {
        assert!(of_it.contains(said), "{said} in {of_it}");
    }
    assert!(!agent.log().contains("detached functions that are not what they were taken for"), "{}", agent.log());
    program.finish().await;
    agent.stop().await;
}

/// For ten minutes.
const MOST: u32 = 3_000;
