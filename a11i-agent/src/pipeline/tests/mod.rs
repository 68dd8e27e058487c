//! What the tests of the pipeline have in common: a pipeline on a bench, and a kernel half that heeds its verdicts.

mod instrumented;
mod multiplexed;
mod owners;
mod sessions;
mod verdicts;

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
        instrumented: InstrumentedPolicy::default(),
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
        calls_among(self.leaving())
    }

    /// What is on its way to the exporters. The rest of what came is gone.
    fn leaving(&mut self) -> Vec<Leaving> {
        let out = std::mem::take(&mut self.out).into_iter();
        out.filter_map(|output| if let Output::Leaving(leaving) = output { Some(leaving) } else { None }).collect()
    }

    fn questions(&self) -> usize {
        self.out.iter().filter(|output| matches!(output, Output::WhoIs(PROCESS))).count()
    }
}

fn calls_among(leaving: Vec<Leaving>) -> Vec<LlmCall> {
    let calls = leaving.into_iter().filter_map(|leaving| match leaving {
        Leaving::Call(call) => Some(call.call.call().clone()),
        Leaving::Estimate(call) => Some(*call),
        Leaving::Mcp(_) => None,
    });
    calls.collect()
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
            let Output::Verdict { flow, request, verdict } = output else {
                rest.push(output);
                continue;
            };
            assert_eq!(flow, FlowId { process: PROCESS, session: self.session });
            if verdict != Verdict::LlmHost && verdict != Verdict::Ignore {
                assert_eq!(request, self.request);
            }
            self.stopped |= matches!(verdict, Verdict::NotLlm | Verdict::Glance);
            self.ignored |= verdict == Verdict::Ignore;
            verdicts.push(verdict);
        }
        self.bench.out = rest;
        verdicts
    }
}
