//! Connections of messages (WebSocket) that carry many calls.
//!
//! A handshake that one of the dialects below claims opens a conversation. Its messages, JSON each, go to the dialect's session, which says
//! where calls begin and end. A handshake that is refused, or never answered, is a call that failed.

mod turns;

use std::{collections::VecDeque, sync::Arc};

use a11i_common::identity::BootTime;

use self::turns::{Finished, Template};
pub(super) use self::turns::{Turn, Turns};
use super::{
    ConnectionContext, ExchangeCounters, Routes,
    endpoint::Endpoint,
    error_body::read_failure,
    exchange::{request_facts, request_id},
    gemini,
    lenient::mended,
    openai_realtime, openai_responses_socket,
    partial_json::Fragments,
    trace_context,
};
use crate::{
    call::{CallBuilder, CallFrame, Completeness, Correlation, LlmCall, Operation, ProviderName, RequestFacts},
    http::{ExchangeId, HttpEventKind, RequestHead, SocketMessage, SocketPeer},
};

/// A wire format of messages.
pub(super) trait MessageDialect: Sync {
    /// Who is taken for the provider where the host does not tell.
    fn name(&self) -> ProviderName;

    fn operation(&self) -> Operation;

    /// Paths, or ends of them, by which the kernel half knows the handshake.
    fn path_ends(&self) -> &'static [&'static str];

    /// Whether a handshake that goes there is this format's.
    fn claims(&self, head: &RequestHead) -> bool;

    /// What the handshake alone says: the model in its query.
    fn handshake(&self, _head: &RequestHead, _request: &mut RequestFacts) {}

    fn begin(&self) -> Box<dyn Session>;
}

/// One conversation, as its dialect follows it.
pub(super) trait Session: std::fmt::Debug + Send {
    /// Takes the next message.
    fn hear(&mut self, message: &Heard<'_>, turns: &mut Turns) -> Format;
}

/// Whose a message is, by its shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// This dialect's and nobody else's.
    This,
    /// Anybody's: other protocols tell failures so too.
    Any,
    Other,
}

/// A message as a session hears it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    pub(super) from: SocketPeer,
    /// JSON. When part of it was lost: an object of the fields that are whole.
    pub(super) data: &'a [u8],
    /// Of its first and of its last byte.
    pub(super) first_byte: BootTime,
    pub(super) time: BootTime,
    pub(super) missing: Completeness,
}

/// In the order they are asked.
pub(super) static MESSAGE_DIALECTS: [&dyn MessageDialect; 3] =
    [&openai_realtime::OpenAiRealtime, &openai_responses_socket::OpenAiResponsesSocket, &gemini::live::GeminiLive];

/// Adds a field to an object whose end is still open: requests are put together of what a session was told.
pub(super) fn append_field(object: &mut String, name: &str, json: &str) {
    if object.len() > 1 {
        object.push(',');
    }
    object.push('"');
    object.push_str(name);
    object.push_str("\":");
    object.push_str(json);
}

/// Where a handshake goes.
pub(super) struct MessageRoute {
    pub(super) dialect: &'static dyn MessageDialect,
    pub(super) provider: ProviderName,
    /// The host is in the table or configured.
    pub(super) known_host: bool,
    /// The host vouches for what its path says.
    pub(super) certain: bool,
}

/// Conversations followed at once on one connection: of HTTP/1.1 it is one, on HTTP/2 each is a stream.
const MAX_CONVERSATIONS: usize = 64;

/// Calls that are over while nothing vouches for the format: failures that were told. So many of them are no model's.
const UNVOUCHED_CALLS: usize = 16;
/// Messages that say nothing of their format, since part of them was lost, while nothing vouches for it: an LLM's begin with what tells it.
const UNREADABLE_MESSAGES: u8 = 16;
/// Bytes kept of the answer to a handshake that is refused.
const REFUSAL_BYTES: usize = 64 * 1024;

/// The conversations of one connection.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    open: Vec<Conversation>,
    finished: VecDeque<LlmCall>,
}

#[derive(Debug)]
struct Conversation {
    id: ExchangeId,
    endpoint: Endpoint,
    correlation: Correlation,
    /// The host vouches for the format, or a message did.
    certain: bool,
    /// What was heard before it is certain and could be anything.
    unreadable: u8,
    turns: Turns,
    session: Box<dyn Session>,
    handshake: Handshake,
}

#[derive(Debug)]
enum Handshake {
    Awaited { start: BootTime, status: Option<u16>, body: Vec<u8> },
    Accepted,
}

