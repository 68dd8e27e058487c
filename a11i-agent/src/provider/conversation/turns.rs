//! The calls under way on one connection of messages: asked, answering, over.

use a11i_common::identity::BootTime;

use crate::{
    call::{CallBuilder, Completeness, Ending, Operation, ProviderName, RequestFacts, Timing},
    http::SocketPeer,
};

/// Calls under way at once. One is the rule; out-of-band responses run beside it.
const MAX_TURNS: usize = 64;

/// By how much an answer can be seen before its question: no longer than one call of the library that writes it takes.
const OVERTAKING_NANOS: u64 = 1_000_000_000;

/// What every call of a connection has from its handshake.
#[derive(Debug)]
pub(in crate::provider) struct Template {
    pub(super) provider: ProviderName,
    pub(super) operation: Operation,
    pub(super) keep_content: bool,
    pub(super) request: RequestFacts,
    /// Of the answer to the handshake.
    pub(super) request_id: Option<String>,
}

/// One call: what was asked, or what is answered without having been asked for.
#[derive(Debug)]
pub(in crate::provider) struct Turn {
    pub(in crate::provider) call: Box<CallBuilder>,
    /// The provider's id of the answer: it has begun.
    id: Option<String>,
    /// The client's id of the event that asked.
    asked_by: Option<String>,
    timing: Timing,
    completeness: Completeness,
    /// Messages of its answer may have been missed.
    is_lossy: bool,
    /// Nobody was seen to ask for it, and somebody must have: where one thread reads while another writes, an answer may be there before the
    /// call that asked has returned. It waits for that.
    is_owed: bool,
    /// When the provider said that it is over.
    ended: Option<BootTime>,
    last_seen: BootTime,
}

/// A call that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) call: Box<CallBuilder>,
    pub(super) timing: Timing,
    pub(super) completeness: Completeness,
    pub(super) ending: Ending,
}

#[derive(Debug)]
pub(in crate::provider) struct Turns {
    pub(super) template: Template,
    /// In the order they began.
    open: Vec<Turn>,
    pub(super) finished: Vec<Finished>,
    /// The failure told last that is none of the calls under way.
    refused: Option<Refused>,
    /// There was a call.
    has_worked: bool,
    /// What is missing of the client's and of the server's messages since the last call began: it may be part of the next.
    missing_requests: Completeness,
    missing_answers: Completeness,
}

/// A failure whose call was not seen so far: it may have overtaken the question.
#[derive(Debug)]
struct Refused {
    turn: Turn,
    /// The client's id of what is refused.
    named: Option<String>,
    /// Nothing but a call can be refused.
    is_calls: bool,
}

impl Refused {
    fn is_of(&self, event: Option<&str>, asked: BootTime) -> bool {
        match &self.named {
            Some(named) => event == Some(named),
            None => event.is_none() && asked.nanos_since(self.turn.last_seen) <= OVERTAKING_NANOS,
        }
    }
}

impl Turn {
    /// An event of its answer has come and was read.
    pub(in crate::provider) fn heard(&mut self, time: BootTime) {
        self.call.response.stream_chunks = self.call.response.stream_chunks.saturating_add(1);
        self.timing.first_chunk.get_or_insert(time);
        self.last_seen = time;
        if self.call.take_new_output() {
            self.timing.first_token.get_or_insert(time);
            self.timing.last_token = Some(time);
        }
    }

    /// With the event that was heard last, the provider has said that it is over.
    pub(in crate::provider) const fn end(&mut self) {
        self.ended = Some(self.last_seen);
    }

    pub(in crate::provider) const fn is_answering(&self) -> bool {
        self.id.is_some()
    }

    /// Who asked for it, is still to be seen.
    pub(in crate::provider) const fn is_owed(&self) -> bool {
        self.is_owed
    }

    pub(in crate::provider) const fn is_lossy(&self) -> bool {
        self.is_lossy
    }

    /// The client's event with this id asked for it.
    pub(in crate::provider) fn was_asked_by(&self, event: &str) -> bool {
        self.asked_by.as_deref() == Some(event)
    }

    /// What looked like its failure was another's: it is answered.
    pub(in crate::provider) fn forgive(&mut self) {
        self.call.forgive();
    }

    pub(in crate::provider) const fn asked_with_id(&self) -> bool {
        self.asked_by.is_some()
    }

