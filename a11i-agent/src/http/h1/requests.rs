//! The client's half of a connection.

use a11i_common::identity::BootTime;

use super::{
    AfterGap, BodyStep, EXCHANGES_IN_FLIGHT, Exchange, H1, Phase, UNCOUNTED, body_phase,
    head::{Framing, ParsedRequest, parse_request},
    skip_line_ends,
};
use crate::{
    call::{Completeness, LossCauses},
    flow::Gap,
    http::{
        BodyEnd, ConnectionNotice, ExchangeId, FramingEnd, HttpEventKind, MalformedReason,
        context::{Context, emit},
        detect,
        message::Message,
    },
};

impl H1 {
    /// `turn_start`: the bytes before these went the other way.
    pub(super) fn request_bytes(&mut self, bytes: &[u8], turn_start: bool, time: BootTime, context: &mut Context<'_>) {
        let mut rest = bytes;
        let mut segment_start = true;
        while !rest.is_empty() && !self.over {
            let at_segment_start = std::mem::replace(&mut segment_start, false);
            match self.requests.phase {
                Phase::Start => {
                    self.answer_early(context);
                    if self.over {
                        return;
                    }
                    rest = skip_line_ends(rest);
                    if !rest.is_empty() {
                        self.requests.begin_head(time, false);
                    }
                }
                Phase::Head => rest = self.request_head(rest, time, context),
                Phase::Length(_) | Phase::Chunked(_) | Phase::UntilClose => {
                    if at_segment_start && turn_start && self.body_was_refused(rest) {
                        self.end_request(FramingEnd::Cut, time, context);
                        self.end_finished(false, time, context);
                        continue;
                    }
                    rest = self.request_body(rest, time, context);
                }
                Phase::Lost { open, .. } => {
                    let may_start = at_segment_start && (turn_start || self.in_flight.is_empty());
                    if may_start && detect::may_begin_request(rest) {
                        if open {
                            self.end_request(FramingEnd::Finished, time, context);
                        }
                        self.requests.begin_head(time, true);
                    } else if at_segment_start && self.requests.rejoins_chunks(rest) {
                        segment_start = false;
                    } else {
                        if self.requests.ends_chunks(rest) {
                            self.end_request(FramingEnd::Finished, time, context);
                            self.end_finished(false, time, context);
                        }
                        return;
                    }
                }
            }
        }
    }

    pub(super) fn request_gap(&mut self, gap: Gap, time: BootTime, context: &mut Context<'_>) {
        let after = self.requests.gap_in_body(gap);
        if matches!(self.requests.phase, Phase::Lost { .. }) {
            self.pairing.requests_lost(gap.causes);
        }
        match after {
            AfterGap::InBody => {
                if let Some(id) = self.receiving {
                    emit(context, id, time, HttpEventKind::RequestBody(&[]));
                }
            }
            AfterGap::BodyOver { beyond } => {
                if let Some(id) = self.receiving {
                    emit(context, id, time, HttpEventKind::RequestBody(&[]));
                }
                self.end_request(FramingEnd::Finished, time, context);
                self.end_finished(false, time, context);
                if let Some(beyond) = beyond {
                    self.request_gap(beyond, time, context);
                }
            }
            AfterGap::Outside => {
                let missing = Completeness::Gap { lost: gap.lost, causes: gap.causes };
                let damaged = if self.requests.head.is_empty() {
                    None
                } else {
                    let role = self.role();
                    let first_byte = self.requests.first_byte;
                    self.requests
                        .head
                        .complete_damaged()
                        .and_then(|head| parse_request(head, role, first_byte, &context.settings.fingerprinter).ok())
                };
                self.requests.pending = self.requests.pending.join(missing);
                if let Some(mut request) = damaged {
                    request.framing = Ok(Framing::None);
                    self.begin_request(request, time, context);
                }
                self.lose_requests(gap.causes);
            }
        }
    }

