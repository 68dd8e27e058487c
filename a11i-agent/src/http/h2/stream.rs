//! One stream: a request and its response.

use a11i_common::identity::BootTime;

use super::UNCOUNTED;
use crate::{
    call::Completeness,
    http::{
        BodyEnd, ExchangeId, FramingEnd, HttpEventKind,
        context::{Context, emit},
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
}

/// One message of it.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) message: Message,
    pub(super) has_head: bool,
    pub(super) is_over: bool,
    /// Lost before its head.
    missing: Completeness,
}

impl Stream {
    pub(super) fn new(exchange: ExchangeId) -> Self {
        Self { exchange, request: Side::default(), response: Side::default(), response_end: None, is_doubtful: false }
    }

    /// Its request came another way, and its end was told.
    pub(super) fn asked_before(exchange: ExchangeId) -> Self {
        Self { request: Side { has_head: true, is_over: true, ..Side::default() }, ..Self::new(exchange) }
    }

    pub(super) const fn side_mut(&mut self, is_request: bool) -> &mut Side {
        if is_request { &mut self.request } else { &mut self.response }
    }

    /// The head has come: `missing` of it was not seen.
    pub(super) fn begin(&mut self, is_request: bool, codings: &str, missing: Completeness, context: &Context<'_>) {
        let side = self.side_mut(is_request);
        side.has_head = true;
        let missing = std::mem::take(&mut side.missing).join(missing);
        side.message = Message::new(codings, context.settings.decode, missing);
    }

    pub(super) fn data(&mut self, is_request: bool, bytes: &[u8], time: BootTime, context: &mut Context<'_>) {
        let exchange = self.exchange;
        let side = self.side_mut(is_request);
        // Of a body without its head nobody knows the coding.
        if side.has_head && !side.is_over {
            side.message.body(bytes, &mut |decoded| emit(context, exchange, time, body(is_request, decoded)));
        }
    }

    /// Bytes of it are missing, or may be.
    pub(super) fn gap(&mut self, is_request: bool, missing: Completeness, time: BootTime, context: &mut Context<'_>) {
        let exchange = self.exchange;
        let side = self.side_mut(is_request);
        if side.is_over {
            return;
        }
        if side.has_head {
            side.message.gap(missing);
            emit(context, exchange, time, body(is_request, &[]));
        } else {
            side.missing = side.missing.join(missing);
        }
    }

    /// The peer has ended its half. True: both are over, and the exchange was told to be.
    pub(super) fn end(&mut self, is_request: bool, framing: FramingEnd, time: BootTime, context: &mut Context<'_>) -> bool {
        let side = self.side_mut(is_request);
        if !side.is_over {
            side.is_over = true;
            let end = side.message.end(framing);
            // A message that is over had a head, whoever saw it.
            let headless = !side.has_head && framing == FramingEnd::Finished && side.missing.is_whole();
            let missing = std::mem::take(&mut side.missing).join(if headless { UNCOUNTED } else { Completeness::Whole });
            let end = BodyEnd { completeness: missing.join(end.completeness), ..end };
            if is_request {
                emit(context, self.exchange, time, HttpEventKind::RequestEnd(end));
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
