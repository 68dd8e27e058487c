//! One HTTP/2 connection (RFC 9113), watched in both directions: frames, header blocks, streams.
//!
//! A loss within the data of one stream is that stream's. Any other loss may have taken frames of any of them: all are marked, the header
//! tables are poisoned, and frames are looked for again. What a poisoned reference stood for stays unknown.

mod early;
mod frame;
mod half;
mod head;
mod hpack;
mod socket;
mod stream;

use std::collections::BTreeMap;

use a11i_common::identity::{BootTime, Direction};

use self::{
    early::{Early, Piece},
    frame::{AfterGap, FrameHeader, Step, flag, kind},
    half::{Block, Half, Open},
    head::Lines,
    stream::Stream,
};
pub(super) use self::{
    frame::{PREFACE, begins_server, chain, may_begin_server},
    hpack::huffman_encode,
};
use super::{ConnectionNotice, ExchangeId, FramingEnd, MalformedReason, context::Context};
use crate::{
    call::{Completeness, LossCauses, Role},
    flow::{Gap, Segment, SegmentBody},
};

/// Streams followed at once. Servers allow 100 to 256 as a rule; more are those whose end was lost.
const STREAMS: usize = 1024;

/// A stream that was open at a loss, and behind which so many others began, is over: its end was lost. Ids go up in steps of two.
const OVERTAKEN: u32 = 2 * 128;

/// What an upgrade from HTTP/1.1 makes of its request.
const UPGRADED_STREAM: u32 = 1;

/// Something is missing here, and nobody counted it.
const UNCOUNTED: Completeness = Completeness::Gap { lost: None, causes: LossCauses(0) };

#[derive(Debug)]
pub(super) struct H2 {
    client: Option<Direction>,
    /// Indexed by [`Direction`].
    write: Half,
    read: Half,
    streams: BTreeMap<u32, Stream>,
    /// The newest stream that a request has begun.
    newest: u32,
    early: Early,
    next_id: u64,
}

impl H2 {
    /// From the client's preface on. `missing`: of what the server sent, something came before.
    pub(super) fn from_the_start(client: Direction, server_joined_late: Option<Completeness>) -> Self {
        let server = server_joined_late.map_or_else(|| Half::from_the_start(false), Half::joined_late);
        let (write, read) = match client {
            Direction::Write => (Half::from_the_start(true), server),
            Direction::Read => (server, Half::from_the_start(true)),
        };
        Self { client: Some(client), write, read, streams: BTreeMap::new(), newest: 0, early: Early::default(), next_id: 0 }
    }

    /// Where HTTP/1.1 left off: `exchange` was asked there, and is answered on stream 1 (RFC 7540 section 3.2).
    pub(super) fn upgraded(client: Direction, exchange: ExchangeId, next_id: u64) -> Self {
        let streams = BTreeMap::from([(UPGRADED_STREAM, Stream::asked_before(exchange))]);
        Self { streams, newest: UPGRADED_STREAM, next_id, ..Self::from_the_start(client, None) }
    }

    /// In the middle: who asks is known when a head says so.
    pub(super) fn joined_late(missing: [Completeness; 2]) -> Self {
        let [write, read] = missing.map(|missing| Half::joined_late(if missing.is_whole() { Completeness::JoinedLate } else { missing }));
        Self { client: None, write, read, streams: BTreeMap::new(), newest: 0, early: Early::default(), next_id: 0 }
    }

    /// Fields of a request wait for more.
    pub(super) fn is_inside_request_head(&self) -> bool {
        self.client.is_some_and(|client| {
            let half = if client == Direction::Write { &self.write } else { &self.read };
            half.block.is_some() || matches!(half.open, Open::Fields { .. }) && !half.payload.is_empty()
        })
    }

    pub(super) fn push(&mut self, segment: Segment<'_>, context: &mut Context<'_>) {
        let Segment { direction, time, body } = segment;
        match body {
            SegmentBody::Bytes(bytes) => self.bytes(direction, bytes, time, context),
            SegmentBody::Gap(gap) => self.gap(direction, gap, time, context),
            SegmentBody::End => self.half_over(direction, time, context),
        }
        self.answer_all_early(context);
    }

