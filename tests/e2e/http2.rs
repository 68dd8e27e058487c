//! HTTP/2: calls side by side on one connection.

use a11i_tests::{
    agent::{Agent, AgentOptions},
    provider_stub::{Options, ProviderStub},
    requirement,
    serial::one_at_a_time,
    workload::{
        curl::{Curl, chat, chat_stream},
        go::{Build, GoProgram},
        node::Node,
        python::{Python, Script},
    },
};
use serde_json::{Value, json};

use crate::scene::{OPENAI_CHAT, Scene, assert_whole};

async fn scene() -> Option<Scene> {
    Scene::set_with(Options { http2: true, ..Options::default() }, AgentOptions::default()).await
}

#[tokio::test]
async fn a_call_and_a_stream_of_curl_are_exact() {
    let Some(scene) = scene().await else { return };
    for body in [chat("gpt-4o-mini", "hi there"), chat_stream("gpt-4o-mini", "hi there")] {
        let Some(curl) = scene.curl() else { return };
        let curl = curl.header("x-stub-chunks", "20").arg("--http2").arg("--write-out").arg("%{http_version}");
        let done = curl.post(OPENAI_CHAT, &body).run().await;
        assert!(done.text().ends_with('2'), "curl spoke HTTP/2: {done:?}");
        let calls = scene.agent.calls_of(done.pid, 1).await;
        scene.stub.expected().last().expect("it was answered").assert_reported_as(&calls[0]);
        assert_whole(&calls[0]);
    }
    scene.agent.stop().await;
}

#[tokio::test]
async fn a_large_prompt_is_whole() {
    let Some(scene) = scene().await else { return };
    let Some(curl) = scene.curl() else { return };
    let prompt = "many words ".repeat(40_000);
    let done = curl.arg("--http2").post(OPENAI_CHAT, &chat("gpt-4o-mini", &prompt)).run().await;
    let calls = scene.agent.calls_of(done.pid, 1).await;
    scene.stub.expected().last().expect("it was answered").assert_reported_as(&calls[0]);
    assert_whole(&calls[0]);
    scene.agent.stop().await;
}

#[tokio::test]
async fn calls_behind_many_other_requests_of_one_connection_are_whole() {
    let Some(scene) = scene().await else { return };
    let Some(curl) = scene.curl() else { return };
    let gateway = format!("gateway.example:443:127.0.0.1:{}", scene.stub.port());
    let asked = |curl: Curl| curl.arg("--http2").arg("--insecure").arg("--connect-to").arg(gateway.clone());
    let mut curl = asked(curl);
    for n in 0..14 {
        curl = curl.post("https://gateway.example/rpc/Status", &json!({"number": n}));
        curl = asked(curl.then());
    }
    curl = curl.post("https://gateway.example/v1/chat/completions", &chat("gpt-4o-mini", &"many words ".repeat(100)));
    for n in 0..14 {
        curl = asked(curl.then()).post("https://gateway.example/rpc/Status", &json!({"number": n}));
    }
    curl = asked(curl.then()).post("https://gateway.example/v1/chat/completions", &chat_stream("gpt-4o-mini", "hi there"));
    let done = curl.run().await;
    assert!(done.output.status.success(), "{done:?}");
    let connections: Vec<u64> = scene.stub.exchanges().iter().map(|exchange| exchange.connection).collect();
    assert!(connections.len() > 1 && connections.iter().all(|connection| *connection == 0), "curl used one connection: {connections:?}");
    let calls = scene.agent.calls_of(done.pid, 2).await;
    for expected in scene.stub.expected() {
        let call = calls.iter().find(|call| call.response_id() == expected.response_id.as_deref());
        let call = call.unwrap_or_else(|| panic!("{:?} is not among {calls:#?}", expected.response_id));
        assert_eq!(call.attribute("a11i.capture.complete"), Some(&json!(true)), "{call:#?}");
        assert_eq!(call.text("server.address"), Some("gateway.example"), "{call:#?}");
        assert_eq!(call.text("a11i.usage.source"), Some("reported"), "{call:#?}");
    }
    scene.agent.stop().await;
}

#[tokio::test]
async fn streams_of_one_connection_of_curl_are_told_apart() {
    let Some(scene) = scene().await else { return };
    let Some(mut curl) = scene.curl() else { return };
    curl = curl.arg("--parallel");
    for n in 0..4 {
        let body = if n % 2 == 0 { chat("gpt-4o-mini", "hi there") } else { chat_stream("gpt-4o-mini", "hi there") };
        let tokens = (1000 + n).to_string();
        curl = if n == 0 { curl } else { curl.then() };
        curl = curl.arg("--http2").header("x-stub-chunks", "30").header("x-stub-pace-ms", "5").header("x-stub-input-tokens", &tokens);
        curl = curl.post(OPENAI_CHAT, &body);
    }
    let done = curl.run().await;
    assert!(done.output.status.success(), "{done:?}");
    let connections: Vec<u64> = scene.stub.exchanges().iter().map(|exchange| exchange.connection).collect();
    assert_eq!(connections, [0; 4], "curl used one connection");
    scene.calls_are_reported(done.pid).await;
}

