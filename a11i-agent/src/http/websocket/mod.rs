//! One WebSocket connection (RFC 6455) behind an accepted upgrade, watched in both directions: frames, fragments, permessage-deflate.
//!
//! Takes segments from the first byte behind the handshake; gives whole messages. A loss within a frame's payload costs that message. After
//! any other loss a direction is followed again only where a frame has proved itself: one that is a message by itself and whose payload is a
//! JSON object to its last byte. What a compressed message refers to and was missed cannot be read again: then every later one of that
//! direction is told as missing. A connection that is joined in the middle is not taken for one.

mod assembly;
mod deflate;
mod frame;

use a11i_common::identity::{BootTime, Direction};

use self::{
    assembly::{Assembled, Assembly},
    deflate::{Inflater, agreement},
    frame::{AfterGap, FrameHeader, FrameReader, Step, opcode},
};
use super::{
    BodyEnd, ConnectionNotice, ExchangeId, FramingEnd, HttpEventKind, MalformedReason, SocketMessage, SocketPeer,
    content_coding::{CodingError, DecodeLimits},
    context::{Context, emit},
};
use crate::{
    call::{Completeness, LossCauses},
    flow::{Gap, Segment, SegmentBody},
};

/// Something is missing here, and nobody counted it.
const UNCOUNTED: Completeness = Completeness::Gap { lost: None, causes: LossCauses(0) };

/// An upgrade that was accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) exchange: ExchangeId,
    /// `sec-websocket-extensions` of the answer.
    pub(super) extensions: String,
    /// What followed the answer's head in the same bytes.
    pub(super) rest: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct WebSocket {
    exchange: ExchangeId,
    client: Direction,
    requests: Side,
    responses: Side,
    missing: Completeness,
    is_over: bool,
}

/// One direction.
#[derive(Debug)]
struct Side {
    reader: FrameReader,
    assembly: Assembly,
    inflater: Option<Inflater>,
    /// Of the frame under way.
    header: Option<FrameHeader>,
    /// The peer has said goodbye, or broke the protocol: nothing more is read.
    is_over: bool,
}

impl WebSocket {
    pub(super) fn new(client: Direction, accepted: &Accepted, limits: DecodeLimits) -> Self {
        let agreed = agreement(&accepted.extensions);
        let side = |is_client: bool| {
            let without_context =
                agreed.ok().flatten().map(|agreed| if is_client { agreed.client_without_context } else { agreed.server_without_context });
            let mut reader = FrameReader::new(is_client, without_context.is_some());
            if agreed.is_err() {
                reader.lose();
            }
            Side {
                reader,
                assembly: Assembly::new(),
                inflater: without_context.map(|without_context| Inflater::new(without_context, limits)),
                header: None,
                is_over: agreed.is_err(),
            }
        };
        Self {
            exchange: accepted.exchange,
            client,
            requests: side(true),
            responses: side(false),
            missing: if agreed.is_err() { UNCOUNTED } else { Completeness::Whole },
            is_over: false,
        }
    }

    pub(super) fn push(&mut self, segment: Segment<'_>, context: &mut Context<'_>) {
        if self.is_over {
            return;
        }
        let Segment { direction, time, body } = segment;
        let is_client = direction == self.client;
        match body {
            SegmentBody::Bytes(bytes) => self.bytes(is_client, bytes, time, context),
            SegmentBody::Gap(gap) => self.gap(is_client, gap, time, context),
            SegmentBody::End => self.side_mut(is_client).is_over = true,
        }
        if self.requests.is_over && self.responses.is_over {
            self.end(FramingEnd::Finished, time, context);
        }
    }

    /// The connection is over.
    pub(super) fn close(&mut self, time: BootTime, context: &mut Context<'_>) {
        self.end(FramingEnd::Cut, time, context);
    }

    fn end(&mut self, framing: FramingEnd, time: BootTime, context: &mut Context<'_>) {
        if !self.is_over {
            self.is_over = true;
            emit(context, self.exchange, time, HttpEventKind::ResponseEnd(BodyEnd { completeness: self.missing, framing }));
        }
    }

    const fn side_mut(&mut self, is_client: bool) -> &mut Side {
        if is_client { &mut self.requests } else { &mut self.responses }
    }