    /// The connection is over: every stream is.
    pub(super) fn close(&mut self, time: BootTime, context: &mut Context<'_>) {
        for stream in std::mem::take(&mut self.streams).into_values() {
            self.cut(stream, time, context);
        }
    }

    /// Ends a stream before its time. Where frames had to be found again, what did not come may have been taken for something else.
    fn cut(&self, mut stream: Stream, time: BootTime, context: &mut Context<'_>) {
        for (direction, half) in [(Direction::Write, &self.write), (Direction::Read, &self.read)] {
            if let (Some(is_request), false) = (self.is_request(direction), half.missing.is_whole()) {
                stream.gap(is_request, half.missing, time, context);
            }
        }
        stream.close(FramingEnd::Cut, time, context);
    }

    const fn half_mut(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Write => &mut self.write,
            Direction::Read => &mut self.read,
        }
    }

    fn is_request(&self, direction: Direction) -> Option<bool> {
        self.client.map(|client| client == direction)
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8], time: BootTime, context: &mut Context<'_>) {
        let mut rest = bytes;
        if self.half_mut(direction).reader.is_lost() {
            let Some(found) = self.rejoin(direction, bytes, time, context) else { return };
            rest = found;
        }
        loop {
            let (step, tail) = self.half_mut(direction).reader.next(rest);
            rest = tail;
            match step {
                Step::Begin(header) => self.half_mut(direction).begin_frame(header),
                Step::Payload(payload) => {
                    let data = self.half_mut(direction).payload(payload);
                    if let (Open::Data { header, .. }, [_, ..]) = (self.half_mut(direction).open, data) {
                        self.data(direction, header, data, time, context);
                    }
                }
                Step::End => self.end_frame(direction, time, context),
                Step::NeedMore => return,
                Step::NoPreface => {
                    // It was joined after all: the server's settings were not its first.
                    self.half_mut(direction).lose(Completeness::JoinedLate);
                    let Some(found) = self.rejoin(direction, rest, time, context) else { return };
                    rest = found;
                }
                Step::NoFrame => {
                    // What came since they were found is nobody's.
                    let missing = self.half_mut(direction).missing;
                    self.lose(direction, missing, false, time, context);
                    let Some(found) = self.rejoin(direction, rest, time, context) else { return };
                    rest = found;
                }
            }
        }
    }

    /// Looks for frames again. What is passed over meanwhile may have been of any stream, those included that began since the loss.
    fn rejoin<'a>(&mut self, direction: Direction, bytes: &'a [u8], time: BootTime, context: &mut Context<'_>) -> Option<&'a [u8]> {
        let is_request = self.is_request(direction);
        let half = self.half_mut(direction);
        let found = half.reader.rejoin(bytes).and_then(|at| bytes.get(at..));
        let missing = half.missing.join(if half.missing.is_whole() { UNCOUNTED } else { Completeness::Whole });
        if let Some(is_request) = is_request
            && found.is_none_or(|found| found.len() < bytes.len())
            && !bytes.is_empty()
        {
            if !is_request {
                self.early.lose(missing, time);
            }
            for stream in self.streams.values_mut() {
                stream.is_doubtful = true;
                stream.gap(is_request, missing, time, context);
            }
        }
        found
    }

    fn data(&mut self, direction: Direction, header: FrameHeader, data: &[u8], time: BootTime, context: &mut Context<'_>) {
        let Some(is_request) = self.is_request(direction) else { return };
        if let Some(stream) = self.streams.get_mut(&header.stream) {
            stream.data(is_request, data, time, context);
        } else if !is_request && self.early.holds(header.stream) {
            self.early.push(header.stream, Piece::Data { bytes: data.to_vec(), time });
        }
    }

    fn end_frame(&mut self, direction: Direction, time: BootTime, context: &mut Context<'_>) {
        let half = self.half_mut(direction);
        match std::mem::replace(&mut half.open, Open::Other) {
            Open::Data { header, .. } if header.has(flag::END_STREAM) => self.end_stream(direction, header.stream, time, context),
            Open::Fields { header, is_broken } => {
                if let Some(block) = half.end_fields(header, is_broken, time) {
                    self.end_block(direction, &block, time, context);
                }
            }
            Open::Small { header } if header.kind == kind::RST_STREAM => self.reset(header.stream, time, context),
            Open::Small { .. } => {
                // The server has not looked at streams above the one it names, and will not (section 6.8).
                if let Some(last) = half.payload.first_chunk::<4>().map(|last| u32::from_be_bytes(*last) & 0x7fff_ffff)
                    && self.is_request(direction) == Some(false)
                {
                    for stream in self.streams.split_off(&last.saturating_add(1)).into_values() {
                        self.cut(stream, time, context);
                    }
                }
            }
            Open::Data { .. } | Open::Other => {}
        }
    }

    /// A header block is whole, as far as it was seen.
    fn end_block(&mut self, direction: Direction, block: &Block, time: BootTime, context: &mut Context<'_>) {
        let half = self.half_mut(direction);
        let mut lines = Lines::default();
        if block.is_broken {
            if block.is_too_large {
                context.notices.push(ConnectionNotice::Malformed(MalformedReason::HeadTooLarge));
            }
            half.hpack.poison();
            half.missing = half.missing.join(UNCOUNTED);
            lines.has_unseen = true;
        } else {
            let fingerprinter = &context.settings.fingerprinter;
            if half.hpack.decode(&block.bytes, &mut |field| lines.take(field, fingerprinter)).is_err() {
                context.notices.push(ConnectionNotice::Malformed(MalformedReason::Head));
                half.missing = half.missing.join(UNCOUNTED);
                lines.has_unseen = true;
            }
        }
        let missing = if lines.has_unseen { half.missing } else { Completeness::Whole };
        if block.is_promise {
            return;
        }
        // Joined late: who sends a status is the server.
        if self.client.is_none() {
            self.client = match (&lines.method, lines.status) {
                (_, Some(_)) => Some(direction.opposite()),
                (Some(_), None) => Some(direction),
                (None, None) => return,
            };
        }
        let is_request = self.is_request(direction) == Some(true);
        if is_request {
            self.request(block.stream, lines, missing, block.first_byte, context);
        } else {
            self.response(block.stream, lines, missing, block.first_byte, context);
        }
        if block.ends_stream {
            self.end_stream(direction, block.stream, time, context);
        }
    }

    fn request(&mut self, id: u32, lines: Lines, missing: Completeness, first_byte: BootTime, context: &mut Context<'_>) {
        // What comes behind the body is trailers.
        if self.streams.contains_key(&id) {
            return;
        }
        self.end_doubtful(id, first_byte, context);
        self.newest = self.newest.max(id);
        let exchange = ExchangeId(self.next_id);
        self.next_id = self.next_id.saturating_add(1);
        let role = if self.client == Some(Direction::Read) { Role::Server } else { Role::Client };
        let codings = lines.codings.clone();
        let mut stream = Stream::new(exchange);
        stream.ask(lines.into_request(role, first_byte), &codings, missing, context);
        self.streams.insert(id, stream);
        // Its body may stand in the same segment, and comes first.
        self.early.release(id, first_byte);
    }

    fn response(&mut self, id: u32, lines: Lines, missing: Completeness, first_byte: BootTime, context: &mut Context<'_>) {
        let Some(stream) = self.streams.get_mut(&id) else {
            if self.early.holds(id) {
                self.early.push(id, Piece::Head { lines: Box::new(lines), missing, first_byte });
            } else if lines.status.is_some() && self.is_to_come(id) {
                self.early.begin(id, Piece::Head { lines: Box::new(lines), missing, first_byte });
            }
            return;
        };
        // Nothing comes behind the end, whose own head was lost.
        if lines.is_interim() || stream.response.is_over {
            return;
        }
        if stream.response.has_head {
            return stream.trailers(lines.into_trailers(), first_byte, context);
        }
        let codings = lines.codings.clone();
        let Some(head) = lines.into_response(first_byte) else {
            // Its status is unknown: what follows is missing too, since nobody knows its coding.
            stream.gap(false, missing, first_byte, context);
            return;
        };
        stream.answer(head, &codings, missing, context);
    }

    fn end_stream(&mut self, direction: Direction, id: u32, time: BootTime, context: &mut Context<'_>) {
        let Some(is_request) = self.is_request(direction) else { return };
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.end(is_request, FramingEnd::Finished, time, context)
        {
            self.streams.remove(&id);
        } else if !is_request {
            self.early.push(id, Piece::End { time });
        }
        if is_request {
            self.answer_early(id, context);
        }
    }

    /// A client may yet open this stream: they are odd, and opened in order (section 5.1.1).
    const fn is_to_come(&self, id: u32) -> bool {
        id % 2 == 1 && id > self.newest
    }

    /// Either side gave it up (section 6.4). After a whole response that says nothing of the call.
    fn reset(&mut self, id: u32, time: BootTime, context: &mut Context<'_>) {
        self.answer_early(id, context);
        if let Some(stream) = self.streams.remove(&id) {
            self.cut(stream, time, context);
        } else {
            self.early.push(id, Piece::Reset { time });
        }
    }

    fn gap(&mut self, direction: Direction, gap: Gap, time: BootTime, context: &mut Context<'_>) {
        let missing = Completeness::Gap { lost: gap.lost, causes: gap.causes };
        let half = self.half_mut(direction);
        match (half.reader.gap(gap.lost), gap.lost) {
            (AfterGap::InPayload { over }, Some(lost)) => {
                let open = half.open;
                let is_counted = !matches!(open, Open::Data { left: None, .. });
                let missing = if is_counted { missing } else { Completeness::Gap { lost: None, causes: gap.causes } };
                let is_data = half.gap_in_payload(lost);
                if let (true, Open::Data { header, .. }, Some(is_request)) = (is_data, open, self.is_request(direction))
                    && let Some(stream) = self.streams.get_mut(&header.stream)
                {
                    stream.gap(is_request, missing, time, context);
                } else if let (true, Open::Data { header, .. }) = (is_data, open) {
                    self.early.push(header.stream, Piece::Gap { missing, time });
                }
                if over {
                    // The frame's end needs no byte.
                    self.bytes(direction, &[], time, context);
                }
            }
            (AfterGap::InPayload { .. } | AfterGap::Lost, _) => {
                // What the kernel half left out by intention came before it saw the requests that wait for their answers now.
                let spares_awaited = gap.causes.are_by_intention();
                self.lose(direction, Completeness::Gap { lost: None, causes: gap.causes }, spares_awaited, time, context);
            }
        }
    }

    /// Frames are missing, or may be: of any stream. `spares_awaited`: of none whose answer has not begun.
    fn lose(&mut self, direction: Direction, missing: Completeness, spares_awaited: bool, time: BootTime, context: &mut Context<'_>) {
        self.half_mut(direction).lose(missing);
        let is_request = self.is_request(direction);
        if is_request == Some(false) {
            self.early.lose(missing, time);
        }
        for stream in self.streams.values_mut() {
            stream.is_doubtful = true;
            if let Some(is_request) = is_request
                && !(spares_awaited && !is_request && !stream.response.has_head)
            {
                stream.gap(is_request, missing, time, context);
            }
        }
    }

    /// A direction has ended: nothing more of its messages will come.
    fn half_over(&mut self, direction: Direction, time: BootTime, context: &mut Context<'_>) {
        let Some(is_request) = self.is_request(direction) else { return };
        let missing = self.half_mut(direction).missing;
        self.streams.retain(|_, stream| {
            if !missing.is_whole() {
                stream.gap(is_request, missing, time, context);
            }
            !stream.end(is_request, FramingEnd::Cut, time, context)
        });
    }

    /// Ends streams whose end must have been lost, and makes room for another.
    fn end_doubtful(&mut self, newest: u32, time: BootTime, context: &mut Context<'_>) {
        let overtaken = newest.saturating_sub(OVERTAKEN);
        while let Some(mut oldest) = self.streams.first_entry() {
            let is_full = self.next_id > 0 && oldest.get().is_doubtful && *oldest.key() < overtaken;
            if is_full {
                oldest.get_mut().close(FramingEnd::Finished, time, context);
                oldest.remove();
            } else {
                break;
            }
        }
        while self.streams.len() >= STREAMS
            && let Some((_, mut oldest)) = self.streams.pop_first()
        {
            oldest.gap(true, UNCOUNTED, time, context);
            oldest.gap(false, UNCOUNTED, time, context);
            oldest.close(FramingEnd::Finished, time, context);
            let notice = ConnectionNotice::Malformed(MalformedReason::TooManyExchanges);
            context.notices.push(notice);
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests count small numbers")]
mod tests;