/// Eight jobs at once, streamed and not, each with numbers of its own.
pub(crate) fn eight_jobs() -> Value {
    let job = |n: u32| {
        let headers = json!({"x-stub-chunks": (n + 3).to_string(), "x-stub-pace-ms": "5", "x-stub-input-tokens": (1000 + n).to_string()});
        json!({"stream": n.is_multiple_of(2), "prompt": format!("job {n}"), "headers": headers})
    };
    (0..8).map(job).collect()
}

#[tokio::test]
async fn streams_of_one_connection_of_httpx_are_told_apart() {
    let Some(scene) = scene().await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::HttpxHttp2, &scene.stub);
    let pid = program.pid;
    for _ in 0..2 {
        let answers = program.run(&eight_jobs()).await;
        assert!(answers.iter().all(|answer| answer.get("version") == Some(&json!("HTTP/2"))), "{answers:#?}");
    }
    program.finish().await;
    let (calls, _) = scene.calls_are_reported(pid).await;
    let mut inputs: Vec<_> = calls.iter().filter_map(|call| call.int("gen_ai.usage.input_tokens")).collect();
    inputs.sort_unstable();
    assert_eq!(inputs, (1000..1008).flat_map(|tokens| [tokens, tokens]).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_connection_that_was_open_before_the_agent_gives_calls_that_say_what_they_lack() {
    let turn = one_at_a_time();
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let stub = ProviderStub::start_with(Options { http2: true, ..Options::default() });
    let mut program = python.start(Script::HttpxHttp2, &stub);
    let pid = program.pid;
    // Path, host and credential are in the connection's header table by then.
    program.run(&eight_jobs()).await;
    let unseen = stub.expected().len();

    let Some(agent) = Agent::start().await else { return };
    for job in [json!({"prompt": "first"}), json!({"prompt": "second", "stream": true})] {
        program.run_one(&job).await;
    }
    program.run(&eight_jobs()).await;
    let connections: Vec<u64> = stub.exchanges().iter().map(|exchange| exchange.connection).collect();
    assert!(connections.iter().all(|connection| *connection == 0), "the client kept its connection: {connections:?}");
    let expected = stub.expected();
    let seen = expected.get(unseen..).expect("there were more calls");
    let calls = agent.calls_of(pid, seen.len()).await;
    program.finish().await;
    for expected in seen {
        let call = calls.iter().find(|call| call.response_id() == expected.response_id.as_deref());
        let call = call.unwrap_or_else(|| panic!("{:?} is not among {calls:#?}", expected.response_id));
        expected.assert_reported_as(call);
        assert_eq!(call.attribute("a11i.capture.complete"), Some(&json!(false)), "{call:#?}");
    }
    agent.stop().await;
    drop(turn);
}

#[tokio::test]
async fn streams_of_one_connection_of_node_are_told_apart() {
    let Some(node) = requirement::met(Node::installed()) else { return };
    let Some(scene) = scene().await else { return };
    let Some(mut program) = requirement::met(node.start(&scene.stub)) else { return };
    if node.has_own_openssl() {
        scene.agent.wait_for_log(&["attached path", "/node\""]).await;
    }
    let pid = program.pid;
    let mut jobs = eight_jobs();
    for job in jobs.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        job.insert("via".to_owned(), json!("http2"));
    }
    for _ in 0..2 {
        let answers = program.run(&jobs).await;
        assert!(answers.iter().all(|answer| answer.get("id").is_some_and(Value::is_string)), "{answers:#?}");
    }
    program.finish().await;
    let connections: Vec<u64> = scene.stub.exchanges().iter().map(|exchange| exchange.connection).collect();
    assert_eq!(connections, [0; 16], "Node used one connection");
    let expected = scene.stub.expected();
    let calls = scene.agent.calls_of(pid, expected.len()).await;
    for expected in &expected {
        let call = calls.iter().find(|call| call.response_id() == expected.response_id.as_deref());
        let call = call.unwrap_or_else(|| panic!("{:?} is not among {calls:#?}", expected.response_id));
        expected.assert_reported_as(call);
        assert_eq!(call.attribute("a11i.capture.complete"), Some(&json!(true)), "{call:#?}");
    }
    scene.agent.stop().await;
}

#[tokio::test]
async fn streams_of_one_connection_of_go_are_told_apart() {
    let Some(go) = requirement::met(GoProgram::compiled(Build::Stripped).await) else { return };
    let Some(scene) = scene().await else { return };
    let mut client = go.chat_over_http2(&scene.stub);
    let name = go.path.file_name().expect("a program has a name").to_string_lossy().into_owned();
    scene.agent.wait_for_log(&["attached path", &format!("{name}\"")]).await;
    let pid = client.pid;
    let answers = client.run(&eight_jobs()).await;
    assert!(answers.iter().all(|answer| answer.get("error").is_none()), "{answers:#?}");
    client.finish().await;
    let expected = scene.stub.expected();
    let calls = scene.agent.calls_of(pid, expected.len()).await;
    for expected in &expected {
        let call = calls.iter().find(|call| call.response_id() == expected.response_id.as_deref());
        let call = call.unwrap_or_else(|| panic!("{:?} is not among {calls:#?}", expected.response_id));
        expected.assert_reported_as(call);
        assert_eq!(call.attribute("a11i.capture.complete"), Some(&json!(true)), "{call:#?}");
    }
    scene.agent.stop().await;
}
