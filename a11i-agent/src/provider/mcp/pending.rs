//! Requests whose answers come another way: on another stream, by another request, over another connection of the same process.
//!
//! The old transport posts requests and gets their answers on one long stream; servers ask on streams and are answered by requests.

use std::{
    collections::{HashMap, VecDeque},
    mem::size_of,
};

use a11i_common::identity::{BootTime, ProcessId};
use serde_json::Value;

use super::{message::Answer, session::Sessions};
use crate::call::{Completeness, LossCauses, McpMessage, McpSession, Role};

/// Requests that wait for an answer at once, of all processes. An agent has a few dozen; the oldest gives way.
const REQUESTS: usize = 4096;
/// Longest wait: tools run for minutes. What nobody saw answered then is told, marked.
const WAIT_NANOS: u64 = 15 * 60 * 1_000_000_000;
/// Answers kept for a request that is read later: within one turn of the ring.
const EARLY_ANSWERS: usize = 64;
/// How long.
const EARLY_NANOS: u64 = 2_000_000_000;
/// Arguments and results kept with what waits, of all processes, as trees in memory: some hundred of the largest, or those of thousands of
/// usual calls. What comes when they are used up goes on without.
const CONTENT_BYTES: usize = 32 * 1024 * 1024;
/// A field of an object in memory, beside its name and its value.
const FIELD_BYTES: usize = 48;

/// Whose request: ids are unique among those that one side of a session sent.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct RequestKey {
    pub(super) process: ProcessId,
    /// Of the observed process, as the HTTP client or server: a gateway is both, and may keep a session's name.
    pub(super) role: Role,
    pub(super) session: String,
    /// The HTTP client sent it.
    pub(super) by_client: bool,
    pub(super) id: String,
}

/// Where a request or an answer was seen: its key may be in use on other connections too, where sessions have no names or count from zero
/// each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) key: RequestKey,
    pub(super) connection: u64,
}

#[derive(Debug)]
struct Waiting {
    connection: u64,
    message: McpMessage,
    /// Of its arguments.
    bytes: usize,
}

#[derive(Debug)]
struct Early {
    place: Place,
    time: BootTime,
    answer: Box<Answer>,
    /// Of its result.
    bytes: usize,
}

/// Requests of all connections that wait.
#[derive(Debug, Default)]
pub struct PendingRequests {
    /// By key; one for each connection that uses it.
    waiting: HashMap<RequestKey, Vec<Waiting>>,
    /// How many those are.
    count: usize,
    /// In order of arrival; what is no longer waiting is passed over.
    order: VecDeque<(Place, BootTime)>,
    /// Answers that were seen before their request: two connections are read in any order.
    early: VecDeque<Early>,
    /// Of arguments and results kept.
    content_bytes: usize,
    unanswered: u64,
    without_content: u64,
    pub(super) sessions: Sessions,
}

impl PendingRequests {
    /// Requests that were given up: nobody saw them answered.
    pub const fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Arguments and results that were not kept, since too much waited.
    pub const fn without_content(&self) -> u64 {
        self.without_content
    }

    pub(super) fn ask(&mut self, place: Place, mut message: McpMessage, sink: &mut dyn FnMut(McpMessage)) {
        if let Some(Early { time, answer, bytes, .. }) = self.take_early(&place) {
            self.content_bytes = self.content_bytes.saturating_sub(bytes);
            return self.finish(message, *answer, time, sink);
        }
        while self.count >= REQUESTS {
            let Some((oldest, since)) = self.order.pop_front() else { break };
            self.give_up(&oldest, Some(since), None, sink);
        }
        // An id that is used again: nobody saw the first one answered.
        self.give_up(&place, None, None, sink);
        let bytes = self.admit(&mut message.arguments);
        self.order.push_back((place.clone(), message.timing.start));
        let Place { key, connection } = place;
        self.waiting.entry(key).or_default().push(Waiting { connection, message, bytes });
        self.count = self.count.saturating_add(1);
        // Answered requests leave their place in the order behind.
        if self.order.len() > REQUESTS.saturating_mul(2) {
            let waiting = &self.waiting;
            self.order.retain(|(place, since)| position(waiting, place, Some(*since)).is_some());
        }
    }

    pub(super) fn awaits(&self, key: &RequestKey) -> bool {
        self.waiting.contains_key(key)
    }

    pub(super) fn answer(&mut self, place: Place, mut answer: Box<Answer>, time: BootTime, sink: &mut dyn FnMut(McpMessage)) {
        if let Some(asked) = self.waiting.get(&place.key) {
            let connections: Vec<u64> = asked.iter().map(|waiting| waiting.connection).collect();
            // Which of several it answers, nobody can say: they go on waiting, and are told as unanswered.
            let Some(connection) = nearest(&connections, place.connection).and_then(|at| connections.get(at).copied()) else { return };
            if let Some(message) = self.take(&Place { connection, ..place }, None) {
                self.finish(message, *answer, time, sink);
            }
            return;
        }
        if self.early.len() >= EARLY_ANSWERS
            && let Some(oldest) = self.early.pop_front()
        {
            self.content_bytes = self.content_bytes.saturating_sub(oldest.bytes);
        }
        let bytes = self.admit(&mut answer.result);
        self.early.push_back(Early { place, time, answer, bytes });
    }

