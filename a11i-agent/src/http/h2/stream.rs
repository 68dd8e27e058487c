//! One stream: a request and its response.

use a11i_common::identity::BootTime;

use super::{
    UNCOUNTED,
    socket::{self, Socket},
};
use crate::{
    call::Completeness,
    flow::SegmentBody,
    http::{
        BodyEnd, ExchangeId, FramingEnd, Headers, HttpEventKind, Interest, RequestHead, ResponseHead,
        context::{Context, ask, emit},
        message::Message,
    },
};

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) exchange: ExchangeId,
    pub(super) request: Side,
    pub(super) response: Side,
    /// The response is over, but its request is not: told when that is.
    response_end: Option<(BodyEnd, BootTime)>,
    /// Its end may have been among what was lost.
    pub(super) is_doubtful: bool,
    /// Nobody wants its bodies: nothing of them is decoded.
    is_declined: bool,
    /// A WebSocket was asked for, or goes on here.
    socket: Option<Socket>,
}

/// One message of it.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) message: Message,
    pub(super) has_head: bool,
    pub(super) is_over: bool,
    /// Lost before its head.
    missing: Completeness,
    /// That bytes are missing was said, and none has come since.
    gap_told: bool,
}

impl Stream {
    pub(super) fn new(exchange: ExchangeId) -> Self {
        Self {
            exchange,
            request: Side::default(),
            response: Side::default(),
            response_end: None,
            is_doubtful: false,
            is_declined: false,
            socket: None,
        }
    }

    /// Its request came another way, and its end was told.
    pub(super) fn asked_before(exchange: ExchangeId) -> Self {
        Self { request: Side { has_head: true, is_over: true, ..Side::default() }, ..Self::new(exchange) }
    }

    pub(super) const fn side_mut(&mut self, is_request: bool) -> &mut Side {
        if is_request { &mut self.request } else { &mut self.response }
    }

    /// The request's head has come: `missing` of it was not seen.
    pub(super) fn ask(&mut self, head: RequestHead, codings: &str, missing: Completeness, context: &mut Context<'_>) {
        let first_byte = head.first_byte;
        self.socket = Socket::asked(&head);
        self.tell(first_byte, HttpEventKind::Request(Box::new(head)), context);
        self.begin(true, codings, missing, context);
    }

    /// The response's.
    pub(super) fn answer(&mut self, head: ResponseHead, codings: &str, missing: Completeness, context: &mut Context<'_>) {
        let first_byte = head.first_byte;
        let socket = self.socket.take().map(|socket| (socket, head.clone()));
        self.tell(first_byte, HttpEventKind::Response(Box::new(head)), context);
        self.begin(false, codings, missing, context);
        if let Some((socket, head)) = socket.filter(|(_, head)| (200..300).contains(&head.status) && !self.is_declined) {
            self.accept(socket, &head, context);
        }
    }

    /// What was asked for as a request goes on as messages.
    fn accept(&mut self, socket: Socket, head: &ResponseHead, context: &mut Context<'_>) {
        let is_half_over = self.request.is_over;
        if !is_half_over {
            let end = self.request.message.end(FramingEnd::Finished);
            self.tell(head.first_byte, HttpEventKind::RequestEnd(end), context);
        }
        let mut socket = socket.accepted(head, self.exchange, context);
        if is_half_over {
            socket.push(true, SegmentBody::End, head.first_byte, context);
        }
        self.socket = Some(socket);
    }

    fn begin(&mut self, is_request: bool, codings: &str, missing: Completeness, context: &Context<'_>) {
        // Nothing is allocated for a body that is not decoded.
        let codings = if self.is_declined { "" } else { codings };
        let side = self.side_mut(is_request);
        side.has_head = true;
        let missing = std::mem::take(&mut side.missing).join(missing);
        side.message = Message::new(codings, context.settings.decode, missing);
    }

    /// What followed the response's body. Messages have none, and end by themselves.
    pub(super) fn trailers(&mut self, trailers: Headers, time: BootTime, context: &mut Context<'_>) {
        if !self.is_declined && !self.response.is_over && self.socket.is_none() {
            self.tell(time, HttpEventKind::ResponseTrailers(Box::new(trailers)), context);
        }
    }

