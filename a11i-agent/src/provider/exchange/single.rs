//! One exchange: its request, then its answer, as they come.

use std::sync::Arc;

use a11i_common::identity::BootTime;

use super::{
    ConnectionContext, ExchangeCounters,
    head_facts::{request_facts, request_id, stated_cost},
};
use crate::{
    call::{CallBuilder, CallFrame, Completeness, Correlation, Ending, LlmCall, LossCauses, Operation, Timing},
    http::{BodyEnd, ExchangeId, FramingEnd, RequestHead, ResponseHead, multipart::MultipartParser},
    provider::{
        Route,
        answer::{Answer, AnswerEnd, EventFeed, Label},
        body::BodyBuffer,
        endpoint::Endpoint,
        grpc_status,
        lenient::{mended, parse},
        names, rate_limit, trace_context,
    },
};

pub(super) struct Exchange {
    pub(super) id: ExchangeId,
    pub(super) route: Route,
    pub(super) endpoint: Endpoint,
    pub(super) correlation: Correlation,
    pub(super) call: Box<CallBuilder>,
    pub(super) timing: Timing,
    pub(super) request: RequestBody,
    answer: Answer,
    /// What of the request, so far of the response, is missing.
    pub(super) completeness: Completeness,
    response_gap: bool,
    /// Only the body told that it is a call: what becomes of it is not judged.
    pub(super) is_presumed: bool,
    /// Part of the request is missing, and the rest does not look like a call: only the answer can tell.
    pub(super) is_doubtful: bool,
    /// Its path or a field of its head names what may be a model.
    names_model: bool,
}

pub(super) enum RequestBody {
    Arriving(BodyBuffer),
    Form(Box<MultipartParser>),
    Read,
}

impl RequestBody {
    fn of(head: &RequestHead) -> Self {
        let form = head.headers.text("content-type").and_then(MultipartParser::of);
        form.map_or_else(|| Self::Arriving(BodyBuffer::default()), |form| Self::Form(Box::new(form)))
    }

    /// An empty piece says that bytes are missing here.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Arriving(body) if bytes.is_empty() => body.gap(),
            Self::Arriving(body) => body.push(bytes),
            Self::Form(form) if bytes.is_empty() => form.gap(),
            Self::Form(form) => form.push(bytes),
            Self::Read => {}
        }
    }
}

impl Exchange {
    pub(super) fn new(id: ExchangeId, head: RequestHead, route: Route, keep_content: bool) -> Self {
        let mut call = Box::new(CallBuilder::new(route.provider.clone(), route.operation, keep_content));
        request_facts(&head, &mut call);
        let names_model = call.request.model.is_some();
        route.dialect.request_head(&head, &mut call);
        Self {
            id,
            names_model,
            request: RequestBody::of(&head),
            endpoint: Endpoint { role: head.role, host: head.host, port: head.port, known_host: route.known_host },
            correlation: Correlation { parent: trace_context::parent(&head.headers), ..Correlation::default() },
            timing: Timing { start: head.first_byte, ..Timing::default() },
            route,
            call,
            answer: Answer::Awaited(Label::Absent, 0),
            completeness: Completeness::Whole,
            response_gap: false,
            is_presumed: false,
            is_doubtful: false,
        }
    }

    /// Reads the request's body. False: it is none of a model call.
    pub(super) fn end_request(&mut self, end: BodyEnd) -> bool {
        let request = std::mem::replace(&mut self.request, RequestBody::Read);
        let finished = end.framing == FramingEnd::Finished;
        let complete = finished && end.completeness.is_whole();
        let (dialect, operation) = (self.route.dialect, self.route.operation);
        self.completeness = self.completeness.join(end.completeness).join(undecoded(end.framing));
        let mut body = match request {
            RequestBody::Read => return true,
            RequestBody::Arriving(body) => body,
            RequestBody::Form(form) => {
                if form.is_truncated() {
                    self.call.mark_content_truncated();
                }
                // An object is always readable.
                let _nothing_to_read = dialect.request(operation, &mended(&form.finish()), &mut self.call).is_err();
                return self.is_call(complete);
            }
        };
        let read = complete && body.whole().is_some_and(|body| dialect.request(operation, &mended(body), &mut self.call).is_ok());
        if !read {
            if body.is_over_cap() {
                self.call.mark_content_truncated();
            }
            self.call.request_is_partial = true;
            // An object is always readable.
            let _nothing_to_read = dialect.request(operation, &mended(&body.salvage(finished)), &mut self.call).is_err();
        }
        self.is_call(complete && !body.is_over_cap())
    }

    /// Whether the request is or may be one of a model call, now that its body was seen. `complete`: all of it.
    fn is_call(&mut self, complete: bool) -> bool {
        // A word of a path at a host that nobody vouches for is no sign of a model.
        let says = !self.names_model || !self.call.estimation.input.is_empty();
        let resembles = says && self.route.dialect.resembles(&self.call);
        self.is_doubtful = !self.route.certain && !resembles;
        // What is fetched is asked for without a body: the answer tells.
        let may_be_told = !complete || self.route.operation == Operation::FetchResponse;
        !self.is_doubtful || may_be_told && !self.route.by_shape
    }

    /// The answer may come before the end of the request is told (HTTP/2 tells it apart from the body), and is read by what was asked.
    /// False: it is none of a model call.
    pub(super) fn read_request_early(&mut self) -> bool {
        if let RequestBody::Arriving(body) = &self.request
            && body.whole().is_some_and(|body| parse::<serde::de::IgnoredAny>(&mended(body)).is_ok())
        {
            return self.end_request(BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Finished });
        }
        true
    }

    pub(super) fn begin_response(&mut self, head: &ResponseHead) {
        let response = &mut self.call.response;
        response.status = Some(head.status);
        // Where a field may have been missed, a lesser one does not stand in for it.
        if !head.headers.has_unseen() {
            response.rate_limit = rate_limit::of(&head.headers);
        }
        response.request_id = request_id(head);
        response.stated_cost = stated_cost(head);
        // The response names the organisation that the key belongs to, also where the request does not.
        let organization = head.headers.text("openai-organization").map(names::in_field);
        let request = &mut self.call.request;
        request.organization = request.organization.take().or(organization);
        grpc_status::read(&head.headers, &mut self.call);
        self.route.dialect.response_head(head, &mut self.call);
        self.answer = Answer::begin(head);
    }

    pub(super) fn response_bytes(&mut self, bytes: &[u8], time: BootTime) {
        let mut feed = EventFeed { route: &self.route, call: &mut self.call, timing: &mut self.timing, time };
        // Without its head, nobody knows whether these are its first.
        let gap = self.response_gap || feed.call.response.status.is_none();
        self.answer.push(bytes, gap, &mut feed);
    }

    pub(super) fn lose_response_bytes(&mut self) {
        self.response_gap = true;
        self.timing.gaps.lose();
        self.answer.gap();
    }

    /// The call; `None`: it was none.
    pub(super) fn finish(
        mut self,
        end: BodyEnd,
        time: BootTime,
        context: &ConnectionContext,
        counters: &mut ExchangeCounters,
    ) -> Option<LlmCall> {
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

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("id", &self.id).field("provider", &self.route.provider).finish_non_exhaustive()
    }
}
