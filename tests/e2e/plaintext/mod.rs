//! Calls without TLS, as inference servers on the same host are reached: seen at both ends, in every shape of socket call.

mod http2;
pub(crate) mod shapes;
mod tls;

use a11i_tests::{
    agent::{Agent, AgentOptions},
    kernel,
    observed::ObservedCall,
    provider_stub::{Expected, Options, ProviderStub},
    requirement,
    serial::{OneAtATime, one_at_a_time},
    workload::plaintext::{Done, PlaintextClient},
};
use serde_json::json;

/// A provider without TLS, and an agent that sees sockets.
pub(crate) struct LocalScene {
    pub(crate) agent: Agent,
    pub(crate) stub: ProviderStub,
    pub(crate) client: PlaintextClient,
    _turn: OneAtATime,
}

impl LocalScene {
    /// None after saying what is missing.
    pub(crate) async fn set(options: AgentOptions) -> Option<Self> {
        // Kprobes where the kernel has them; here it may have the tracepoints alone.
        Self::set_with(if kernel::has_kprobes() { "kprobes" } else { "tracepoints" }, options).await
    }

    /// With this front end.
    pub(crate) async fn set_with(way: &str, options: AgentOptions) -> Option<Self> {
        let turn = one_at_a_time();
        let client = requirement::met(PlaintextClient::compiled().await)?;
        let stub = ProviderStub::start_with(Options { plaintext: true, ..Options::default() });
        let agent = Agent::start_with(options.env("A11I_CAPTURE_SOCKETS", way)).await?;
        Some(Self { agent, stub, client, _turn: turn })
    }

    pub(crate) fn address(&self, way: Way) -> String {
        let plaintext = self.stub.plaintext();
        match way {
            Way::V4 => format!("127.0.0.1:{}", plaintext.port),
            Way::V6 => format!("[::1]:{}", plaintext.port),
            Way::Unix => plaintext.path.display().to_string(),
        }
    }

    /// Sends a request and gives what the provider answered.
    pub(crate) async fn ask(&self, way: Way, request: &[u8], sending: &str, receiving: &str) -> (Done, Expected) {
        let done = self.client.send(&self.address(way), request, sending, receiving).await;
        let answered = self.stub.expected().pop().expect("it was answered");
        (done, answered)
    }

    /// Waits until both ends of this call were reported, and compares them.
    pub(crate) async fn both_ends(&self, way: Way, pid: u32, expected: &Expected) -> (ObservedCall, ObservedCall) {
        let (client, server) = self.reported(expected).await;
        self.assert_whole_ends(way, pid, expected, &client, &server);
        (client, server)
    }

    /// Both ends of this call, whatever they say.
    async fn reported(&self, expected: &Expected) -> (ObservedCall, ObservedCall) {
        let id = expected.response_id.as_deref();
        let ends = self.agent.wait("both ends of the call", |calls| {
            let of = |kind: &str| calls.iter().find(|call| call.response_id() == id && call.kind == kind).cloned();
            Some((of("client")?, of("server")?))
        });
        ends.await
    }

    /// Nothing of them is missing, and they are this call.
    fn assert_whole_ends(&self, way: Way, pid: u32, expected: &Expected, client: &ObservedCall, server: &ObservedCall) {
        assert_eq!(client.pid(), Some(pid), "{client:#?}");
        assert_eq!(server.pid(), Some(std::process::id()), "{server:#?}");
        expected.assert_reported_as(client);
        for call in [client, server] {
            assert_is_plaintext(call);
            for name in ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"] {
                assert_eq!(call.int(name), client.int(name), "{call:#?}");
            }
        }
        self.assert_peers(way, client, server);
    }

    /// Who is at the other end: the kernel's own words.
    fn assert_peers(&self, way: Way, client: &ObservedCall, server: &ObservedCall) {
        let plaintext = self.stub.plaintext();
        let (address, port) = match way {
            Way::V4 => (json!("127.0.0.1"), Some(json!(plaintext.port))),
            Way::V6 => (json!("::1"), Some(json!(plaintext.port))),
            Way::Unix => (json!(plaintext.path), None),
        };
        assert_eq!(client.attribute("network.peer.address"), Some(&address), "{client:#?}");
        assert_eq!(client.int("network.peer.port"), port.and_then(|port| port.as_u64()), "{client:#?}");
        match way {
            Way::Unix => assert_eq!(server.attribute("network.peer.address"), None, "{server:#?}"),
            Way::V4 | Way::V6 => {
                assert_eq!(server.attribute("network.peer.address"), Some(&address), "{server:#?}");
                assert!(server.int("network.peer.port").is_some_and(|port| port > 0), "{server:#?}");
            }
        }
    }
}

/// How the server is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    V4,
    V6,
    Unix,
}

/// Nothing was lost, and the agent says how it was seen.
#[track_caller]
pub(crate) fn assert_is_plaintext(call: &ObservedCall) {
    assert_eq!(call.attribute("a11i.capture.complete"), Some(&json!(true)), "{call:#?}");
    assert_eq!(call.text("a11i.capture.library"), Some("plaintext"), "{call:#?}");
    assert_eq!(call.text("a11i.capture.method"), Some("socket"), "{call:#?}");
}
