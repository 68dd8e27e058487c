use a11i_common::{
    decode::{Event, EventBody, SessionId},
    event::cause,
    identity::{AttachmentId, Direction, Pid, Tid, TlsSession},
};

use super::{leaving::CALLS_WAITING, *};
use crate::cost::Overrides;

const PROCESS: ProcessId = ProcessId { pid: Pid(7), start_ticks: 9 };
const SESSION: SessionId = SessionId { session: TlsSession(1), generation: 3 };
const REQUEST: &[u8] = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: 61\r\n\r\n\
    {\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 150\r\n\r\n\
    {\"id\":\"x\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\
    \"message\":{\"content\":\"b\"}}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}";

fn pipeline(content: ContentPolicy) -> Pipeline {
    Pipeline::new(PipelineSettings {
        http: Arc::new(HttpSettings::new(&[1; 32])),
        routes: Arc::new(Routes::default()),
        price_book: Arc::new(PriceBook::embedded(Overrides::default())),
        cost: CostSettings { enabled: true, unknown_hosts: crate::cost::UnknownHosts::default(), today: 0 },
        content,
        trace_correlation: true,
        flows: 2,
    })
}

fn data(direction: Direction, offset: u64, payload: &[u8]) -> EventBody<'_> {
    EventBody::Data { session: SESSION, attachment: AttachmentId(0), direction, offset, skipped: 0, causes: 0, request: 0, payload }
}

#[expect(clippy::unnecessary_wraps, reason = "as answers come")]
fn named(name: &str) -> Option<Arc<Owner>> {
    Some(Arc::new(Owner { executable_name: Some(name.to_owned()), ..Owner::unknown(PROCESS) }))
}

/// A pipeline, the kernel's table, and what came out.
struct Bench {
    pipeline: Pipeline,
    table: Option<FinalOffsets>,
    out: Vec<Output>,
}

impl Bench {
    fn new(content: ContentPolicy) -> Self {
        Self { pipeline: pipeline(content), table: None, out: Vec::new() }
    }

    fn event(&mut self, body: EventBody<'_>) {
        let event = Event { time: BootTime(1_000), process: PROCESS, tid: Tid(7), body };
        let (table, out) = (self.table, &mut self.out);
        self.pipeline.handle_event(&event, &mut |_| table, &mut |output| out.push(output));
    }

    fn exchange(&mut self) {
        self.event(data(Direction::Write, 0, REQUEST));
        self.event(data(Direction::Read, 0, ANSWER));
    }

    fn owner(&mut self, owner: Option<Arc<Owner>>) {
        let out = &mut self.out;
        self.pipeline.handle_owner(PROCESS, owner, &mut |output| out.push(output));
    }

    fn time(&mut self, now: u64) {
        let (table, out) = (self.table, &mut self.out);
        self.pipeline.handle_timeout(BootTime(now), &mut |_| table, &mut |output| out.push(output));
    }

    fn calls(&mut self) -> Vec<LlmCall> {
        let finished = std::mem::take(&mut self.out).into_iter().filter_map(|output| match output {
            Output::Call(call) => Some(call.call.call().clone()),
            Output::Estimate(call) => Some(*call),
            Output::Notice(_) | Output::WhoIs(_) | Output::Forgotten(_) | Output::Verdict { .. } => None,
        });
        finished.collect()
    }

    fn questions(&self) -> usize {
        self.out.iter().filter(|output| matches!(output, Output::WhoIs(PROCESS))).count()
    }
}

#[test]
fn a_loss_at_the_end_of_a_process_that_frees_nothing_is_seen() {
    for (lost, whole) in [(0, true), (7, false)] {
        let mut bench = Bench::new(ContentPolicy::None);
        bench.owner(named("curl"));
        bench.event(data(Direction::Write, 0, REQUEST));
        bench.event(data(Direction::Read, 0, ANSWER.split_at(ANSWER.len() - 7).0));
        let read = (ANSWER.len() - 7) as u64 + lost;
        bench.table =
            Some(FinalOffsets { write: REQUEST.len() as u64, read, causes: [LossCauses(0), LossCauses::of_kernel(cause::RING_FULL)] });
        bench.event(EventBody::Exit);
        assert!(bench.out.iter().any(|output| matches!(output, Output::Forgotten(flow) if flow.session == SESSION)));
        let calls = bench.calls();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].completeness.is_whole(), whole, "{:?}", calls[0].completeness);
        if !whole {
            assert_eq!(calls[0].completeness, Completeness::Gap { lost: Some(7), causes: LossCauses::of_kernel(cause::RING_FULL) });
        }
        assert_eq!(bench.pipeline.counters().lost_bytes, lost);
    }
}

