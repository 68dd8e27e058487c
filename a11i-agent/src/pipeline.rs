//! Wires the stages: records in, redacted calls out. One state machine for `run` and `replay`.
//!
//! Pure, like the stages: time comes with the records, owners as values ([`Output::WhoIs`], answered by [`Pipeline::handle_owner`]): looking
//! at a process may take long. A call that is finished earlier waits a moment for its owner. Counting tokens of calls without usage is
//! slow too; such calls leave as [`Output::Estimate`] and come back through [`Pipeline::finish`].

use std::{collections::VecDeque, sync::Arc};

use a11i_common::{
    decode::{Event, EventBody},
    identity::{AttachmentId, BootTime, ProcessId},
};

use crate::{
    call::{CaptureFacts, Completeness, LlmCall, LossCauses},
    cost::{CostSettings, PriceBook, PriceMiss},
    flow::{DataPiece, Ended, FlowId, Gap, Reassembly, Segment, SegmentBody, Table},
    http::{Connection, ConnectionNotice, HttpEventKind, HttpSettings, MalformedReason, begins_request},
    owner::{
        Owner,
        cache::{Known, OwnerCache},
    },
    provider::{ConnectionContext, ExchangeCounters, ExchangeLimits, Exchanges, Routes},
    redaction::{ContentPolicy, RedactedCall, redact},
    tokens::{self, CountedCall, TokenCounter},
    verdict::{Seen, Told, Verdict},
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
    /// What the flow's request is, for the kernel half: how much of it is copied. `request`: as its records number it.
    Verdict {
        flow: FlowId,
        request: u16,
        verdict: Verdict,
    },
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
    /// Sessions that transferred bytes of which no record came: told by their end.
    pub unseen_sessions: u64,
    /// Connections that turned out to be HTTP joined in its middle: they were open before their library had probes.
    pub late_attachments: u64,
    /// Calls that were open when a kernel program had missed a run, and so may lack something.
    pub calls_marked: u64,
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
    /// Time of the earliest record so far: what is older belongs to an earlier session at this address.
    since: BootTime,
    told: Told,
}

