//! A program without LLM traffic that calls its TLS library at full speed loses its probes, and nobody else does; when it has calmed down,
//! everyone has them again. Its speed is printed, not judged.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use a11i_tests::{
    agent::{Agent, PATIENCE, signal},
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::{
        c_program::compiled,
        curl::{Curl, chat},
        python::{Python, Script},
    },
};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    admin::{asked, list, process_in},
    scene::{OPENAI_CHAT, matched},
};

/// Ended with the test.
struct Busy {
    child: Child,
    lines: Arc<Mutex<Vec<u64>>>,
}

impl Busy {
    fn start(program: &std::path::Path) -> Self {
        let mut child = Command::new(program).stdout(Stdio::piped()).spawn().expect("it was just compiled");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, written) = (BufReader::new(child.stdout.take().expect("piped")), Arc::clone(&lines));
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let calls = line.parse().expect("a number");
                written.lock().unwrap_or_else(PoisonError::into_inner).push(calls);
            }
        });
        Self { child, lines }
    }

    /// The most calls in a quarter of a second among the next few lines.
    async fn speed(&self) -> u64 {
        const LINES: usize = 5;
        let count = || self.lines.lock().unwrap_or_else(PoisonError::into_inner).len();
        let (before, begun) = (count(), std::time::Instant::now());
        while count() < before + LINES {
            assert!(begun.elapsed() < PATIENCE, "the bystander stands still");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(before).copied().max().expect("some lines")
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn a_busy_bystander_loses_its_probes_until_it_calms_down_and_an_agent_program_keeps_them() {
    let _turn = one_at_a_time();
    let Some(program) = requirement::met(compiled("busy_tls", &["-lssl", "-lcrypto", "-lpthread"]).await) else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let stub = ProviderStub::start();
    let busy = Busy::start(&program);
    let before = busy.speed().await;

    let Some(agent) = Agent::start().await else { return };
    // Starts before the guard acts, and says nothing until it has.
    let mut client = python.start(Script::OpenAiSync, &stub);
    let under = busy.speed().await;
    agent.wait_for_log(&["bystander guard", "lose their probes"]).await;
    let after = busy.speed().await;

    // Limited: the program that has not talked yet is seen when it does.
    for job in [json!({"api": "chat"}), json!({"api": "chat", "stream": true})] {
        client.run_one(&job).await;
    }
    let pid = client.pid;
    agent.calls_of(pid, 2).await;

    signal(busy.child.id(), Signal::USR1);
    agent.wait_for_log(&["bystander guard", "everyone again"]).await;
    client.run_one(&json!({"api": "chat"})).await;
    client.finish().await;
    agent.calls_of(pid, 3).await;
    let finished = agent.stop().await;
    matched(&stub.expected(), &finished, pid);
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let ratio = |calls: u64| calls as f64 / before as f64;
    println!(
        "calls in 250 ms: {before} without the agent, {under} probed ({:.3}), {after} under the guard ({:.3})",
        ratio(under),
        ratio(after)
    );
}

#[tokio::test]
async fn while_a_file_is_limited_a_process_that_becomes_another_program_by_a_later_thread_is_seen() {
    let _turn = one_at_a_time();
    let Some(busy) = requirement::met(compiled("busy_tls", &["-lssl", "-lcrypto", "-lpthread"]).await) else { return };
    let Some(wrapper) = requirement::met(compiled("thread_exec", &["-lssl", "-lcrypto", "-lpthread"]).await) else { return };
    let stub = ProviderStub::start();
    let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
    let _busy = Busy::start(&busy);
    let Some(agent) = Agent::start().await else { return };
    agent.wait_for_log(&["bystander guard", "lose their probes"]).await;
    let client = curl.under(wrapper).post(OPENAI_CHAT, &chat("gpt-4o-mini", "from another thread")).start().await;
    let pid = client.id().expect("it waits");
    // It has probes of its own by then.
    let begun = std::time::Instant::now();
    while !is_known(pid).await {
        assert!(begun.elapsed() < PATIENCE, "process {pid} is not looked at:\n{}", agent.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    signal(pid, Signal::USR1);
    let output = client.wait_with_output().await.expect("it can be waited for");
    assert!(output.status.success(), "{output:?}");
    agent.calls_of(pid, 1).await;
    matched(&stub.expected(), &agent.stop().await, pid);
}

/// The process is covered by a file.
async fn is_known(pid: u32) -> bool {
    process_in(&asked().await, pid).is_some_and(|process| !list(process, "/files").is_empty())
}
