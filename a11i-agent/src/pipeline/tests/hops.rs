//! A program, a gateway on the same host, a provider: which spans are below which, and who is billed.

use std::sync::Arc;

use a11i_common::identity::Pid;

use super::*;
use crate::{
    call::{CaptureFacts, Operation, ProviderName, ServerAddress, TextSample, TraceParent},
    fixture,
    owner::Owner,
};

const PROGRAM: u32 = 10;
const GATEWAY: u32 = 20;

struct Bench {
    hops: Hops,
    prints: Fingerprinter,
    time: u64,
}

/// A call as the bench's user describes it.
#[derive(Clone, Copy)]
struct Ask<'a> {
    flow: u64,
    pid: u32,
    role: Role,
    /// Ports of the two ends: a client's is the first.
    ports: (u16, u16),
    prompt: &'a str,
    priced: bool,
    parent: Option<TraceParent>,
}

fn ask(flow: u64, pid: u32, role: Role, ports: (u16, u16)) -> Ask<'static> {
    Ask { flow, pid, role, ports, prompt: "why is the sky blue", priced: false, parent: None }
}

impl Bench {
    fn new() -> Self {
        Self { hops: Hops::default(), prints: Fingerprinter::new(&[7; 32]), time: 100 }
    }

    fn open(&mut self, ask: Ask<'_>) {
        self.time += 10;
        let process = ProcessId { pid: Pid(ask.pid), start_ticks: 1 };
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let (local, remote) = if ask.role == Role::Client { ask.ports } else { (ask.ports.1, ask.ports.0) };
        let context = ConnectionContext {
            owner: Arc::new(Owner { process, ..Owner::default() }),
            capture: CaptureFacts::default(),
            server_name: None,
            socket: Some(ConnectionSocket::Internet { local: at(local), remote: at(remote) }),
        };
        let mut prompt = TextSample::default();
        prompt.push(ask.prompt);
        let call = OpenCall {
            role: ask.role,
            since: BootTime(self.time),
            parent: ask.parent,
            prompt: &prompt,
            provider: &ProviderName::of("openai"),
            operation: Operation::Chat,
            model: Some("gpt-4o"),
            server: ServerAddress::default(),
        };
        self.hops.open((ask.flow, ExchangeId(0)), &call, &context, ask.priced, &self.prints, BootTime(self.time));
    }

    fn finish(&mut self, flow: u64) -> Correlation {
        self.time += 10;
        let mut call = fixture::call("openai", "gpt-4o");
        call.usage.input_tokens = Some(1);
        self.hops.finish((flow, ExchangeId(0)), &call, BootTime(self.time)).unwrap_or_default()
    }
}

/// The program's call, the gateway's end of it, and the call that the gateway makes for it.
fn three(bench: &mut Bench, gateway_is_priced: bool) -> [Correlation; 3] {
    bench.open(Ask { priced: gateway_is_priced, ..ask(1, PROGRAM, Role::Client, (5000, 4000)) });
    bench.open(ask(2, GATEWAY, Role::Server, (5000, 4000)));
    bench.open(Ask { priced: true, ..ask(3, GATEWAY, Role::Client, (5001, 443)) });
    let inner = bench.finish(3);
    let server = bench.finish(2);
    [bench.finish(1), server, inner]
}

#[test]
fn of_calls_side_by_side_on_one_socket_those_of_one_trace_or_prompt_belong_together_and_else_the_oldest() {
    let ports = (5000, 4000);
    let traced = |span: u8| TraceParent { trace_id: [span; 16], span_id: [span; 8], sampled: true };
    let program = |flow: u64, prompt: &'static str, parent| Ask { prompt, parent, ..ask(flow, PROGRAM, Role::Client, ports) };
    let gateway = |flow: u64, prompt: &'static str, parent| Ask { prompt, parent, ..ask(flow, GATEWAY, Role::Server, ports) };
    for order in [[1, 2, 3, 4], [4, 3, 2, 1], [2, 4, 1, 3]] {
        let mut bench = Bench::new();
        for (flow, prompt, parent) in [(1, "one", None), (2, "two", None), (3, "same", Some(traced(3))), (4, "same", Some(traced(4)))] {
            bench.open(program(flow, prompt, parent));
        }
        for flow in order {
            let (prompt, parent) = match flow {
                1 => ("one", None),
                2 => ("two", None),
                other => ("same", Some(traced(other))),
            };
            bench.open(gateway(10 + u64::from(flow), prompt, parent));
        }
        for flow in 1..=4 {
            let (inner, outer) = (bench.finish(10 + flow), bench.finish(flow));
            assert_eq!(inner.outer, outer.own, "{flow} of {order:?}");
        }
    }
    // Nothing of them is text: they are read in the order they were sent in.
    let mut bench = Bench::new();
    for flow in 1..=3 {
        bench.open(program(flow, "", None));
    }
    for flow in 11..=13 {
        bench.open(gateway(flow, "", None));
    }
    for flow in 1..=3 {
        let (inner, outer) = (bench.finish(10 + flow), bench.finish(flow));
        assert_eq!(inner.outer, outer.own, "{flow}");
    }
}

