//! A process that runs, with an open connection, when the agent starts.

use a11i_tests::{
    agent::{Agent, PATIENCE},
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::{
        curl::{Curl, chat, chat_stream},
        python::{Python, Script},
    },
};
use serde_json::{Value, json};

use crate::scene::{OPENAI_CHAT, assert_whole, matched};

async fn next_calls_on_the_open_connection_are_reported(script: Script, jobs: &[Value]) {
    let _turn = one_at_a_time();
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let stub = ProviderStub::start();
    let mut program = python.start(script, &stub);
    let pid = program.pid;
    program.run_one(jobs.first().expect("jobs are given")).await;
    let unseen = stub.expected().len();

    let Some(agent) = Agent::start().await else { return };
    for job in jobs {
        program.run_one(job).await;
    }
    let expected = stub.expected();
    let seen = expected.get(unseen..).expect("there were more calls");
    agent.calls_of(pid, seen.len()).await;
    program.finish().await;
    let connections: Vec<u64> = stub.exchanges().iter().map(|exchange| exchange.connection).collect();
    assert!(connections.iter().all(|&connection| connection == 0), "the client kept its connection: {connections:?}");
    matched(seen, &agent.stop().await, pid);
}

#[tokio::test]
async fn an_open_connection_of_a_synchronous_program() {
    let jobs = [json!({"api": "chat"}), json!({"api": "chat", "stream": true})];
    next_calls_on_the_open_connection_are_reported(Script::OpenAiSync, &jobs).await;
}

#[tokio::test]
async fn an_open_connection_of_an_asyncio_program() {
    let jobs = [json!({"api": "messages"}), json!({"api": "messages", "stream": true})];
    next_calls_on_the_open_connection_are_reported(Script::AnthropicAsync, &jobs).await;
}

#[tokio::test]
async fn a_program_works_on_when_the_agent_comes_and_goes() {
    let _turn = one_at_a_time();
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let stub = ProviderStub::start();
    let mut program = python.start(Script::OpenAiAsync, &stub);
    let job = json!({"api": "chat", "stream": true});
    for _ in 0..2 {
        let Some(agent) = Agent::start().await else { return };
        program.run_one(&job).await;
        agent.stop().await;
        let answer = program.run_one(&job).await;
        assert_eq!(answer.get("id"), Some(&json!(stub.expected().last().and_then(|expected| expected.response_id.clone()))), "{answer}");
    }
    program.finish().await;
}

#[tokio::test]
async fn a_call_after_the_one_that_was_under_way_when_the_agent_came() {
    let _turn = one_at_a_time();
    let stub = ProviderStub::start();
    let Some(curl) = requirement::met(Curl::to(&stub)) else { return };
    // Long enough that the agent is there in the middle of it.
    let curl = curl.header("x-stub-chunks", "80").header("x-stub-pace-ms", "100");
    let curl = curl.post(OPENAI_CHAT, &chat_stream("gpt-4o-mini", "under way")).then();
    let child = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "after it")).start().await;
    let pid = child.id().expect("curl runs");
    let begun = std::time::Instant::now();
    while stub.expected().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "curl has made no call yet");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let Some(agent) = Agent::start().await else { return };
    assert_eq!(stub.expected().len(), 1, "the first answer is still under way");
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("curl ends").expect("curl runs");
    assert!(ended.status.success(), "{ended:?}");
    let connections: Vec<u64> = stub.exchanges().iter().map(|exchange| exchange.connection).collect();
    assert_eq!(connections, [0, 0], "curl kept its connection");

    let expected = stub.expected();
    let [_, after] = &expected[..] else { panic!("{expected:#?}") };
    let id = after.response_id.as_deref().expect("it was answered");
    let call = agent.call_with_id(id).await;
    after.assert_reported_as(&call);
    assert_whole(&call);
    // Of the first only the end could be seen: if it is told at all, it is told as incomplete.
    for call in agent.stop().await.calls.iter().filter(|call| call.pid() == Some(pid) && call.response_id() != Some(id)) {
        assert_eq!(call.attribute("a11i.capture.complete"), Some(&json!(false)), "{call:#?}");
    }
}