    fn bytes(&mut self, is_client: bool, bytes: &[u8], time: BootTime, context: &mut Context<'_>) {
        let exchange = self.exchange;
        let side = self.side_mut(is_client);
        if side.reader.is_lost() && !side.rejoins(bytes) {
            return;
        }
        let mut rest = bytes;
        while !side.is_over {
            let (step, tail) = side.reader.next(rest);
            rest = tail;
            let done = match step {
                Step::NeedMore => return,
                Step::Begin(header) => side.begin(header, time),
                Step::Payload { bytes, mask } => side.payload(bytes, mask),
                Step::End => side.end_frame(|message| {
                    let Assembled { kind, first_byte, data, is_whole, missing } = message;
                    let message = SocketMessage { from: peer(is_client), kind, first_byte, data, is_whole, missing };
                    emit(context, exchange, time, HttpEventKind::Message(message));
                }),
                Step::Malformed => Err(MalformedReason::WebSocketFrame),
            };
            if let Err(reason) = done {
                side.give_up();
                context.notices.push(ConnectionNotice::Malformed(reason));
                self.tell_missing(is_client, UNCOUNTED, time, context);
                return;
            }
        }
    }

    fn gap(&mut self, is_client: bool, gap: Gap, time: BootTime, context: &mut Context<'_>) {
        let missing = Completeness::Gap { lost: gap.lost, causes: gap.causes };
        let side = self.side_mut(is_client);
        if side.is_over {
            return;
        }
        match side.reader.gap(gap.lost) {
            AfterGap::InPayload => {
                // A ping's content says nothing.
                if side.header.is_some_and(|header| !header.is_control()) {
                    side.assembly.gap(missing, side.inflater.as_mut());
                }
                // The frame's end needs no byte.
                self.bytes(is_client, &[], time, context);
            }
            AfterGap::Lost => {
                side.header = None;
                side.assembly.abandon();
                if let Some(inflater) = &mut side.inflater {
                    inflater.spoil();
                }
                self.tell_missing(is_client, missing, time, context);
            }
        }
    }

    fn tell_missing(&mut self, is_client: bool, missing: Completeness, time: BootTime, context: &mut Context<'_>) {
        self.missing = self.missing.join(missing);
        emit(context, self.exchange, time, HttpEventKind::MessagesMissing { from: peer(is_client), missing });
    }
}

impl Side {
    fn begin(&mut self, header: FrameHeader, time: BootTime) -> Result<(), MalformedReason> {
        self.header = Some(header);
        if header.is_control() {
            return Ok(());
        }
        self.assembly.begin(header, time, self.inflater.as_ref()).map_err(|_| MalformedReason::WebSocketFrame)
    }

    fn payload(&mut self, bytes: &[u8], mask: frame::Mask) -> Result<(), MalformedReason> {
        if self.header.is_none_or(|header| header.is_control()) {
            return Ok(());
        }
        self.assembly.payload(bytes, mask, self.inflater.as_mut()).map_err(reason)
    }

    fn end_frame(&mut self, tell: impl FnOnce(Assembled<'_>)) -> Result<(), MalformedReason> {
        let Some(header) = self.header.take() else { return Ok(()) };
        if header.opcode == opcode::CLOSE {
            self.is_over = true;
        }
        if header.is_control() {
            return Ok(());
        }
        let is_message = match self.assembly.end_frame(self.inflater.as_mut()).map_err(reason)? {
            Some(message) => {
                tell(message);
                true
            }
            None => false,
        };
        if is_message {
            self.assembly.clear();
        }
        Ok(())
    }

    fn give_up(&mut self) {
        self.reader.lose();
        self.assembly.abandon();
        self.is_over = true;
    }

    /// Whether a frame surely begins with these bytes: a message by itself, and a JSON object to its last byte.
    fn rejoins(&mut self, bytes: &[u8]) -> bool {
        let Some((header, Step::Payload { bytes: payload, mask })) = self.reader.single_frame(bytes) else { return false };
        let mut data = Vec::new();
        mask.unmask_onto(payload, &mut data);
        if header.is_compressed {
            let Some(inflater) = self.inflater.as_mut().filter(|inflater| inflater.stands_alone()) else { return false };
            let mut plain = Vec::new();
            let mut take = |piece: &[u8]| {
                let room = REJOIN_BYTES.saturating_sub(plain.len());
                plain.extend_from_slice(piece.get(..room).unwrap_or(piece));
            };
            let read = inflater.push(&data, &mut take).and_then(|()| inflater.end_message(&mut take));
            inflater.spoil();
            if read.is_err() {
                return false;
            }
            data = plain;
        }
        let is_object = data.first() == Some(&b'{') && serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok();
        if is_object {
            self.reader.rejoin();
        }
        is_object
    }
}

/// A message that proves a frame is no larger than this, inflated: larger ones are passed over.
const REJOIN_BYTES: usize = 1024 * 1024;

const fn peer(is_client: bool) -> SocketPeer {
    if is_client { SocketPeer::Client } else { SocketPeer::Server }
}

const fn reason(error: CodingError) -> MalformedReason {
    match error {
        CodingError::Unknown | CodingError::Invalid => MalformedReason::ContentCoding,
        CodingError::TooLarge => MalformedReason::ContentTooLarge,
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests count small numbers")]
mod tests;
