//! The agent is started, stopped and killed -9 again and again under a program that judges itself.

use a11i_tests::{
    agent::{Agent, AgentOptions, binary},
    observed::ObservedCall,
    provider_stub::{Expected, ProviderStub},
    remains::{BpfObjects, HostState, processes_of},
    requirement,
    serial::one_at_a_time,
    workload::{
        curl::{Curl, chat},
        steady::{Progress, Running, Steady},
    },
};
use serde_json::json;

use crate::scene::{OPENAI_CHAT, assert_whole};

/// How often the agent comes and goes. The whole trial is a hundred times, which takes minutes: `A11I_TEST_CYCLES=100`.
const CYCLES: usize = 20;
const CYCLES_VARIABLE: &str = "A11I_TEST_CYCLES";
const THREADS: usize = 4;
const CALLS_OF_A_CYCLE: u64 = 20;
/// A new connection after so many calls: sessions come and go under every agent.
const RECONNECT: &str = "reconnect=25";
const HOST: &str = "api.openai.com";

#[tokio::test]
async fn an_agent_that_is_stopped_and_killed_under_load_harms_nobody_and_leaves_nothing() {
    let cycles = std::env::var(CYCLES_VARIABLE).map_or(CYCLES, |value| value.parse().expect("a number of cycles"));
    let load = Load { threads: THREADS, calls_of_a_cycle: CALLS_OF_A_CYCLE, pause: "pause=0" };
    let Some(progress) = comes_and_goes(&AgentOptions::default(), cycles, load).await else { return };
    // Not `println!`: the harness keeps that of a test that passes to itself.
    let line = format!("restarts: {cycles} cycles ({CYCLES_VARIABLE}); the client: {progress:?}\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).ok();
}

/// What the client does meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) threads: usize,
    /// Under each agent, and between two.
    pub(crate) calls_of_a_cycle: u64,
    /// `pause=MS`, after each call.
    pub(crate) pause: &'static str,
}

/// In the list for guests, with fewer cycles and a client that leaves them some of their one processor.
pub(crate) async fn comes_and_goes(options: &AgentOptions, cycles: usize, load: Load) -> Option<Progress> {
    let _turn = one_at_a_time();
    requirement::met(requirement::root())?;
    let program = requirement::met(binary())?;
    let objects = requirement::met(BpfObjects::compiled().await)?;
    let steady = requirement::met(Steady::compiled().await)?;
    let stub = ProviderStub::start();
    let mut client = steady.start(&stub, HOST, load.threads, &[RECONNECT, load.pause]);
    client.begin().await;
    let clean = HostState::now(&objects).await;
    assert_eq!(processes_of(&program), Vec::<u32>::new(), "an agent runs already");

    for cycle in 0..cycles {
        let killed = cycle % 2 == 0;
        let agent = Agent::start_with(options.clone()).await?;
        client.more(load.calls_of_a_cycle).await;
        if killed {
            agent.kill().await;
        } else {
            let finished = agent.stop().await;
            assert_nothing_is_wrong(&finished.calls, &stub.expected(), client.pid);
        }
        let when = format!("cycle {cycle}, after {}", if killed { "SIGKILL" } else { "SIGTERM" });
        clean.is_restored(&objects, killed, options.patience, &when).await;
        assert_eq!(processes_of(&program), Vec::<u32>::new(), "{when}: a child of the agent is left");
        client.more(load.calls_of_a_cycle).await;
    }
    // Whatever the last of them left, the next one works.
    let agent = Agent::start_with(options.clone()).await.expect("it was started before");
    let curl = requirement::met(Curl::to(&stub))?;
    let done = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "after all of them")).run().await;
    assert!(done.output.status.success(), "{done:?}");
    let calls = agent.calls_of(done.pid, 1).await;
    assert_nothing_is_wrong(&calls, &stub.expected(), done.pid);
    calls.iter().for_each(assert_whole);
    agent.stop().await;
    clean.is_restored(&objects, false, options.patience, "at the end").await;
    Some(is_well(client).await)
}

/// The client's own sums.
async fn is_well(mut client: Running) -> Progress {
    let progress = client.pause().await;
    assert_eq!(progress.errors, 0, "{progress:?}");
    client.finish().await;
    progress
}

/// What is reported is exact, or says that it is not whole.
#[track_caller]
fn assert_nothing_is_wrong(calls: &[ObservedCall], expected: &[Expected], pid: u32) {
    for call in calls.iter().filter(|call| call.pid() == Some(pid)) {
        let of = expected.iter().find(|expected| expected.response_id.is_some() && expected.response_id.as_deref() == call.response_id());
        let differences = of.map_or_else(|| vec!["no answer was seen".to_owned()], |expected| expected.differences(call));
        let marked = call.attribute("a11i.capture.complete") == Some(&json!(false));
        // A call under way when the agent ends was seen whole as far as it went, and says so by its error.
        let unfinished = of.is_none() && call.attribute("error.type").is_some();
        assert!(differences.is_empty() || marked || unfinished, "{differences:#?}\n{call:#?}");
    }
}
