//! Wires the stages: records in, redacted calls out. One state machine for `run`, `exec` and `replay`.
//!
//! Pure, like the stages: time comes with the records, owners as values ([`Output::WhoIs`], answered by [`Pipeline::handle_owner`]): looking
//! at a process may take long. A call that is finished earlier waits a moment for its owner. Counting tokens of calls without usage is
//! slow too; such calls leave as [`Leaving::Estimate`] and come back through [`Pipeline::finish`].
//!
//! In the order of the data: `opening` (a record's flow), `desk` (through the stages, and a flow's end), `leaving` (a finished call and its
//! owner), `output` (what comes out), `counters` (and what did not).

mod counters;
mod desk;
mod hops;
mod leaving;
mod opening;
mod output;
mod socket;

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use a11i_common::{
    decode::{Event, EventBody},
    identity::{BootTime, ProcessId},
};

pub use self::{
    counters::PipelineCounters,
    leaving::OWNER_WAIT_NANOS,
    output::{FinishedCall, Leaving, Notice, NoticeKind, Output},
};
use self::{
    counters::add,
    desk::{Desk, Flow},
    hops::Hops,
    opening::{Opening, open},
    socket::connection_socket,
};
use crate::{
    call::{CaptureFacts, Completeness, DeferredAnswers, LlmCall, LossCauses},
    cost::{CostSettings, PriceBook},
    flow::{DataPiece, Ended, FlowId, Table},
    http::{HttpSettings, begins_request},
    owner::{
        Owner,
        cache::{Known, OwnerCache},
    },
    provider::{OwnTelemetry, PendingRequests, Routes},
    redaction::{ContentPolicy, redact},
    sampling::{Instrumented, InstrumentedPolicy},
    tokens::{self, CountedCall, TokenCounter},
    verdict::Verdict,
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
    /// Whether a trace context in the request makes the call a child of it.
    pub trace_correlation: bool,
    /// What becomes of calls that their programs report themselves.
    pub instrumented: InstrumentedPolicy,
    /// Sessions followed at once.
    pub flows: usize,
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

pub struct Pipeline {
    flows: Table<Flow>,
    desk: Desk,
}

impl Pipeline {
    pub fn new(settings: PipelineSettings) -> Self {
        let flows = Table::new(settings.flows);
        let (counters, owners, waiting) = (PipelineCounters::default(), OwnerCache::default(), VecDeque::new());
        let (ended, pending, deferred) = (Ended::default(), PendingRequests::default(), DeferredAnswers::default());
        let (own_telemetry, hops) = (OwnTelemetry::default(), Hops::default());
        let desk = Desk { settings, counters, owners, waiting, ended, pending, own_telemetry, deferred, hops, flows_begun: 0 };
        Self { flows, desk }
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
                let is_new = !self.flows.contains(&id);
                if !self.is_over(&id, time)
                    && let Some(flow) = open(&mut self.flows, &mut self.desk, &opening, ends, sink)
                    && let Some(name) = name
                {
                    // A name is asked for once: what was at this address was another connection, on another socket.
                    if is_new {
                        flow.context.socket = None;
                    }
                    flow.context.server_name = Some(name.to_ascii_lowercase());
                    if self.desk.settings.routes.is_llm_host(name) {
                        flow.told.host = true;
                        flow.tell(id, Verdict::LlmHost, sink);
                    }
                }
            }
            EventBody::Peer { session, attachment, socket, path } => {
                let id = FlowId { process, session };
                let opening = Opening { id, attachment, time, rearmed: false };
                if !self.is_over(&id, time)
                    && let Some(flow) = open(&mut self.flows, &mut self.desk, &opening, ends, sink)
                {
                    flow.context.socket = connection_socket(&socket, path);
                }
            }
            // Bytes of a handshake: whom they concern knows what to do.
            EventBody::ClientHello { .. } => {}
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
                self.desk.release(Some(process), sink);
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
            self.desk.release(Some(process), sink);
        }
    }

    /// The kernel half could not be told this ([`Output::Verdict`]): it is said again with the next record that it is true of.
    pub fn verdict_undelivered(&mut self, id: &FlowId, request: u16, verdict: Verdict) {
        if let Some(flow) = self.flows.find_mut(id) {
            flow.told.lost(request, verdict);
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
            self.desk.leave_alone(&id, flow, now, ends, sink);
        }
        self.desk.mcp_requests(sink, |pending, sink| pending.handle_timeout(now, sink));
        self.desk.owners.handle_timeout(now);
        self.desk.release_late(now, sink);
    }

    /// A kernel program has missed a run somewhere: which call that hit nobody knows, so that every call under way whose bytes may be of it
    /// (`touched`), and every such one among `left` (what came out since this was known not to be so), says that something of it may be
    /// missing. Their parsers are left alone: most of them are right.
    pub fn mark_calls(&mut self, causes: LossCauses, touched: impl Fn(CaptureFacts) -> bool, left: &mut [Leaving]) {
        let missing = Completeness::Gap { lost: None, causes };
        let mut marked = self.desk.mark_waiting(missing, &touched);
        self.flows.visit(usize::MAX, |_, flow| {
            if touched(flow.context.capture) {
                marked += flow.exchanges.mark(missing) + flow.mcp.mark(missing);
            }
        });
        marked += left.iter_mut().map(|leaving| usize::from(leaving.mark(missing, &touched))).sum::<usize>();
        add(&mut self.desk.counters.calls_marked, marked as u64);
    }

    /// Ends every flow: what was under way becomes calls that say so. Calls may still wait for owners: [`Self::release_calls`].
    pub fn shutdown(&mut self, now: BootTime, sink: Sink<'_>) {
        let mut flows = Vec::new();
        self.flows.drain(|_, flow| flows.push(flow));
        for flow in flows {
            self.desk.close(flow, None, now, sink);
        }
        // What comes later is nobody's any more.
        self.desk.mcp_requests(sink, |pending, sink| pending.handle_timeout(BootTime(u64::MAX), sink));
    }

    /// Ends every flow because nothing more of it will be seen: what was under way becomes calls that name `causes`. The kernel's entries can go.
    pub fn interrupt(&mut self, causes: LossCauses, now: BootTime, sink: Sink<'_>) {
        let mut flows = Vec::new();
        self.flows.drain(|id, flow| flows.push((id, flow)));
        self.end_interrupted(flows, causes, now, sink);
    }

    /// The same for the flows of some processes.
    pub fn interrupt_processes(&mut self, processes: &HashSet<ProcessId>, causes: LossCauses, now: BootTime, sink: Sink<'_>) {
        let mut flows = Vec::new();
        for process in processes {
            self.flows.remove_process(*process, |id, flow| flows.push((id, flow)));
        }
        self.end_interrupted(flows, causes, now, sink);
    }

    fn end_interrupted(&mut self, flows: Vec<(FlowId, Flow)>, causes: LossCauses, now: BootTime, sink: Sink<'_>) {
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
        self.desk.release(None, sink);
    }

    /// From `tokens` to `redaction`. A `tokenizer` estimates what is missing; without one it stays absent.
    pub fn finish(settings: &PipelineSettings, call: LlmCall, tokenizer: Option<&dyn TokenCounter>) -> FinishedCall {
        let policy = ContentPolicy::decide(settings.content, &call.owner);
        let counted = match tokenizer {
            Some(tokenizer) => tokens::count(call, tokenizer),
            None => CountedCall::as_reported(call),
        };
        let (priced, price_miss) = settings.price_book.price(counted, &settings.cost);
        let call = redact(priced, policy);
        let reported = if call.call().correlation.is_duplicate { settings.instrumented.mode } else { Instrumented::Child };
        FinishedCall { call, price_miss, reported }
    }

    pub const fn settings(&self) -> &PipelineSettings {
        &self.desk.settings
    }

    /// Settings that change while it runs: the day, the content policy.
    pub const fn settings_mut(&mut self) -> &mut PipelineSettings {
        &mut self.desk.settings
    }

    pub fn counters(&self) -> PipelineCounters {
        PipelineCounters {
            flows_evicted: self.flows.evicted(),
            owners_evicted: self.desk.owners.evicted(),
            instrumented_forgotten: self.desk.own_telemetry.forgotten(),
            mcp_sessions_forgotten: self.desk.pending.sessions_forgotten(),
            mcp_contents_dropped: self.desk.pending.without_content(),
            ..self.desk.counters
        }
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
        self.desk.mcp_requests(sink, |pending, sink| pending.end_process(process, time, sink));
        self.desk.own_telemetry.end_process(process);
    }
}

#[cfg(test)]
mod tests;
