//! A WebSocket on one stream (RFC 8441): asked for by an extended CONNECT, accepted by any success. The stream's data are its bytes.

use a11i_common::identity::{BootTime, Direction};

use crate::{
    call::{Completeness, LossCauses},
    flow::{Gap, Segment, SegmentBody},
    http::{
        ExchangeId, HttpEvent, Interest, RequestHead, ResponseHead,
        context::Context,
        websocket::{Accepted, WebSocket},
    },
};

/// Most that is held of what a client sends before the answer was seen, which it has to wait for.
const EARLY_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) enum Socket {
    /// The answer is awaited.
    Asked {
        early: Vec<u8>,
        /// Not all that came is in `early`.
        is_cut: bool,
    },
    Accepted(Box<WebSocket>),
}

impl Socket {
    /// Where the request asks for one.
    pub(super) fn asked(head: &RequestHead) -> Option<Self> {
        let protocol = head.headers.text(":protocol")?;
        let is_asked = head.method == "CONNECT" && protocol.trim().eq_ignore_ascii_case("websocket");
        is_asked.then_some(Self::Asked { early: Vec::new(), is_cut: false })
    }

    pub(super) const fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted(_))
    }

    /// The answer has come, and it is no refusal.
    pub(super) fn accepted(self, head: &ResponseHead, exchange: ExchangeId, context: &mut Context<'_>) -> Self {
        let Self::Asked { early, is_cut } = self else { return self };
        let extensions = head.headers.text("sec-websocket-extensions").unwrap_or_default().to_owned();
        let accepted = Accepted { exchange, extensions, rest: Vec::new() };
        let mut socket = Box::new(WebSocket::new(direction(true), &accepted, context.settings.decode));
        let uncounted = Gap { lost: None, causes: LossCauses(0) };
        for body in [SegmentBody::Bytes(&early), SegmentBody::Gap(uncounted)] {
            let is_there = if matches!(body, SegmentBody::Gap(_)) { is_cut } else { !early.is_empty() };
            if is_there {
                socket.push(Segment { direction: direction(true), time: head.first_byte, body }, context);
            }
        }
        Self::Accepted(socket)
    }

    /// Bytes, a loss or the end of one side. What is said of the messages that come of it.
    pub(super) fn push(&mut self, is_request: bool, body: SegmentBody<'_>, time: BootTime, context: &mut Context<'_>) -> Interest {
        let socket = match self {
            Self::Accepted(socket) => socket,
            Self::Asked { early, is_cut } => {
                match body {
                    SegmentBody::Bytes(bytes) if is_request && !*is_cut && early.len().saturating_add(bytes.len()) <= EARLY_BYTES => {
                        early.extend_from_slice(bytes);
                    }
                    SegmentBody::Bytes(_) | SegmentBody::Gap(_) => *is_cut |= is_request,
                    SegmentBody::End => {}
                }
                return Interest::Wanted;
            }
        };
        let mut interest = Interest::Wanted;
        let mut sink = |event: HttpEvent<'_>| {
            let said = (context.sink)(event);
            if said == Interest::Declined {
                interest = said;
            }
            said
        };
        let mut within = Context { settings: context.settings, notices: context.notices, sink: &mut sink, decoders: context.decoders };
        socket.push(Segment { direction: direction(is_request), time, body }, &mut within);
        interest
    }

    /// The stream was cut.
    pub(super) fn close(&mut self, time: BootTime, context: &mut Context<'_>) {
        if let Self::Accepted(socket) = self {
            socket.close(time, context);
        }
    }
}

/// As a gap in the stream's data.
pub(super) const fn gap(missing: Completeness) -> Gap {
    match missing {
        Completeness::Gap { lost, causes } => Gap { lost, causes },
        Completeness::Whole | Completeness::JoinedLate => Gap { lost: None, causes: LossCauses(0) },
    }
}

/// Within a stream, who asks is known.
const fn direction(is_request: bool) -> Direction {
    if is_request { Direction::Write } else { Direction::Read }
}
