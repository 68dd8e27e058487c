//! Requests whose answers come another way: on another stream, by another request, over another connection of the same process.
//!
//! The old transport posts requests and gets their answers on one long stream; servers ask on streams and are answered by requests.

use std::collections::{HashMap, VecDeque};

use a11i_common::identity::{BootTime, ProcessId};

use super::{message::Answer, session::Sessions};
use crate::call::{Completeness, LossCauses, McpMessage, McpSession};

/// Requests that wait for an answer at once, of all processes. An agent has a few dozen; the oldest gives way.
const REQUESTS: usize = 4096;
/// Longest wait: tools run for minutes. What nobody saw answered then is told, marked.
const WAIT_NANOS: u64 = 15 * 60 * 1_000_000_000;

/// Whose request: ids are unique among those that one side of a session sent.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct RequestKey {
    pub(super) process: ProcessId,
    pub(super) session: String,
    /// The HTTP client sent it.
    pub(super) by_client: bool,
    pub(super) id: String,
}

/// Requests of all connections that wait.
#[derive(Debug, Default)]
pub struct PendingRequests {
    waiting: HashMap<RequestKey, McpMessage>,
    /// In order of arrival; what is no longer waiting is passed over.
    order: VecDeque<(RequestKey, BootTime)>,
    /// Answers that were seen before their request: two connections are read in any order.
    early: VecDeque<(RequestKey, BootTime, Box<Answer>)>,
    unanswered: u64,
    pub(super) sessions: Sessions,
}

/// Answers kept for a request that is read later: within one turn of the ring.
const EARLY_ANSWERS: usize = 64;
/// How long.
const EARLY_NANOS: u64 = 2_000_000_000;

impl PendingRequests {
    /// Requests that were given up: nobody saw them answered.
    pub const fn unanswered(&self) -> u64 {
        self.unanswered
    }

    pub(super) fn ask(&mut self, key: RequestKey, message: McpMessage, sink: &mut dyn FnMut(McpMessage)) {
        if let Some(at) = self.early.iter().position(|(early, ..)| *early == key)
            && let Some((_, time, answer)) = self.early.remove(at)
        {
            return self.finish(message, *answer, time, sink);
        }
        while self.waiting.len() >= REQUESTS {
            let Some((oldest, _)) = self.order.pop_front() else { break };
            self.give_up(&oldest, None, sink);
        }
        self.order.push_back((key.clone(), message.timing.start));
        // An id that is used again: nobody saw the first one answered.
        if let Some(old) = self.waiting.insert(key, message) {
            self.unanswered = self.unanswered.saturating_add(1);
            sink(unseen(old));
        }
        // Answered requests leave their place in the order behind.
        if self.order.len() > REQUESTS.saturating_mul(2) {
            self.order.retain(|(key, _)| self.waiting.contains_key(key));
        }
    }

    pub(super) fn awaits(&self, key: &RequestKey) -> bool {
        self.waiting.contains_key(key)
    }

    pub(super) fn answer(&mut self, key: RequestKey, answer: Box<Answer>, time: BootTime, sink: &mut dyn FnMut(McpMessage)) {
        if let Some(message) = self.waiting.remove(&key) {
            self.finish(message, *answer, time, sink);
        } else {
            if self.early.len() >= EARLY_ANSWERS {
                self.early.pop_front();
            }
            self.early.push_back((key, time, answer));
        }
    }

    pub fn handle_timeout(&mut self, now: BootTime, sink: &mut dyn FnMut(McpMessage)) {
        self.early.retain(|(_, time, _)| now.nanos_since(*time) < EARLY_NANOS);
        while let Some((key, since)) = self.order.front() {
            let over = now.nanos_since(*since) >= WAIT_NANOS;
            if self.waiting.contains_key(key) && !over {
                break;
            }
            let Some((key, since)) = self.order.pop_front() else { break };
            // An id that was used again has a place of its own further back.
            if self.waiting.get(&key).is_some_and(|message| message.timing.start == since) {
                self.give_up(&key, None, sink);
            }
        }
    }

    /// The process has ended: nobody answers any more.
    pub fn end_process(&mut self, process: ProcessId, time: BootTime, sink: &mut dyn FnMut(McpMessage)) {
        let keys: Vec<_> = self.order.iter().filter(|(key, _)| key.process == process).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.give_up(&key, Some(time), sink);
        }
        self.order.retain(|(key, _)| key.process != process);
        self.early.retain(|(key, ..)| key.process != process);
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

    fn give_up(&mut self, key: &RequestKey, ended: Option<BootTime>, sink: &mut dyn FnMut(McpMessage)) {
        let Some(mut message) = self.waiting.remove(key) else { return };
        self.unanswered = self.unanswered.saturating_add(1);
        if let Some(time) = ended {
            message.timing.end = message.timing.end.max(time);
            message.outcome.error_type = Some("cancelled".to_owned());
            sink(message);
        } else {
            sink(unseen(message));
        }
    }
}

/// It may have been answered where nobody looked.
fn unseen(mut message: McpMessage) -> McpMessage {
    message.completeness = message.completeness.join(Completeness::Gap { lost: None, causes: LossCauses::END_UNSEEN });
    message
}