#[test]
fn bytes_left_out_by_intention_are_no_loss_and_unknown_gaps_are_counted_apart() {
    for (causes, lost, unknown) in [(cause::NOT_HTTP, 0, 0), (cause::RING_FULL, 50, 0), (cause::TABLE_FULL, 0, 1)] {
        let mut bench = Bench::new(ContentPolicy::None);
        bench.event(data(Direction::Write, 0, b"hello"));
        bench.table = Some(FinalOffsets { write: 55, read: 0, causes: [LossCauses::of_kernel(causes), LossCauses(0)] });
        bench.event(EventBody::Exec);
        let counters = bench.pipeline.counters();
        assert_eq!((counters.lost_bytes, counters.unknown_gaps), (lost, unknown), "{causes}");
    }
}

#[test]
fn what_arrives_twice_is_counted_while_the_connection_lives() {
    let mut bench = Bench::new(ContentPolicy::None);
    bench.event(data(Direction::Write, 0, REQUEST));
    bench.event(data(Direction::Write, 0, REQUEST));
    assert_eq!(bench.pipeline.counters().discarded_bytes, REQUEST.len() as u64);
}

#[test]
fn a_call_waits_for_its_owner_and_leaves_with_it() {
    let mut bench = Bench::new(ContentPolicy::Full);
    bench.exchange();
    assert_eq!((bench.questions(), bench.pipeline.waiting_calls()), (1, 1));
    assert!(bench.calls().is_empty());
    bench.owner(named("python3"));
    let calls = bench.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].owner.executable_name.as_deref(), Some("python3"));
    assert!(!calls[0].content.output_messages.is_empty(), "the policy of a known owner allows it");
    assert_eq!(bench.pipeline.counters().calls_without_owner, 0);
}

#[test]
fn a_call_whose_owner_stays_unknown_leaves_after_a_while_without_content() {
    let mut bench = Bench::new(ContentPolicy::Full);
    bench.exchange();
    bench.time(5_000_000_000);
    bench.time(5_000_000_000 + OWNER_WAIT_NANOS - 1);
    assert!(bench.calls().is_empty());
    bench.time(5_000_000_000 + OWNER_WAIT_NANOS);
    let calls = bench.calls();
    assert_eq!(calls.len(), 1);
    assert!(calls[0].content.output_messages.is_empty());
    assert_eq!(bench.pipeline.counters().calls_without_owner, 1);
}

#[test]
fn a_flow_that_began_before_the_answer_gets_its_owner_too() {
    let mut bench = Bench::new(ContentPolicy::None);
    bench.event(data(Direction::Write, 0, REQUEST));
    bench.owner(named("python3"));
    bench.event(data(Direction::Read, 0, ANSWER));
    assert_eq!(bench.calls()[0].owner.executable_name.as_deref(), Some("python3"));
}

#[test]
fn an_exec_asks_anew_and_lets_the_old_programs_calls_go() {
    let mut bench = Bench::new(ContentPolicy::None);
    bench.exchange();
    bench.event(EventBody::Exec);
    assert_eq!(bench.questions(), 2);
    let calls = bench.calls();
    assert_eq!((calls.len(), calls[0].owner.executable_name.as_deref()), (1, None));
    bench.owner(named("before"));
    bench.owner(named("after"));
    bench.exchange();
    assert_eq!(bench.calls()[0].owner.executable_name.as_deref(), Some("after"));
}

