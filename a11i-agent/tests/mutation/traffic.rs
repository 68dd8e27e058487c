//! Sessions as the kernel half reports them: several at a time, several calls each, cut anywhere.

use std::{collections::VecDeque, fs, ops::Range, path::Path};

use a11i_agent::{
    flow::FlowId,
    replay::{Record, Seed, frame, pieces},
};
use a11i_common::{
    decode::{Event, EventBody, SessionId},
    identity::{AttachmentId, BootTime, Direction, Pid, ProcessId, Tid, TlsSession},
};

/// A request and its answer.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    /// Another exchange may follow on the connection.
    keeps_alive: bool,
}

/// Something that is no call, as every connection may carry.
const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: api.openai.com\r\n\r\n";
const HEALTHY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An answer that only the end of the connection ends.
const UNFRAMED_REQUEST: &[u8] = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: 48\r\n\r\n\
    {\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[  ]}";
const UNFRAMED_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
    data: {\"id\":\"c\",\"model\":\"gpt-4o-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n\
    data: {\"id\":\"c\",\"model\":\"gpt-4o-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
    data: {\"id\":\"c\",\"model\":\"gpt-4o-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9}}\n\n\
    data: [DONE]\n\n";

/// Records of the corpus that are taken of each format.
const SAMPLE: usize = 12;

/// The longest line taken: larger ones add time and nothing else.
const SAMPLE_LINE_BYTES: usize = 10_000;

/// This project's own corpus.
pub(crate) fn own() -> Vec<Exchange> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let folders = |path: &Path| {
        let mut found: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
        found.sort();
        found
    };
    let mut out = vec![Exchange::new(UNFRAMED_REQUEST.to_vec(), UNFRAMED_ANSWER.to_vec())];
    for scenario in folders(&root).iter().flat_map(|provider| folders(provider)) {
        let expected: serde_json::Value = serde_json::from_str(&fs::read_to_string(scenario.join("expected.json")).unwrap()).unwrap();
        // What was sent damaged is marked whatever else happens to it.
        if expected["complete"] == false {
            continue;
        }
        out.push(Exchange::new(fs::read(scenario.join("request.http")).unwrap(), fs::read(scenario.join("response.http")).unwrap()));
    }
    out
}

/// A sample of the recorded corpus, framed and coded at random.
pub(crate) fn recorded() -> Vec<Exchange> {
    let corpus =
        std::env::var_os("A11I_CORPUS").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), Into::into);
    if !corpus.is_dir() {
        println!("skipped: no recorded corpus at {} (set A11I_CORPUS)", corpus.display());
        return Vec::new();
    }
    let mut out = Vec::new();
    for api in [
        "openai.chat",
        "openai.responses",
        "anthropic.messages",
        "mistral.chat",
        "deepseek.chat",
        "openai.embeddings",
        "openai.completions",
    ] {
        let text = fs::read_to_string(corpus.join(format!("{api}.jsonl"))).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| line.len() < SAMPLE_LINE_BYTES).collect();
        for line in lines.iter().step_by((lines.len() / SAMPLE).max(1)).take(SAMPLE) {
            let record = Record::parse(line).unwrap();
            let framed = frame(&record, &mut Seed::of(&record.id));
            out.push(Exchange::new(framed.request, framed.response));
        }
    }
    out
}

impl Exchange {
    fn new(request: Vec<u8>, response: Vec<u8>) -> Self {
        let end = response.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&response[..end]).to_ascii_lowercase();
        let length = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok());
        let keeps_alive = match length {
            Some(length) => end + length == response.len(),
            None => head.contains("chunked") && response.ends_with(b"0\r\n\r\n"),
        };
        Self { request, response, keeps_alive }
    }
}

/// A record, owned, so that it can be harmed.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) time: BootTime,
    pub(crate) process: ProcessId,
    pub(crate) session: SessionId,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Name(&'static str),
    Data { direction: Direction, offset: u64, skipped: u32, causes: u8, request: u16, payload: Vec<u8> },
    WriteShutdown { offsets: [u64; 2], causes: [u8; 2] },
    End { offsets: [u64; 2], causes: [u8; 2] },
    Exit,
}

