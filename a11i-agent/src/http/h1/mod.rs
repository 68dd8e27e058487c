//! One HTTP/1.x connection (RFC 9112): two half-streams of messages, paired into exchanges.
//!
//! Loss is followed as far as framing allows: lost bytes inside a counted body are counted, elsewhere the
//! side is [`Phase::Lost`] until a message start is recognised. Whatever a loss may have touched is marked,
//! so that no number made from it looks exact.

mod chunked;
mod early;
mod head;
mod pairing;
mod requests;
mod responses;

use std::collections::VecDeque;

use a11i_common::identity::{BootTime, Direction};

use self::{
    chunked::{Chunked, begins_like_chunk},
    early::{Due, Early},
    head::{Framing, HeadBuffer, MethodKind},
    pairing::Pairing,
};
use super::{
    BodyEnd, ConnectionNotice, ExchangeId, FramingEnd, HttpEventKind, MalformedReason,
    context::{Context, emit},
    message::Message,
    websocket,
};
use crate::{
    call::{Completeness, LossCauses, Role},
    flow::{Gap, Segment, SegmentBody},
};

/// Requests whose responses are outstanding on one connection. Pipelining clients stop far below.
const EXCHANGES_IN_FLIGHT: usize = 64;

/// Something is missing here, and nobody counted it.
const UNCOUNTED: Completeness = Completeness::Gap { lost: None, causes: LossCauses(0) };

#[derive(Debug)]
pub(super) struct H1 {
    client: Direction,
    requests: Side,
    responses: Side,
    in_flight: VecDeque<Exchange>,
    /// The exchange whose request is under way.
    receiving: Option<ExchangeId>,
    /// The exchange whose response is under way.
    responding: Option<ExchangeId>,
    next_id: u64,
    last_direction: Option<Direction>,
    pairing: Pairing,
    /// Nothing after this is HTTP/1.x, or nothing of it can be followed.
    over: bool,
    /// What follows is a WebSocket.
    accepted: Option<websocket::Accepted>,
    /// Answers that came before their requests.
    early: Option<Early>,
    /// The answer of the request that is told just now. Nothing is due between two segments.
    due: Option<Due>,
    /// What follows is HTTP/2.
    upgraded: Option<Upgraded>,
}

/// An exchange that goes on as the first stream of HTTP/2 over cleartext (RFC 7540 section 3.2).
#[derive(Debug)]
pub(super) struct Upgraded {
    pub(super) client: Direction,
    pub(super) exchange: ExchangeId,
    /// The first exchange behind it.
    pub(super) next_id: u64,
    /// What came of the server in the same piece, behind its `101 Switching Protocols`.
    pub(super) rest: Vec<u8>,
}

/// One direction's parser.
#[derive(Debug)]
struct Side {
    phase: Phase,
    head: HeadBuffer,
    message: Message,
    /// Of the message under way.
    first_byte: BootTime,
    /// To be joined to the next message: bytes are missing before it.
    pending: Completeness,
    /// Observation began in the middle of this direction.
    joined_late: bool,
    /// The message start was recognised, not reached: it may be a mistake.
    guessed: bool,
}

#[derive(Debug)]
enum Phase {
    /// Between messages.
    Start,
    Head,
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    /// Framing is lost. `open`: the message under way has not ended; `chunked`: it may be joined again at a chunk.
    Lost {
        open: bool,
        chunked: bool,
    },
}

#[derive(Debug)]
struct Exchange {
    id: ExchangeId,
    /// Its place among the requests of the connection, where that is certain.
    number: Option<u64>,
    method: MethodKind,
    request_first_byte: BootTime,
    request_ended: bool,
    /// The response is over, but its request is not: told when that is.
    response_end: Option<(BodyEnd, BootTime)>,
}

impl H1 {
    /// `joined_late`: bytes that are no message start were seen in this direction, indexed by [`Direction`].
    pub(super) fn new(client: Direction, joined_late: [bool; 2], missing: [Completeness; 2]) -> Self {
        let [write, read] = [Direction::Write, Direction::Read].map(|direction| {
            let late = at(joined_late, direction);
            Side::new(late, at(missing, direction))
        });
        let (requests, responses) = match client {
            Direction::Write => (write, read),
            Direction::Read => (read, write),
        };
        let mut pairing = Pairing::new(responses.joined_late);
        if let Completeness::Gap { causes, .. } = requests.pending {
            pairing.requests_lost(causes);
        }
        if let Completeness::Gap { causes, .. } = responses.pending {
            pairing.response_gap(causes);
            pairing.responses_lost();
        }
        Self {
            client,
            requests,
            responses,
            in_flight: VecDeque::new(),
            receiving: None,
            responding: None,
            next_id: 0,
            last_direction: None,
            pairing,
            over: false,
            accepted: None,
            early: None,
            due: None,
            upgraded: None,
        }
    }