    /// A message of this call has come with something missing.
    pub(in crate::provider) fn mark(&mut self, missing: Completeness) {
        self.completeness = self.completeness.join(missing);
        self.is_lossy |= !missing.is_whole();
    }
}

impl Turns {
    pub(super) const fn new(template: Template) -> Self {
        Self {
            template,
            open: Vec::new(),
            finished: Vec::new(),
            refused: None,
            has_worked: false,
            missing_requests: Completeness::Whole,
            missing_answers: Completeness::Whole,
        }
    }

    pub(in crate::provider) const fn keeps_content(&self) -> bool {
        self.template.keep_content
    }

    pub(super) const fn len(&self) -> usize {
        self.open.len()
    }

    /// The client asks. `start`: the first byte of the message.
    pub(in crate::provider) fn ask(&mut self, event: Option<String>, start: BootTime) -> Option<&mut Turn> {
        let refused = self.refused.take_if(|refused| refused.is_of(event.as_deref(), start));
        let owed = self.open.iter().position(|turn| turn.is_owed && refused.is_none());
        let place = owed.unwrap_or_else(|| self.begin(start));
        let turn = self.open.get_mut(place)?;
        turn.is_owed = false;
        if let Some(refused) = refused {
            // Where nothing names it, an answer may still come.
            turn.ended = (refused.is_calls || refused.named.is_some()).then_some(start);
            turn.call = refused.turn.call;
        }
        turn.asked_by = event;
        Some(turn)
    }

    /// The answer `id` begins, or goes on: to what was asked first and is unanswered; else nobody asked, and it began at `start`.
    /// `made_by_server`: it need not have been asked for.
    pub(in crate::provider) fn answer(&mut self, id: &str, start: BootTime, made_by_server: bool) -> Option<&mut Turn> {
        let known = self.open.iter().position(|turn| turn.id.as_deref() == Some(id));
        let asked = known.or_else(|| self.open.iter().position(|turn| turn.id.is_none()));
        let is_new = asked.is_none();
        let place = asked.unwrap_or_else(|| self.begin(start));
        let turn = self.open.get_mut(place)?;
        if turn.id.is_none() {
            turn.id = Some(id.to_owned());
            // Of what the client sent, nothing is missing that could have asked for it.
            turn.is_owed = is_new && !made_by_server && self.missing_requests.is_whole();
            let missing = std::mem::take(&mut self.missing_requests).join(std::mem::take(&mut self.missing_answers));
            turn.completeness = turn.completeness.join(missing);
        }
        Some(turn)
    }

    /// The call whose answer has this id; without an id, the one that answers.
    pub(in crate::provider) fn answering(&mut self, id: Option<&str>) -> Option<&mut Turn> {
        match id {
            Some(id) => self.open.iter_mut().find(|turn| turn.id.as_deref() == Some(id)),
            None => self.open.iter_mut().rfind(|turn| turn.is_answering()),
        }
    }

    pub(in crate::provider) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Turn> {
        self.open.iter_mut()
    }

    /// Takes out the calls that [`Turn::end`] was said of.
    pub(in crate::provider) fn finish(&mut self) {
        while let Some((place, time)) =
            self.open.iter().enumerate().find_map(|(place, turn)| Some((place, turn.ended.filter(|_| !turn.is_owed)?)))
        {
            let turn = self.open.remove(place);
            let ending = if turn.call.has_failed() { Ending::Broken } else { Ending::Seen };
            self.end(turn, time, ending);
        }
    }

    /// Ends the calls that fit and whose own end was missed.
    pub(in crate::provider) fn finish_unseen(&mut self, is_over: impl Fn(&Turn) -> bool) {
        while let Some(place) = self.open.iter().position(&is_over) {
            let turn = self.open.remove(place);
            let time = turn.last_seen;
            self.end(turn, time, Ending::Unknown);
        }
    }

    /// A call that is told by one event: `fill` says what it was.
    pub(in crate::provider) fn single(
        &mut self,
        operation: Operation,
        start: BootTime,
        end: BootTime,
        fill: impl FnOnce(&mut CallBuilder),
    ) {
        let mut turn = self.make(operation, start);
        fill(&mut turn.call);
        let ending = if turn.call.has_failed() { Ending::Broken } else { Ending::Seen };
        self.end(turn, end, ending);
    }