impl Sent {
    pub(crate) const fn flow(&self) -> FlowId {
        FlowId { process: self.process, session: self.session }
    }

    pub(crate) fn event(&self) -> Event<'_> {
        let (session, attachment) = (self.session, AttachmentId(1));
        let body = match &self.kind {
            Kind::Name(name) => EventBody::ServerName { session, attachment, name: name.as_bytes() },
            Kind::Data { direction, offset, skipped, causes, request, payload } => EventBody::Data {
                session,
                attachment,
                direction: *direction,
                offset: *offset,
                skipped: *skipped,
                causes: *causes,
                request: *request,
                payload,
            },
            Kind::WriteShutdown { offsets: [write_offset, read_offset], causes } => {
                EventBody::WriteShutdown { session, attachment, write_offset: *write_offset, read_offset: *read_offset, causes: *causes }
            }
            Kind::End { offsets: [write_offset, read_offset], causes } => {
                EventBody::SessionEnd { session, attachment, write_offset: *write_offset, read_offset: *read_offset, causes: *causes }
            }
            Kind::Exit => EventBody::Exit,
        };
        Event { time: self.time, process: self.process, tid: Tid(self.process.pid.0), body }
    }
}

/// Where a call's bytes lie.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) flow: FlowId,
    /// Time of the record that its request begins with.
    pub(crate) start: BootTime,
    /// By direction.
    pub(crate) bytes: [Range<u64>; 2],
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [write, read] = &self.bytes;
        write!(f, "call at {} of {}/{} (W {write:?} R {read:?})", self.start.0, self.flow.process.pid.0, self.flow.session.generation)
    }
}

/// Sessions of several processes, in order of time.
pub(crate) struct Traffic {
    pub(crate) records: Vec<Sent>,
    pub(crate) calls: Vec<Place>,
    /// How far the kernel's table says each session came, by direction.
    pub(crate) ends: Vec<(FlowId, [u64; 2])>,
}

impl Traffic {
    pub(crate) fn of(exchanges: &[Exchange], sessions: usize, seed: &mut Seed) -> Self {
        let mut out = Self { records: Vec::new(), calls: Vec::new(), ends: Vec::new() };
        for number in 0..sessions {
            let process = ProcessId { pid: Pid(100 + u32::try_from(number).unwrap()), start_ticks: 1 };
            Connection::new(process, seed).run(exchanges, &mut out, seed);
        }
        out.records.sort_by_key(|record| record.time);
        out
    }
}

/// Responses to come, with the places of the calls among them.
type Unanswered = VecDeque<(Option<usize>, Vec<u8>)>;

/// The kernel half's part for one connection.
struct Connection {
    process: ProcessId,
    session: SessionId,
    time: u64,
    offsets: [u64; 2],
    request: u16,
    /// Where requests go: written by clients, read by servers.
    requests: Direction,
}

impl Connection {
    fn new(process: ProcessId, seed: &mut Seed) -> Self {
        let session = SessionId { session: TlsSession(0xa000), generation: 5 };
        let requests = if seed.below(5) == 0 { Direction::Read } else { Direction::Write };
        // Every session in its own nanoseconds, so that no two records have one time.
        let time = 1_000_000 + 10 * u64::from(process.pid.0) + seed.below(50) * 1_000_000;
        Self { process, session, time, offsets: [0; 2], request: 0, requests }
    }

    fn run(mut self, exchanges: &[Exchange], out: &mut Traffic, seed: &mut Seed) {
        // Programs free a session and get the next one at the same address.
        while self.session_of(exchanges, out, seed) && seed.below(4) == 0 {
            self.renew();
        }
    }

