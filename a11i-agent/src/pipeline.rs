//! Wires the stages: records in, redacted calls out. One state machine for `run` and `replay`.
//!
//! Pure, like the stages: time comes with the records, owners as values ([`Output::WhoIs`], answered by [`Pipeline::handle_owner`]): looking
//! at a process may take long. A call that is finished earlier waits a moment for its owner. Counting tokens of calls without usage is
//! slow too; such calls leave as [`Output::Estimate`] and come back through [`Pipeline::finish`].

use std::{collections::VecDeque, sync::Arc};

use a11i_common::{
    decode::{Event, EventBody, SessionId},
    event::cause,
    identity::{AttachmentId, BootTime, ProcessId},
};

use crate::{
    call::{CaptureFacts, LlmCall, LossCauses},
    cost::{CostSettings, PriceBook, PriceMiss},
    flow::{DataPiece, FlowId, Gap, Reassembly, Segment, SegmentBody, Table},
    http::{Connection, ConnectionNotice, HttpSettings, MalformedReason},
    owner::{
        Owner,
        cache::{Known, OwnerCache},
    },
    provider::{ConnectionContext, ExchangeCounters, ExchangeLimits, Exchanges, Routes},
    redaction::{ContentPolicy, RedactedCall, redact},
    tokens::{self, CountedCall, TokenCounter},
};

/// Flows looked at per timeout tick: bounded work, and every flow has its turn within seconds at the default capacity.
const FLOWS_PER_TICK: usize = 1024;

/// How long a finished call waits for its owner: looking at a process takes a millisecond, on a busy machine some more.
pub const OWNER_WAIT_NANOS: u64 = 250_000_000;

/// Calls that wait for their owner at once. More of them leave without.
const CALLS_WAITING: usize = 1024;

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
    /// Whether a trace context in the request makes the call a child of it.
    pub trace_correlation: bool,
    /// Sessions followed at once.
    pub flows: usize,
}

/// What leaves the pipeline.
pub enum Output {
    Call(Box<FinishedCall>),
    /// A call without usage: count its tokens elsewhere, then [`Pipeline::finish`] it.
    Estimate(Box<LlmCall>),
    Notice(Notice),
    /// Somebody should look at this process and tell [`Pipeline::handle_owner`].
    WhoIs(ProcessId),
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
    /// Bytes of HTTP connections that were transferred and not seen.
    pub lost_bytes: u64,
    /// Gaps whose size nobody knows.
    pub unknown_gaps: u64,
    /// Bytes that arrived and have no place: duplicates, and what came after its gap or the end.
    pub discarded_bytes: u64,
    pub flows_opened: u64,
    /// Flows that had to go because the table was full.
    pub flows_evicted: u64,
    pub flows_expired: u64,
    pub calls: u64,
    /// Calls whose process could not be looked at (in time): they left with the strictest content policy.
    pub calls_without_owner: u64,
    /// Owners that were forgotten because too many were kept.
    pub owners_evicted: u64,
    pub exchanges: ExchangeCounters,
}

/// How far a session had come when it ended without saying so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FinalOffsets {
    pub write: u64,
    pub read: u64,
    /// Losses not told yet, indexed by direction.
    pub causes: [LossCauses; 2],
}

/// Says how far a session came, if anybody still knows.
pub type Ends<'a> = &'a mut dyn FnMut(&FlowId) -> Option<FinalOffsets>;

type Sink<'a> = &'a mut dyn FnMut(Output);

struct Flow {
    reassembly: Reassembly,
    http: Connection,
    exchanges: Exchanges,
    context: ConnectionContext,
    /// `context.owner` is what was known at the beginning and may become better.
    owner_open: bool,
}

pub struct Pipeline {
    flows: Table<Flow>,
    desk: Desk,
}

/// What every flow needs: settings, sums, owners, and the calls on their way out.
struct Desk {
    settings: PipelineSettings,
    counters: PipelineCounters,
    owners: OwnerCache,
    waiting: VecDeque<WaitingCall>,
}

/// A finished call whose owner is still looked for.
struct WaitingCall {
    call: LlmCall,
    /// Set when time passes for the first time: by then all that was to be read has been read.
    leave_at: Option<BootTime>,
}

impl Pipeline {
    pub fn new(settings: PipelineSettings) -> Self {
        let flows = Table::new(settings.flows);
        let (counters, owners, waiting) = (PipelineCounters::default(), OwnerCache::default(), VecDeque::new());
        Self { flows, desk: Desk { settings, counters, owners, waiting } }
    }

