//! Wires the stages: records in, redacted calls out. One state machine for `run` and `replay`.
//!
//! Pure, like the stages: owners come from a function the caller passes, time comes with the records. Counting tokens of calls
//! without usage is slow; such calls leave as [`Output::Estimate`] and come back through [`Pipeline::finish`].

use std::sync::Arc;

use a11i_common::{
    decode::{Event, EventBody, SessionId},
    identity::{AttachmentId, BootTime, ProcessId},
};

use crate::{
    call::{CaptureFacts, LlmCall, LossCauses},
    cost::{CostSettings, PriceBook, PriceMiss},
    flow::{DataPiece, FlowId, Reassembly, Segment, Table},
    http::{Connection, ConnectionNotice, HttpSettings, MalformedReason},
    owner::Owner,
    provider::{ConnectionContext, ExchangeCounters, ExchangeLimits, Exchanges, Routes},
    redaction::{ContentPolicy, RedactedCall, redact},
    tokens::{self, CountedCall, TokenCounter},
};

/// Flows looked at per timeout tick: bounded work, and every flow has its turn within seconds at the default capacity.
const FLOWS_PER_TICK: usize = 1024;

/// Names longer than DNS allows are not names.
const SERVER_NAME_BYTES: usize = 255;

/// What configuration decides; shared by everything the pipeline makes.
#[derive(Clone)]
pub struct PipelineSettings {
    pub http: Arc<HttpSettings>,
    pub routes: Arc<Routes>,
    pub price_book: Arc<PriceBook>,
    pub cost: CostSettings,
    pub content: ContentPolicy,
    /// Sessions followed at once.
    pub flows: usize,
}

/// What leaves the pipeline.
pub enum Output {
    Call(Box<FinishedCall>),
    /// A call without usage: count its tokens elsewhere, then [`Pipeline::finish`] it.
    Estimate(Box<LlmCall>),
    Notice(Notice),
    /// The flow is no longer followed: the kernel's entry can go, so that whatever comes next begins a new one.
    Forgotten(FlowId),
}

/// A call at the end of its way, and what was missing to price it.
pub struct FinishedCall {
    pub call: RedactedCall,
    pub price_miss: Option<PriceMiss>,
}

/// Something about a connection that nobody would know otherwise.
#[derive(Clone, Debug)]
pub struct Notice {
    pub owner: Arc<Owner>,
    /// SNI, where one was seen.
    pub server_name: Option<String>,
    /// The server name is that of an LLM provider or a configured gateway.
    pub llm_host: bool,
    pub kind: NoticeKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NoticeKind {
    /// HTTP/2: this version reads HTTP/1.1 only.
    Http2NotDecoded,
    NotHttp,
    /// The connection changed to another protocol (WebSocket, CONNECT).
    Upgraded,
    Malformed(MalformedReason),
}

/// Totals since start. Every drop in the pure stages is in one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PipelineCounters {
    pub records: u64,
    pub payload_bytes: u64,
    /// Bytes the kernel half reported as transferred and not copied, directly after a payload.
    pub skipped_bytes: u64,
    pub flows_opened: u64,
    /// Flows that had to go because the table was full.
    pub flows_evicted: u64,
    pub flows_expired: u64,
    pub calls: u64,
    pub exchanges: ExchangeCounters,
}

struct Flow {
    reassembly: Reassembly,
    http: Connection,
    exchanges: Exchanges,
    context: ConnectionContext,
    last_time: BootTime,
}

pub struct Pipeline {
    settings: PipelineSettings,
    flows: Table<Flow>,
    counters: PipelineCounters,
}

impl Pipeline {
    pub fn new(settings: PipelineSettings) -> Self {
        Self { flows: Table::new(settings.flows), settings, counters: PipelineCounters::default() }
    }