#[test]
fn calls_that_wait_for_owners_are_bounded() {
    let mut bench = Bench::new(ContentPolicy::None);
    let (mut write, mut read) = (0, 0);
    for _ in 0..CALLS_WAITING + 3 {
        bench.event(data(Direction::Write, write, REQUEST));
        bench.event(data(Direction::Read, read, ANSWER));
        (write, read) = (write + REQUEST.len() as u64, read + ANSWER.len() as u64);
    }
    assert_eq!((bench.pipeline.waiting_calls(), bench.calls().len()), (CALLS_WAITING, 3));
    let out = &mut bench.out;
    bench.pipeline.release_calls(&mut |output| out.push(output));
    assert_eq!((bench.pipeline.waiting_calls(), bench.calls().len()), (0, CALLS_WAITING));
}

#[test]
fn a_call_under_way_when_copying_is_switched_off_says_so_and_an_idle_connection_makes_none() {
    let switched_off = LossCauses::of_kernel(cause::SWITCHED_OFF);
    for (seen_of_answer, calls_after, under_way) in [(ANSWER.len(), 0, false), (ANSWER.len() - 7, 1, true), (0, 1, true)] {
        let mut bench = Bench::new(ContentPolicy::None);
        bench.event(data(Direction::Write, 0, REQUEST));
        bench.event(data(Direction::Read, 0, ANSWER.split_at(seen_of_answer).0));
        bench.owner(named("curl"));
        let before = bench.calls().len();
        let out = &mut bench.out;
        bench.pipeline.interrupt(switched_off, BootTime(2_000), &mut |output| out.push(output));
        assert!(bench.out.iter().any(|output| matches!(output, Output::Forgotten(flow) if flow.session == SESSION)));
        let calls = bench.calls();
        assert_eq!((before, calls.len()), (usize::from(!under_way), calls_after), "{seen_of_answer}");
        for call in calls {
            assert_eq!(call.completeness, Completeness::Gap { lost: None, causes: switched_off });
        }
        assert_eq!((bench.pipeline.flows(), bench.pipeline.counters().unknown_gaps), (0, 0));
    }
}

#[test]
fn a_process_that_loses_its_probes_ends_its_own_flows_and_nobody_elses() {
    let mut bench = Bench::new(ContentPolicy::None);
    bench.event(data(Direction::Write, 0, REQUEST));
    bench.owner(named("curl"));
    let process = PROCESS;
    let other = ProcessId { start_ticks: process.start_ticks.wrapping_add(1), ..process };
    for (gone, calls) in [(other, 0), (process, 1)] {
        let out = &mut bench.out;
        bench.pipeline.interrupt_processes(&[gone].into(), LossCauses::END_UNSEEN, BootTime(2_000), &mut |output| out.push(output));
        assert_eq!(bench.out.iter().any(|output| matches!(output, Output::Forgotten(_))), gone == process);
        assert_eq!(bench.calls().len(), calls);
    }
    assert_eq!(bench.pipeline.flows(), 0);
}

const OTHER: &[u8] = b"POST /v1/traces HTTP/1.1\r\nHost: collector.example\r\nContent-Length: 4\r\n\r\nabcd";

/// The kernel half's part: numbers requests, takes verdicts, begins a new generation after one that was not wanted.
struct Kernel {
    bench: Bench,
    session: SessionId,
    request: u16,
    offsets: [u64; 2],
    /// Causes of losses that the next record tells.
    causes: [u8; 2],
    /// Nothing is copied until a request begins.
    stopped: bool,
    ignored: bool,
    time: u64,
}

impl Kernel {
    fn new() -> Self {
        let mut bench = Bench::new(ContentPolicy::None);
        bench.owner(named("python3"));
        Self { bench, session: SESSION, request: 0, offsets: [0; 2], causes: [0; 2], stopped: false, ignored: false, time: 1_000 }
    }

    fn body(&mut self, body: EventBody<'_>) {
        self.time += 1_000;
        let event = Event { time: BootTime(self.time), process: PROCESS, tid: Tid(7), body };
        let out = &mut self.bench.out;
        self.bench.pipeline.handle_event(&event, &mut |_| None, &mut |output| out.push(output));
    }

