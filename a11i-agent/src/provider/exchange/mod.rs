//! [`Exchanges`]: pairs the requests and responses of one connection and feeds them to their dialects. `single` is one of them, `head_facts`
//! what heads say of a call whatever its dialect.

mod head_facts;
mod single;

use core::net::SocketAddr;
use std::sync::Arc;

use a11i_common::identity::BootTime;

pub(super) use self::head_facts::{request_facts, request_id};
use self::single::{Exchange, RequestBody};
use super::{Routes, body::BodyBuffer, conversation::Conversations, grpc_status, unseen_path::Unseen};
use crate::{
    call::{CaptureFacts, Completeness, LlmCall, Operation, ProviderName, Role, ServerAddress, TextSample, TraceParent},
    http::{BodyEnd, ExchangeId, FramingEnd, HttpEvent, HttpEventKind, MalformedReason, RequestHead},
    owner::Owner,
};

/// Exchanges under way on one connection: HTTP/2 servers allow 100 or 128 streams as a rule.
pub const MAX_EXCHANGES: usize = 256;

/// What is known of the connection that the events come from.
#[derive(Clone, Debug)]
pub struct ConnectionContext {
    pub owner: Arc<Owner>,
    pub capture: CaptureFacts,
    /// The name asked for in the TLS handshake (SNI).
    pub server_name: Option<String>,
    /// Its socket, where it was seen.
    pub socket: Option<ConnectionSocket>,
}

/// Both ends of a connection's socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConnectionSocket {
    Internet {
        local: SocketAddr,
        remote: SocketAddr,
    },
    /// The server's path, whichever end this is; None: it has none, or nobody can say.
    Unix(Option<String>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExchangeLimits {
    /// The policy for this connection's owner may export prompts and answers.
    pub keep_content: bool,
    /// Exchanges followed at once.
    pub exchanges: usize,
}

impl Default for ExchangeLimits {
    fn default() -> Self {
        Self { keep_content: false, exchanges: MAX_EXCHANGES }
    }
}

/// What was not made a call of, since the connection began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExchangeCounters {
    /// Model calls that were not followed: too many at once.
    pub too_many: u64,
    /// Requests whose path looks like a model call and whose body does not, at an unknown host; where part of the body is missing, nor
    /// does the answer.
    pub unlike: u64,
    /// Events of streams that were dropped for their size.
    pub dropped_events: u64,
    /// Events of streams that did not arrive as they were sent: their checksum says so.
    pub damaged_events: u64,
    /// Calls with a body that could not be decoded: of a content coding that is unknown or broken, or beyond the limits of decoding.
    pub undecoded: u64,
    /// Calls that their body told, since their path was not seen.
    pub presumed: u64,
}

/// The model calls of one connection.
#[derive(Debug)]
pub struct Exchanges {
    routes: Arc<Routes>,
    limits: ExchangeLimits,
    open: Vec<Exchange>,
    conversations: Conversations,
    /// Requests whose path was not seen and whose body is on its way.
    unseen: Vec<Unseen>,
    counters: ExchangeCounters,
}

/// What is known of a call when its request has been read.
#[derive(Clone, Debug)]
pub struct OpenCall<'a> {
    pub role: Role,
    pub since: BootTime,
    pub parent: Option<TraceParent>,
    pub prompt: &'a TextSample,
    pub provider: &'a ProviderName,
    pub operation: Operation,
    pub model: Option<&'a str>,
    pub server: ServerAddress,
}

impl Exchanges {
    pub fn new(routes: Arc<Routes>, limits: ExchangeLimits) -> Self {
        let (conversations, counters) = (Conversations::default(), ExchangeCounters::default());
        Self { routes, limits, open: Vec::new(), conversations, unseen: Vec::new(), counters }
    }

