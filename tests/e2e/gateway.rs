//! A program asks a gateway on the same host, which asks the provider: three spans of one trace, and one bill.

use a11i_tests::{
    agent::AgentOptions,
    kernel,
    observed::ObservedCall,
    provider_stub::Options,
    requirement,
    workload::{
        c_client::post,
        curl::{chat, chat_stream},
        plaintext::PlaintextClient,
        python::{Python, Script},
    },
};
use serde_json::{Value, json};

use crate::scene::Scene;

#[tokio::test]
async fn calls_through_a_gateway_are_one_trace_and_billed_once() {
    let way = if kernel::has_kprobes() { "kprobes" } else { "tracepoints" };
    let Some(scene) = Scene::set_with(Options::default(), AgentOptions::default().env("A11I_CAPTURE_SOCKETS", way)).await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let Some(client) = requirement::met(PlaintextClient::compiled().await) else { return };
    let mut gateway = python.start(Script::Gateway, &scene.stub);
    let port = gateway.run_one(&json!({})).await.get("port").and_then(Value::as_u64).expect("the gateway says its port");
    let address = format!("127.0.0.1:{port}");
    let bodies = [chat("gpt-4o-mini", "the first"), chat_stream("gpt-4o-mini", "the second"), chat("gpt-4o", "the third")];
    let requests = bodies.map(|body| post("gateway.local", "/v1/chat/completions", &[], &body));
    let asked = requests.iter().map(|request| client.send(&address, request, "write", "read"));
    let mut programs = Vec::new();
    for done in asked {
        programs.push(done.await.pid);
    }
    let gateway_pid = gateway.pid;
    for pid in programs {
        let [outer, served, inner] = scene
            .agent
            .wait("the three hops", |calls| {
                let outer = calls.iter().find(|call| call.pid() == Some(pid))?;
                let hops = |kind: &str| {
                    let of = |call: &&ObservedCall| call.pid() == Some(gateway_pid) && call.kind == kind && call.trace_id == outer.trace_id;
                    calls.iter().find(of).cloned()
                };
                Some([outer.clone(), hops("server")?, hops("client")?])
            })
            .await;
        assert_eq!((outer.kind.as_str(), outer.parent_span_id.as_deref()), ("client", None), "{outer:#?}");
        assert_eq!(served.parent_span_id.as_ref(), Some(&outer.span_id), "{served:#?}");
        assert_eq!(inner.parent_span_id.as_ref(), Some(&served.span_id), "{inner:#?}");
        // Nobody vouches for the gateway: its price is the provider's.
        assert!(inner.attribute("a11i.cost.usd").is_some() && inner.attribute("a11i.cost.hop").is_none(), "{inner:#?}");
        for hop in [&outer, &served] {
            assert!(hop.attribute("a11i.cost.usd").is_none(), "{hop:#?}");
            assert_eq!(hop.int("gen_ai.usage.input_tokens"), inner.int("gen_ai.usage.input_tokens"), "{hop:#?}");
        }
    }
    gateway.finish().await;
    scene.agent.stop().await;
}

#[tokio::test]
async fn at_a_configured_gateway_the_program_pays_and_the_gateways_own_call_is_a_hop() {
    let way = if kernel::has_kprobes() { "kprobes" } else { "tracepoints" };
    let options = AgentOptions::default().env("A11I_CAPTURE_SOCKETS", way).env("A11I_PROVIDERS_GATEWAYS", "gateway.local");
    let Some(scene) = Scene::set_with(Options::default(), options).await else { return };
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let Some(client) = requirement::met(PlaintextClient::compiled().await) else { return };
    let mut gateway = python.start(Script::Gateway, &scene.stub);
    let port = gateway.run_one(&json!({})).await.get("port").and_then(Value::as_u64).expect("the gateway says its port");
    let request = post("gateway.local", "/v1/chat/completions", &[], &chat("gpt-4o-mini", "hello"));
    let program = client.send(&format!("127.0.0.1:{port}"), &request, "write", "read").await.pid;
    let gateway_pid = gateway.pid;
    let (outer, inner) = scene
        .agent
        .wait("the two clients' calls", |calls| {
            let of = |pid: u32| calls.iter().find(|call| call.pid() == Some(pid) && call.kind == "client").cloned();
            Some((of(program)?, of(gateway_pid)?))
        })
        .await;
    assert_eq!(inner.attribute("a11i.cost.usd"), None, "{inner:#?}");
    assert_eq!(inner.attribute("a11i.cost.hop"), outer.attribute("a11i.cost.usd"), "{inner:#?}");
    assert!(outer.attribute("a11i.cost.usd").is_some(), "{outer:#?}");
    gateway.finish().await;
    scene.agent.stop().await;
}
