//! One flow's way through the stages: record → segments → HTTP events → calls; and its end.

use std::{collections::VecDeque, sync::Arc};

use a11i_common::{
    event::cause,
    identity::{AttachmentId, BootTime},
};

use super::{
    Ends, FinalOffsets, Notice, NoticeKind, Output, PipelineCounters, PipelineSettings, Sink,
    counters::{add, add_exchanges},
    hops::{HopKey, Hops},
    leaving::{Finished, WaitingCall},
};
use crate::{
    call::{CaptureLibrary, DeferredAnswers, LlmCall, LossCauses},
    cost::Query,
    flow::{DataPiece, Ended, FlowId, Gap, Reassembly, Segment, SegmentBody},
    http::{Connection, ConnectionNotice, ExchangeId, HttpEventKind, HttpVersion, Interest, RequestHead},
    owner::cache::{Known, OwnerCache},
    provider::{
        ConnectionContext, Exchanges, ExportTold, McpExchanges, McpSink, McpTold, OpenCall, OwnTelemetry, PendingRequests, TelemetryExports,
    },
    verdict::{Seen, Told, Verdict},
};

pub(super) struct Flow {
    pub(super) reassembly: Reassembly,
    pub(super) http: Connection,
    pub(super) exchanges: Exchanges,
    pub(super) mcp: McpExchanges,
    pub(super) exports: TelemetryExports,
    /// No other flow has it.
    pub(super) number: u64,
    pub(super) context: ConnectionContext,
    /// `context.owner` is what was known at the beginning and may become better.
    pub(super) owner_open: bool,
    /// Time of the earliest record so far: what is older belongs to an earlier session at this address.
    pub(super) since: BootTime,
    pub(super) told: Told,
    /// Bytes were lost since the last request whose head was seen: what is under way may be a call that nobody knows of.
    pub(super) lossy: bool,
    pub(super) upgrade: Option<Upgrade>,
    /// [`Output::PlaintextSeen`] was said.
    pub(super) is_shown: bool,
    /// Of the first record.
    pub(super) attachment: AttachmentId,
    /// [`Output::Recognised`] was said.
    pub(super) is_recognised: bool,
}

/// A request to an LLM host that asks for another protocol (WebSocket). The kernel half goes on copying until its answer says what becomes
/// of the connection.
pub(super) struct Upgrade {
    exchange: ExchangeId,
    /// As the request names it.
    host: Option<String>,
}

impl Flow {
    /// Calls, or what may be one, are under way.
    pub(super) const fn has_calls(&self) -> bool {
        !self.exchanges.is_empty() || !self.mcp.is_empty()
    }

    pub(super) fn tell(&mut self, id: FlowId, verdict: Verdict, sink: Sink<'_>) {
        if self.told.is_new(verdict) {
            sink(Output::Verdict { flow: id, request: self.told.request(), verdict });
        }
    }
}

/// What every flow needs: settings, sums, owners, and the calls on their way out.
pub(super) struct Desk {
    pub(super) settings: PipelineSettings,
    pub(super) counters: PipelineCounters,
    pub(super) owners: OwnerCache,
    pub(super) waiting: VecDeque<WaitingCall>,
    pub(super) ended: Ended,
    /// MCP requests whose answers come another way.
    pub(super) pending: PendingRequests,
    pub(super) own_telemetry: OwnTelemetry,
    pub(super) hops: Hops,
    pub(super) flows_begun: u64,
    pub(super) deferred: DeferredAnswers,
}

impl Desk {
    /// A piece of a stream, and what the kernel half should know of it.
    pub(super) fn data(&mut self, id: &FlowId, flow: &mut Flow, request: u16, piece: DataPiece<'_>, sink: Sink<'_>) {
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
        let undisturbed = in_order && !flow.lossy && !flow.has_calls() && !flow.http.is_inside_head() && flow.upgrade.is_none();
        let verdict = if flow.http.is_multiplexed() {
            flow.told.of_multiplexed(seen, undisturbed, flow.has_calls())
        } else {
            seen.verdict(undisturbed, flow.has_calls(), flow.told.host)
        };
        if let Some(verdict) = verdict.or_else(|| flow.told.again(undisturbed)) {
            flow.tell(*id, verdict, sink);
        }
    }