#[test]
fn each_hop_is_below_the_one_around_it_and_one_of_them_is_billed() {
    for gateway_is_priced in [false, true] {
        let [program, server, inner] = three(&mut Bench::new(), gateway_is_priced);
        assert_eq!((program.outer, server.outer, inner.outer), (None, program.own, server.own));
        let traces = [&program, &server, &inner].map(|hop| hop.own.unwrap().trace_id);
        assert!(traces[0] == traces[1] && traces[1] == traces[2]);
        assert_eq!([program.is_hop, inner.is_hop], if gateway_is_priced { [false, true] } else { [true, false] });
    }
}

#[test]
fn the_end_of_the_outer_call_may_be_read_before_that_of_the_inner_one() {
    let mut bench = Bench::new();
    bench.open(Ask { priced: true, ..ask(1, PROGRAM, Role::Client, (5000, 4000)) });
    bench.open(ask(2, GATEWAY, Role::Server, (5000, 4000)));
    bench.open(Ask { priced: true, ..ask(3, GATEWAY, Role::Client, (5001, 443)) });
    assert!(!bench.finish(1).is_hop && bench.finish(3).is_hop);
}

#[test]
fn of_calls_served_at_once_the_prompt_tells_which_is_which() {
    let mut bench = Bench::new();
    bench.open(Ask { prompt: "one", ..ask(1, GATEWAY, Role::Server, (5000, 4000)) });
    bench.open(Ask { prompt: "two", ..ask(2, GATEWAY, Role::Server, (5002, 4000)) });
    bench.open(Ask { prompt: "one", ..ask(3, GATEWAY, Role::Client, (6000, 443)) });
    bench.open(Ask { prompt: "three", ..ask(4, GATEWAY, Role::Client, (6001, 443)) });
    let (inner, other) = (bench.finish(3), bench.finish(4));
    assert_eq!((inner.outer, other.outer), (bench.finish(1).own, None));
}

#[test]
fn two_equal_prompts_are_two_calls() {
    let mut bench = Bench::new();
    for flow in [1, 2] {
        bench.open(ask(flow, GATEWAY, Role::Server, (5000, 4000)));
    }
    for flow in [3, 4] {
        bench.open(ask(flow, GATEWAY, Role::Client, (6000, 443)));
    }
    let (one, two) = (bench.finish(3), bench.finish(4));
    assert!(one.outer.is_some() && two.outer.is_some() && one.outer != two.outer);
}

#[test]
fn a_trace_of_the_programs_joins_where_the_gateway_changed_the_prompt() {
    let parent = Some(TraceParent { trace_id: [3; 16], span_id: [4; 8], sampled: true });
    let mut bench = Bench::new();
    bench.open(Ask { parent, ..ask(1, GATEWAY, Role::Server, (5000, 4000)) });
    bench.open(Ask { parent, prompt: "changed", ..ask(2, GATEWAY, Role::Client, (6000, 443)) });
    let inner = bench.finish(2);
    assert_eq!(inner.outer, bench.finish(1).own);
    assert_eq!(inner.own.map(|own| (own.trace_id, own.sampled)), Some(([3; 16], Some(true))));
}

#[test]
fn without_proof_nothing_is_joined() {
    let mut bench = Bench::new();
    bench.open(ask(1, PROGRAM, Role::Client, (5000, 4000)));
    // Another connection, another process, a server's call of one that was over.
    bench.open(ask(2, GATEWAY, Role::Server, (5001, 4000)));
    bench.open(ask(3, PROGRAM, Role::Client, (5002, 443)));
    bench.open(Ask { prompt: "", ..ask(4, GATEWAY, Role::Client, (5003, 443)) });
    bench.finish(2);
    bench.open(ask(5, GATEWAY, Role::Client, (5004, 443)));
    for flow in [3, 4, 5] {
        let call = bench.finish(flow);
        assert!(call.outer.is_none() && !call.is_hop, "{flow}");
    }
}

#[test]
fn a_failed_call_around_another_leaves_the_bill_to_it() {
    let mut bench = Bench::new();
    bench.open(Ask { priced: true, ..ask(1, PROGRAM, Role::Client, (5000, 4000)) });
    bench.open(ask(2, GATEWAY, Role::Server, (5000, 4000)));
    bench.open(Ask { priced: true, ..ask(3, GATEWAY, Role::Client, (5001, 443)) });
    let mut failed = fixture::call("openai", "gpt-4o");
    failed.outcome.error_type = Some("cancelled".to_owned());
    bench.hops.finish((1, ExchangeId(0)), &failed, BootTime(bench.time)).unwrap();
    assert!(!bench.finish(3).is_hop);
}

#[test]
fn the_table_is_bounded() {
    let mut bench = Bench::new();
    for flow in 0..5_000 {
        bench.open(ask(flow, PROGRAM, Role::Client, (5000, 4000)));
    }
    assert_eq!(bench.hops.calls.len(), CALLS);
    assert!(bench.finish(0).own.is_none() && bench.finish(4_999).own.is_some());
}