    /// One session from its handshake to its end. Whether its process lives on.
    fn session_of(&mut self, exchanges: &[Exchange], out: &mut Traffic, seed: &mut Seed) -> bool {
        if self.requests == Direction::Write && seed.below(3) > 0 {
            self.push(Kind::Name("api.openai.com"), out, seed);
        }
        // Hardly anybody pipelines, and whoever does, does it often.
        let pipelines = if seed.below(4) == 0 { 2 } else { 12 };
        let mut unanswered: Unanswered = VecDeque::new();
        for _ in 0..=seed.size(4) {
            if seed.below(6) == 0 && unanswered.is_empty() {
                self.unwanted(out, seed);
            }
            let exchange = &exchanges[seed.size(exchanges.len() - 1)];
            if !exchange.keeps_alive || seed.below(pipelines) > 0 {
                self.answer(usize::MAX, &mut unanswered, out, seed);
            } else if seed.below(2) == 0 {
                self.answer(1, &mut unanswered, out, seed);
            }
            if seed.below(10) == 0 {
                // No call, and sent among calls: the kernel half goes on copying.
                self.request = self.request.wrapping_add(1);
                self.transfer(self.requests, HEALTH, out, seed);
                unanswered.push_back((None, HEALTHY.to_vec()));
                if seed.below(pipelines) > 0 {
                    self.answer(usize::MAX, &mut unanswered, out, seed);
                }
            }
            self.request = self.request.wrapping_add(1);
            let from = self.offsets[self.requests as usize];
            let start = self.transfer(self.requests, &exchange.request, out, seed);
            let mut bytes = [0..0, 0..0];
            bytes[self.requests as usize] = from..self.offsets[self.requests as usize];
            unanswered.push_back((Some(out.calls.len()), exchange.response.clone()));
            out.calls.push(Place { flow: self.flow(), start, bytes });
            if !exchange.keeps_alive {
                break;
            }
        }
        self.answer(usize::MAX, &mut unanswered, out, seed);
        out.ends.push((self.flow(), self.offsets));
        let (offsets, causes) = (self.offsets, [0; 2]);
        if seed.below(4) == 0 {
            self.push(Kind::WriteShutdown { offsets, causes }, out, seed);
        }
        let frees = seed.below(4) > 0;
        if frees {
            self.push(Kind::End { offsets, causes }, out, seed);
        }
        let exits = !frees || seed.below(2) == 0;
        if exits {
            self.push(Kind::Exit, out, seed);
        }
        !exits
    }

    /// The first `many` answers.
    fn answer(&mut self, many: usize, unanswered: &mut Unanswered, out: &mut Traffic, seed: &mut Seed) {
        let direction = self.requests.opposite();
        for (call, response) in unanswered.drain(..many.min(unanswered.len())) {
            let from = self.offsets[direction as usize];
            self.transfer(direction, &response, out, seed);
            if let Some(call) = call {
                out.calls[call].bytes[direction as usize] = from..self.offsets[direction as usize];
            }
        }
    }

    /// A request that is no call, after which the kernel half copies no more; what follows is a new generation.
    fn unwanted(&mut self, out: &mut Traffic, seed: &mut Seed) {
        self.request = self.request.wrapping_add(1);
        self.transfer(self.requests, HEALTH, out, seed);
        if seed.below(2) == 0 {
            self.transfer(self.requests.opposite(), HEALTHY, out, seed);
        }
        out.ends.push((self.flow(), self.offsets));
        self.renew();
    }

    /// What follows is another generation.
    const fn renew(&mut self) {
        self.session.generation = self.session.generation.wrapping_add(9);
        self.offsets = [0; 2];
    }

    /// Library calls. Gives the time of the first.
    fn transfer(&mut self, direction: Direction, bytes: &[u8], out: &mut Traffic, seed: &mut Seed) -> BootTime {
        let mut first = None;
        for payload in pieces(bytes, seed) {
            let (offset, request) = (self.offsets[direction as usize], self.request);
            let kind = Kind::Data { direction, offset, skipped: 0, causes: 0, request, payload: payload.to_vec() };
            let time = self.push(kind, out, seed);
            first.get_or_insert(time);
            self.offsets[direction as usize] += payload.len() as u64;
        }
        first.unwrap()
    }

    fn push(&mut self, kind: Kind, out: &mut Traffic, seed: &mut Seed) -> BootTime {
        let step = if seed.below(12) == 0 { 300_000 } else { 20 };
        self.time += 1_000 * (1 + seed.below(step));
        let time = BootTime(self.time);
        out.records.push(Sent { time, process: self.process, session: self.session, kind });
        time
    }

    const fn flow(&self) -> FlowId {
        FlowId { process: self.process, session: self.session }
    }
}