    /// Record → segments → HTTP events → calls, on one flow.
    pub(super) fn run(&mut self, flow: &mut Flow, sink: Sink<'_>, act: impl FnOnce(&mut Reassembly, &mut dyn FnMut(Segment<'_>))) -> Seen {
        self.look_up_owner(flow);
        let Flow {
            reassembly,
            http,
            exchanges,
            mcp,
            exports,
            number,
            context,
            owner_open,
            lossy,
            upgrade,
            is_shown,
            attachment,
            is_recognised,
            ..
        } = flow;
        let is_tls = context.capture.library != Some(CaptureLibrary::Plaintext);
        let mut answered = None;
        let mut seen = Seen::default();
        let discarded = reassembly.discarded_bytes();
        let before = exchanges.counters();
        act(reassembly, &mut |segment| {
            if let SegmentBody::Gap(gap) = segment.body {
                self.count_gap(gap);
                *lossy |= !gap.causes.are_by_intention();
            }
            http.push_to(segment, &mut |event| {
                let id = event.exchange;
                if !std::mem::replace(is_recognised, true) {
                    sink(Output::Recognised { attachment: *attachment, is_http: true });
                }
                let mut asked = None;
                let (mut shown, mut is_nameless) = (None, false);
                let is_head = matches!(event.kind, HttpEventKind::Request(_));
                let is_certain = !matches!(&event.kind, HttpEventKind::Request(head) if head.headers.has_unseen());
                let is_multiplexed = matches!(&event.kind, HttpEventKind::Request(head) if head.version == HttpVersion::Http2);
                match &event.kind {
                    HttpEventKind::Request(head) => {
                        asked = self.upgrade_asked(id, head, context);
                        let name = context.server_name.as_ref().or(head.host.as_ref());
                        is_nameless = name.is_none();
                        shown = name.filter(|name| is_tls && !*is_shown && self.settings.routes.is_llm_host(name)).cloned();
                    }
                    HttpEventKind::Response(_) | HttpEventKind::ResponseEnd(_) if upgrade.as_ref().is_some_and(|it| it.exchange <= id) => {
                        answered = upgrade.take();
                        seen.other = true;
                    }
                    HttpEventKind::RequestBody(_)
                    | HttpEventKind::RequestEnd(_)
                    | HttpEventKind::Response(_)
                    | HttpEventKind::ResponseBody(_)
                    | HttpEventKind::ResponseTrailers(_)
                    | HttpEventKind::Message(_)
                    | HttpEventKind::MessagesMissing { .. }
                    | HttpEventKind::ResponseEnd(_) => {}
                }
                let mut messages = Vec::new();
                let told = mcp.handle(&event, context, &mut self.pending, &mut |message| messages.push(message));
                for message in messages {
                    self.leave(Finished::Mcp(Box::new(message)), *owner_open, sink);
                }
                match told {
                    McpTold::Mcp => seen.llm = true,
                    McpTold::Other => seen.other = true,
                    McpTold::Undecided | McpTold::Nothing => {}
                }
                let export = exports.handle(&event, context, &mut self.own_telemetry);
                seen.other |= export == ExportTold::Done;
                let (time, is_request) = (event.time, matches!(event.kind, HttpEventKind::RequestEnd(_)));
                let mut finished = exchanges.handle(event, context);
                while let Some(call) = finished {
                    self.finish_call((*number, id), call, *owner_open, time, sink);
                    finished = exchanges.take_finished();
                }
                if is_request && let Some(call) = exchanges.open_call(id, context) {
                    self.open_hop((*number, id), &call, context, time);
                    // Where only its path spoke for it, its body does now.
                    seen.llm = true;
                }
                if is_head {
                    *lossy = false;
                    // Of a head with unseen fields, nobody knows what it would have been.
                    let is_call = exchanges.is_open(id);
                    if is_call {
                        mcp.forget(id);
                        exports.forget(id);
                    }
                    let is_awaited = told != McpTold::Nothing || export == ExportTold::Looking;
                    // A multiplexed connection is copied as a whole: a path that others have too is not enough.
                    let is_presumed = is_multiplexed && is_call && !exchanges.is_certain(id);
                    if !is_presumed && (is_call || is_certain && !is_awaited) {
                        seen.head(is_call);
                    }
                    if is_tls && !*is_shown && (shown.is_some() || is_call && is_nameless) {
                        *is_shown = true;
                        sink(Output::PlaintextSeen { process: context.owner.process, host: shown });
                    }
                    *upgrade = upgrade.take().or(asked);
                }
                if exchanges.wants(id) || mcp.wants(id) || exports.wants(id) { Interest::Wanted } else { Interest::Declined }
            });
        });
        self.tell_mcp_sessions(sink);
        let counters = &mut self.counters;
        add(&mut counters.discarded_bytes, reassembly.discarded_bytes().saturating_sub(discarded));
        let after = exchanges.counters();
        seen.other |= after.unlike > before.unlike;
        seen.llm |= after.presumed > before.presumed;
        add_exchanges(&mut counters.exchanges, before, after);
        while let Some(notice) = http.take_notice() {
            seen.notice(notice);
            if notice == ConnectionNotice::NotHttp && !std::mem::replace(is_recognised, true) {
                sink(Output::Recognised { attachment: *attachment, is_http: false });
            }
            let kind = match notice {
                ConnectionNotice::NotHttp => NoticeKind::NotHttp,
                ConnectionNotice::WebSocket if exchanges.has_conversation() => continue,
                ConnectionNotice::WebSocket | ConnectionNotice::Upgraded => NoticeKind::Upgraded,
                ConnectionNotice::Malformed(reason) => NoticeKind::Malformed(reason),
            };
            let named = answered.as_ref().filter(|_| kind == NoticeKind::Upgraded).and_then(|upgrade| upgrade.host.clone());
            let server_name = context.server_name.clone().or(named);
            let llm_host = server_name.as_deref().is_some_and(|name| self.settings.routes.is_llm_host(name));
            if llm_host && is_tls && !std::mem::replace(is_shown, true) {
                // What the notice says is why nothing is seen.
                sink(Output::PlaintextSeen { process: context.owner.process, host: server_name.clone() });
            }
            sink(Output::Notice(Notice { owner: Arc::clone(&context.owner), server_name, llm_host, kind }));
        }
        seen.conversation = http.is_websocket() && exchanges.has_conversation();
        if http.is_websocket() && !seen.conversation {
            // No calls go through it, or none will any more.
            http.ignore();
            seen.notice(ConnectionNotice::Upgraded);
        }
        seen
    }

    /// Follows a flow no longer whose session goes on (no room, idle for too long): what is under way did not end here, and says so.
    pub(super) fn leave_alone(&mut self, id: &FlowId, mut flow: Flow, time: BootTime, ends: Ends<'_>, sink: Sink<'_>) {
        self.run(&mut flow, sink, Reassembly::give_up_holes);
        let under_way = flow.has_calls() || flow.http.is_inside_head();
        if under_way {
            self.close(flow, None, time, sink);
            sink(Output::Forgotten(*id));
        } else {
            self.forget(id, flow, time, ends, sink);
        }
    }

    /// Ends a flow whose session is over, and nobody told.
    pub(super) fn forget(&mut self, id: &FlowId, flow: Flow, time: BootTime, ends: Ends<'_>, sink: Sink<'_>) {
        self.close(flow, ends(id), time, sink);
        sink(Output::Forgotten(*id));
    }

    /// `last`: `None` = nobody knows how far it came. What was open then lacks its end and says so; between calls, nothing is missing.
    pub(super) fn close(&mut self, mut flow: Flow, last: Option<FinalOffsets>, time: BootTime, sink: Sink<'_>) {
        if let Some(last) = last {
            self.run(&mut flow, sink, |reassembly, segments| reassembly.end(last.write, last.read, last.causes, time, segments));
        } else {
            self.run(&mut flow, sink, Reassembly::give_up_holes);
            let unseen = flow.has_calls() || flow.http.is_inside_head();
            self.run(&mut flow, sink, |reassembly, segments| reassembly.abandon(unseen, time, segments));
        }
        let Flow { http, exchanges, mcp, number, context, owner_open, .. } = &mut flow;
        let before = exchanges.counters();
        http.close(time, &mut |event| {
            let mut messages = Vec::new();
            mcp.handle(&event, context, &mut self.pending, &mut |message| messages.push(message));
            for message in messages {
                self.leave(Finished::Mcp(Box::new(message)), *owner_open, sink);
            }
            let (id, time) = (event.exchange, event.time);
            let mut finished = exchanges.handle(event, context);
            while let Some(call) = finished {
                self.finish_call((*number, id), call, *owner_open, time, sink);
                finished = exchanges.take_finished();
            }
        });
        add_exchanges(&mut self.counters.exchanges, before, exchanges.counters());
        self.tell_mcp_sessions(sink);
    }

    /// What is asked for where a request to an LLM host wants another protocol.
    fn upgrade_asked(&self, exchange: ExchangeId, head: &RequestHead, context: &ConnectionContext) -> Option<Upgrade> {
        let tunnel = head.method == "CONNECT";
        if !tunnel && head.headers.text("upgrade").is_none() {
            return None;
        }
        let is_llm = |name: &Option<String>| name.as_deref().is_some_and(|name| self.settings.routes.is_llm_host(name));
        // What goes through a tunnel is seen where it is encrypted, so that nobody has to be warned of it.
        let host = head.host.clone().filter(|_| !tunnel);
        (is_llm(&context.server_name) || is_llm(&head.host)).then_some(Upgrade { exchange, host })
    }

    fn open_hop(&mut self, key: HopKey, call: &OpenCall<'_>, context: &ConnectionContext, time: BootTime) {
        let settings = &self.settings;
        let place = Query {
            provider: call.provider.as_str(),
            host: call.server.address.as_deref(),
            port: call.server.port,
            request_model: call.model,
            response_model: None,
        };
        self.own_telemetry.handle_call(context.owner.process, call.role);
        let is_priced = settings.price_book.would_price(&place, call.operation, call.server.known_host, &settings.cost);
        let parent = call.parent.filter(|_| settings.trace_correlation);
        let call = OpenCall { parent, ..call.clone() };
        self.hops.open(key, &call, context, is_priced, &settings.http.fingerprinter, time);
    }

    fn finish_call(&mut self, key: HopKey, mut call: LlmCall, owner_open: bool, time: BootTime, sink: Sink<'_>) {
        if let Some(correlation) = self.hops.finish(key, &call, time) {
            call.correlation = correlation;
        }
        let process = call.owner.process;
        call.correlation.is_duplicate = self.own_telemetry.reports(process, call.role);
        self.own_telemetry.handle_call(process, call.role);
        self.leave(Finished::Llm(Box::new(call)), owner_open, sink);
    }

    /// What becomes of MCP requests by the passing of time, or with their process. Their owners are known by now, or never.
    pub(super) fn mcp_requests(&mut self, sink: Sink<'_>, act: impl FnOnce(&mut PendingRequests, McpSink<'_>)) {
        let mut messages = Vec::new();
        act(&mut self.pending, &mut |message| messages.push(message));
        for message in messages {
            self.leave(Finished::Mcp(Box::new(message)), true, sink);
        }
        self.tell_mcp_sessions(sink);
    }

    /// Sessions that are over. They began long ago: their owners are known, or will not be.
    fn tell_mcp_sessions(&mut self, sink: Sink<'_>) {
        for mut session in self.pending.take_sessions() {
            session.owner = self.owners.best(session.owner.process);
            sink(Output::McpSession(Box::new(session)));
        }
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
            None if gap.causes == LossCauses::of_kernel(cause::SWITCHED_OFF) => {}
            Some(lost) => add(&mut self.counters.lost_bytes, lost),
            None => add(&mut self.counters.unknown_gaps, 1),
        }
    }
}
