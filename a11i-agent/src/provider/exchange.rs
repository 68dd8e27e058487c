//! [`Exchanges`]: pairs the requests and responses of one connection and feeds them to their dialects.

use core::net::SocketAddr;
use std::sync::Arc;

use a11i_common::identity::BootTime;

use super::{
    Route, Routes,
    answer::{Answer, AnswerEnd, EventFeed, Label},
    body::BodyBuffer,
    conversation::Conversations,
    endpoint::Endpoint,
    grpc_status, rate_limit, trace_context,
    unseen_path::Unseen,
};
use crate::{
    call::{
        CallBuilder, CallFrame, CaptureFacts, Completeness, Correlation, Ending, LlmCall, LossCauses, Operation, ProviderName, Role,
        ServerAddress, TextSample, Timing, TraceParent,
    },
    http::{
        BodyEnd, ExchangeId, FramingEnd, HttpEvent, HttpEventKind, MalformedReason, RequestHead, ResponseHead, multipart::MultipartParser,
    },
    owner::Owner,
};

/// Exchanges under way on one connection: HTTP/2 servers allow 100 or 128 streams as a rule.
pub const MAX_EXCHANGES: usize = 256;

/// `user-agent` is kept to this length.
const USER_AGENT_BYTES: usize = 256;
/// Other header values that become facts.
const HEADER_FACT_BYTES: usize = 256;

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

struct Exchange {
    id: ExchangeId,
    route: Route,
    endpoint: Endpoint,
    correlation: Correlation,
    call: Box<CallBuilder>,
    timing: Timing,
    request: RequestBody,
    answer: Answer,
    /// What of the request, so far of the response, is missing.
    completeness: Completeness,
    response_gap: bool,
    /// Only the body told that it is a call: what becomes of it is not judged.
    is_presumed: bool,
    /// Part of the request is missing, and the rest does not look like a call: only the answer can tell.
    is_doubtful: bool,
    /// Its path or a field of its head names what may be a model.
    names_model: bool,
}

enum RequestBody {
    Arriving(BodyBuffer),
    Form(Box<MultipartParser>),
    Read,
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

impl RequestBody {
    fn of(head: &RequestHead) -> Self {
        let form = head.headers.text("content-type").and_then(MultipartParser::of);
        form.map_or_else(|| Self::Arriving(BodyBuffer::default()), |form| Self::Form(Box::new(form)))
    }

    /// An empty piece says that bytes are missing here.
    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Arriving(body) if bytes.is_empty() => body.gap(),
            Self::Arriving(body) => body.push(bytes),
            Self::Form(form) if bytes.is_empty() => form.gap(),
            Self::Form(form) => form.push(bytes),
            Self::Read => {}
        }
    }
}

impl Exchanges {
    pub fn new(routes: Arc<Routes>, limits: ExchangeLimits) -> Self {
        let (conversations, counters) = (Conversations::default(), ExchangeCounters::default());
        Self { routes, limits, open: Vec::new(), conversations, unseen: Vec::new(), counters }
    }

