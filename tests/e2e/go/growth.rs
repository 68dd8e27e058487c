//! No program may ever crash: stacks grow and shrink under probes that come and go.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use a11i_tests::{
    agent::{Agent, AgentOptions, PATIENCE, binary},
    requirement,
    serial::one_at_a_time,
    workload::go::Build,
};
use tokio::process::Command;

use super::program;

/// How many calls there are at least. The whole trial is a million, which takes minutes: `A11I_TEST_GO_CALLS=1000000`.
const CALLS: u64 = 100_000;
const CALLS_VARIABLE: &str = "A11I_TEST_GO_CALLS";
/// Calls between two looks at the program.
const PORTION: u64 = 20_000;

#[tokio::test]
async fn a_program_whose_stacks_grow_lives_on_while_probes_come_and_go() {
    let Some(go) = program(Build::Stripped).await else { return };
    let Some(a11i) = requirement::met(binary()) else { return };
    let wanted = std::env::var(CALLS_VARIABLE).map_or(CALLS, |value| value.parse().expect("a number of calls"));
    let _turn = one_at_a_time();
    let mut program = go.growth().await;
    // Else the guard would spare it the probes: it talks to no LLM.
    let Some(agent) = Agent::start_with(AgentOptions::default().env("A11I_GUARD_HITS_PER_SECOND", "0")).await else { return };

    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let moves = tokio::spawn(async move {
        let mut moves = 0_u32;
        while !over.load(Ordering::Relaxed) {
            for action in ["detach", "attach"] {
                let asked = Command::new(&a11i).args(["control", action]).kill_on_drop(true).output();
                let output = tokio::time::timeout(PATIENCE, asked).await.expect("the agent answers").expect("it can be asked");
                assert!(output.status.success(), "{action}: {output:?}");
                moves += 1;
            }
        }
        moves
    });
    let mut calls = 0;
    while calls < wanted {
        calls += program.make_calls(PORTION.min(wanted)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let moves = moves.await.expect("asking does not panic");
    let log = agent.stop().await.log;
    // The agent is gone, and the program works on.
    calls += program.make_calls(PORTION.min(wanted)).await;
    program.finish().await;
    assert!(moves >= 2, "probes came and went");
    assert!(log.contains("library=\"go\""), "the program was probed: {log}");
    // Not `println!`: the harness keeps that of a test that passes to itself.
    let line = format!("go: {calls} calls ({CALLS_VARIABLE}) under {moves} moves of the probes\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).ok();
}