    /// The HTTP/2 connection that goes on where this ended.
    pub(super) fn take_upgraded(&mut self) -> Option<Upgraded> {
        self.upgraded.take()
    }

    /// Nothing more can come of this connection.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// The WebSocket that goes on where this ended, and which direction is its client's.
    pub(super) fn take_accepted(&mut self) -> Option<(Direction, websocket::Accepted)> {
        self.accepted.take().map(|accepted| (self.client, accepted))
    }

    /// The head of a request waits for more bytes.
    pub(super) const fn is_inside_request_head(&self) -> bool {
        !self.over && !self.requests.head.is_empty()
    }

    pub(super) fn push(&mut self, segment: Segment<'_>, context: &mut Context<'_>) {
        if self.over {
            return;
        }
        let is_request = segment.direction == self.client;
        match segment.body {
            SegmentBody::Bytes(bytes) => {
                let turn_start = self.last_direction != Some(segment.direction);
                self.last_direction = Some(segment.direction);
                if is_request {
                    self.request_bytes(bytes, turn_start, segment.time, context);
                } else {
                    self.response_bytes(bytes, segment.time, context);
                }
            }
            SegmentBody::Gap(_) | SegmentBody::End if !is_request && self.early.is_some() => {
                // What is held is nobody's: behind a gap nobody knows where the next message begins.
                self.early_is_nobodys(context);
                self.push(segment, context);
            }
            // The kernel half copied nothing while it saw no request, and all of it again since it saw one: what it left out is over.
            SegmentBody::Gap(gap) if gap.causes.are_by_intention() && self.side(is_request).is_between_messages() => {}
            SegmentBody::Gap(gap) if is_request => self.request_gap(gap, segment.time, context),
            SegmentBody::Gap(gap) => self.response_gap(gap, segment.time, context),
            SegmentBody::End if is_request => self.requests_over(segment.time, context),
            SegmentBody::End => self.no_more_responses(segment.time, context),
        }
        // Of a request whose body goes on in other segments nobody knows how long it will: its answer is told by now.
        if is_request {
            self.answer_early(context);
        }
    }

    /// No response will come any more: every open exchange ends.
    pub(super) fn close(&mut self, time: BootTime, context: &mut Context<'_>) {
        if self.over {
            return;
        }
        self.early_is_nobodys(context);
        self.requests_over(time, context);
        self.no_more_responses(time, context);
        self.end_finished(true, time, context);
        self.over = true;
    }

    /// Every response that is open or awaited ends. Requests may still come in full, where a server has shut down its half.
    fn no_more_responses(&mut self, time: BootTime, context: &mut Context<'_>) {
        self.responses_over(time, context);
        let pending = std::mem::take(&mut self.responses.pending);
        // Behind a loss, others may have come.
        let missing = if self.pairing.are_responses_certain() { pending } else { self.marked(pending) };
        for exchange in self.in_flight.iter_mut().filter(|exchange| exchange.response_end.is_none()) {
            exchange.response_end = Some((BodyEnd { completeness: missing, framing: FramingEnd::Cut }, time));
        }
        self.end_finished(false, time, context);
    }

    const fn side(&self, is_request: bool) -> &Side {
        if is_request { &self.requests } else { &self.responses }
    }

    fn role(&self) -> Role {
        match self.client {
            Direction::Write => Role::Client,
            Direction::Read => Role::Server,
        }
    }

    /// Tells the end of exchanges at the front whose both halves are over. `force`: the request half is over by decree.
    fn end_finished(&mut self, force: bool, time: BootTime, context: &mut Context<'_>) {
        while let Some(front) = self.in_flight.front() {
            let Some((end, at)) = front.response_end else { return };
            let id = front.id;
            if !front.request_ended {
                let lost = matches!(self.requests.phase, Phase::Lost { open: true, .. });
                if !force && !lost {
                    return;
                }
                // A request in `Lost` is answered, so that it was finished; how, was not seen.
                self.end_request(if lost { FramingEnd::Finished } else { FramingEnd::Cut }, time, context);
            }
            self.in_flight.pop_front();
            emit(context, id, at, HttpEventKind::ResponseEnd(end));
        }
    }

