//! What the agent gives up, and that it can do with what is left.

use std::collections::HashMap;

use a11i_tests::{
    agent::{Agent, AgentOptions},
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::curl::{Curl, chat, chat_stream},
};

use crate::scene::{OPENAI_CHAT, assert_whole};

/// Numbers in Linux's `capability.h`.
const DAC_READ_SEARCH: u32 = 2;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const SYS_RESOURCE: u32 = 24;
const PERFMON: u32 = 38;
const BPF: u32 = 39;
const CHECKPOINT_RESTORE: u32 = 40;

/// What observing takes on the running kernel, as README and SECURITY.md say it.
fn needed() -> Vec<(u32, &'static str)> {
    let mut needed = vec![
        (DAC_READ_SEARCH, "dac_read_search"),
        (SYS_PTRACE, "sys_ptrace"),
        (PERFMON, "perfmon"),
        (BPF, "bpf"),
        (CHECKPOINT_RESTORE, "checkpoint_restore"),
    ];
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux tells its release");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().expect("a major version"), numbers.next().expect("a minor version"));
    if version < (6, 6) {
        needed.push((SYS_ADMIN, "sys_admin"));
    }
    if version < (5, 11) {
        needed.push((SYS_RESOURCE, "sys_resource"));
    }
    needed
}

/// Their bits, of those that this test's own process has.
fn kept() -> u64 {
    let own = bits(&status("self"), "CapPrm");
    needed().iter().fold(0, |bits, (number, _)| bits | 1 << number) & own
}

/// `/proc/PID/status`.
fn status(pid: &str) -> HashMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    text.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn bits(status: &HashMap<String, String>, name: &str) -> u64 {
    u64::from_str_radix(&status[name], 16).expect("a hexadecimal number")
}

/// A call and a stream, each seen exactly.
async fn a_call_and_a_stream_are_seen(agent: &Agent, stub: &ProviderStub) {
    for body in [chat("gpt-4o-mini", "whole"), chat_stream("gpt-4o-mini", "streamed")] {
        let Some(curl) = requirement::met(Curl::to(stub)) else { return };
        let done = curl.post(OPENAI_CHAT, &body).run().await;
        let calls = agent.calls_of(done.pid, 1).await;
        let [call] = &calls[..] else { panic!("one call was made: {calls:#?}") };
        stub.expected().last().expect("it was answered").assert_reported_as(call);
        assert_whole(call);
    }
}

#[tokio::test]
async fn guest_exactly_the_documented_capabilities_suffice() {
    let _turn = one_at_a_time();
    let Some(setpriv) = requirement::met(requirement::program("setpriv", "install the package `util-linux`")) else { return };
    let names: Vec<String> =
        needed().iter().filter(|(number, _)| kept() & (1 << number) != 0).map(|(_, name)| format!("+{name}")).collect();
    let bounding = format!("--bounding-set=-all,{}", names.join(","));
    let setpriv = setpriv.display().to_string();
    let stub = ProviderStub::start();
    let options = AgentOptions { patience: a11i_tests::agent::GUEST_PATIENCE, ..AgentOptions::default() };
    let around = [setpriv.as_str(), "--inh-caps=-all", &bounding];
    let Some(agent) = Agent::start_with(options.around(&around)).await else { return };
    let status = status(&agent.pid().to_string());
    for set in ["CapPrm", "CapEff"] {
        assert_eq!(bits(&status, set), kept(), "{set}");
    }
    a_call_and_a_stream_are_seen(&agent, &stub).await;
    let finished = agent.stop().await;
    assert!(!finished.log.contains("Operation not permitted"), "{}", finished.log);
}

#[tokio::test]
async fn every_thread_of_a_running_agent_has_given_up_what_it_does_not_need() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(agent) = Agent::start().await else { return };
    a_call_and_a_stream_are_seen(&agent, &stub).await;
    let pid = agent.pid();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the agent runs");
    let mut seen = 0;
    for thread in threads {
        let tid = thread.expect("it can be listed").file_name();
        let status = status(&format!("{pid}/task/{}", tid.to_string_lossy()));
        assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"), "{status:#?}");
        for (set, expected) in [("CapPrm", kept()), ("CapEff", kept()), ("CapInh", 0), ("CapAmb", 0), ("CapBnd", 0)] {
            assert_eq!(bits(&status, set), expected, "{set} of {status:#?}");
        }
        seen += 1;
    }
    assert!(seen > 4, "{seen} threads");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("the agent runs");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line of every process");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    // Not dumpable: its files in /proc belong to root whoever runs it, and nobody without privileges reads its memory.
    let finished = agent.stop().await;
    assert!(!finished.log.contains("containment is weaker"), "{}", finished.log);
}

#[tokio::test]
async fn containment_can_be_switched_off_and_says_so() {
    let _turn = one_at_a_time();
    let Some(agent) = Agent::start_with(AgentOptions::default().env("A11I_CONTAINMENT", "off")).await else { return };
    agent.wait_for_log(&["containment is off"]).await;
    let status = status(&agent.pid().to_string());
    assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("0", "0"), "{status:#?}");
    agent.stop().await;
}