    pub fn handle_timeout(&mut self, now: BootTime, sink: &mut dyn FnMut(McpMessage)) {
        self.forget_early(|early| now.nanos_since(early.time) >= EARLY_NANOS);
        while let Some((place, since)) = self.order.front() {
            let over = now.nanos_since(*since) >= WAIT_NANOS;
            if position(&self.waiting, place, Some(*since)).is_some() && !over {
                break;
            }
            let Some((place, since)) = self.order.pop_front() else { break };
            // An id that was used again has a place of its own further back.
            self.give_up(&place, Some(since), None, sink);
        }
    }

    /// The process has ended: nobody answers any more.
    pub fn end_process(&mut self, process: ProcessId, time: BootTime, sink: &mut dyn FnMut(McpMessage)) {
        let places: Vec<_> = self.order.iter().filter(|(place, _)| place.key.process == process).cloned().collect();
        for (place, since) in places {
            self.give_up(&place, Some(since), Some(time), sink);
        }
        self.order.retain(|(place, _)| place.key.process != process);
        self.forget_early(|early| early.place.key.process == process);
        self.sessions.end_process(process, time);
    }

    /// Sessions that are over since this was asked last.
    pub fn take_sessions(&mut self) -> Vec<McpSession> {
        self.sessions.take_over()
    }

    /// Sessions whose end was not seen: they have no length.
    pub const fn sessions_forgotten(&self) -> u64 {
        self.sessions.forgotten()
    }

    fn finish(&mut self, mut message: McpMessage, answer: Answer, time: BootTime, sink: &mut dyn FnMut(McpMessage)) {
        answer.conclude(&mut message);
        message.timing.end = message.timing.end.max(time);
        self.sessions.handle_answer(&message);
        sink(message);
    }

    /// `since`: only the request of this time.
    fn give_up(&mut self, place: &Place, since: Option<BootTime>, ended: Option<BootTime>, sink: &mut dyn FnMut(McpMessage)) {
        let Some(mut message) = self.take(place, since) else { return };
        self.unanswered = self.unanswered.saturating_add(1);
        if let Some(time) = ended {
            message.timing.end = message.timing.end.max(time);
            message.outcome.error_type = Some("cancelled".to_owned());
            sink(message);
        } else {
            sink(unseen(message));
        }
    }

    /// Out of those that wait.
    fn take(&mut self, place: &Place, since: Option<BootTime>) -> Option<McpMessage> {
        let at = position(&self.waiting, place, since)?;
        let asked = self.waiting.get_mut(&place.key)?;
        let Waiting { message, bytes, .. } = asked.remove(at);
        if asked.is_empty() {
            self.waiting.remove(&place.key);
        }
        self.count = self.count.saturating_sub(1);
        self.content_bytes = self.content_bytes.saturating_sub(bytes);
        Some(message)
    }

    fn take_early(&mut self, place: &Place) -> Option<Early> {
        let same: Vec<_> = (0..).zip(&self.early).filter(|(_, early)| early.place.key == place.key).collect();
        let connections: Vec<u64> = same.iter().map(|(_, early)| early.place.connection).collect();
        let (at, _) = *same.get(nearest(&connections, place.connection)?)?;
        self.early.remove(at)
    }

    fn forget_early(&mut self, is_over: impl Fn(&Early) -> bool) {
        let bytes = &mut self.content_bytes;
        self.early.retain(|early| {
            let keep = !is_over(early);
            if !keep {
                *bytes = bytes.saturating_sub(early.bytes);
            }
            keep
        });
    }

    /// Its bytes, where it may wait too; else it is left out.
    fn admit(&mut self, content: &mut Option<Value>) -> usize {
        let bytes = content.as_ref().map_or(0, footprint);
        let sum = self.content_bytes.saturating_add(bytes);
        if sum > CONTENT_BYTES {
            *content = None;
            self.without_content = self.without_content.saturating_add(1);
            return 0;
        }
        self.content_bytes = sum;
        bytes
    }
}

/// Among those that wait by the same key.
fn position(waiting: &HashMap<RequestKey, Vec<Waiting>>, place: &Place, since: Option<BootTime>) -> Option<usize> {
    let is_it = |one: &Waiting| one.connection == place.connection && since.is_none_or(|since| one.message.timing.start == since);
    waiting.get(&place.key)?.iter().position(is_it)
}

/// Of several connections this one, else the only one there is.
fn nearest(connections: &[u64], connection: u64) -> Option<usize> {
    connections.iter().position(|one| *one == connection).or(if connections.len() == 1 { Some(0) } else { None })
}

/// Bytes in memory, about. Trees are as deep as the parser allows.
fn footprint(value: &Value) -> usize {
    let within = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(footprint).fold(0, usize::saturating_add),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| footprint(value).saturating_add(name.len()).saturating_add(FIELD_BYTES))
            .fold(0, usize::saturating_add),
    };
    within.saturating_add(size_of::<Value>())
}

/// It may have been answered where nobody looked.
fn unseen(mut message: McpMessage) -> McpMessage {
    message.completeness = message.completeness.join(Completeness::Gap { lost: None, causes: LossCauses::END_UNSEEN });
    message
}
