//! One HTTP exchange that carries MCP: what was posted, and what came back as JSON or as events.

use std::sync::Arc;

use a11i_common::identity::BootTime;

use super::{
    McpSink,
    message::{self, Answer, Call, Message},
    pending::{PendingRequests, Place, RequestKey},
    recognise::{Likelihood, is_method, session_of_endpoint, session_parameter},
    session::SessionKey,
};
use crate::{
    call::{Completeness, LossCauses, McpMessage, Role},
    http::{BodyEnd, ExchangeId, FramingEnd, HttpEvent, HttpEventKind, RequestHead, ResponseHead, sse::SseParser},
    provider::{body::BodyBuffer, endpoint::Endpoint, exchange::ConnectionContext, trace_context},
};

/// Longest session id and version kept.
const NAME_BYTES: usize = 128;

#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) id: ExchangeId,
    /// The number of its connection.
    connection: u64,
    certain: bool,
    keep_content: bool,
    is_post: bool,
    is_delete: bool,
    /// The old transport's, which its session lives with.
    is_session_stream: bool,
    endpoint: Endpoint,
    /// From the header fields of the streamable transport.
    session: Option<String>,
    /// From the query, of the old one.
    old_session: Option<String>,
    version: Option<String>,
    parent: Option<crate::call::TraceParent>,
    start: BootTime,
    request: Option<BodyBuffer>,
    /// Requests that were posted and are answered here.
    waiting: Vec<(String, McpMessage)>,
    /// Notifications that were posted: accepted or not, the status tells.
    told: Vec<McpMessage>,
    status: Option<u16>,
    answer: Body,
    completeness: Completeness,
}

#[derive(Debug, Default)]
enum Body {
    #[default]
    Awaited,
    Json(BodyBuffer),
    Events(Box<SseParser>),
}

impl Exchange {
    pub(super) fn new((connection, id): (u64, ExchangeId), head: &RequestHead, likelihood: Likelihood, keep_content: bool) -> Self {
        let text = |name| head.headers.text(name).map(clip);
        Self {
            id,
            connection,
            certain: likelihood == Likelihood::Certain,
            keep_content,
            is_post: head.method == "POST",
            is_delete: head.method == "DELETE",
            is_session_stream: false,
            endpoint: Endpoint { role: head.role, host: head.host.clone(), port: head.port, known_host: false },
            session: text("mcp-session-id"),
            old_session: session_parameter(head).map(clip),
            version: text("mcp-protocol-version"),
            parent: trace_context::parent(&head.headers),
            start: head.first_byte,
            request: Some(BodyBuffer::default()),
            waiting: Vec::new(),
            told: Vec::new(),
            status: None,
            answer: Body::Awaited,
            completeness: Completeness::Whole,
        }
    }

    pub(super) const fn is_certain(&self) -> bool {
        self.certain
    }

    pub(super) fn mark(&mut self, missing: Completeness) -> usize {
        self.completeness = self.completeness.join(missing);
        if self.certain { self.waiting.len().saturating_add(self.told.len()) } else { 0 }
    }

    /// Whether the exchange is over, or none of MCP's.
    pub(super) fn handle(
        &mut self,
        event: &HttpEvent<'_>,
        context: &ConnectionContext,
        pending: &mut PendingRequests,
        sink: McpSink<'_>,
    ) -> bool {
        let time = event.time;
        match &event.kind {
            HttpEventKind::Request(_)
            | HttpEventKind::ResponseTrailers(_)
            | HttpEventKind::Message(_)
            | HttpEventKind::MessagesMissing { .. } => {}
            HttpEventKind::RequestBody(bytes) => {
                if let Some(body) = &mut self.request {
                    if bytes.is_empty() { body.gap() } else { body.push(bytes) }
                }
            }
            HttpEventKind::RequestEnd(end) => {
                self.end_request(*end, context, pending, sink);
                return self.is_post && !self.certain;
            }
            HttpEventKind::Response(head) => return !self.begin_response(head),
            HttpEventKind::ResponseBody([]) => match &mut self.answer {
                Body::Awaited => {}
                Body::Json(body) => body.gap(),
                Body::Events(parser) => parser.reset_after_gap(),
            },
            HttpEventKind::ResponseBody(bytes) => return !self.response_bytes(bytes, time, context, pending, sink),
            HttpEventKind::ResponseEnd(end) => {
                self.finish(*end, time, context, pending, sink);
                return true;
            }
        }
        false
    }