    pub(super) fn data(&mut self, is_request: bool, bytes: &[u8], time: BootTime, context: &mut Context<'_>) {
        let (exchange, is_declined) = (self.exchange, self.is_declined);
        if let Some(socket) = self.socket.as_mut().filter(|_| !is_declined) {
            let interest = socket.push(is_request, SegmentBody::Bytes(bytes), time, context);
            self.side_mut(is_request).gap_told = false;
            return self.heed(interest, context);
        }
        let side = self.side_mut(is_request);
        // Of a body without its head nobody knows the coding.
        if !side.has_head || side.is_over || is_declined {
            return;
        }
        side.gap_told = false;
        let held = side.message.held();
        let others = context.decoders.saturating_sub(held);
        let memory = context.settings.decode.memory.saturating_sub(others);
        let mut interest = Interest::Wanted;
        side.message.body_within(bytes, memory, &mut |decoded| {
            // Of what is decoded at once, the rest is given all the same.
            if ask(context, exchange, time, body(is_request, decoded)) == Interest::Declined {
                interest = Interest::Declined;
            }
        });
        *context.decoders = others.saturating_add(side.message.held());
        self.heed(interest, context);
    }

    /// Bytes of it are missing, or may be. That is said once, until others come.
    pub(super) fn gap(&mut self, is_request: bool, missing: Completeness, time: BootTime, context: &mut Context<'_>) {
        let is_declined = self.is_declined;
        let side = self.side_mut(is_request);
        if side.is_over {
            return;
        }
        let gap = socket::gap(missing);
        let is_known = gap.lost.is_none() && side.gap_told;
        if let Some(socket) = self.socket.as_mut().filter(|_| !is_declined && !is_known) {
            let interest = socket.push(is_request, SegmentBody::Gap(gap), time, context);
            self.heed(interest, context);
        }
        let is_body = self.socket.as_ref().is_none_or(|socket| !socket.is_accepted());
        let side = self.side_mut(is_request);
        if !is_body {
            side.gap_told = true;
            return;
        }
        if !side.has_head {
            side.missing = side.missing.join(missing);
            return;
        }
        let held = side.message.held();
        side.message.gap(missing);
        *context.decoders = context.decoders.saturating_sub(held).saturating_add(side.message.held());
        if !std::mem::replace(&mut side.gap_told, true) && !is_declined {
            self.tell(time, body(is_request, &[]), context);
        }
    }

    /// The peer has ended its half. True: both are over, and the exchange was told to be.
    pub(super) fn end(&mut self, is_request: bool, framing: FramingEnd, time: BootTime, context: &mut Context<'_>) -> bool {
        if let Some(socket) = self.socket.as_mut().filter(|socket| socket.is_accepted()) {
            if framing == FramingEnd::Finished {
                socket.push(is_request, SegmentBody::End, time, context);
            } else {
                socket.close(time, context);
            }
            self.side_mut(is_request).is_over = true;
            return self.request.is_over && self.response.is_over;
        }
        let side = self.side_mut(is_request);
        if !side.is_over {
            side.is_over = true;
            *context.decoders = context.decoders.saturating_sub(side.message.held());
            let end = side.message.end(framing);
            // A message that is over had a head, whoever saw it.
            let headless = !side.has_head && framing == FramingEnd::Finished && side.missing.is_whole();
            let missing = std::mem::take(&mut side.missing).join(if headless { UNCOUNTED } else { Completeness::Whole });
            let end = BodyEnd { completeness: missing.join(end.completeness), ..end };
            if is_request {
                self.tell(time, HttpEventKind::RequestEnd(end), context);
            } else {
                self.response_end = Some((end, time));
            }
        }
        self.tell_end(context)
    }

    /// Both halves are over, whatever was missing of them.
    pub(super) fn close(&mut self, framing: FramingEnd, time: BootTime, context: &mut Context<'_>) {
        self.end(true, framing, time, context);
        self.end(false, framing, time, context);
    }

    fn tell(&mut self, time: BootTime, kind: HttpEventKind<'_>, context: &mut Context<'_>) {
        let interest = ask(context, self.exchange, time, kind);
        self.heed(interest, context);
    }

    fn heed(&mut self, interest: Interest, context: &mut Context<'_>) {
        if interest == Interest::Declined && !std::mem::replace(&mut self.is_declined, true) {
            for side in [&mut self.request, &mut self.response] {
                *context.decoders = context.decoders.saturating_sub(side.message.held());
                side.message.decline();
            }
        }
    }

    fn tell_end(&mut self, context: &mut Context<'_>) -> bool {
        if !self.request.is_over {
            return false;
        }
        let Some((end, time)) = self.response_end.take() else { return false };
        emit(context, self.exchange, time, HttpEventKind::ResponseEnd(end));
        true
    }
}

const fn body(is_request: bool, bytes: &[u8]) -> HttpEventKind<'_> {
    if is_request { HttpEventKind::RequestBody(bytes) } else { HttpEventKind::ResponseBody(bytes) }
}