    fn exchange_mut(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        self.in_flight.iter_mut().find(|exchange| exchange.id == id)
    }

    /// An exchange that waits for its response, or for the end of it.
    fn awaiting(&self) -> Option<&Exchange> {
        self.in_flight.iter().find(|exchange| exchange.response_end.is_none())
    }

    /// The exchange that a response beginning at `first_byte` is told with: the one it answers, where that is certain; else the likeliest.
    fn answered_next(&self, first_byte: BootTime) -> Option<&Exchange> {
        let next = self.pairing.next();
        let mut candidates = self.in_flight.iter().filter(|exchange| exchange.response_end.is_none());
        let by_number = candidates.clone().find(|exchange| exchange.number == Some(next.number));
        if by_number.is_some() || next.exact && self.pairing.are_requests_certain() {
            return by_number;
        }
        // Clients do not pipeline, as a rule: it answers the last request before it.
        candidates.rfind(|exchange| exchange.number.is_none_or(|number| number > next.number) && exchange.request_first_byte <= first_byte)
    }

    /// A message whose pair is uncertain says so, if it does not say anyway that something of it is missing.
    const fn marked(&self, completeness: Completeness) -> Completeness {
        if completeness.is_whole() { self.pairing.mark() } else { completeness }
    }

    /// The server goes on in HTTP/2, and answers this exchange there. Its request is over: that is when an upgrade can be.
    fn go_on_as_http2(&mut self, exchange: ExchangeId) {
        self.in_flight.clear();
        self.upgraded = Some(Upgraded { client: self.client, exchange, next_id: self.next_id, rest: Vec::new() });
        self.over = true;
    }

    /// Nothing more is parsed: what is open ends, its rest unseen.
    fn give_up(&mut self, notice: ConnectionNotice, time: BootTime, context: &mut Context<'_>) {
        context.notices.push(notice);
        self.end_all(time, context);
    }

    /// A WebSocket takes the connection over, and with it the exchange that asked for it.
    fn hand_over(&mut self, exchange: ExchangeId, extensions: String, time: BootTime, context: &mut Context<'_>) {
        context.notices.push(ConnectionNotice::WebSocket);
        self.in_flight.retain(|other| other.id != exchange);
        self.end_all(time, context);
        self.accepted = Some(websocket::Accepted { exchange, extensions, rest: Vec::new() });
    }

    fn end_all(&mut self, time: BootTime, context: &mut Context<'_>) {
        let gone = BodyEnd { completeness: UNCOUNTED, framing: FramingEnd::Finished };
        for exchange in &mut self.in_flight {
            exchange.response_end.get_or_insert((gone, time));
        }
        self.end_finished(true, time, context);
        self.over = true;
        self.in_flight = VecDeque::new();
        self.requests = Side::new(true, Completeness::Whole);
        self.responses = Side::new(true, Completeness::Whole);
    }
}

impl Side {
    fn new(joined_late: bool, pending: Completeness) -> Self {
        Self {
            phase: if joined_late { Phase::Lost { open: false, chunked: false } } else { Phase::Start },
            head: HeadBuffer::default(),
            message: Message::default(),
            first_byte: BootTime(0),
            pending,
            joined_late,
            guessed: false,
        }
    }

    fn begin_head(&mut self, time: BootTime, guessed: bool) {
        self.head.clear();
        self.first_byte = time;
        self.guessed = guessed;
        self.phase = Phase::Head;
    }

    fn lose(&mut self, open: bool, chunked: bool) {
        self.head.clear();
        self.phase = Phase::Lost { open, chunked };
    }

    /// Nothing of a message has been seen since the last one ended.
    const fn is_between_messages(&self) -> bool {
        self.head.is_empty() && matches!(self.phase, Phase::Start | Phase::Lost { open: false, .. })
    }