    /// One library call. Gives the verdicts it led to.
    fn transfer(&mut self, direction: Direction, bytes: &[u8]) -> Vec<Verdict> {
        if direction == Direction::Write && (self.stopped || self.offsets[0] == 0) && begins_request(bytes) {
            if self.stopped {
                self.session.generation = self.session.generation.wrapping_add(77);
                (self.offsets, self.stopped) = ([0; 2], false);
            }
            self.request += 1;
        } else if direction == Direction::Write && begins_request(bytes) {
            self.request += 1;
        }
        if self.stopped || self.ignored {
            return Vec::new();
        }
        let offset = self.offsets[direction as usize];
        self.offsets[direction as usize] += bytes.len() as u64;
        let (session, request) = (self.session, self.request);
        let causes = std::mem::take(&mut self.causes[direction as usize]);
        self.body(EventBody::Data { session, attachment: AttachmentId(0), direction, offset, skipped: 0, causes, request, payload: bytes });
        self.verdicts()
    }

    fn name(&mut self, name: &str) -> Vec<Verdict> {
        self.body(EventBody::ServerName { session: self.session, attachment: AttachmentId(0), name: name.as_bytes() });
        self.verdicts()
    }

    fn end(&mut self) {
        let [write_offset, read_offset] = self.offsets;
        self.body(EventBody::SessionEnd { session: self.session, attachment: AttachmentId(0), write_offset, read_offset, causes: [0; 2] });
    }

    fn verdicts(&mut self) -> Vec<Verdict> {
        let (mut verdicts, mut rest) = (Vec::new(), Vec::new());
        for output in std::mem::take(&mut self.bench.out) {
            match output {
                Output::Verdict { flow, request, verdict } => {
                    assert_eq!(flow, FlowId { process: PROCESS, session: self.session });
                    if verdict != Verdict::LlmHost && verdict != Verdict::Ignore {
                        assert_eq!(request, self.request);
                    }
                    self.stopped |= verdict == Verdict::NotLlm;
                    self.ignored |= verdict == Verdict::Ignore;
                    verdicts.push(verdict);
                }
                other @ (Output::Call(_) | Output::Estimate(_) | Output::Notice(_) | Output::WhoIs(_) | Output::Forgotten(_)) => {
                    rest.push(other);
                }
            }
        }
        self.bench.out = rest;
        verdicts
    }
}

#[test]
fn a_request_is_decided_by_the_record_that_completes_its_head() {
    for (request, verdict) in [(REQUEST, Verdict::Llm), (OTHER, Verdict::NotLlm)] {
        let end = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        for cut in 1..request.len() {
            let mut kernel = Kernel::new();
            let (first, second) = request.split_at(cut);
            let (one, two) = (kernel.transfer(Direction::Write, first), kernel.transfer(Direction::Write, second));
            let want = if cut < end { (vec![], vec![verdict]) } else { (vec![verdict], vec![]) };
            assert_eq!((one, two), want, "cut at {cut}");
        }
    }
}

#[test]
fn a_new_generation_follows_what_nobody_wanted_and_keeps_the_server_name() {
    let mut kernel = Kernel::new();
    assert_eq!(kernel.name("gateway.example"), []);
    for _ in 0..3 {
        assert_eq!(kernel.transfer(Direction::Write, OTHER), [Verdict::NotLlm]);
        assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n..."), []);
        assert_eq!(kernel.transfer(Direction::Write, REQUEST), [Verdict::Llm]);
        assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
    }
    kernel.end();
    let calls = kernel.bench.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.completeness.is_whole() && call.usage.input_tokens == Some(5)));
    let counters = kernel.bench.pipeline.counters();
    assert_eq!((counters.lost_bytes, counters.unknown_gaps, counters.late_attachments, counters.unseen_sessions), (0, 0, 0, 0));
    assert_eq!((counters.flows_evicted, kernel.bench.pipeline.flows()), (0, 0));
}

