//! A session is followed from its first record: who and what opens a flow, and what has to go for it.

use std::sync::Arc;

use a11i_common::identity::{AttachmentId, BootTime, ProcessId};

use super::{
    Ends, Output, Sink,
    counters::add,
    desk::{Desk, Flow},
};
use crate::{
    call::CaptureFacts,
    flow::{FlowId, Reassembly, Table},
    http::Connection,
    owner::{Owner, cache::Known},
    provider::{ConnectionContext, ConnectionSocket, ExchangeLimits, Exchanges, McpExchanges, TelemetryExports},
    redaction::ContentPolicy,
    verdict::Told,
};

/// What opens a flow.
pub(super) struct Opening {
    pub(super) id: FlowId,
    pub(super) attachment: AttachmentId,
    pub(super) time: BootTime,
    /// A request begins it.
    pub(super) rearmed: bool,
}

/// The flow, made on first sight. What had to go for it is ended properly.
pub(super) fn open<'f>(
    flows: &'f mut Table<Flow>,
    desk: &mut Desk,
    opening: &Opening,
    ends: Ends<'_>,
    sink: Sink<'_>,
) -> Option<&'f mut Flow> {
    let Opening { id, attachment, time, rearmed } = *opening;
    if !flows.contains(&id) {
        let flow = desk.begin(id.process, attachment, time, sink);
        let mut gone = None;
        flows.get_or_insert_with(id, time, || flow, Flow::has_calls, |id, old| gone = Some((id, old)));
        match gone {
            // The kernel half began anew at a request, after what nobody wanted; or the address was used again and the end was lost.
            Some((old_id, old)) if old_id.process == id.process && old_id.session.session == id.session.session => {
                let (server_name, socket) = desk.supersede(old, rearmed, time, sink);
                if let Some(flow) = flows.get_mut(&id, time) {
                    flow.told.host = server_name.as_deref().is_some_and(|name| desk.settings.routes.is_llm_host(name));
                    flow.context.server_name = server_name;
                    flow.context.socket = socket;
                }
            }
            Some((id, flow)) => desk.leave_alone(&id, flow, time, ends, sink),
            None => {}
        }
    }
    let flow = flows.get_mut(&id, time)?;
    flow.since = flow.since.min(time);
    // What tells a peer does not know the library.
    if flow.attachment == AttachmentId(0) && attachment != AttachmentId(0) {
        flow.attachment = attachment;
        flow.context.capture = CaptureFacts::of_attachment(attachment);
    }
    Some(flow)
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
        self.flows_begun = self.flows_begun.wrapping_add(1);
        let number = self.flows_begun;
        // Whose content may leave is decided when a call leaves: by then its owner is known.
        let limits = ExchangeLimits { keep_content: self.settings.content != ContentPolicy::None, ..ExchangeLimits::default() };
        Flow {
            reassembly: Reassembly::new(),
            http: Connection::new(Arc::clone(&self.settings.http)),
            exchanges: Exchanges::new(Arc::clone(&self.settings.routes), limits),
            number,
            mcp: McpExchanges::new(limits.keep_content, number),
            exports: TelemetryExports::default(),
            context: ConnectionContext { owner, capture: CaptureFacts::of_attachment(attachment), server_name: None, socket: None },
            owner_open,
            since: time,
            told: Told::default(),
            lossy: false,
            upgrade: None,
            is_shown: false,
            attachment,
            is_recognised: false,
        }
    }

    /// Another generation has taken a flow's place. Its server name and its socket stay those of the connection.
    fn supersede(&mut self, flow: Flow, rearmed: bool, time: BootTime, sink: Sink<'_>) -> (Option<String>, Option<ConnectionSocket>) {
        let (server_name, socket) = (flow.context.server_name.clone(), flow.context.socket.clone());
        if rearmed && server_name.is_none() && flow.http.is_unrecognised() {
            add(&mut self.counters.late_attachments, 1);
        }
        self.close(flow, None, time, sink);
        (server_name, socket)
    }
}