    /// Follows a loss inside a body by its framing.
    fn gap_in_body(&mut self, Gap { lost, causes }: Gap) -> AfterGap {
        let mark = Completeness::Gap { lost, causes };
        match (&mut self.phase, lost) {
            (Phase::Length(left), Some(lost)) if lost < *left => {
                *left = left.saturating_sub(lost);
                self.message.gap(mark);
                AfterGap::InBody
            }
            (Phase::Length(left), Some(lost)) => {
                let beyond = lost.saturating_sub(*left);
                self.message.gap(Completeness::Gap { lost: Some(*left), causes });
                AfterGap::BodyOver { beyond: (beyond > 0).then_some(Gap { lost: Some(beyond), causes }) }
            }
            (Phase::Length(_), None) => {
                self.message.gap(mark);
                self.lose(true, false);
                AfterGap::InBody
            }
            (Phase::Chunked(chunked), lost) => {
                self.message.gap(mark);
                if !lost.is_some_and(|lost| chunked.skip(lost)) {
                    self.lose(true, true);
                }
                AfterGap::InBody
            }
            (Phase::UntilClose | Phase::Lost { open: true, .. }, _) => {
                self.message.gap(mark);
                AfterGap::InBody
            }
            (Phase::Start | Phase::Head | Phase::Lost { open: false, .. }, _) => AfterGap::Outside,
        }
    }
}

enum AfterGap {
    /// The message goes on and is marked.
    InBody,
    /// The loss took the rest of the body, and perhaps more.
    BodyOver { beyond: Option<Gap> },
    /// No body was under way.
    Outside,
}

/// What a side does with the next bytes of a body.
enum BodyStep<'a> {
    /// `rest` follows the body.
    Over {
        rest: &'a [u8],
    },
    /// All of the input is used.
    More,
    Malformed(MalformedReason),
}

impl Side {
    /// Feeds body bytes by the framing. `deliver` gets them before content decoding is undone.
    fn body<'a>(&mut self, input: &'a [u8], deliver: &mut dyn FnMut(&[u8])) -> BodyStep<'a> {
        match &mut self.phase {
            Phase::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                let (part, rest) = input.split_at_checked(here).unwrap_or((input, b""));
                *left = left.saturating_sub(u64::try_from(part.len()).unwrap_or(u64::MAX));
                let over = *left == 0;
                self.message.body(part, deliver);
                if over { BodyStep::Over { rest } } else { BodyStep::More }
            }
            Phase::Chunked(chunked) => {
                let mut rest = input;
                loop {
                    let (step, tail) = chunked.next(rest);
                    rest = tail;
                    match step {
                        chunked::Step::Data(data) => self.message.body(data, deliver),
                        chunked::Step::NeedMore => return BodyStep::More,
                        chunked::Step::Done => return BodyStep::Over { rest },
                        chunked::Step::Malformed if chunked.resumed => {
                            self.lose(true, true);
                            return BodyStep::More;
                        }
                        chunked::Step::Malformed => return BodyStep::Malformed(MalformedReason::ChunkSize),
                    }
                }
            }
            Phase::UntilClose => {
                self.message.body(input, deliver);
                BodyStep::More
            }
            Phase::Start | Phase::Head | Phase::Lost { .. } => BodyStep::More,
        }
    }

    /// In [`Phase::Lost`] with an open chunked message: whether this segment is a chunk again (`true`: the phase is the body again).
    fn rejoins_chunks(&mut self, segment: &[u8]) -> bool {
        let rejoins = matches!(self.phase, Phase::Lost { open: true, chunked: true }) && begins_like_chunk(segment);
        if rejoins {
            self.phase = Phase::Chunked(Chunked::resumed());
        }
        rejoins
    }

    /// In [`Phase::Lost`] with an open chunked message: whether this segment carries its last chunk.
    fn ends_chunks(&self, segment: &[u8]) -> bool {
        matches!(self.phase, Phase::Lost { open: true, chunked: true }) && segment.ends_with(b"\r\n0\r\n\r\n")
    }
}

fn body_phase(framing: Framing) -> Option<Phase> {
    match framing {
        Framing::None | Framing::Length(0) => None,
        Framing::Length(length) => Some(Phase::Length(length)),
        Framing::Chunked => Some(Phase::Chunked(Chunked::new())),
        Framing::UntilClose => Some(Phase::UntilClose),
    }
}

fn skip_line_ends(bytes: &[u8]) -> &[u8] {
    let ends = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    bytes.get(ends..).unwrap_or_default()
}

fn at<T: Copy>([write, read]: [T; 2], direction: Direction) -> T {
    match direction {
        Direction::Write => write,
        Direction::Read => read,
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests count small numbers")]
mod tests;