#[test]
fn every_call_at_an_llm_host_says_so_again_since_a_verdict_may_be_replaced_before_it_is_taken() {
    let mut kernel = Kernel::new();
    assert_eq!(kernel.name("API.openai.com"), [Verdict::LlmHost]);
    assert_eq!(kernel.name("api.openai.com"), []);
    assert_eq!(kernel.transfer(Direction::Write, b"GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"), [Verdict::NotLlm]);
    assert_eq!(kernel.transfer(Direction::Write, REQUEST), [Verdict::LlmHost]);
    assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
    assert_eq!(kernel.bench.calls()[0].server.address.as_deref(), Some("api.openai.com"));
}

#[test]
fn while_a_call_is_open_nothing_stops_the_copying() {
    let mut kernel = Kernel::new();
    assert_eq!(kernel.transfer(Direction::Write, REQUEST), [Verdict::Llm]);
    // Pipelined. What is told of it keeps the answer to the call coming.
    assert_eq!(kernel.transfer(Direction::Write, OTHER), [Verdict::Llm]);
    assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
    assert_eq!(kernel.bench.calls().len(), 1);
}

#[test]
fn a_head_behind_another_in_one_record_is_waited_for() {
    let mut kernel = Kernel::new();
    let (begun, rest) = REQUEST.split_at(30);
    assert_eq!(kernel.transfer(Direction::Write, &[OTHER, begun].concat()), []);
    assert_eq!(kernel.transfer(Direction::Write, rest), [Verdict::Llm]);
    assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), []);
    assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
    assert_eq!(kernel.bench.calls().len(), 1);
}

#[test]
fn a_request_whose_body_is_no_call_is_none_after_all() {
    let mut kernel = Kernel::new();
    let head = b"POST /v1/responses HTTP/1.1\r\nHost: survey.example\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(kernel.transfer(Direction::Write, head), [Verdict::Llm]);
    assert_eq!(kernel.transfer(Direction::Write, b"{\"age\":9}"), [Verdict::NotLlm]);
    assert_eq!(kernel.bench.pipeline.counters().exchanges.unlike, 1);
}

#[test]
fn what_cannot_be_read_is_ignored_for_good_and_what_is_malformed_until_the_next_request() {
    let mut kernel = Kernel::new();
    assert_eq!(kernel.transfer(Direction::Write, b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"), [Verdict::NotLlm]);
    // A kernel half that was too late to hear it.
    kernel.stopped = false;
    assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), [Verdict::Ignore]);
    // Never HTTP, though its bytes made the kernel half begin anew.
    let mut kernel = Kernel::new();
    assert_eq!(kernel.transfer(Direction::Write, b"\x00\x01\x02\x03"), []);
    assert_eq!(kernel.transfer(Direction::Read, b"\x00\x01\x02\x03"), [Verdict::NotLlm]);
    let mut kernel = Kernel::new();
    assert_eq!(kernel.transfer(Direction::Write, b"GET / HTTP/1.1\r\n\x01 no field\r\n\r\n"), [Verdict::NotLlm]);
    assert_eq!(kernel.transfer(Direction::Write, REQUEST), [Verdict::Llm]);
    assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
    assert_eq!(kernel.bench.calls().len(), 1);
}

#[test]
fn the_answer_to_a_request_that_was_lost_is_copied_on() {
    for lossy in [false, true] {
        let mut kernel = Kernel::new();
        assert_eq!(kernel.transfer(Direction::Write, REQUEST), [Verdict::Llm]);
        assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
        // The ring was full: nothing came of the second request, which only the third will tell.
        kernel.request += 1;
        kernel.offsets[0] += REQUEST.len() as u64;
        kernel.causes = [cause::RING_FULL, if lossy { cause::RING_FULL } else { 0 }];
        kernel.offsets[1] += if lossy { 20 } else { 0 };
        assert_eq!(kernel.transfer(Direction::Read, &ANSWER[if lossy { 20 } else { 0 }..]), []);
        assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"age\":9}"), []);
        assert!(!kernel.stopped && !kernel.ignored);
        assert_eq!(kernel.transfer(Direction::Write, OTHER), [Verdict::NotLlm], "a request that is seen is decided");
    }
}

