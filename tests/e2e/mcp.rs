//! Tools over MCP, with the official SDK at both ends: every request is told once by each end, with its tool and its failure.

use a11i_tests::{
    agent::{Agent, AgentOptions, PATIENCE},
    kernel,
    observed::ObservedCall,
    otlp_sink::{OtlpSink, Received},
    provider_stub::ProviderStub,
    requirement,
    serial::one_at_a_time,
    workload::python::{Python, Script},
};
use serde_json::{Value, json};

/// What the client does with every server, after the handshake.
const DONE: [&str; 5] = ["tools/list", "tools/call add", "tools/call fail", "resources/read", "prompts/get greet"];

async fn tools_are_seen(transport: &str, path: &str, mode: &str, handshake: &[&str]) {
    let _turn = one_at_a_time();
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let stub = ProviderStub::start();
    let way = if kernel::has_kprobes() { "kprobes" } else { "tracepoints" };
    let sink = OtlpSink::start();
    let options = AgentOptions::default().env("A11I_CAPTURE_SOCKETS", way).export_to(&sink, "http/protobuf");
    let Some(agent) = Agent::start_with(options).await else { return };
    let mut server = python.start(Script::McpServer, &stub);
    let port =
        server.run_one(&json!({ "transport": transport })).await.get("port").and_then(Value::as_u64).expect("the server says its port");
    let mut client = python.start(Script::McpClient, &stub);
    let answer = client.run_one(&json!({ "url": format!("http://127.0.0.1:{port}{path}"), "mode": mode })).await;
    assert_eq!(answer, json!({ "tools": ["add", "fail"], "sum": { "result": 5 }, "failed": true }));
    let (client_pid, server_pid) = (client.pid, server.pid);
    let wanted: Vec<&str> = handshake.iter().copied().chain(DONE).collect();
    for (kind, pid) in [("client", client_pid), ("server", server_pid)] {
        let of = |calls: &[ObservedCall]| -> Vec<ObservedCall> {
            calls.iter().filter(|call| call.kind == kind && call.pid() == Some(pid)).cloned().collect()
        };
        let all = |calls: &[ObservedCall]| Some(of(calls)).filter(|calls| calls.len() >= wanted.len());
        let mut messages = agent.wait(&format!("the {kind}'s messages"), all).await;
        messages.sort_by_key(|message| message.start_time_unix_nano);
        let names: Vec<&str> = messages.iter().map(|message| message.span_name.as_str()).collect();
        assert_eq!(names, wanted, "{kind}");
        for message in &messages {
            let text = |name: &str| message.attributes.get(name).and_then(|value| value.as_str());
            let failed = message.span_name == "tools/call fail";
            assert_eq!(text("error.type"), failed.then_some("tool_error"), "{message:#?}");
            assert_eq!((text("mcp.method.name"), text("network.transport")), (message.span_name.split(' ').next(), Some("tcp")));
            let tool = message.span_name.strip_prefix("tools/call ");
            assert_eq!((text("gen_ai.tool.name"), text("gen_ai.operation.name")), (tool, tool.map(|_| "execute_tool")));
            assert_eq!(text("mcp.resource.uri"), (message.span_name == "resources/read").then_some("note://x"));
            assert_eq!(message.attributes.get("a11i.capture.complete"), Some(&json!(true)), "{message:#?}");
            assert!(message.end_time_unix_nano > message.start_time_unix_nano, "{message:#?}");
            assert!(!message.attributes.contains_key("gen_ai.tool.call.arguments"), "no content unless it is asked for");
        }
    }
    client.finish().await;
    if handshake.contains(&"initialize") {
        for (kind, pid) in [("client", client_pid), ("server", server_pid)] {
            session_has_a_length(&sink, kind, pid).await;
        }
    }
    server.finish().await;
}

/// The client has ended its session; its server goes on.
async fn session_has_a_length(sink: &OtlpSink, kind: &str, pid: u32) {
    let (name, pid) = (format!("mcp.{kind}.session.duration"), json!(pid));
    let of = |received: &Received| {
        received.metrics.iter().find(|point| point.name == name && point.resource.get("process.pid") == Some(&pid)).cloned()
    };
    let point = sink.wait(&name, PATIENCE, of).await;
    assert!(point.count == 1 && point.sum > 0.0 && point.attributes.contains_key("mcp.protocol.version"), "{point:#?}");
    assert_eq!(point.attributes.get("error.type"), None, "{point:#?}");
}

#[tokio::test]
async fn streamable_http_without_sessions() {
    tools_are_seen("streamable-http", "/mcp", "auto", &["server/discover"]).await;
}

#[tokio::test]
async fn streamable_http_with_a_session() {
    tools_are_seen("streamable-http", "/mcp", "legacy", &["initialize", "notifications/initialized"]).await;
}

#[tokio::test]
async fn the_older_transport_answers_on_its_stream() {
    tools_are_seen("sse", "/sse", "sse", &["server/discover"]).await;
}