    /// The provider refuses what none of the calls under way has asked for: what `named` will ask for, or, without a name, what is asked at the
    /// same moment. `is_calls`: it cannot be anything but a call. `fill` says why it is refused.
    pub(in crate::provider) fn refuse(
        &mut self,
        named: Option<String>,
        is_calls: bool,
        time: BootTime,
        fill: impl FnOnce(&mut CallBuilder),
    ) {
        let mut turn = self.make(self.template.operation, time);
        fill(&mut turn.call);
        turn.call.fail(Some("error"), None);
        turn.heard(time);
        if let Some(earlier) = self.refused.replace(Refused { turn, named, is_calls }).filter(|earlier| earlier.is_calls) {
            self.end_refused(earlier);
        }
    }

    /// Nobody asked for what was refused: it is a call of its own where it can be nothing else, where the question may have been lost, and
    /// where nothing on this connection has ever worked.
    fn end_refused(&mut self, refused: Refused) {
        if refused.is_calls || !self.has_worked || !self.missing_requests.is_whole() {
            let mut turn = refused.turn;
            turn.completeness = turn.completeness.join(std::mem::take(&mut self.missing_requests));
            self.has_worked = true;
            let time = turn.last_seen;
            self.end(turn, time, Ending::Broken);
        }
    }

    /// Messages may be missing.
    pub(super) fn miss(&mut self, from: SocketPeer, missing: Completeness) {
        match from {
            SocketPeer::Client => {
                self.missing_requests = self.missing_requests.join(missing);
                // Who asked may be among what is missing.
                for turn in self.open.iter_mut().filter(|turn| turn.is_owed) {
                    turn.is_owed = false;
                    turn.completeness = turn.completeness.join(missing);
                }
                self.finish();
            }
            SocketPeer::Server if self.open.is_empty() => self.missing_answers = self.missing_answers.join(missing),
            SocketPeer::Server => {
                for turn in &mut self.open {
                    turn.mark(missing);
                }
            }
        }
    }

    /// Something of everything under way may be missing.
    pub(super) fn mark(&mut self, missing: Completeness) -> usize {
        for turn in &mut self.open {
            turn.completeness = turn.completeness.join(missing);
        }
        self.open.len()
    }

    /// The connection is over, and so is what was under way.
    pub(super) fn close(&mut self, missing: Completeness, time: BootTime) {
        if let Some(refused) = self.refused.take() {
            self.end_refused(refused);
        }
        for turn in &mut self.open {
            turn.is_owed = false;
        }
        self.finish();
        for mut turn in std::mem::take(&mut self.open) {
            turn.completeness = turn.completeness.join(missing);
            if turn.call.has_failed() {
                let time = turn.last_seen;
                self.end(turn, time, Ending::Broken);
            } else if turn.is_lossy || !missing.is_whole() {
                let time = turn.last_seen;
                self.end(turn, time, Ending::Unknown);
            } else {
                turn.call.fail(Some(if turn.is_answering() { "cancelled" } else { "connection_closed" }), None);
                self.end(turn, time, Ending::Broken);
            }
        }
    }

    fn begin(&mut self, start: BootTime) -> usize {
        if self.open.len() >= MAX_TURNS {
            let mut oldest = self.open.remove(0);
            oldest.is_lossy = true;
            let time = oldest.last_seen;
            self.end(oldest, time, Ending::Unknown);
        }
        let turn = self.make(self.template.operation, start);
        self.has_worked = true;
        self.open.push(turn);
        self.open.len().saturating_sub(1)
    }

    fn make(&self, operation: Operation, start: BootTime) -> Turn {
        let Template { provider, keep_content, request, request_id, .. } = &self.template;
        let mut call = Box::new(CallBuilder::new(provider.clone(), operation, *keep_content));
        call.request = request.clone();
        call.response.request_id.clone_from(request_id);
        Turn {
            call,
            id: None,
            asked_by: None,
            timing: Timing { start, ..Timing::default() },
            completeness: Completeness::Whole,
            is_lossy: false,
            is_owed: false,
            ended: None,
            last_seen: start,
        }
    }

    fn end(&mut self, turn: Turn, time: BootTime, ending: Ending) {
        let timing = Timing { end: time, ..turn.timing };
        self.finished.push(Finished { call: turn.call, timing, completeness: turn.completeness, ending });
    }
}