impl Flow {
    fn tell(&mut self, id: FlowId, verdict: Verdict, sink: Sink<'_>) {
        if self.told.is_new(verdict) {
            sink(Output::Verdict { flow: id, request: self.told.request(), verdict });
        }
    }
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
    ended: Ended,
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
        Self { flows, desk: Desk { settings, counters, owners, waiting, ended: Ended::default() } }
    }

    /// Takes the next record. `ends` is asked about sessions that end with their process or for want of room.
    pub fn handle_event(&mut self, event: &Event<'_>, ends: Ends<'_>, sink: Sink<'_>) {
        add(&mut self.desk.counters.records, 1);
        let (process, time) = (event.process, event.time);
        match event.body {
            EventBody::Data { session, attachment, direction, offset, skipped, causes, request, payload } => {
                add(&mut self.desk.counters.payload_bytes, payload.len() as u64);
                let id = FlowId { process, session };
                if self.is_over(&id, time) {
                    add(&mut self.desk.counters.discarded_bytes, payload.len() as u64);
                    return;
                }
                let opening = Opening { id, attachment, time, rearmed: offset == 0 && begins_request(payload) };
                let piece = DataPiece { direction, offset, time, skipped, causes: LossCauses::of_kernel(causes), payload };
                if let Some(flow) = open(&mut self.flows, &mut self.desk, &opening, ends, sink) {
                    self.desk.data(&id, flow, request, piece, sink);
                }
            }
            EventBody::ServerName { session, attachment, name } => {
                let id = FlowId { process, session };
                let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && name.len() <= SERVER_NAME_BYTES);
                let opening = Opening { id, attachment, time, rearmed: false };
                if !self.is_over(&id, time)
                    && let Some(flow) = open(&mut self.flows, &mut self.desk, &opening, ends, sink)
                    && let Some(name) = name
                {
                    flow.context.server_name = Some(name.to_ascii_lowercase());
                    if self.desk.settings.routes.is_llm_host(name) {
                        flow.told.host = true;
                        flow.tell(id, Verdict::LlmHost, sink);
                    }
                }
            }
            EventBody::WriteShutdown { session, attachment, write_offset, causes: [write, _], .. } => {
                let id = FlowId { process, session };
                let opening = Opening { id, attachment, time, rearmed: false };
                // Where nothing came before it, what was written is lost.
                if !self.is_over(&id, time)
                    && let Some(flow) = open(&mut self.flows, &mut self.desk, &opening, ends, sink)
                {
                    self.desk.run(flow, sink, |reassembly, segments| {
                        reassembly.write_shutdown(write_offset, LossCauses::of_kernel(write), time, segments);
                    });
                }
            }
            EventBody::SessionEnd { session, write_offset, read_offset, causes, .. } => {
                let last = FinalOffsets { write: write_offset, read: read_offset, causes: causes.map(LossCauses::of_kernel) };
                self.end_session(FlowId { process, session }, last, time, sink);
            }
            EventBody::Fork { parent } => self.desk.owners.handle_fork(process, parent),
            EventBody::Exec => {
                // Ends every session of the old program: its memory is gone. Nobody can be asked about it any more.
                self.desk.ended.process_ended(process, time);
                self.end_process(process, time, ends, sink);
                self.desk.release(|call| call.owner.process == process, sink);
                self.desk.owners.handle_exec(process);
                sink(Output::WhoIs(process));
            }
            EventBody::Exit => {
                self.desk.ended.process_ended(process, time);
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
        add(&mut self.desk.counters.flows_expired, expired.len() as u64);
        for (id, flow) in expired {
            self.desk.forget(&id, flow, now, ends, sink);
        }
        self.desk.owners.handle_timeout(now);
        self.desk.release_late(now, sink);
    }

    /// A kernel program has missed a run somewhere: which call that hit nobody knows, so that every call under way says that something of it
    /// may be missing. Their parsers are left alone: most of them are right.
    pub fn mark_open_calls(&mut self, causes: LossCauses) {
        let mut marked = 0;
        self.flows.visit(usize::MAX, |_, flow| {
            marked += flow.exchanges.mark(Completeness::Gap { lost: None, causes });
        });
        add(&mut self.desk.counters.calls_marked, marked as u64);
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

    /// The record comes late: of a session that has ended, or that another at its address has followed.
    fn is_over(&self, id: &FlowId, time: BootTime) -> bool {
        match self.flows.in_place_of(id) {
            Some((_, flow)) => time < flow.since,
            None => !self.flows.contains(id) && self.desk.ended.covers(id, time),
        }
    }

    fn end_session(&mut self, id: FlowId, last: FinalOffsets, time: BootTime, sink: Sink<'_>) {
        if let Some(flow) = self.flows.remove(&id) {
            self.desk.close(flow, Some(last), time, sink);
        } else if !self.is_over(&id, time) {
            // Whatever was there before it is over as well.
            if let Some((old, _)) = self.flows.in_place_of(&id)
                && let Some(flow) = self.flows.remove(&old)
            {
                self.desk.close(flow, None, time, sink);
            }
            let wanted = |(bytes, causes): (u64, LossCauses)| bytes > 0 && !causes.are_by_intention();
            if wanted((last.write, last.causes[0])) || wanted((last.read, last.causes[1])) {
                add(&mut self.desk.counters.unseen_sessions, 1);
            }
        } else {
            return;
        }
        self.desk.ended.session_ended(&id, time);
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
    fn begin(&mut self, process: ProcessId, attachment: AttachmentId, time: BootTime, sink: Sink<'_>) -> Flow {
        add(&mut self.counters.flows_opened, 1);
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
            since: time,
            told: Told::default(),
        }
    }

    /// A piece of a stream, and what the kernel half should know of it.
    fn data(&mut self, id: &FlowId, flow: &mut Flow, request: u16, piece: DataPiece<'_>, sink: Sink<'_>) {
        let before = flow.reassembly.next_timeout();
        let was_late = flow.http.is_joined_late();
        let seen = self.run(flow, sink, |reassembly, segments| reassembly.push(piece, segments));
        if flow.http.is_joined_late() && !was_late {
            // Of a connection whose handshake was seen, the beginning is lost.
            let known = flow.context.server_name.is_some();
            add(if known { &mut self.counters.unknown_gaps } else { &mut self.counters.late_attachments }, 1);
        }
        flow.told.begin(request);
        // Pieces that waited carry other numbers than this one: of them, nothing is said that stops anything.
        let in_order = before.is_none() && flow.reassembly.next_timeout().is_none();
        let undisturbed = in_order && flow.exchanges.is_empty() && !flow.http.is_inside_head();
        if let Some(verdict) = seen.verdict(undisturbed, !flow.exchanges.is_empty(), flow.told.host) {
            flow.tell(*id, verdict, sink);
        }
    }

    /// Another generation has taken a flow's place. Its server name stays that of the connection.
    fn supersede(&mut self, flow: Flow, rearmed: bool, time: BootTime, sink: Sink<'_>) -> Option<String> {
        let server_name = flow.context.server_name.clone();
        if rearmed && server_name.is_none() && flow.http.is_unrecognised() {
            add(&mut self.counters.late_attachments, 1);
        }
        self.close(flow, None, time, sink);
        server_name
    }

    /// Record → segments → HTTP events → calls, on one flow.
    fn run(&mut self, flow: &mut Flow, sink: Sink<'_>, act: impl FnOnce(&mut Reassembly, &mut dyn FnMut(Segment<'_>))) -> Seen {
        self.look_up_owner(flow);
        let Flow { reassembly, http, exchanges, context, owner_open, .. } = flow;
        let mut seen = Seen::default();
        let discarded = reassembly.discarded_bytes();
        let before = exchanges.counters();
        act(reassembly, &mut |segment| {
            if let SegmentBody::Gap(gap) = segment.body {
                self.count_gap(gap);
            }
            http.push(segment, &mut |event| {
                let head = matches!(event.kind, HttpEventKind::Request(_)).then_some(event.exchange);
                if let Some(call) = exchanges.handle(event, context) {
                    self.leave(call, *owner_open, sink);
                }
                if let Some(id) = head {
                    seen.head(exchanges.is_open(id));
                }
            });
        });
        let counters = &mut self.counters;
        add(&mut counters.discarded_bytes, reassembly.discarded_bytes().saturating_sub(discarded));
        let after = exchanges.counters();
        seen.other |= after.unlike > before.unlike;
        add_exchanges(&mut counters.exchanges, before, after);
        while let Some(notice) = http.take_notice() {
            seen.notice(notice);
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
        seen
    }

    /// Ends a flow whose session's end nobody told.
    fn forget(&mut self, id: &FlowId, flow: Flow, time: BootTime, ends: Ends<'_>, sink: Sink<'_>) {
        self.close(flow, ends(id), time, sink);
        sink(Output::Forgotten(*id));
    }

    /// `last`: `None` = nobody knows how far it came. What was open then lacks its end and says so; between calls, nothing is missing.
    fn close(&mut self, mut flow: Flow, last: Option<FinalOffsets>, time: BootTime, sink: Sink<'_>) {
        if let Some(last) = last {
            self.run(&mut flow, sink, |reassembly, segments| reassembly.end(last.write, last.read, last.causes, time, segments));
        } else {
            self.run(&mut flow, sink, Reassembly::give_up_holes);
            let unseen = !flow.exchanges.is_empty() || flow.http.is_inside_head();
            self.run(&mut flow, sink, |reassembly, segments| reassembly.abandon(unseen, time, segments));
        }
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
        match gap.lost {
            _ if gap.causes.are_by_intention() => {}
            // What was not under way lost nothing when copying was switched off; what was says so itself.
            None if gap.causes == LossCauses::of_kernel(a11i_common::event::cause::SWITCHED_OFF) => {}
            Some(lost) => add(&mut self.counters.lost_bytes, lost),
            None => add(&mut self.counters.unknown_gaps, 1),
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
            add(&mut self.counters.calls_without_owner, 1);
        }
        self.go(call, sink);
    }

    fn go(&mut self, call: LlmCall, sink: Sink<'_>) {
        add(&mut self.counters.calls, 1);
        if tokens::needs_estimate(&call) {
            sink(Output::Estimate(Box::new(call)));
        } else {
            sink(Output::Call(Box::new(Pipeline::finish(&self.settings, call, None))));
        }
    }
}

