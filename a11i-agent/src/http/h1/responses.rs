//! The server's half of a connection.

use a11i_common::identity::BootTime;

use super::{
    AfterGap, BodyStep, H1, MethodKind, Phase, UNCOUNTED, body_phase,
    head::{Framing, ParsedResponse, parse_response},
    skip_line_ends,
};
use crate::{
    call::Completeness,
    flow::Gap,
    http::{
        BodyEnd, ConnectionNotice, ExchangeId, FramingEnd, HttpEventKind, MalformedReason, ResponseHead,
        context::{Context, emit},
        detect,
        message::Message,
    },
};

impl H1 {
    pub(super) fn response_bytes(&mut self, bytes: &[u8], time: BootTime, context: &mut Context<'_>) {
        if self.early.is_some() {
            self.hold_early(bytes, time, context);
        } else if let rest @ [_, ..] = self.take_response_bytes(bytes, true, time, context) {
            self.hold_early(rest, time, context);
        }
    }

    /// `may_hold`: a response that nobody has asked for may be early. It is given back, with what follows it.
    pub(super) fn take_response_bytes<'a>(
        &mut self,
        bytes: &'a [u8],
        may_hold: bool,
        time: BootTime,
        context: &mut Context<'_>,
    ) -> &'a [u8] {
        if !(may_hold && self.is_early()) {
            self.pairing.response_bytes(time);
        }
        let mut rest = bytes;
        let mut segment_start = true;
        while !rest.is_empty() && !self.over {
            let at_segment_start = std::mem::replace(&mut segment_start, false);
            match self.responses.phase {
                Phase::Start => {
                    rest = skip_line_ends(rest);
                    if may_hold && self.is_early() && !rest.is_empty() {
                        if detect::may_begin_response(rest) {
                            return rest;
                        }
                        self.begins_no_response(time, context);
                        return &[];
                    }
                    if !rest.is_empty() {
                        self.responses.begin_head(time, false);
                    }
                }
                Phase::Head => rest = self.response_head(rest, time, context),
                Phase::Length(_) | Phase::Chunked(_) | Phase::UntilClose => rest = self.response_body(rest, time, context),
                Phase::Lost { open, .. } => {
                    if at_segment_start && detect::may_begin_response(rest) {
                        if open {
                            self.end_response(FramingEnd::Finished, time, context);
                        }
                        self.responses.begin_head(time, true);
                    } else if !(at_segment_start && self.responses.rejoins_chunks(rest)) {
                        self.pairing.passed_over();
                        if self.responses.ends_chunks(rest) {
                            self.end_response(FramingEnd::Finished, time, context);
                        } else if !open && self.awaiting().is_some() {
                            // Perhaps these belong to the response that is awaited.
                            let missing = if self.responses.joined_late { Completeness::JoinedLate } else { UNCOUNTED };
                            if self.responses.pending.is_whole() {
                                self.responses.pending = missing;
                            }
                        }
                        return &[];
                    }
                }
            }
        }
        &[]
    }

    /// A response that begins now is one that no request waits for.
    fn is_early(&self) -> bool {
        matches!(self.responses.phase, Phase::Start) && self.awaiting().is_none()
    }

    pub(super) fn response_gap(&mut self, gap: Gap, time: BootTime, context: &mut Context<'_>) {
        let missing = Completeness::Gap { lost: gap.lost, causes: gap.causes };
        self.pairing.response_gap(gap.causes);
        let after = self.responses.gap_in_body(gap);
        match after {
            AfterGap::InBody => {
                if matches!(self.responses.phase, Phase::Lost { .. }) {
                    self.pairing.responses_lost();
                }
                self.tell_response_gap(time, context);
            }
            AfterGap::BodyOver { beyond } => {
                self.tell_response_gap(time, context);
                self.end_response(FramingEnd::Finished, time, context);
                if let Some(beyond) = beyond {
                    self.response_gap(beyond, time, context);
                }
            }
            AfterGap::Outside => {
                self.responses.pending = self.responses.pending.join(missing);
                if !self.responses.head.is_empty() && self.damaged_response_head(time, context) {
                    return;
                }
                self.pairing.response_head_lost(time);
                if self.awaiting().is_none() {
                    // The response to a request that was not seen either, or not yet: that one says so.
                    self.responses.pending = Completeness::Whole;
                }
                self.responses.lose(false, false);
            }
        }
    }

    /// The server sends no more.
    pub(super) fn responses_over(&mut self, time: BootTime, context: &mut Context<'_>) {
        if self.responding.is_some() {
            let framing = match self.responses.phase {
                // A close is the framing; in `Lost`, whether it cut anything was not seen.
                Phase::UntilClose | Phase::Lost { .. } => FramingEnd::Finished,
                Phase::Start | Phase::Head | Phase::Length(_) | Phase::Chunked(_) => FramingEnd::Cut,
            };
            self.end_response(framing, time, context);
        }
    }

    pub(super) fn end_response(&mut self, framing: FramingEnd, time: BootTime, context: &mut Context<'_>) {
        let end = self.responses.message.end(framing);
        self.responses.phase = Phase::Start;
        if let Some(id) = self.responding.take()
            && let Some(exchange) = self.exchange_mut(id)
        {
            exchange.response_end = Some((end, time));
        }
        self.end_finished(false, time, context);
    }

    fn tell_response_gap(&mut self, time: BootTime, context: &mut Context<'_>) {
        if let Some(id) = self.responding {
            emit(context, id, time, HttpEventKind::ResponseBody(&[]));
        }
    }

    fn response_head<'a>(&mut self, input: &'a [u8], time: BootTime, context: &mut Context<'_>) -> &'a [u8] {
        let method = self.answered_next(self.responses.first_byte).map_or(MethodKind::Other, |exchange| exchange.method);
        let side = &mut self.responses;
        let Some((part, rest)) = side.head.find_end(input).and_then(|end| input.split_at_checked(end)) else {
            if !side.head.extend(input) {
                self.refuse_response(MalformedReason::HeadTooLarge, time, context);
            } else if !detect::may_begin_response(side.head.bytes()) {
                self.refuse_response(MalformedReason::Head, time, context);
            }
            return &[];
        };
        let parsed = match side.head.complete(part) {
            Some(head) => parse_response(head, method, side.first_byte, &context.settings.fingerprinter),
            None => Err(MalformedReason::HeadTooLarge),
        };
        side.head.clear();
        match parsed {
            Ok(response) => {
                self.begin_response(response, time, context);
                if let Some(accepted) = &mut self.accepted {
                    accepted.rest.extend_from_slice(rest);
                } else if let Some(upgraded) = &mut self.upgraded {
                    upgraded.rest.extend_from_slice(rest);
                }
                rest
            }
            Err(reason) => {
                self.refuse_response(reason, time, context);
                &[]
            }
        }
    }

    fn begin_response(&mut self, response: ParsedResponse, time: BootTime, context: &mut Context<'_>) {
        let status = response.head.status;
        let first_byte = response.head.first_byte;
        let upgrade = response.head.headers.text("upgrade");
        let is_websocket = status == 101 && upgrade.is_some_and(|name| name.eq_ignore_ascii_case("websocket"));
        if (100..200).contains(&status) && status != 101 {
            self.pairing.interim_expected();
            self.responses.phase = Phase::Start;
            return;
        }
        let exact = self.pairing.next().exact;
        let answered = self.answered_next(first_byte).map(|exchange| (exchange.id, exchange.method, exchange.number));
        self.pairing.response_begins(first_byte, answered.and_then(|(_, _, number)| number));
        let Some((id, method, number)) = answered else {
            self.orphan_response(context);
            return;
        };
        self.end_passed(id, time, context);
        let to_http2 = |head: &ResponseHead| head.headers.text("upgrade").is_some_and(|name| name.eq_ignore_ascii_case("h2c"));
        if status == 101 && to_http2(&response.head) && self.in_flight.iter().any(|exchange| exchange.id == id && exchange.request_ended) {
            return self.go_on_as_http2(id);
        }
        let missing = std::mem::take(&mut self.responses.pending);
        let certain = exact && number == Some(self.pairing.answered());
        let missing = if certain { missing } else { self.marked(missing) };
        self.responding = Some(id);
        self.responses.joined_late = false;
        self.responses.message = Message::new(&response.codings, context.settings.decode, missing);
        let extensions = response.head.headers.text("sec-websocket-extensions").unwrap_or_default().to_owned();
        emit(context, id, first_byte, HttpEventKind::Response(Box::new(response.head)));
        if status == 101 || (method == MethodKind::Connect && (200..300).contains(&status)) {
            if let Some(exchange) = self.exchange_mut(id)
                && !exchange.request_ended
            {
                self.end_request(FramingEnd::Finished, time, context);
            }
            if is_websocket {
                self.responding = None;
                self.hand_over(id, extensions, time, context);
                return;
            }
            self.end_response(FramingEnd::Finished, time, context);
            self.give_up(ConnectionNotice::Upgraded, time, context);
            return;
        }
        match response.framing.map(body_phase) {
            Ok(Some(phase)) => self.responses.phase = phase,
            Ok(None) => self.end_response(FramingEnd::Finished, time, context),
            Err(reason) => self.end_response_malformed(reason, time, context),
        }
    }

    /// The responses of those before this exchange did not come.
    fn end_passed(&mut self, id: ExchangeId, time: BootTime, context: &mut Context<'_>) {
        let end = BodyEnd { completeness: self.marked(self.responses.pending), framing: FramingEnd::Finished };
        for exchange in self.in_flight.iter_mut().take_while(|exchange| exchange.id != id) {
            exchange.response_end.get_or_insert((end, time));
        }
        self.end_finished(false, time, context);
    }

    /// Where the response under way ends is no longer known. `chunked`: it may be joined again.
    fn lose_responses(&mut self, chunked: bool) {
        self.pairing.responses_lost();
        self.responses.lose(self.responding.is_some(), chunked);
    }

    /// A response that no request asked for: its body is not followed, as even its framing depends on the request.
    fn orphan_response(&mut self, context: &mut Context<'_>) {
        if self.next_id > 0 && !self.responses.guessed {
            context.notices.push(ConnectionNotice::Malformed(MalformedReason::UnexpectedResponse));
        }
        self.lose_responses(false);
    }

    /// What a gap left of a head, if that is enough to know the status.
    fn damaged_response_head(&mut self, time: BootTime, context: &mut Context<'_>) -> bool {
        let method = self.answered_next(self.responses.first_byte).map_or(MethodKind::Other, |exchange| exchange.method);
        let side = &mut self.responses;
        let first_byte = side.first_byte;
        let parsed = side.head.complete_damaged().map(|head| parse_response(head, method, first_byte, &context.settings.fingerprinter));
        let Some(Ok(mut response)) = parsed else { return false };
        response.head.headers.mark_unseen();
        if response.head.status < 200 {
            self.pairing.interim_expected();
            return false;
        }
        let framing = response.framing;
        self.begin_response(ParsedResponse { framing: Ok(Framing::UntilClose), ..response }, time, context);
        if self.responding.is_some() {
            // Lines are missing: codings and framing may be among them, so that no byte of the body can be trusted.
            self.lose_responses(framing == Ok(Framing::Chunked));
        }
        true
    }

    fn response_body<'a>(&mut self, input: &'a [u8], time: BootTime, context: &mut Context<'_>) -> &'a [u8] {
        let responding = self.responding;
        if matches!(&self.responses.phase, Phase::Chunked(chunked) if chunked.resumed) {
            self.pairing.passed_over();
        }
        let step = self.responses.body(input, &mut |bytes| {
            if let Some(id) = responding {
                emit(context, id, time, HttpEventKind::ResponseBody(bytes));
            }
        });
        match step {
            BodyStep::More => &[],
            BodyStep::Over { rest } => {
                self.end_response(FramingEnd::Finished, time, context);
                rest
            }
            BodyStep::Malformed(reason) => {
                self.end_response_malformed(reason, time, context);
                &[]
            }
        }
    }

    fn end_response_malformed(&mut self, reason: MalformedReason, time: BootTime, context: &mut Context<'_>) {
        self.responses.message.fail(reason);
        self.end_response(FramingEnd::Malformed(reason), time, context);
        self.lose_responses(false);
    }

    fn refuse_response(&mut self, reason: MalformedReason, time: BootTime, context: &mut Context<'_>) {
        if self.responses.guessed && reason == MalformedReason::Head {
            // It was our mistake to take this for a head.
            self.responses.pending = self.responses.pending.join(UNCOUNTED);
        } else {
            self.pairing.response_head_lost(time);
            context.notices.push(ConnectionNotice::Malformed(reason));
            let end = BodyEnd { completeness: self.responses.pending, framing: FramingEnd::Malformed(reason) };
            if let Some(exchange) = self.in_flight.iter_mut().find(|exchange| exchange.response_end.is_none()) {
                exchange.response_end = Some((end, time));
            }
            self.end_finished(false, time, context);
        }
        self.lose_responses(false);
    }
}
