//! A process that runs, with an open connection, when the agent starts.

use a11i_tests::{
    agent::Agent,
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::python::{Python, Script},
};
use serde_json::{Value, json};

use crate::scene::matched;

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