    /// Takes the next event of the connection; gives the call that it finishes. More of them may be waiting: [`Self::take_finished`].
    pub fn handle(&mut self, event: HttpEvent<'_>, context: &ConnectionContext) -> Option<LlmCall> {
        let HttpEvent { exchange: id, time, kind } = event;
        if let HttpEventKind::Request(head) = kind {
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
        let mut call = Box::new(CallBuilder::new(route.provider.clone(), route.operation, self.limits.keep_content));
        request_facts(&head, &mut call);
        let names_model = call.request.model.is_some();
        route.dialect.request_head(&head, &mut call);
        self.open.push(Exchange {
            id,
            names_model,
            request: RequestBody::of(&head),
            endpoint: Endpoint { role: head.role, host: head.host, port: head.port, known_host: route.known_host },
            correlation: Correlation { parent: trace_context::parent(&head.headers), ..Correlation::default() },
            timing: Timing { start: head.first_byte, ..Timing::default() },
            route,
            call,
            answer: Answer::Awaited(Label::Absent),
            completeness: Completeness::Whole,
            response_gap: false,
            is_presumed: false,
            is_doubtful: false,
        });
    }
}

impl Exchange {
    /// Reads the request's body. False: it is none of a model call.
    fn end_request(&mut self, end: BodyEnd) -> bool {
        let request = std::mem::replace(&mut self.request, RequestBody::Read);
        let finished = end.framing == FramingEnd::Finished;
        let complete = finished && end.completeness.is_whole();
        let (dialect, operation) = (self.route.dialect, self.route.operation);
        let mut body = match request {
            RequestBody::Read => {
                self.completeness = self.completeness.join(end.completeness).join(undecoded(end.framing));
                return true;
            }
            RequestBody::Arriving(body) => body,
            RequestBody::Form(form) => {
                self.completeness = self.completeness.join(end.completeness).join(undecoded(end.framing));
                if form.is_truncated() {
                    self.call.mark_content_truncated();
                }
                // An object is always readable.
                let _nothing_to_read = dialect.request(operation, &form.finish(), &mut self.call).is_err();
                return self.is_call(complete);
            }
        };
        self.completeness = self.completeness.join(end.completeness).join(undecoded(end.framing));
        let read = complete && body.whole().is_some_and(|body| dialect.request(operation, body, &mut self.call).is_ok());
        if !read {
            if body.is_over_cap() {
                self.call.mark_content_truncated();
            }
            self.call.request_is_partial = true;
            // An object is always readable.
            let _nothing_to_read = dialect.request(operation, &body.salvage(finished), &mut self.call).is_err();
        }
        self.is_call(complete && !body.is_over_cap())
    }

    /// Whether the request is or may be one of a model call, now that its body was seen. `complete`: all of it.
    fn is_call(&mut self, complete: bool) -> bool {
        // A word of a path at a host that nobody vouches for is no sign of a model.
        let says = !self.names_model || !self.call.estimation.input.is_empty();
        let resembles = says && self.route.dialect.resembles(&self.call);
        self.is_doubtful = !self.route.certain && !resembles;
        !self.is_doubtful || !complete && !self.route.by_shape
    }

    /// The answer may come before the end of the request is told (HTTP/2 tells it apart from the body), and is read by what was asked.
    /// False: it is none of a model call.
    fn read_request_early(&mut self) -> bool {
        if let RequestBody::Arriving(body) = &self.request
            && body.whole().is_some_and(|body| serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok())
        {
            return self.end_request(BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Finished });
        }
        true
    }

    fn begin_response(&mut self, head: &ResponseHead) {
        let text = |name| head.headers.text(name).map(|value| clip(value, HEADER_FACT_BYTES));
        let response = &mut self.call.response;
        response.status = Some(head.status);
        // Where a field may have been missed, a lesser one does not stand in for it.
        if !head.headers.has_unseen() {
            response.rate_limit = rate_limit::of(&head.headers);
        }
        response.request_id = request_id(head);
        // The response names the organisation that the key belongs to, also where the request does not.
        let organization = text("openai-organization");
        let request = &mut self.call.request;
        request.organization = request.organization.take().or(organization);
        grpc_status::read(&head.headers, &mut self.call);
        self.route.dialect.response_head(head, &mut self.call);
        self.answer = Answer::begin(head);
    }

    fn response_bytes(&mut self, bytes: &[u8], time: BootTime) {
        let mut feed = EventFeed { route: &self.route, call: &mut self.call, timing: &mut self.timing, time };
        // Without its head, nobody knows whether these are its first.
        let gap = self.response_gap || feed.call.response.status.is_none();
        self.answer.push(bytes, gap, &mut feed);
    }

    fn lose_response_bytes(&mut self) {
        self.response_gap = true;
        self.timing.gaps.lose();
        self.answer.gap();
    }