    /// Takes the next event of the connection; gives the call that it finishes. More of them may be waiting: [`Self::take_finished`].
    pub fn handle(&mut self, event: HttpEvent<'_>, context: &ConnectionContext) -> Option<LlmCall> {
        let HttpEvent { exchange: id, time, kind } = event;
        if let HttpEventKind::Request(mut head) = kind {
            merge_slashes(&mut head.path);
            if Unseen::is_possible(&head) && self.open.len().saturating_add(self.unseen.len()) < self.limits.exchanges {
                self.unseen.push(Unseen { id, head: *head, body: BodyBuffer::default() });
                return None;
            }
            // Of a path that was not seen nothing is said, not even that it is none that is known.
            let is_pathless = head.headers.has_unseen() && head.path.is_empty();
            if !is_pathless && !self.conversations.begin(&self.routes, id, &head, context, self.limits.keep_content) {
                self.begin(id, *head, context);
            }
            return None;
        }
        if self.conversations.is_open(id) {
            self.conversations.handle((id, time), &kind, context, &mut self.counters);
            return self.take_finished();
        }
        if let Some(at) = self.unseen.iter().position(|unseen| unseen.id == id) {
            if let (HttpEventKind::RequestBody(bytes), Some(unseen)) = (&kind, self.unseen.get_mut(at)) {
                if bytes.is_empty() {
                    unseen.body.gap();
                } else {
                    unseen.body.push(bytes);
                }
                return None;
            }
            let unseen = self.unseen.swap_remove(at);
            let is_finished = matches!(kind, HttpEventKind::RequestEnd(BodyEnd { framing: FramingEnd::Finished, .. }));
            let (head, body) = unseen.presumed(is_finished, context.server_name.as_deref(), |host| self.routes.is_llm_host(host))?;
            self.begin(id, head, context);
            let exchange = self.open.last_mut().filter(|exchange| exchange.id == id)?;
            exchange.request = RequestBody::Arriving(body);
            exchange.is_presumed = true;
            self.counters.presumed = self.counters.presumed.saturating_add(1);
        }
        // Most connections have none or one; all else was refused at its head.
        let at = self.open.iter().position(|exchange| exchange.id == id)?;
        let exchange = self.open.get_mut(at)?;
        if let HttpEventKind::RequestEnd(end) | HttpEventKind::ResponseEnd(end) = &kind
            && matches!(end.framing, FramingEnd::Malformed(MalformedReason::ContentCoding | MalformedReason::ContentTooLarge))
        {
            self.counters.undecoded = self.counters.undecoded.saturating_add(1);
        }
        match kind {
            HttpEventKind::Request(_) | HttpEventKind::Message(_) | HttpEventKind::MessagesMissing { .. } => {}
            HttpEventKind::RequestBody(bytes) => exchange.request.push(bytes),
            HttpEventKind::RequestEnd(end) => {
                if !exchange.end_request(end) {
                    self.counters.unlike = self.counters.unlike.saturating_add(1);
                    self.open.swap_remove(at);
                }
            }
            HttpEventKind::Response(head) => {
                if exchange.read_request_early() {
                    exchange.begin_response(&head);
                } else {
                    self.counters.unlike = self.counters.unlike.saturating_add(1);
                    self.open.swap_remove(at);
                }
            }
            // An empty piece says that bytes are missing here.
            HttpEventKind::ResponseBody([]) => exchange.lose_response_bytes(),
            HttpEventKind::ResponseBody(bytes) => exchange.response_bytes(bytes, time),
            HttpEventKind::ResponseTrailers(trailers) => grpc_status::read(&trailers, &mut exchange.call),
            HttpEventKind::ResponseEnd(end) => {
                let exchange = self.open.swap_remove(at);
                return exchange.finish(end, time, context, &mut self.counters);
            }
        }
        None
    }

    /// A call under way whose request has been read, and is surely one's.
    pub fn open_call(&self, id: ExchangeId, context: &ConnectionContext) -> Option<OpenCall<'_>> {
        let exchange = self.open.iter().find(|exchange| exchange.id == id && !exchange.is_doubtful)?;
        Some(OpenCall {
            role: exchange.endpoint.role,
            since: exchange.timing.start,
            parent: exchange.correlation.parent,
            prompt: &exchange.call.estimation.input,
            provider: exchange.call.provider(),
            operation: exchange.call.operation(),
            model: exchange.call.request.model.as_deref(),
            server: exchange.endpoint.server(context),
        })
    }

    /// Another call that the last event has finished.
    pub fn take_finished(&mut self) -> Option<LlmCall> {
        self.conversations.take_finished()
    }

    /// Whether this exchange is a call under way, or carries calls.
    pub fn is_open(&self, id: ExchangeId) -> bool {
        self.open.iter().any(|exchange| exchange.id == id) || self.conversations.is_open(id)
    }

    /// Whether more of this exchange is wanted: it is open, or may be a call.
    pub fn wants(&self, id: ExchangeId) -> bool {
        self.is_open(id) || self.unseen.iter().any(|unseen| unseen.id == id)
    }

    /// It is a call by its head alone, or by its body, which was read.
    pub fn is_certain(&self, id: ExchangeId) -> bool {
        let read = |exchange: &Exchange| exchange.route.certain || matches!(exchange.request, RequestBody::Read) && !exchange.is_doubtful;
        self.open.iter().any(|exchange| exchange.id == id && read(exchange)) || self.conversations.is_open(id)
    }

    /// Calls go through a WebSocket.
    pub const fn has_conversation(&self) -> bool {
        !self.conversations.is_empty()
    }

    /// Something of the calls under way may be missing, and nobody knows what. How many there are.
    pub fn mark(&mut self, missing: Completeness) -> usize {
        for exchange in &mut self.open {
            exchange.completeness = exchange.completeness.join(missing);
        }
        self.open.len().saturating_add(self.conversations.mark(missing))
    }

    /// Calls under way.
    pub fn len(&self) -> usize {
        self.open.len().saturating_add(self.conversations.calls())
    }

    /// Nothing is under way, nor can anything begin without a request.
    pub const fn is_empty(&self) -> bool {
        self.open.is_empty() && self.conversations.is_empty()
    }

    pub const fn counters(&self) -> ExchangeCounters {
        self.counters
    }

    fn begin(&mut self, id: ExchangeId, head: RequestHead, context: &ConnectionContext) {
        let Some(route) = self.routes.route(&head, context.server_name.as_deref()) else { return };
        if self.open.len() >= self.limits.exchanges {
            self.counters.too_many = self.counters.too_many.saturating_add(1);
            return;
        }
        self.open.push(Exchange::new(id, head, route, self.limits.keep_content));
    }
}

/// Of slashes side by side one: what a base with a slash at its end and a path with one at its beginning make together.
fn merge_slashes(path: &mut String) {
    let mut last = None;
    path.retain(|c| {
        let keep = c != '/' || last != Some('/');
        last = Some(c);
        keep
    });
}

#[cfg(test)]
mod tests;