    fn end_request(&mut self, end: BodyEnd, context: &ConnectionContext, pending: &mut PendingRequests, sink: McpSink<'_>) {
        let Some(mut body) = self.request.take().filter(|_| self.is_post) else { return };
        self.completeness = self.completeness.join(end.completeness);
        let finished = end.framing == FramingEnd::Finished;
        let salvaged;
        let is_whole = finished && body.whole().is_some();
        let bytes = if is_whole {
            body.whole().unwrap_or_default()
        } else {
            salvaged = body.salvage(finished);
            &salvaged
        };
        for message in message::read(bytes, self.keep_content) {
            match message {
                Message::Call(call) => {
                    if !self.certain && !is_method(&call.message.method) {
                        continue;
                    }
                    self.certain = true;
                    self.post(*call, context, pending, sink);
                }
                // Alone it proves nothing: another protocol's answers look the same.
                Message::Answer(answer) => {
                    let place = self.place(context, false, answer.id.clone());
                    self.certain |= pending.awaits(&place.key);
                    if self.certain {
                        pending.answer(place, answer, self.start, sink);
                    }
                }
            }
        }
    }

    /// A message that the HTTP client sends.
    fn post(&mut self, call: Call, context: &ConnectionContext, pending: &mut PendingRequests, sink: McpSink<'_>) {
        let Call { id, message, parent } = call;
        let mut message = self.complete(message, context, self.start);
        message.role = self.endpoint.role;
        message.correlation.parent = parent.or(self.parent);
        match id {
            // Its answer comes on the stream that the session began with.
            Some(id) if self.old_session.is_some() => pending.ask(self.place(context, true, id), message, sink),
            Some(id) => self.waiting.push((id, message)),
            None => self.told.push(message),
        }
    }

    /// False: it is no MCP.
    fn begin_response(&mut self, head: &ResponseHead) -> bool {
        self.status = Some(head.status);
        if let Some(session) = head.headers.text("mcp-session-id") {
            self.session = Some(clip(session));
            self.certain = true;
            for (_, message) in &mut self.waiting {
                message.session_id.clone_from(&self.session);
            }
        }
        let content_type = head.headers.text("content-type").unwrap_or_default().trim_start();
        let events = content_type.get(..17).is_some_and(|start| start.eq_ignore_ascii_case("text/event-stream"));
        self.answer = if events { Body::Events(Box::default()) } else { Body::Json(BodyBuffer::default()) };
        self.certain || events && head.status < 400
    }

    /// False: it is no MCP.
    fn response_bytes(
        &mut self,
        bytes: &[u8],
        time: BootTime,
        context: &ConnectionContext,
        pending: &mut PendingRequests,
        sink: McpSink<'_>,
    ) -> bool {
        let mut answer = std::mem::take(&mut self.answer);
        let mut refused = false;
        match &mut answer {
            Body::Awaited => {}
            Body::Json(body) => body.push(bytes),
            Body::Events(parser) => {
                parser.push(bytes, |event| refused |= !self.event(event.event, event.data, time, context, pending, sink));
            }
        }
        self.answer = answer;
        !refused
    }

    /// False: a stream that begins so is none of MCP's.
    fn event(
        &mut self,
        name: Option<&str>,
        data: &[u8],
        time: BootTime,
        context: &ConnectionContext,
        pending: &mut PendingRequests,
        sink: McpSink<'_>,
    ) -> bool {
        if name == Some("endpoint") {
            if let Some(session) = std::str::from_utf8(data).ok().and_then(session_of_endpoint) {
                self.old_session = Some(clip(session));
                (self.certain, self.is_session_stream) = (true, true);
            }
            return self.certain;
        }
        self.messages(data, time, context, pending, sink);
        self.certain
    }

    /// Messages that the HTTP server sends.
    fn messages(&mut self, body: &[u8], time: BootTime, context: &ConnectionContext, pending: &mut PendingRequests, sink: McpSink<'_>) {
        for message in message::read(body, self.keep_content) {
            match message {
                Message::Answer(answer) => self.answered(answer, time, context, pending, sink),
                Message::Call(call) if self.certain => {
                    let Call { id, message, parent } = *call;
                    let mut message = self.complete(message, context, time);
                    message.role = if self.endpoint.role == Role::Client { Role::Server } else { Role::Client };
                    message.correlation.parent = parent;
                    match id {
                        Some(id) => pending.ask(self.place(context, false, id), message, sink),
                        None => sink(message),
                    }
                }
                Message::Call(_) => {}
            }
        }
    }

    fn answered(
        &mut self,
        answer: Box<Answer>,
        time: BootTime,
        context: &ConnectionContext,
        pending: &mut PendingRequests,
        sink: McpSink<'_>,
    ) {
        let Some(at) = self.waiting.iter().position(|(id, _)| *id == answer.id) else {
            if self.certain {
                pending.answer(self.place(context, true, answer.id.clone()), answer, time, sink);
            }
            return;
        };
        let (_, mut message) = self.waiting.remove(at);
        message.completeness = message.completeness.join(self.completeness);
        message.http_status = self.status;
        answer.conclude(&mut message);
        message.timing.end = time;
        pending.sessions.handle_answer(&message);
        sink(message);
    }