#[test]
fn time_that_passes_decides_nothing() {
    let mut bench = Bench::new(ContentPolicy::None);
    // The hole before it is given up by time alone, and the head behind it is no call's.
    bench.event(data(Direction::Write, 100, OTHER));
    bench.time(10_000_000_000);
    assert!(!bench.out.iter().any(|output| matches!(output, Output::Verdict { .. })));
    assert_eq!(bench.pipeline.counters().lost_bytes, 100);
}

#[test]
fn a_call_open_when_its_session_is_replaced_says_that_its_end_is_missing() {
    let mut kernel = Kernel::new();
    kernel.transfer(Direction::Write, REQUEST);
    kernel.transfer(Direction::Read, ANSWER.split_at(ANSWER.len() - 7).0);
    kernel.stopped = true;
    kernel.transfer(Direction::Write, REQUEST);
    let calls = kernel.bench.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].completeness, Completeness::Gap { lost: None, causes: LossCauses::END_UNSEEN });
    assert_eq!(calls[0].usage.output_tokens, None);
}

#[test]
fn what_comes_late_of_an_earlier_session_is_counted_and_makes_no_call() {
    let mut kernel = Kernel::new();
    kernel.transfer(Direction::Write, REQUEST);
    kernel.transfer(Direction::Read, ANSWER);
    kernel.end();
    // A ring that tells everything twice.
    kernel.time = 1_000;
    kernel.offsets = [0; 2];
    kernel.transfer(Direction::Write, REQUEST);
    kernel.transfer(Direction::Read, ANSWER);
    kernel.end();
    assert_eq!(kernel.bench.calls().len(), 1);
    let counters = kernel.bench.pipeline.counters();
    assert_eq!((counters.discarded_bytes, counters.unseen_sessions), ((REQUEST.len() + ANSWER.len()) as u64, 0));
    assert_eq!(kernel.bench.pipeline.flows(), 0);
}

#[test]
fn a_session_of_which_only_the_end_is_told_is_counted_unless_nobody_wanted_it() {
    for (causes, want) in [(0, 1), (cause::RING_FULL, 1), (cause::NOT_LLM, 0)] {
        let mut kernel = Kernel::new();
        let session = kernel.session;
        for _ in 0..2 {
            kernel.time = 1_000;
            kernel.body(EventBody::SessionEnd {
                session,
                attachment: AttachmentId(0),
                write_offset: 9,
                read_offset: 0,
                causes: [causes, 0],
            });
        }
        assert_eq!(kernel.bench.pipeline.counters().unseen_sessions, want, "{causes}");
    }
}

#[test]
fn a_connection_joined_in_the_middle_is_counted_when_it_shows_that_it_is_http() {
    // The rest of an answer, then the next exchange, which the kernel half makes a new generation.
    let mut kernel = Kernel::new();
    kernel.transfer(Direction::Read, &[b'x'; 64]);
    kernel.stopped = true;
    kernel.transfer(Direction::Write, REQUEST);
    kernel.transfer(Direction::Read, ANSWER);
    assert_eq!(kernel.bench.pipeline.counters().late_attachments, 1);
    assert!(kernel.bench.calls()[0].completeness.is_whole());
    // An answer whose request was before our time.
    let mut kernel = Kernel::new();
    kernel.transfer(Direction::Read, ANSWER);
    assert_eq!(kernel.bench.pipeline.counters().late_attachments, 1);
    // Whose handshake we saw was not joined late.
    let mut kernel = Kernel::new();
    kernel.name("gateway.example");
    kernel.transfer(Direction::Read, ANSWER);
    assert_eq!(kernel.bench.pipeline.counters().late_attachments, 0);
    // Another protocol.
    let mut kernel = Kernel::new();
    kernel.transfer(Direction::Write, &[1; 64]);
    kernel.transfer(Direction::Read, &[2; 64]);
    kernel.end();
    assert_eq!(kernel.bench.pipeline.counters().late_attachments, 0);
}