    /// Takes the next record. `owner` answers who a process is; it is asked once per flow.
    pub fn handle_event(&mut self, event: &Event<'_>, owner: &mut dyn FnMut(ProcessId) -> Arc<Owner>, sink: &mut dyn FnMut(Output)) {
        self.counters.records = self.counters.records.saturating_add(1);
        let (process, time) = (event.process, event.time);
        match event.body {
            EventBody::Data { session, attachment, direction, offset, skipped, causes, payload } => {
                self.counters.payload_bytes = self.counters.payload_bytes.saturating_add(payload.len() as u64);
                self.counters.skipped_bytes = self.counters.skipped_bytes.saturating_add(u64::from(skipped));
                let piece = DataPiece { direction, offset, time, skipped, causes: LossCauses(causes), payload };
                self.on_flow(process, session, attachment, time, owner, sink, |reassembly, segments| reassembly.push(piece, segments));
            }
            EventBody::ServerName { session, attachment, name } => {
                let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && name.len() <= SERVER_NAME_BYTES);
                let flow = self.open(FlowId { process, session }, attachment, time, owner, sink);
                if let (Some(flow), Some(name)) = (flow, name) {
                    flow.context.server_name = Some(name.to_ascii_lowercase());
                }
            }
            EventBody::WriteShutdown { session, write_offset, .. } => {
                if self.flows.get_mut(&FlowId { process, session }, time).is_some() {
                    self.on_flow(process, session, AttachmentId(0), time, owner, sink, |reassembly, segments| {
                        reassembly.write_shutdown(write_offset, time, segments);
                    });
                }
            }
            EventBody::SessionEnd { session, write_offset, read_offset, causes: [write, read], .. } => {
                if let Some(flow) = self.flows.remove(&FlowId { process, session }) {
                    self.close(flow, time, sink, |reassembly, segments| {
                        reassembly.end(write_offset, read_offset, [LossCauses(write), LossCauses(read)], time, segments);
                    });
                }
            }
            // Exec ends every session of the old program: its memory is gone.
            EventBody::Exec | EventBody::Exit => self.end_process(process, time, sink),
            EventBody::Fork { .. } => {}
        }
    }

    /// Lets time pass: holes become gaps, idle flows go.
    pub fn handle_timeout(&mut self, now: BootTime, sink: &mut dyn FnMut(Output)) {
        let (settings, counters) = (&self.settings, &mut self.counters);
        self.flows.visit(FLOWS_PER_TICK, |_, flow| {
            if flow.reassembly.next_timeout().is_some_and(|at| at <= now) {
                run(settings, counters, flow, now, sink, |reassembly, segments| reassembly.handle_timeout(now, segments));
            }
        });
        let mut expired = Vec::new();
        self.flows.expire(now, FLOWS_PER_TICK, |id, flow| expired.push((id, flow)));
        for (id, flow) in expired {
            sink(Output::Forgotten(id));
            self.counters.flows_expired = self.counters.flows_expired.saturating_add(1);
            self.close(flow, now, sink, |reassembly, segments| reassembly.abandon(now, segments));
        }
    }

    /// Ends every flow: what was under way becomes calls that say so.
    pub fn shutdown(&mut self, now: BootTime, sink: &mut dyn FnMut(Output)) {
        let mut flows = Vec::new();
        self.flows.drain(|_, flow| flows.push(flow));
        for flow in flows {
            self.close(flow, now, sink, |reassembly, segments| reassembly.abandon(now, segments));
        }
    }

    /// From `tokens` to `redaction`. A `counter` estimates what is missing; without one it stays absent.
    pub fn finish(settings: &PipelineSettings, call: LlmCall, counter: Option<&dyn TokenCounter>) -> FinishedCall {
        let policy = ContentPolicy::decide(settings.content, &call.owner);
        let counted = match counter {
            Some(counter) => tokens::count(call, counter),
            None => CountedCall::as_reported(call),
        };
        let (priced, price_miss) = settings.price_book.price(counted, &settings.cost);
        FinishedCall { call: redact(priced, policy), price_miss }
    }

    pub const fn settings(&self) -> &PipelineSettings {
        &self.settings
    }

    /// Settings that change while it runs: the day, the content policy.
    pub const fn settings_mut(&mut self) -> &mut PipelineSettings {
        &mut self.settings
    }

    pub fn counters(&self) -> PipelineCounters {
        PipelineCounters { flows_evicted: self.flows.evicted(), ..self.counters }
    }

    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    #[expect(clippy::too_many_arguments, reason = "the way of one record, spelled out once")]
    fn on_flow(
        &mut self,
        process: ProcessId,
        session: SessionId,
        attachment: AttachmentId,
        time: BootTime,
        owner: &mut dyn FnMut(ProcessId) -> Arc<Owner>,
        sink: &mut dyn FnMut(Output),
        act: impl FnOnce(&mut Reassembly, &mut dyn FnMut(Segment<'_>)),
    ) {
        let id = FlowId { process, session };
        // Nearly every record belongs to a flow that is known: one look-up.
        if let Some(flow) = self.flows.get_mut(&id, time) {
            return run(&self.settings, &mut self.counters, flow, time, sink, act);
        }
        if self.open(id, attachment, time, owner, sink).is_some()
            && let Some(flow) = self.flows.get_mut(&id, time)
        {
            run(&self.settings, &mut self.counters, flow, time, sink, act);
        }
    }

    /// The flow, made on first sight. The one that had to go for it is ended properly.
    fn open(
        &mut self,
        id: FlowId,
        attachment: AttachmentId,
        time: BootTime,
        owner: &mut dyn FnMut(ProcessId) -> Arc<Owner>,
        sink: &mut dyn FnMut(Output),
    ) -> Option<&mut Flow> {
        if self.flows.get_mut(&id, time).is_none() {
            let owner = owner(id.process);
            let keep_content = ContentPolicy::decide(self.settings.content, &owner) != ContentPolicy::None;
            let flow = Flow {
                reassembly: Reassembly::new(),
                http: Connection::new(Arc::clone(&self.settings.http)),
                exchanges: Exchanges::new(Arc::clone(&self.settings.routes), ExchangeLimits { keep_content, ..ExchangeLimits::default() }),
                context: ConnectionContext { owner, capture: CaptureFacts::of_attachment(attachment), server_name: None },
                last_time: time,
            };
            self.counters.flows_opened = self.counters.flows_opened.saturating_add(1);
            let mut evicted = Vec::new();
            self.flows.get_or_insert_with(id, time, || flow, |id, old| evicted.push((id, old)));
            for (id, flow) in evicted {
                sink(Output::Forgotten(id));
                self.close(flow, time, sink, |reassembly, segments| reassembly.abandon(time, segments));
            }
        }
        self.flows.get_mut(&id, time)
    }

    fn end_process(&mut self, process: ProcessId, time: BootTime, sink: &mut dyn FnMut(Output)) {
        let mut ended = Vec::new();
        self.flows.remove_process(process, |id, flow| ended.push((id, flow)));
        for (id, flow) in ended {
            sink(Output::Forgotten(id));
            self.close(flow, time, sink, |reassembly, segments| reassembly.abandon(time, segments));
        }
    }

    fn close(
        &mut self,
        mut flow: Flow,
        time: BootTime,
        sink: &mut dyn FnMut(Output),
        act: impl FnOnce(&mut Reassembly, &mut dyn FnMut(Segment<'_>)),
    ) {
        let (settings, counters) = (&self.settings, &mut self.counters);
        run(settings, counters, &mut flow, time, sink, act);
        let Flow { http, exchanges, context, .. } = &mut flow;
        http.close(time, &mut |event| {
            if let Some(call) = exchanges.handle(event, context) {
                leave(settings, counters, call, sink);
            }
        });
        let last = flow.exchanges.counters();
        let total = &mut self.counters.exchanges;
        total.too_many = total.too_many.saturating_add(last.too_many);
        total.unlike = total.unlike.saturating_add(last.unlike);
        total.dropped_events = total.dropped_events.saturating_add(last.dropped_events);
    }
}

/// Record → segments → HTTP events → calls, on one flow.
fn run(
    settings: &PipelineSettings,
    counters: &mut PipelineCounters,
    flow: &mut Flow,
    time: BootTime,
    sink: &mut dyn FnMut(Output),
    act: impl FnOnce(&mut Reassembly, &mut dyn FnMut(Segment<'_>)),
) {
    let Flow { reassembly, http, exchanges, context, last_time } = flow;
    *last_time = time;
    act(reassembly, &mut |segment| {
        http.push(segment, &mut |event| {
            if let Some(call) = exchanges.handle(event, context) {
                leave(settings, counters, call, sink);
            }
        });
    });
    while let Some(notice) = http.take_notice() {
        let kind = match notice {
            ConnectionNotice::Http2NotDecoded => NoticeKind::Http2NotDecoded,
            ConnectionNotice::NotHttp => NoticeKind::NotHttp,
            ConnectionNotice::Upgraded => NoticeKind::Upgraded,
            ConnectionNotice::Malformed(reason) => NoticeKind::Malformed(reason),
        };
        let server_name = context.server_name.clone();
        let llm_host = server_name.as_deref().is_some_and(|name| settings.routes.is_llm_host(name));
        sink(Output::Notice(Notice { owner: Arc::clone(&context.owner), server_name, llm_host, kind }));
    }
}

fn leave(settings: &PipelineSettings, counters: &mut PipelineCounters, call: LlmCall, sink: &mut dyn FnMut(Output)) {
    counters.calls = counters.calls.saturating_add(1);
    if tokens::needs_estimate(&call) {
        sink(Output::Estimate(Box::new(call)));
    } else {
        sink(Output::Call(Box::new(Pipeline::finish(settings, call, None))));
    }
}