/// What opens a flow.
struct Opening {
    id: FlowId,
    attachment: AttachmentId,
    time: BootTime,
    /// A request begins it.
    rearmed: bool,
}

/// The flow, made on first sight. What had to go for it is ended properly.
fn open<'f>(flows: &'f mut Table<Flow>, desk: &mut Desk, opening: &Opening, ends: Ends<'_>, sink: Sink<'_>) -> Option<&'f mut Flow> {
    let Opening { id, attachment, time, rearmed } = *opening;
    if !flows.contains(&id) {
        let flow = desk.begin(id.process, attachment, time, sink);
        let mut gone = None;
        flows.get_or_insert_with(id, time, || flow, |id, old| gone = Some((id, old)));
        match gone {
            // The kernel half began anew at a request, after what nobody wanted; or the address was used again and the end was lost.
            Some((old_id, old)) if old_id.process == id.process && old_id.session.session == id.session.session => {
                let server_name = desk.supersede(old, rearmed, time, sink);
                if let Some(flow) = flows.get_mut(&id, time) {
                    flow.told.host = server_name.as_deref().is_some_and(|name| desk.settings.routes.is_llm_host(name));
                    flow.context.server_name = server_name;
                }
            }
            Some((id, flow)) => desk.forget(&id, flow, time, ends, sink),
            None => {}
        }
    }
    let flow = flows.get_mut(&id, time)?;
    flow.since = flow.since.min(time);
    Some(flow)
}

/// Counted as it happens, so that connections which live for days are in the sums.
fn add_exchanges(total: &mut ExchangeCounters, before: ExchangeCounters, after: ExchangeCounters) {
    add(&mut total.too_many, after.too_many.saturating_sub(before.too_many));
    add(&mut total.unlike, after.unlike.saturating_sub(before.unlike));
    add(&mut total.dropped_events, after.dropped_events.saturating_sub(before.dropped_events));
}

const fn add(total: &mut u64, more: u64) {
    *total = total.saturating_add(more);
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
