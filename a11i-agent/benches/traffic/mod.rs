//! A streamed chat completion as bytes on the wire, and a pipeline to put it through.

use std::sync::Arc;

use a11i_agent::{
    cost::{CostSettings, Overrides, PriceBook, UnknownHosts},
    flow::DEFAULT_FLOWS,
    http::HttpSettings,
    owner::Owner,
    pipeline::{Output, Pipeline, PipelineSettings},
    provider::Routes,
    redaction::ContentPolicy,
};
use a11i_common::{
    decode::{Event, EventBody, SessionId},
    identity::{AttachmentId, BootTime, Direction, Pid, ProcessId, Tid, TlsSession},
};

/// 2026-11-21: inside the price table's dates.
const TODAY: u32 = 20_778;
/// Between two records.
const STEP_NANOS: u64 = 10_000;

/// One exchange: bytes of both directions, and the JSON texts that the response's events carry.
pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    /// Where one event with its chunk framing ends and the next begins: a server that flushes sends these as one TLS record each.
    pub(crate) records: Vec<std::ops::Range<usize>>,
    pub(crate) json: Vec<String>,
}

impl Exchange {
    /// A stream of `chunks` pieces of text after a prompt of `prompt_bytes`, with a usage block at its end.
    pub(crate) fn streamed(chunks: usize, prompt_bytes: usize) -> Self {
        let body = format!(
            r#"{{"model":"gpt-4o-mini","stream":true,"stream_options":{{"include_usage":true}},"messages":[{{"role":"user","content":"{}"}}]}}"#,
            "All work and no play. ".repeat(prompt_bytes / 22)
        );
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-bench\r\n\
             User-Agent: OpenAI/Python 2.6.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes();
        let mut response = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\
              x-request-id: req_8d5c4d1f2f6c4e0b\r\nopenai-version: 2020-10-01\r\n\r\n"
            .to_vec();
        let json = events(chunks);
        let mut records = Vec::with_capacity(json.len());
        let mut begin = 0;
        for text in json.iter().map(String::as_str).chain(["[DONE]"]) {
            let event = format!("data: {text}\n\n");
            response.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
            records.push(begin..response.len());
            begin = response.len();
        }
        response.extend_from_slice(b"0\r\n\r\n");
        records.push(begin..response.len());
        Self { request, response, records, json }
    }

    /// The same over HTTP/2: one DATA frame for each event, one record for each frame.
    pub(crate) fn streamed_over_http2(chunks: usize, prompt_bytes: usize) -> Self {
        const SETTINGS: u8 = 4;
        const HEADERS: u8 = 1;
        const DATA: u8 = 0;
        const END_STREAM: u8 = 1;
        const END_HEADERS: u8 = 4;
        let Self { request, json, .. } = Self::streamed(chunks, prompt_bytes);
        let body = request.windows(4).position(|four| four == b"\r\n\r\n").and_then(|at| request.get(at + 4..)).unwrap_or_default();
        let asked = block(&[
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "api.openai.com"),
            (":path", "/v1/chat/completions"),
            ("authorization", "Bearer sk-bench"),
        ]);
        let answered = block(&[(":status", "200"), ("content-type", "text/event-stream; charset=utf-8"), ("openai-version", "2020-10-01")]);
        let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        request.extend(frame(SETTINGS, 0, 0, b""));
        request.extend(frame(HEADERS, END_HEADERS, 1, &asked));
        request.extend(frame(DATA, END_STREAM, 1, body));
        let mut response = [frame(SETTINGS, 0, 0, b""), frame(HEADERS, END_HEADERS, 1, &answered)].concat();
        let mut records = Vec::with_capacity(json.len());
        let mut begin = 0;
        for text in json.iter().map(String::as_str).chain(["[DONE]"]) {
            response.extend(frame(DATA, 0, 1, format!("data: {text}\n\n").as_bytes()));
            records.push(begin..response.len());
            begin = response.len();
        }
        response.extend(frame(DATA, END_STREAM, 1, b""));
        records.push(begin..response.len());
        Self { request, response, records, json }
    }

    /// The response in TLS records of this many bytes: what a server without flushes, or a proxy, makes of a stream.
    pub(crate) fn cut_into(mut self, size: usize) -> Self {
        let length = self.response.len();
        self.records = (0..length).step_by(size).map(|at| at..at.saturating_add(size).min(length)).collect();
        self
    }

    pub(crate) fn json_bytes(&self) -> usize {
        self.json.iter().map(String::len).sum()
    }
}

/// RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literals without indexing (RFC 7541 section 6.2.2); names and values are shorter than 127 bytes.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap_or_default()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// The chunks of a chat completion as OpenAI sends them (ids, fingerprint and padding included).
fn events(chunks: usize) -> Vec<String> {
    const WORDS: [&str; 8] = [" the", " answer", ",\\n", " of", " \\\"forty", "-two", "\\\" \u{fc}ber", " 42"];
    let head = r#"{"id":"chatcmpl-CdT6vZ0pB4kZ1mXGq0o3bXq9Y2a1J","object":"chat.completion.chunk","created":1763683200,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_560af6e559","#;
    let first = r#""choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"Q0zV3x"}"#;
    let last = r#""choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null,"obfuscation":"s"}"#;
    let usage = r#""choices":[],"usage":{"prompt_tokens":17,"completion_tokens":400,"total_tokens":417,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"obfuscation":""}"#;
    let deltas = WORDS.iter().cycle().take(chunks).map(|word| {
        format!(
            r#"{head}"choices":[{{"index":0,"delta":{{"content":"{word}"}},"logprobs":null,"finish_reason":null}}],"usage":null,"obfuscation":"n4Lw9"}}"#
        )
    });
    std::iter::once(format!("{head}{first}")).chain(deltas).chain([format!("{head}{last}"), format!("{head}{usage}")]).collect()
}

pub(crate) fn pipeline(content: ContentPolicy) -> Pipeline {
    Pipeline::new(PipelineSettings {
        http: Arc::new(HttpSettings::new(&[7; 32])),
        routes: Arc::new(Routes::default()),
        price_book: Arc::new(PriceBook::embedded(Overrides::default())),
        cost: CostSettings { enabled: true, unknown_hosts: UnknownHosts::Unpriced, today: TODAY },
        content,
        trace_correlation: true,
        instrumented: a11i_agent::sampling::InstrumentedPolicy::default(),
        flows: DEFAULT_FLOWS,
    })
}

/// One TLS session of one process, as the kernel half would report it.
pub(crate) struct Session {
    id: SessionId,
    process: ProcessId,
    owner: Arc<Owner>,
    is_new: bool,
    offsets: [u64; 2],
    now: BootTime,
}

impl Session {
    pub(crate) fn new(number: u64) -> Self {
        let process = ProcessId { pid: Pid(4_242), start_ticks: 77 };
        Self {
            id: SessionId { session: TlsSession(number), generation: 1 },
            process,
            // Known by more than its id: of an unknown owner no content is kept, whatever the settings say.
            owner: Arc::new(Owner { process, executable_name: Some("bench".to_owned()), ..Owner::default() }),
            is_new: true,
            offsets: [0; 2],
            now: BootTime(1_000),
        }
    }

    pub(crate) fn write(&mut self, payload: &[u8], pipeline: &mut Pipeline, sink: &mut dyn FnMut(Output)) {
        self.transfer(Direction::Write, payload, pipeline, sink);
    }

    pub(crate) fn read(&mut self, payload: &[u8], pipeline: &mut Pipeline, sink: &mut dyn FnMut(Output)) {
        self.transfer(Direction::Read, payload, pipeline, sink);
    }

    pub(crate) fn end(&mut self, pipeline: &mut Pipeline, sink: &mut dyn FnMut(Output)) {
        let [write_offset, read_offset] = self.offsets;
        let body = EventBody::SessionEnd { session: self.id, attachment: AttachmentId(0), write_offset, read_offset, causes: [0; 2] };
        self.handle(body, pipeline, sink);
    }

    fn transfer(&mut self, direction: Direction, payload: &[u8], pipeline: &mut Pipeline, sink: &mut dyn FnMut(Output)) {
        let [write, read] = &mut self.offsets;
        let place = if direction == Direction::Write { write } else { read };
        let offset = *place;
        *place = offset.saturating_add(payload.len() as u64);
        let (session, attachment) = (self.id, AttachmentId(0));
        self.handle(EventBody::Data { session, attachment, direction, offset, skipped: 0, causes: 0, request: 0, payload }, pipeline, sink);
    }

    fn handle(&mut self, body: EventBody<'_>, pipeline: &mut Pipeline, sink: &mut dyn FnMut(Output)) {
        self.now = self.now.plus_nanos(STEP_NANOS);
        let event = Event { time: self.now, process: self.process, tid: Tid(self.process.pid.0), body };
        if std::mem::take(&mut self.is_new) {
            pipeline.handle_owner(self.process, Some(Arc::clone(&self.owner)), sink);
        }
        pipeline.handle_event(&event, &mut |_| None, sink);
    }
}

/// The whole exchange in one session.
pub(crate) fn run(exchange: &Exchange, number: u64, pipeline: &mut Pipeline, sink: &mut dyn FnMut(Output)) {
    let mut session = Session::new(number);
    session.write(&exchange.request, pipeline, sink);
    for record in &exchange.records {
        session.read(exchange.response.get(record.clone()).unwrap_or_default(), pipeline, sink);
    }
    session.end(pipeline, sink);
}