/// Whether the request asks for a WebSocket (RFC 6455 section 4.1, RFC 8441 section 4).
fn asks_for_websocket(head: &RequestHead) -> bool {
    let is = |name: &str| head.headers.text(name).is_some_and(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"));
    head.method == "GET" && is("upgrade") || head.method == "CONNECT" && is(":protocol")
}

impl Conversations {
    /// Whether the request opens a conversation, which from now on is followed.
    pub(super) fn begin(
        &mut self,
        routes: &Routes,
        id: ExchangeId,
        head: &RequestHead,
        context: &ConnectionContext,
        keep_content: bool,
    ) -> bool {
        if !asks_for_websocket(head) || self.open.len() >= MAX_CONVERSATIONS {
            return false;
        }
        let Some(route) = routes.message_route(head, context.server_name.as_deref()) else { return false };
        let operation = route.dialect.operation();
        let mut call = CallBuilder::new(route.provider.clone(), operation, false);
        request_facts(head, &mut call);
        // Events come as they are made, whatever else is asked for.
        call.request.stream = true;
        route.dialect.handshake(head, &mut call.request);
        let template = Template { provider: route.provider, operation, keep_content, request: call.request, request_id: None };
        self.open.push(Conversation {
            id,
            endpoint: Endpoint { role: head.role, host: head.host.clone(), port: head.port, known_host: route.known_host },
            correlation: Correlation { parent: trace_context::parent(&head.headers), ..Correlation::default() },
            certain: route.certain,
            unreadable: 0,
            turns: Turns::new(template),
            session: route.dialect.begin(),
            handshake: Handshake::Awaited { start: head.first_byte, status: None, body: Vec::new() },
        });
        true
    }

    pub(super) fn is_open(&self, id: ExchangeId) -> bool {
        self.open.iter().any(|conversation| conversation.id == id)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Calls under way.
    pub(super) fn calls(&self) -> usize {
        self.open.iter().map(|conversation| conversation.turns.len()).fold(0, usize::saturating_add)
    }

    /// As [`super::Exchanges::mark`].
    pub(super) fn mark(&mut self, missing: Completeness) -> usize {
        self.open.iter_mut().map(|conversation| conversation.turns.mark(missing)).fold(0, usize::saturating_add)
    }

    pub(super) fn take_finished(&mut self) -> Option<LlmCall> {
        self.finished.pop_front()
    }

    /// Takes an event of an open conversation.
    pub(super) fn handle(
        &mut self,
        (id, time): (ExchangeId, BootTime),
        kind: &HttpEventKind<'_>,
        context: &ConnectionContext,
        counters: &mut ExchangeCounters,
    ) {
        let Some(at) = self.open.iter().position(|conversation| conversation.id == id) else { return };
        let Some(conversation) = self.open.get_mut(at) else { return };
        let mut goes_on = true;
        match kind {
            HttpEventKind::Request(_)
            | HttpEventKind::RequestBody(_)
            | HttpEventKind::RequestEnd(_)
            | HttpEventKind::ResponseTrailers(_) => {}
            HttpEventKind::Response(head) => {
                conversation.turns.template.request_id = request_id(head);
                if let Handshake::Awaited { status, .. } = &mut conversation.handshake {
                    *status = Some(head.status);
                }
                // Of RFC 8441, any success accepts.
                if head.status == 101 || (200..300).contains(&head.status) {
                    conversation.handshake = Handshake::Accepted;
                }
            }
            HttpEventKind::ResponseBody(bytes) => {
                if let Handshake::Awaited { body, .. } = &mut conversation.handshake {
                    let room = REFUSAL_BYTES.saturating_sub(body.len());
                    body.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                }
            }
            HttpEventKind::Message(message) => {
                if !conversation.hear(message, time) {
                    counters.unlike = counters.unlike.saturating_add(1);
                    goes_on = false;
                }
            }
            HttpEventKind::MessagesMissing { from, missing } => conversation.turns.miss(*from, *missing),
            HttpEventKind::ResponseEnd(end) => {
                conversation.end(end.completeness, time);
                goes_on = false;
            }
        }
        if !conversation.certain && conversation.turns.finished.len() > UNVOUCHED_CALLS {
            counters.unlike = counters.unlike.saturating_add(1);
            goes_on = false;
        }
        // What was heard before anything vouched for the format waits until something does.
        let told = if conversation.certain { std::mem::take(&mut conversation.turns.finished) } else { Vec::new() };
        for finished in told {
            let call = conversation.build(finished, context);
            self.finished.push_back(call);
        }
        if !goes_on {
            self.open.swap_remove(at);
        }
    }
}

impl Conversation {
    fn hear(&mut self, message: &SocketMessage<'_>, time: BootTime) -> bool {
        let SocketMessage { from, first_byte, data, is_whole, missing, .. } = *message;
        let salvaged;
        let data = if is_whole {
            data
        } else {
            if data.is_empty() {
                // Nothing of it could be read: it may have been anything.
                self.turns.miss(from, missing);
                return self.certain || self.bears_unreadable();
            }
            salvaged = Fragments { head: data, tail: &[] }.salvage();
            &salvaged
        };
        let data = &mended(data);
        let format = self.session.hear(&Heard { from, data, first_byte, time, missing }, &mut self.turns);
        // At an unknown host, the first message that could be read in full and is not anybody's decides.
        self.certain |= format == Format::This;
        self.certain || format == Format::Any || !is_whole && self.bears_unreadable()
    }

    fn bears_unreadable(&mut self) -> bool {
        self.unreadable = self.unreadable.saturating_add(1);
        self.unreadable < UNREADABLE_MESSAGES
    }

    fn end(&mut self, missing: Completeness, time: BootTime) {
        let Handshake::Awaited { start, status, body } = &self.handshake else { return self.turns.close(missing, time) };
        // Redirections are followed, and answers that were not seen may have been any; at an unknown host a path says little.
        if !self.certain || status.is_some_and(|status| status < 400) || status.is_none() && !missing.is_whole() {
            return;
        }
        let operation = self.turns.template.operation;
        let (start, status, body) = (*start, *status, body.clone());
        self.turns.single(operation, start, time, |call| {
            call.response.status = status;
            read_failure(&body, call);
            match status {
                Some(status) => call.fail(Some(&status.to_string()), None),
                None => call.fail(Some("connection_closed"), None),
            }
        });
    }

    fn build(&self, finished: Finished, context: &ConnectionContext) -> LlmCall {
        let Finished { call, timing, completeness, ending } = finished;
        let frame = CallFrame {
            owner: Arc::clone(&context.owner),
            role: self.endpoint.role,
            server: self.endpoint.server(context),
            peer: self.endpoint.peer(context),
            timing,
            completeness,
            capture: context.capture,
            correlation: self.correlation.clone(),
        };
        call.build(frame, ending)
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests count small numbers")]
pub(super) mod tests;