#[test]
fn a_missed_program_run_marks_every_open_call_and_disturbs_none() {
    let mut bench = Bench::new(ContentPolicy::None);
    bench.owner(named("python3"));
    bench.exchange();
    bench.event(data(Direction::Write, REQUEST.len() as u64, REQUEST));
    bench.pipeline.mark_calls(LossCauses::PROGRAM_MISSED, &mut []);
    bench.event(data(Direction::Read, ANSWER.len() as u64, ANSWER));
    let calls = bench.calls();
    assert_eq!((calls.len(), bench.pipeline.counters().calls_marked), (2, 1));
    assert!(calls[0].completeness.is_whole());
    assert_eq!(calls[1].completeness, Completeness::Gap { lost: None, causes: LossCauses::PROGRAM_MISSED });
    assert_eq!(calls[1].usage, calls[0].usage);
}

#[test]
fn a_call_whose_flow_is_evicted_or_expires_did_not_end_and_says_so() {
    for expires in [true, false] {
        let mut kernel = Kernel::new();
        kernel.transfer(Direction::Write, REQUEST);
        kernel.verdicts();
        // The kernel knows how far it came, and that nothing is missing.
        kernel.bench.table = Some(FinalOffsets { write: REQUEST.len() as u64, read: 0, causes: [LossCauses(0); 2] });
        if expires {
            kernel.bench.time(kernel.time + crate::flow::IDLE_NANOS);
        } else {
            // As many other calls as there is room for: flows without any would have gone first.
            for session in 10..12 {
                kernel.session = SessionId { session: TlsSession(session), generation: 1 };
                kernel.offsets = [0; 2];
                kernel.time += 1;
                let body = EventBody::Data {
                    session: kernel.session,
                    attachment: AttachmentId(0),
                    direction: Direction::Write,
                    offset: 0,
                    skipped: 0,
                    causes: 0,
                    request: 1,
                    payload: REQUEST,
                };
                let event = Event { time: BootTime(kernel.time), process: PROCESS, tid: Tid(7), body };
                let (table, out) = (kernel.bench.table, &mut kernel.bench.out);
                kernel.bench.pipeline.handle_event(&event, &mut |_| table, &mut |output| out.push(output));
            }
        }
        assert!(kernel.bench.out.iter().any(|output| matches!(output, Output::Forgotten(_))), "{expires}");
        let calls = kernel.bench.calls();
        assert_eq!(calls.len(), 1, "{expires}");
        assert_eq!(calls[0].completeness, Completeness::Gap { lost: None, causes: LossCauses::END_UNSEEN }, "{expires}");
    }
}

#[test]
fn what_has_no_call_under_way_makes_room_first() {
    let mut kernel = Kernel::new();
    kernel.transfer(Direction::Write, REQUEST);
    for session in 10..100 {
        kernel.session = SessionId { session: TlsSession(session), generation: 1 };
        kernel.offsets = [0; 2];
        kernel.transfer(Direction::Write, b"not http");
    }
    assert_eq!(kernel.bench.calls().len(), 0);
    (kernel.session, kernel.offsets) = (SESSION, [REQUEST.len() as u64, 0]);
    kernel.transfer(Direction::Read, ANSWER);
    let calls = kernel.bench.calls();
    assert_eq!(calls.len(), 1);
    assert!(calls[0].completeness.is_whole());
}

/// Notices so far of upgraded connections, by whether they name an LLM host.
fn upgrades(bench: &Bench) -> Vec<bool> {
    let upgraded = bench.out.iter().filter_map(|output| match output {
        Output::Notice(notice) if notice.kind == NoticeKind::Upgraded => Some(notice.llm_host),
        Output::Notice(_) | Output::Call(_) | Output::Estimate(_) | Output::WhoIs(_) | Output::Forgotten(_) | Output::Verdict { .. } => {
            None
        }
    });
    upgraded.collect()
}

