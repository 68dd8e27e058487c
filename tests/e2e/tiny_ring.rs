//! A ring so small, and a reader so late, that loss must happen: it is all accounted for, and no number is wrong.

use a11i_tests::{
    agent::{Agent, AgentOptions, signal},
    observed::ObservedCall,
    otlp_sink::OtlpSink,
    provider_stub::{Expected, ProviderStub},
    requirement,
    serial::one_at_a_time,
    workload::steady::{Progress, Running, Steady},
};
use rustix::process::Signal;
use serde_json::json;

use crate::scene::assert_whole;

/// The smallest ring that the configuration allows.
const RING_BYTES: u64 = 1024 * 1024;
const STREAMS: usize = 40;
const EVENTS: u64 = 400;
const HOST: &str = "api.openai.com";
/// Why a byte was not copied, as the kernel half counts it.
const CAUSES: [&str; 6] =
    ["ring_full_bytes", "user_fault_bytes", "call_limit_bytes", "not_http_bytes", "undecided_budget_bytes", "switched_off_bytes"];

#[tokio::test]
async fn with_a_tiny_ring_every_lost_byte_is_accounted_for_and_no_number_is_wrong() {
    let _turn = one_at_a_time();
    let (sink, stub) = (OtlpSink::start(), ProviderStub::start());
    let Some(steady) = requirement::met(Steady::compiled().await) else { return };
    let options = AgentOptions::default().export_to(&sink, "http/protobuf").env("A11I_CAPTURE_RING_BYTES", &RING_BYTES.to_string());
    let Some(agent) = Agent::start_with(options).await else { return };

    let mut client = steady.start(&stub, HOST, STREAMS, &["stream", &format!("chunks={EVENTS}")]);
    let seen = client.run(1).await;
    // Nobody reads the ring: what comes after its first megabyte is lost.
    signal(agent.pid(), Signal::STOP);
    let unread = client.run(1).await;
    signal(agent.pid(), Signal::CONT);
    let missed = unread.sent + unread.received - seen.sent - seen.received;
    assert!(missed > 2 * RING_BYTES, "{missed} bytes were to be too much for the ring");
    // The same connections, watched again, in a crowd that may lose bytes as well.
    let in_all = client.run(1).await;
    assert_eq!(in_all.errors, 0, "{in_all:?}");
    // When a call after all that is told, the ring was read to its end: there is room for the ends of the sessions.
    let mut quiet = steady.start(&stub, HOST, 1, &[]);
    is_seen_exactly(&mut quiet, &agent, &stub).await;
    let pid = client.pid;
    client.finish().await;
    let of_quiet = is_seen_exactly(&mut quiet, &agent, &stub).await;
    quiet.finish().await;
    let expected = stub.expected();
    let finished = agent.stop().await;

    let received = sink.received();
    let copied = received.kernel_counter("copied_bytes");
    let lost: Vec<(&str, u64)> = CAUSES.iter().map(|&cause| (cause, received.kernel_counter(cause))).collect();
    println!("{in_all:?}: copied {copied}, lost {lost:?}");
    assert!(received.kernel_counter("ring_full_bytes") > 0, "the ring was full: {lost:?}");
    let transferred = in_all.sent + in_all.received + of_quiet.sent + of_quiet.received;
    assert_all_is_accounted_for(transferred, copied, &lost);
    let known = received.total("a11i.capture.lost_bytes", |_| true).map_or(0.0, |(sum, _)| sum);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let kernel = lost.iter().map(|(_, bytes)| bytes).sum::<u64>() as f64;
    let unknown = received.total("a11i.capture.unknown_gaps", |_| true).map_or(0.0, |(sum, _)| sum);
    assert_eq!((known, unknown), (kernel, 0.0), "what the agent knows to be missing, and what the kernel half could not copy");

    let calls: Vec<&ObservedCall> = finished.calls.iter().filter(|call| call.pid() == Some(pid)).collect();
    let marked = calls.iter().filter(|call| is_marked(call)).count();
    println!("{} calls reported, {marked} of them marked, {} made", calls.len(), expected.len());
    assert!(marked > 0, "calls were hit");
    for call in &calls {
        assert_true_or_marked(call, &expected);
    }
    // What was lost of calls that are reported is told by them; calls whose request was lost are the rest.
    let told: u64 = calls.iter().filter_map(|call| call.int("a11i.capture.lost_bytes")).sum();
    let ring = received.kernel_counter("ring_full_bytes");
    println!("{told} of {ring} lost bytes are told by calls");
    assert!(told <= ring && (told == ring || calls.len() < 3 * STREAMS), "{told} bytes told by calls, {ring} lost");
}

/// Another call of a client that is alone: it is reported whole and exact.
async fn is_seen_exactly(client: &mut Running, agent: &Agent, stub: &ProviderStub) -> Progress {
    let progress = client.run(1).await;
    assert_eq!(progress.errors, 0, "{progress:?}");
    let expected = stub.expected().pop().expect("it was answered");
    let call = agent.call_with_id(expected.response_id.as_deref().expect("a good answer has an id")).await;
    expected.assert_reported_as(&call);
    assert_whole(&call);
    assert_eq!(call.pid(), Some(client.pid), "{call:#?}");
    progress
}

/// Where something else of this machine used OpenSSL meanwhile, the right side is larger.
#[track_caller]
fn assert_all_is_accounted_for(transferred: u64, copied: u64, lost: &[(&str, u64)]) {
    let lost: u64 = lost.iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(transferred, copied + lost, "transferred by the clients = copied + lost ({copied} + {lost})");
}

fn is_marked(call: &ObservedCall) -> bool {
    call.attribute("a11i.capture.complete") == Some(&json!(false))
}

#[track_caller]
fn assert_true_or_marked(call: &ObservedCall, expected: &[Expected]) {
    let of = expected.iter().find(|expected| expected.response_id.as_deref() == call.response_id());
    let differences = of.map_or_else(|| vec!["the response's id is missing".to_owned()], |expected| expected.differences(call));
    assert!(differences.is_empty() || is_marked(call), "{differences:#?}\n{call:#?}");
    if is_marked(call) {
        let causes = call.attribute("a11i.capture.loss_causes");
        assert!(causes.is_some_and(|causes| causes.to_string().contains("ring_full")), "it says why: {call:#?}");
    }
}