    /// The client sends no more.
    pub(super) fn requests_over(&mut self, time: BootTime, context: &mut Context<'_>) {
        let framing = if matches!(self.requests.phase, Phase::Lost { .. }) { FramingEnd::Finished } else { FramingEnd::Cut };
        if self.receiving.is_some() {
            self.end_request(framing, time, context);
            self.end_finished(false, time, context);
        }
        self.requests.lose(false, false);
    }

    /// Where the next request begins is no longer known.
    pub(super) fn lose_requests(&mut self, causes: LossCauses) {
        self.pairing.requests_lost(causes);
        self.requests.lose(false, false);
    }

    pub(super) fn end_request(&mut self, framing: FramingEnd, time: BootTime, context: &mut Context<'_>) {
        let end = self.requests.message.end(framing);
        self.requests.phase = Phase::Start;
        self.tell_request_end(end, time, context);
    }

    fn tell_request_end(&mut self, end: BodyEnd, time: BootTime, context: &mut Context<'_>) {
        let Some(id) = self.receiving.take() else { return };
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.request_ended = true;
        }
        emit(context, id, time, HttpEventKind::RequestEnd(end));
    }

    /// The client waited for `100 Continue`, was answered otherwise, and now begins another request.
    fn body_was_refused(&self, bytes: &[u8]) -> bool {
        !self.requests.message.has_body()
            && self.in_flight.back().is_some_and(|exchange| exchange.response_end.is_some())
            && detect::begins_request(bytes)
    }

    fn request_head<'a>(&mut self, input: &'a [u8], time: BootTime, context: &mut Context<'_>) -> &'a [u8] {
        let role = self.role();
        let side = &mut self.requests;
        let Some((part, rest)) = side.head.find_end(input).and_then(|end| input.split_at_checked(end)) else {
            if !side.head.extend(input) {
                self.refuse_request(MalformedReason::HeadTooLarge, context);
            } else if !detect::may_begin_request(side.head.bytes()) {
                self.refuse_request(MalformedReason::Head, context);
            }
            return &[];
        };
        let parsed = match side.head.complete(part) {
            Some(head) => parse_request(head, role, side.first_byte, &context.settings.fingerprinter),
            None => Err(MalformedReason::HeadTooLarge),
        };
        side.head.clear();
        match parsed {
            Ok(request) => {
                self.begin_request(request, time, context);
                rest
            }
            Err(reason) => {
                self.refuse_request(reason, context);
                &[]
            }
        }
    }

    fn begin_request(&mut self, request: ParsedRequest, time: BootTime, context: &mut Context<'_>) {
        let due = self.take_early(&request.head, context);
        self.end_unanswered(time, context);
        let first_byte = request.head.first_byte;
        if request.head.headers.text("expect").is_some() {
            self.pairing.interim_expected();
        }
        let number = self.pairing.request_begins(first_byte);
        self.end_doubtful(time, context);
        if self.in_flight.len() >= EXCHANGES_IN_FLIGHT {
            let end = BodyEnd { completeness: UNCOUNTED, framing: FramingEnd::Malformed(MalformedReason::TooManyExchanges) };
            for exchange in &mut self.in_flight {
                exchange.response_end.get_or_insert((end, time));
            }
            self.end_finished(true, time, context);
            self.give_up(ConnectionNotice::Malformed(MalformedReason::TooManyExchanges), time, context);
            return;
        }
        let id = ExchangeId(self.next_id);
        self.next_id = self.next_id.saturating_add(1);
        let missing = std::mem::take(&mut self.requests.pending);
        let missing = if number.is_some() { missing } else { self.marked(missing) };
        // Its response came before it, and nobody could say what it belonged to.
        let answered = match number {
            Some(number) => number <= self.pairing.answered(),
            None => self.pairing.is_older_than_response(first_byte),
        };
        let gone = BodyEnd { completeness: self.marked(Completeness::Whole), framing: FramingEnd::Finished };
        self.in_flight.push_back(Exchange {
            id,
            number,
            method: request.method,
            request_first_byte: first_byte,
            request_ended: false,
            response_end: answered.then_some((gone, time)),
        });
        self.receiving = Some(id);
        self.requests.message = Message::new(&request.codings, context.settings.decode, missing);
        emit(context, id, first_byte, HttpEventKind::Request(Box::new(request.head)));
        match request.framing.map(body_phase) {
            Ok(Some(phase)) => self.requests.phase = phase,
            Ok(None) => {
                self.end_request(FramingEnd::Finished, time, context);
                self.end_finished(false, time, context);
            }
            Err(reason) => {
                self.end_request(FramingEnd::Malformed(reason), time, context);
                self.end_finished(false, time, context);
                self.lose_requests(LossCauses(0));
            }
        }
        // Its body may stand in the same segment, and comes first.
        self.due = due;
    }

    /// While pairs are uncertain, a new request ends what still waits: a client that does not pipeline has its answers. Of all that wait when
    /// they have become certain again, those are over that are counted as answered.
    fn end_doubtful(&mut self, time: BootTime, context: &mut Context<'_>) {
        let (certain, answered, responding) = (self.pairing.is_certain(), self.pairing.answered(), self.responding);
        let end = BodyEnd { completeness: self.marked(self.responses.pending), framing: FramingEnd::Finished };
        for exchange in self.in_flight.iter_mut().filter(|exchange| Some(exchange.id) != responding) {
            if !certain || exchange.number.is_none_or(|number| number <= answered) {
                exchange.response_end.get_or_insert((end, time));
            }
        }
        self.end_finished(false, time, context);
    }

    /// A new request where the response before it was lost: a client that does not pipeline had it in full.
    fn end_unanswered(&mut self, time: BootTime, context: &mut Context<'_>) {
        match self.responses.phase {
            Phase::Lost { open: true, .. } => {
                self.end_response(FramingEnd::Finished, time, context);
                self.responses.lose(false, false);
                // Those behind it had theirs too.
                let end = BodyEnd { completeness: self.responses.pending.join(UNCOUNTED), framing: FramingEnd::Finished };
                for exchange in &mut self.in_flight {
                    exchange.response_end.get_or_insert((end, time));
                }
                self.end_finished(false, time, context);
            }
            Phase::Lost { open: false, .. } if matches!(self.responses.pending, Completeness::Gap { .. }) => {
                let end = BodyEnd { completeness: self.responses.pending, framing: FramingEnd::Finished };
                for exchange in &mut self.in_flight {
                    exchange.response_end.get_or_insert((end, time));
                }
                self.end_finished(false, time, context);
            }
            Phase::Start | Phase::Head | Phase::Length(_) | Phase::Chunked(_) | Phase::UntilClose | Phase::Lost { .. } => {}
        }
    }

    fn request_body<'a>(&mut self, input: &'a [u8], time: BootTime, context: &mut Context<'_>) -> &'a [u8] {
        let receiving = self.receiving;
        let step = self.requests.body(input, &mut |bytes| {
            if let Some(id) = receiving {
                emit(context, id, time, HttpEventKind::RequestBody(bytes));
            }
        });
        match step {
            BodyStep::More => &[],
            BodyStep::Over { rest } => {
                self.end_request(FramingEnd::Finished, time, context);
                self.end_finished(false, time, context);
                rest
            }
            BodyStep::Malformed(reason) => {
                self.requests.message.fail(reason);
                self.end_request(FramingEnd::Finished, time, context);
                self.end_finished(false, time, context);
                self.lose_requests(LossCauses(0));
                &[]
            }
        }
    }

    fn refuse_request(&mut self, reason: MalformedReason, context: &mut Context<'_>) {
        if !self.requests.guessed || reason != MalformedReason::Head {
            context.notices.push(ConnectionNotice::Malformed(reason));
        }
        self.requests.pending = self.requests.pending.join(UNCOUNTED);
        self.lose_requests(LossCauses(0));
    }
}