    fn finish(&mut self, end: BodyEnd, time: BootTime, context: &ConnectionContext, pending: &mut PendingRequests, sink: McpSink<'_>) {
        if self.request.is_some() {
            // Answered before the request was over, or the connection ended within it.
            self.end_request(BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Cut }, context, pending, sink);
        }
        let before = self.completeness;
        self.completeness = self.completeness.join(end.completeness);
        let finished = end.framing == FramingEnd::Finished;
        match std::mem::take(&mut self.answer) {
            Body::Awaited => {}
            Body::Json(mut body) => {
                let whole = body.whole().filter(|_| finished).map(<[u8]>::to_vec);
                let bytes = whole.unwrap_or_else(|| body.salvage(finished));
                self.messages(&bytes, time, context, pending, sink);
            }
            Body::Events(mut parser) => {
                if finished {
                    parser.finish(|event| {
                        self.event(event.event, event.data, time, context, pending, sink);
                    });
                }
            }
        }
        if !self.certain {
            return;
        }
        self.end_session(end, time, context, pending);
        let lost = !self.completeness.is_whole();
        for (_, message) in std::mem::take(&mut self.waiting) {
            sink(self.unanswered(message, lost, finished, time));
        }
        for mut message in std::mem::take(&mut self.told) {
            message.completeness = before;
            message.http_status = self.status;
            message.timing.end = time;
            refuse(&mut message);
            sink(message);
        }
    }

    /// What the end of the exchange means for its session.
    fn end_session(&self, end: BodyEnd, time: BootTime, context: &ConnectionContext, pending: &mut PendingRequests) {
        let Some(id) = self.session.as_ref().or(self.old_session.as_ref()).cloned() else { return };
        let key = SessionKey { process: context.owner.process, role: self.endpoint.role, id };
        match self.status {
            _ if self.is_session_stream => {
                let unseen = matches!(end.completeness, Completeness::Gap { causes, .. } if causes.has(LossCauses::END_UNSEEN));
                if unseen { pending.sessions.lose_sight(&key, time) } else { pending.sessions.end(&key, time, None) }
            }
            // A server that does not let clients end sessions says 405; the client is done with it all the same.
            Some(200..300 | 404 | 405) if self.is_delete => pending.sessions.end(&key, time, None),
            // The server has ended it (2025-03-26, session management).
            Some(404) if self.session.is_some() => pending.sessions.end(&key, time, Some("404".to_owned())),
            _ => {}
        }
    }

    /// The exchange is over, and the request was not answered in it.
    fn unanswered(&self, mut message: McpMessage, lost: bool, finished: bool, time: BootTime) -> McpMessage {
        message.completeness = message.completeness.join(self.completeness);
        message.http_status = self.status;
        message.timing.end = time;
        refuse(&mut message);
        if message.outcome.error_type.is_none() && !lost {
            if finished && self.status.is_some() {
                // Accepted: the answer comes where nobody could tell, over a stream that is resumed or was there before.
                message.completeness = message.completeness.join(Completeness::Gap { lost: None, causes: LossCauses::END_UNSEEN });
            } else {
                let events = self.status.is_some();
                message.outcome.error_type = Some(if events { "cancelled" } else { "connection_closed" }.to_owned());
            }
        }
        message
    }

    /// What the exchange and its connection know of a message.
    fn complete(&self, mut message: McpMessage, context: &ConnectionContext, time: BootTime) -> McpMessage {
        message.owner = Arc::clone(&context.owner);
        message.server = self.endpoint.server(context);
        message.peer = self.endpoint.peer(context);
        message.session_id = self.session.clone().or_else(|| self.old_session.clone());
        message.protocol_version = message.protocol_version.or_else(|| self.version.clone());
        message.timing.start = time;
        message.timing.end = time;
        message.completeness = self.completeness;
        message.capture = context.capture;
        message
    }

    fn place(&self, context: &ConnectionContext, by_client: bool, id: String) -> Place {
        let session = self.session.as_ref().or(self.old_session.as_ref()).cloned().unwrap_or_default();
        let key = RequestKey { process: context.owner.process, role: self.endpoint.role, session, by_client, id };
        Place { key, connection: self.connection }
    }
}

/// The HTTP server refused the request it came with.
fn refuse(message: &mut McpMessage) {
    if let Some(status) = message.http_status.filter(|status| *status >= 400) {
        message.outcome.error_type.get_or_insert_with(|| status.to_string());
    }
}

fn clip(text: &str) -> String {
    text.get(..text.floor_char_boundary(NAME_BYTES)).unwrap_or(text).to_owned()
}