#[test]
fn a_websocket_to_an_llm_host_is_reported_and_then_ignored() {
    const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let head = b"GET /v1/realtime?model=gpt-4o HTTP/1.1\r\nHost: api.openai.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for named in [true, false] {
        for cut in 0..SWITCH.len() {
            let mut kernel = Kernel::new();
            if named {
                kernel.name("api.openai.com");
            }
            assert_eq!(kernel.transfer(Direction::Write, head), []);
            let (first, second) = SWITCH.split_at(cut);
            if cut > 0 {
                assert_eq!(kernel.transfer(Direction::Read, first), []);
            }
            assert_eq!(kernel.transfer(Direction::Read, second), [Verdict::Ignore], "cut at {cut}");
            assert_eq!(upgrades(&kernel.bench), [true]);
        }
    }
    // Refused: the connection goes on with HTTP.
    let mut kernel = Kernel::new();
    assert_eq!(kernel.transfer(Direction::Write, head), []);
    assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"), [Verdict::NotLlm]);
    assert_eq!(kernel.transfer(Direction::Write, REQUEST), [Verdict::Llm]);
    assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
    assert_eq!((upgrades(&kernel.bench).len(), kernel.bench.calls().len()), (0, 1));
}

#[test]
fn a_tunnel_to_an_llm_host_is_ignored_without_a_warning() {
    let mut kernel = Kernel::new();
    let head = b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n";
    assert_eq!(kernel.transfer(Direction::Write, head), []);
    assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 200 Connection established\r\n\r\n"), [Verdict::Ignore]);
    assert_eq!(upgrades(&kernel.bench), [false]);
}

#[test]
fn a_verdict_that_could_not_be_delivered_is_said_again_with_the_next_record_of_its_request() {
    let (head, body) = OTHER.split_at(OTHER.len() - 4);
    let mut kernel = Kernel::new();
    assert_eq!(kernel.transfer(Direction::Write, head), [Verdict::NotLlm]);
    let id = FlowId { process: PROCESS, session: SESSION };
    for piece in body.chunks(1).take(2) {
        kernel.stopped = false;
        kernel.bench.pipeline.verdict_undelivered(&id, kernel.request, Verdict::NotLlm);
        assert_eq!(kernel.transfer(Direction::Write, piece), [Verdict::NotLlm]);
    }
    kernel.stopped = false;
    assert_eq!(kernel.transfer(Direction::Write, &body[2..3]), []);
    // What a newer request or verdict has overtaken is not said again.
    kernel.bench.pipeline.verdict_undelivered(&id, kernel.request, Verdict::NotLlm);
    assert_eq!(kernel.transfer(Direction::Write, &[&body[3..], REQUEST].concat()), [Verdict::Llm]);
    kernel.bench.pipeline.verdict_undelivered(&id, kernel.request, Verdict::NotLlm);
    assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), []);
    let mut kernel = Kernel::new();
    assert_eq!(kernel.name("api.openai.com"), [Verdict::LlmHost]);
    kernel.bench.pipeline.verdict_undelivered(&id, 0, Verdict::LlmHost);
    assert_eq!(kernel.transfer(Direction::Write, &REQUEST[..10]), [Verdict::LlmHost]);
    assert_eq!(kernel.transfer(Direction::Write, &REQUEST[10..20]), []);
}

#[test]
fn a_missed_run_marks_calls_that_are_finished_and_have_not_left() {
    let mut bench = Bench::new(ContentPolicy::None);
    // One waits for its owner, one has just come out.
    bench.exchange();
    let mut other = Bench::new(ContentPolicy::None);
    other.owner(named("python3"));
    other.exchange();
    let mut left = std::mem::take(&mut other.out);
    bench.pipeline.mark_calls(LossCauses::PROGRAM_MISSED, &mut left);
    bench.owner(named("python3"));
    other.out = left;
    for call in [bench.calls(), other.calls()].concat() {
        assert_eq!(call.completeness, Completeness::Gap { lost: None, causes: LossCauses::PROGRAM_MISSED });
    }
    assert_eq!(bench.pipeline.counters().calls_marked, 2);
}
