//! Processes that fork without exec: the library was opened before, by another process.

use a11i_tests::{
    agent::AgentOptions,
    observed::ObservedCall,
    provider_stub::{Expected, Options},
    requirement,
    workload::forks::{Forks, Told},
};
use serde_json::json;

use crate::scene::{Scene, assert_whole};

const WORKERS: usize = 4;
const CALLS_OF_A_WORKER: usize = 5;

#[tokio::test]
async fn each_call_of_a_pre_forking_program_is_reported_of_the_worker_that_made_it() {
    workers_are_told_apart(AgentOptions::default()).await;
}

/// In the list for guests: forks are followed by a tracepoint and offsets that each kernel has of its own.
pub(crate) async fn workers_are_told_apart(options: AgentOptions) {
    let Some(scene) = Scene::set_with(Options::default(), options).await else { return };
    let Some(forks) = requirement::met(Forks::compiled().await) else { return };
    let (parent, told) = forks.run(&scene.stub, "workers", &[&WORKERS.to_string(), &CALLS_OF_A_WORKER.to_string()]).await;
    assert_eq!(told.len(), 1 + WORKERS * CALLS_OF_A_WORKER, "{told:?}");
    let mut pids: Vec<u32> = told.iter().map(|told| told.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 1 + WORKERS, "the parent and its workers: {told:?}");
    assert!(pids.contains(&parent));
    let expected = scene.stub.expected();
    for told in &told {
        assert_exact(&scene.agent.call_with_id(&told.response_id).await, &expected, told);
    }
    let finished = scene.agent.stop().await;
    let reports = finished.calls.iter().filter(|call| call.pid().is_some_and(|pid| pids.contains(&pid))).count();
    assert_eq!(reports, told.len(), "each call is reported once: {:#?}", finished.calls);
}

/// All numbers, and the process: its pid went out as the token count.
#[track_caller]
fn assert_exact(call: &ObservedCall, expected: &[Expected], told: &Told) {
    let of = expected.iter().find(|expected| expected.response_id.as_deref() == Some(&told.response_id)).expect("the stand-in answered it");
    of.assert_reported_as(call);
    assert_whole(call);
    assert_eq!(call.pid(), Some(told.pid), "{call:#?}");
    assert_eq!(call.int("gen_ai.usage.input_tokens"), Some(u64::from(told.pid)), "{call:#?}");
}

#[tokio::test]
async fn a_call_on_a_session_that_was_opened_before_the_fork_is_reported_of_the_child() {
    let Some(scene) = Scene::set().await else { return };
    let Some(forks) = requirement::met(Forks::compiled().await) else { return };
    let (parent, told) = forks.run(&scene.stub, "session", &[]).await;
    let [before, after] = &told[..] else { panic!("{told:?}") };
    assert_eq!(before.pid, parent);
    assert_ne!(after.pid, parent);
    let connections: Vec<u64> = scene.stub.exchanges().iter().map(|exchange| exchange.connection).collect();
    assert_eq!(connections, [0, 0], "both went over one connection");
    let expected = scene.stub.expected();
    for told in &told {
        assert_exact(&scene.agent.call_with_id(&told.response_id).await, &expected, told);
    }
    let finished = scene.agent.stop().await;
    let reports = finished.calls.iter().filter(|call| [Some(parent), Some(after.pid)].contains(&call.pid())).count();
    assert_eq!(reports, 2, "{:#?}", finished.calls);
}

#[tokio::test]
async fn of_a_call_whose_answer_another_process_reads_nothing_is_made_up() {
    let Some(scene) = Scene::set().await else { return };
    let Some(forks) = requirement::met(Forks::compiled().await) else { return };
    let (parent, told) = forks.run(&scene.stub, "answer", &[]).await;
    let [read] = &told[..] else { panic!("{told:?}") };
    assert_ne!(read.pid, parent);
    let [expected] = &scene.stub.expected()[..] else { panic!("one call") };
    // The parent's half ends with its session, and is told then.
    let asked = scene.agent.calls_of(parent, 1).await;
    let [asked] = &asked[..] else { panic!("{asked:#?}") };
    assert_eq!(asked.text("gen_ai.request.model"), expected.request_model.as_deref(), "{asked:#?}");
    assert_eq!(asked.response_id(), None, "the parent has read no answer: {asked:#?}");
    assert_eq!(asked.int("gen_ai.usage.output_tokens").unwrap_or(0), 0, "nor seen a token: {asked:#?}");
    assert_ne!(asked.text("a11i.usage.source"), Some("reported"), "{asked:#?}");
    assert!(asked.attribute("error.type").is_some(), "it says that no answer was seen: {asked:#?}");
    // The child's half has no request. Where it is told all the same, it says that it is not whole, and tells the truth.
    for call in scene.agent.stop().await.calls.iter().filter(|call| call.pid() == Some(read.pid)) {
        assert_eq!(call.attribute("a11i.capture.complete"), Some(&json!(false)), "{call:#?}");
        assert_eq!(call.response_id(), Some(read.response_id.as_str()), "{call:#?}");
    }
}