    /// The call; `None`: it was none.
    fn finish(mut self, end: BodyEnd, time: BootTime, context: &ConnectionContext, counters: &mut ExchangeCounters) -> Option<LlmCall> {
        // Answered before the request was over, or the connection ended within it.
        let unfinished = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Cut };
        let mut may_be_call = matches!(self.request, RequestBody::Read) || self.end_request(unfinished);
        self.completeness = self.completeness.join(end.completeness).join(undecoded(end.framing));
        self.timing.end = time;
        let lost = self.response_gap || !end.completeness.is_whole();
        let feed = EventFeed { route: &self.route, call: &mut self.call, timing: &mut self.timing, time };
        let answer = self.answer.finish(end, lost, feed);
        counters.dropped_events = counters.dropped_events.saturating_add(answer.dropped_events);
        counters.damaged_events = counters.damaged_events.saturating_add(answer.damaged_events);
        may_be_call &= !self.is_doubtful || self.call.is_answered();
        if !may_be_call {
            counters.unlike = counters.unlike.saturating_add(1);
            return None;
        }
        let damaged = answer.damaged_events > 0;
        if damaged {
            self.completeness = self.completeness.join(Completeness::Gap { lost: None, causes: LossCauses(0) });
        }
        let ending = self.conclude(end.framing, lost || damaged || self.is_presumed, answer);
        let frame = CallFrame {
            owner: Arc::clone(&context.owner),
            role: self.endpoint.role,
            server: self.endpoint.server(context),
            peer: self.endpoint.peer(context),
            timing: self.timing,
            completeness: self.completeness,
            capture: context.capture,
            correlation: self.correlation,
        };
        Some(self.call.build(frame, ending))
    }

    /// Whether it worked, and what that means for choices that did not end.
    fn conclude(&mut self, framing: FramingEnd, lost: bool, answer: AnswerEnd) -> Ending {
        let Some(status) = self.call.response.status else {
            if lost {
                // It may have been answered all the same.
                return Ending::Unknown;
            }
            self.call.fail(Some("connection_closed"), None);
            return Ending::Broken;
        };
        if status >= 400 {
            self.call.fail(Some(&status.to_string()), None);
            return Ending::Seen;
        }
        if self.call.has_failed() {
            return Ending::Broken;
        }
        match framing {
            FramingEnd::Finished if lost => Ending::Unknown,
            FramingEnd::Finished => Ending::Seen,
            FramingEnd::Malformed(_) => Ending::Unknown,
            // Many clients hang up once they have the last event; what they wanted has arrived.
            FramingEnd::Cut if self.call.is_finished() && answer.readable => Ending::Seen,
            FramingEnd::Cut if lost => Ending::Unknown,
            FramingEnd::Cut => {
                // Who hung up is not told apart here: a stream is mostly given up by its reader, a body of known length by its sender.
                self.call.fail(Some(if answer.streamed { "cancelled" } else { "connection_closed" }), None);
                Ending::Broken
            }
        }
    }
}

/// Bytes that were seen and could not be decoded are missing all the same.
const fn undecoded(framing: FramingEnd) -> Completeness {
    match framing {
        FramingEnd::Malformed(_) => Completeness::Gap { lost: None, causes: LossCauses(0) },
        FramingEnd::Finished | FramingEnd::Cut => Completeness::Whole,
    }
}

/// Best first: the provider's own, the gateways' before it.
const REQUEST_ID_FIELDS: [&str; 7] =
    ["x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "x-debug-trace-id", "mistral-correlation-id", "cf-ray"];

pub(super) fn request_id(head: &ResponseHead) -> Option<String> {
    // Where a field may have been missed, a lesser one does not stand in for it.
    let asked = if head.headers.has_unseen() { REQUEST_ID_FIELDS.get(..1) } else { None };
    asked.unwrap_or(&REQUEST_ID_FIELDS).iter().find_map(|name| head.headers.text(name).map(|value| clip(value, HEADER_FACT_BYTES)))
}

pub(super) fn request_facts(head: &RequestHead, call: &mut CallBuilder) {
    let text = |name| head.headers.text(name).filter(|value| !value.is_empty()).map(|value| clip(value, HEADER_FACT_BYTES));
    let facts = &mut call.request;
    facts.retry_count = text("x-stainless-retry-count").and_then(|count| count.parse().ok());
    facts.user_agent = head.headers.text("user-agent").map(|agent| clip(agent, USER_AGENT_BYTES));
    facts.organization = text("openai-organization");
    facts.project = text("openai-project");
    facts.credential_fingerprint = head.headers.credential().map(str::to_owned);
    // Azure's classic paths name the deployment, the first ones of all an engine, and the body then need not name a model.
    let named = ["/deployments/", "/engines/"].into_iter().find_map(|mark| head.path.split_once(mark)?.1.split('/').next());
    // Azure AI Inference takes the model in a field, too.
    facts.model = named.map(|name| clip(name, HEADER_FACT_BYTES)).or_else(|| text("x-ms-model-mesh-model-name"));
}

fn clip(text: &str, limit: usize) -> String {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text).to_owned()
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("id", &self.id).field("provider", &self.route.provider).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