    /// Takes the next record. `ends` is asked about sessions that end with their process or for want of room.
    pub fn handle_event(&mut self, event: &Event<'_>, ends: Ends<'_>, sink: Sink<'_>) {
        let counters = &mut self.desk.counters;
        counters.records = counters.records.saturating_add(1);
        let (process, time) = (event.process, event.time);
        match event.body {
            EventBody::Data { session, attachment, direction, offset, skipped, causes, request: _, payload } => {
                counters.payload_bytes = counters.payload_bytes.saturating_add(payload.len() as u64);
                let piece = DataPiece { direction, offset, time, skipped, causes: LossCauses(causes), payload };
                self.open(FlowId { process, session }, attachment, time, ends, sink);
                self.on_flow(process, session, time, sink, |reassembly, segments| reassembly.push(piece, segments));
            }
            EventBody::ServerName { session, attachment, name } => {
                let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && name.len() <= SERVER_NAME_BYTES);
                let flow = self.open(FlowId { process, session }, attachment, time, ends, sink);
                if let (Some(flow), Some(name)) = (flow, name) {
                    flow.context.server_name = Some(name.to_ascii_lowercase());
                }
            }
            EventBody::WriteShutdown { session, write_offset, causes: [write, _], .. } => {
                self.on_flow(process, session, time, sink, |reassembly, segments| {
                    reassembly.write_shutdown(write_offset, LossCauses(write), time, segments);
                });
            }
            EventBody::SessionEnd { session, write_offset, read_offset, causes: [write, read], .. } => {
                let last = FinalOffsets { write: write_offset, read: read_offset, causes: [LossCauses(write), LossCauses(read)] };
                if let Some(flow) = self.flows.remove(&FlowId { process, session }) {
                    self.desk.close(flow, Some(last), time, sink);
                }
            }
            EventBody::Fork { parent } => self.desk.owners.handle_fork(process, parent),
            EventBody::Exec => {
                // Ends every session of the old program: its memory is gone. Nobody can be asked about it any more.
                self.end_process(process, time, ends, sink);
                self.desk.release(|call| call.owner.process == process, sink);
                self.desk.owners.handle_exec(process);
                sink(Output::WhoIs(process));
            }
            EventBody::Exit => {
                self.end_process(process, time, ends, sink);
                self.desk.owners.handle_exit(process, time);
            }
        }
    }

    /// The answer to [`Output::WhoIs`], in the order of the questions. `None`: the process could not be looked at.
    pub fn handle_owner(&mut self, process: ProcessId, owner: Option<Arc<Owner>>, sink: Sink<'_>) {
        self.desk.owners.answer(process, owner);
        if self.desk.owners.owner(process) != Known::Awaited {
            self.desk.release(|call| call.owner.process == process, sink);
        }
    }

    /// Lets time pass: holes become gaps, idle flows go, calls wait no longer for their owners.
    pub fn handle_timeout(&mut self, now: BootTime, ends: Ends<'_>, sink: Sink<'_>) {
        let desk = &mut self.desk;
        self.flows.visit(FLOWS_PER_TICK, |_, flow| {
            if flow.reassembly.next_timeout().is_some_and(|at| at <= now) {
                desk.run(flow, sink, |reassembly, segments| reassembly.handle_timeout(now, segments));
            }
        });
        let mut expired = Vec::new();
        self.flows.expire(now, FLOWS_PER_TICK, |id, flow| expired.push((id, flow)));
        self.desk.counters.flows_expired = self.desk.counters.flows_expired.saturating_add(expired.len() as u64);
        for (id, flow) in expired {
            self.desk.forget(&id, flow, now, ends, sink);
        }
        self.desk.owners.handle_timeout(now);
        self.desk.release_late(now, sink);
    }

    /// Ends every flow: what was under way becomes calls that say so. Calls may still wait for owners: [`Self::release_calls`].
    pub fn shutdown(&mut self, now: BootTime, sink: Sink<'_>) {
        let mut flows = Vec::new();
        self.flows.drain(|_, flow| flows.push(flow));
        for flow in flows {
            self.desk.close(flow, None, now, sink);
        }
    }

    /// Ends every flow because nothing more of it will be seen: what was under way becomes calls that name `causes`. The kernel's entries can go.
    pub fn interrupt(&mut self, causes: LossCauses, now: BootTime, sink: Sink<'_>) {
        let mut flows = Vec::new();
        self.flows.drain(|id, flow| flows.push((id, flow)));
        for (id, mut flow) in flows {
            self.desk.run(&mut flow, sink, |reassembly, segments| reassembly.interrupt(causes, now, segments));
            self.desk.close(flow, None, now, sink);
            sink(Output::Forgotten(id));
        }
    }

    /// Calls that wait for the owner of their process.
    pub fn waiting_calls(&self) -> usize {
        self.desk.waiting.len()
    }

    /// Lets every waiting call go, with what is known.
    pub fn release_calls(&mut self, sink: Sink<'_>) {
        self.desk.release(|_| true, sink);
    }

    /// From `tokens` to `redaction`. A `tokenizer` estimates what is missing; without one it stays absent.
    pub fn finish(settings: &PipelineSettings, call: LlmCall, tokenizer: Option<&dyn TokenCounter>) -> FinishedCall {
        let policy = ContentPolicy::decide(settings.content, &call.owner);
        let counted = match tokenizer {
            Some(tokenizer) => tokens::count(call, tokenizer),
            None => CountedCall::as_reported(call),
        };
        let (priced, price_miss) = settings.price_book.price(counted, &settings.cost);
        FinishedCall { call: redact(priced, policy), price_miss }
    }

    pub const fn settings(&self) -> &PipelineSettings {
        &self.desk.settings
    }

    /// Settings that change while it runs: the day, the content policy.
    pub const fn settings_mut(&mut self) -> &mut PipelineSettings {
        &mut self.desk.settings
    }

    pub fn counters(&self) -> PipelineCounters {
        PipelineCounters { flows_evicted: self.flows.evicted(), owners_evicted: self.desk.owners.evicted(), ..self.desk.counters }
    }

    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Acts on a flow that exists.
    fn on_flow(
        &mut self,
        process: ProcessId,
        session: SessionId,
        time: BootTime,
        sink: Sink<'_>,
        act: impl FnOnce(&mut Reassembly, &mut dyn FnMut(Segment<'_>)),
    ) {
        if let Some(flow) = self.flows.get_mut(&FlowId { process, session }, time) {
            self.desk.run(flow, sink, act);
        }
    }

    /// The flow, made on first sight. The one that had to go for it is ended properly.
    fn open(&mut self, id: FlowId, attachment: AttachmentId, time: BootTime, ends: Ends<'_>, sink: Sink<'_>) -> Option<&mut Flow> {
        if self.flows.get_mut(&id, time).is_none() {
            let flow = self.desk.begin(id.process, attachment, sink);
            let mut evicted = None;
            self.flows.get_or_insert_with(id, time, || flow, |id, old| evicted = Some((id, old)));
            if let Some((id, flow)) = evicted {
                self.desk.forget(&id, flow, time, ends, sink);
            }
        }
        self.flows.get_mut(&id, time)
    }

    fn end_process(&mut self, process: ProcessId, time: BootTime, ends: Ends<'_>, sink: Sink<'_>) {
        let mut ended = Vec::new();
        self.flows.remove_process(process, |id, flow| ended.push((id, flow)));
        for (id, flow) in ended {
            self.desk.forget(&id, flow, time, ends, sink);
        }
    }
}

impl Desk {
    fn begin(&mut self, process: ProcessId, attachment: AttachmentId, sink: Sink<'_>) -> Flow {
        self.counters.flows_opened = self.counters.flows_opened.saturating_add(1);
        let known = self.owners.owner(process);
        if known == Known::No && self.owners.ask(process) {
            sink(Output::WhoIs(process));
        }
        let (owner, owner_open) = match known {
            Known::Owner(owner) => (owner, false),
            Known::Awaited | Known::No => (Arc::new(Owner::unknown(process)), true),
        };
        // Whose content may leave is decided when a call leaves: by then its owner is known.
        let limits = ExchangeLimits { keep_content: self.settings.content != ContentPolicy::None, ..ExchangeLimits::default() };
        Flow {
            reassembly: Reassembly::new(),
            http: Connection::new(Arc::clone(&self.settings.http)),
            exchanges: Exchanges::new(Arc::clone(&self.settings.routes), limits),
            context: ConnectionContext { owner, capture: CaptureFacts::of_attachment(attachment), server_name: None },
            owner_open,
        }
    }

    /// Record → segments → HTTP events → calls, on one flow.
    fn run(&mut self, flow: &mut Flow, sink: Sink<'_>, act: impl FnOnce(&mut Reassembly, &mut dyn FnMut(Segment<'_>))) {
        self.look_up_owner(flow);
        let Flow { reassembly, http, exchanges, context, owner_open } = flow;
        let discarded = reassembly.discarded_bytes();
        let before = exchanges.counters();
        act(reassembly, &mut |segment| {
            if let SegmentBody::Gap(gap) = segment.body {
                self.count_gap(gap);
            }
            http.push(segment, &mut |event| {
                if let Some(call) = exchanges.handle(event, context) {
                    self.leave(call, *owner_open, sink);
                }
            });
        });
        let counters = &mut self.counters;
        counters.discarded_bytes = counters.discarded_bytes.saturating_add(reassembly.discarded_bytes().saturating_sub(discarded));
        add_exchanges(&mut counters.exchanges, before, exchanges.counters());
        while let Some(notice) = http.take_notice() {
            let kind = match notice {
                ConnectionNotice::Http2NotDecoded => NoticeKind::Http2NotDecoded,
                ConnectionNotice::NotHttp => NoticeKind::NotHttp,
                ConnectionNotice::Upgraded => NoticeKind::Upgraded,
                ConnectionNotice::Malformed(reason) => NoticeKind::Malformed(reason),
            };
            let server_name = context.server_name.clone();
            let llm_host = server_name.as_deref().is_some_and(|name| self.settings.routes.is_llm_host(name));
            sink(Output::Notice(Notice { owner: Arc::clone(&context.owner), server_name, llm_host, kind }));
        }
    }

    /// Ends a flow whose session's end nobody told.
    fn forget(&mut self, id: &FlowId, flow: Flow, time: BootTime, ends: Ends<'_>, sink: Sink<'_>) {
        self.close(flow, ends(id), time, sink);
        sink(Output::Forgotten(*id));
    }

    fn close(&mut self, mut flow: Flow, last: Option<FinalOffsets>, time: BootTime, sink: Sink<'_>) {
        self.run(&mut flow, sink, |reassembly, segments| match last {
            Some(last) => reassembly.end(last.write, last.read, last.causes, time, segments),
            None => reassembly.abandon(time, segments),
        });
        let Flow { http, exchanges, context, owner_open, .. } = &mut flow;
        let before = exchanges.counters();
        http.close(time, &mut |event| {
            if let Some(call) = exchanges.handle(event, context) {
                self.leave(call, *owner_open, sink);
            }
        });
        add_exchanges(&mut self.counters.exchanges, before, exchanges.counters());
    }

    fn look_up_owner(&mut self, flow: &mut Flow) {
        if flow.owner_open
            && let Known::Owner(owner) = self.owners.owner(flow.context.owner.process)
        {
            flow.context.owner = owner;
            flow.owner_open = false;
        }
    }

    fn count_gap(&mut self, gap: Gap) {
        let counters = &mut self.counters;
        match gap.lost {
            // Left out by intention.
            _ if gap.causes.0 == cause::NOT_HTTP => {}
            // What was not under way lost nothing when copying was switched off; what was says so itself.
            None if gap.causes.0 == cause::SWITCHED_OFF => {}
            Some(lost) => counters.lost_bytes = counters.lost_bytes.saturating_add(lost),
            None => counters.unknown_gaps = counters.unknown_gaps.saturating_add(1),
        }
    }

    /// A call is finished. It goes, or waits for its owner.
    fn leave(&mut self, mut call: LlmCall, owner_open: bool, sink: Sink<'_>) {
        if !self.settings.trace_correlation {
            call.correlation.parent = None;
        }
        if owner_open && self.waiting.len() < CALLS_WAITING && self.owners.owner(call.owner.process) == Known::Awaited {
            self.waiting.push_back(WaitingCall { call, leave_at: None });
        } else if owner_open {
            self.go_with_best_owner(call, sink);
        } else {
            self.go(call, sink);
        }
    }

    /// Lets waiting calls go, in their order.
    fn release(&mut self, whose: impl Fn(&LlmCall) -> bool, sink: Sink<'_>) {
        for waiting in std::mem::take(&mut self.waiting) {
            if whose(&waiting.call) {
                self.go_with_best_owner(waiting.call, sink);
            } else {
                self.waiting.push_back(waiting);
            }
        }
    }

    fn release_late(&mut self, now: BootTime, sink: Sink<'_>) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            let leave_at = *waiting.leave_at.get_or_insert_with(|| now.plus_nanos(OWNER_WAIT_NANOS));
            if leave_at <= now {
                self.go_with_best_owner(waiting.call, sink);
            } else {
                self.waiting.push_back(waiting);
            }
        }
    }

    fn go_with_best_owner(&mut self, mut call: LlmCall, sink: Sink<'_>) {
        let process = call.owner.process;
        call.owner = self.owners.best(process);
        if *call.owner == Owner::unknown(process) {
            self.counters.calls_without_owner = self.counters.calls_without_owner.saturating_add(1);
        }
        self.go(call, sink);
    }

    fn go(&mut self, call: LlmCall, sink: Sink<'_>) {
        self.counters.calls = self.counters.calls.saturating_add(1);
        if tokens::needs_estimate(&call) {
            sink(Output::Estimate(Box::new(call)));
        } else {
            sink(Output::Call(Box::new(Pipeline::finish(&self.settings, call, None))));
        }
    }
}

/// Counted as it happens, so that connections which live for days are in the sums.
fn add_exchanges(total: &mut ExchangeCounters, before: ExchangeCounters, after: ExchangeCounters) {
    let add = |total: &mut u64, before: u64, after: u64| *total = total.saturating_add(after.saturating_sub(before));
    add(&mut total.too_many, before.too_many, after.too_many);
    add(&mut total.unlike, before.unlike, after.unlike);
    add(&mut total.dropped_events, before.dropped_events, after.dropped_events);
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
