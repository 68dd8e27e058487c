//! How long sessions last: from the `initialize` that opened one to its `DELETE`, the end of the old transport's stream, or the process's end.
//!
//! Only what was seen from its beginning is measured. A session whose end nobody saw, while its process went on, has no length.

use std::collections::{HashMap, VecDeque};

use a11i_common::identity::{BootTime, ProcessId};

use crate::call::{McpMessage, McpSession, Role};

/// Sessions followed at once, of all processes. Servers whose clients never say goodbye keep them until the process ends; the oldest gives way.
const SESSIONS: usize = 4096;

/// Which session: ids are the server's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct SessionKey {
    pub(super) process: ProcessId,
    /// Of the observed process as the HTTP client or server: it may be both.
    pub(super) role: Role,
    pub(super) id: String,
}

#[derive(Debug)]
struct Open {
    session: McpSession,
    /// When its stream was lost sight of.
    unseen_since: Option<BootTime>,
}

/// Sessions under way, and those that are over.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: HashMap<SessionKey, Open>,
    /// In the order of their beginnings; what is no longer open is passed over.
    order: VecDeque<SessionKey>,
    over: Vec<McpSession>,
    forgotten: u64,
}

impl Sessions {
    /// A request was answered: where it opened a session, that has begun with it.
    pub(super) fn handle_answer(&mut self, message: &McpMessage) {
        let Some(id) = &message.session_id else { return };
        if message.method != "initialize" || message.outcome.error_type.is_some() {
            return;
        }
        let key = SessionKey { process: message.owner.process, role: message.role, id: id.clone() };
        while self.open.len() >= SESSIONS && !self.open.contains_key(&key) {
            let Some(oldest) = self.order.pop_front() else { break };
            self.forget(&oldest);
        }
        let session = McpSession {
            owner: message.owner.clone(),
            role: message.role,
            server: message.server.clone(),
            protocol_version: message.protocol_version.clone(),
            error_type: None,
            start: message.timing.start,
            end: message.timing.start,
        };
        // An id that begins once more: whatever it was before, its end was not seen.
        if self.open.insert(key.clone(), Open { session, unseen_since: None }).is_some() {
            self.forgotten = self.forgotten.saturating_add(1);
        } else {
            self.order.push_back(key);
        }
        if self.order.len() > SESSIONS.saturating_mul(2) {
            self.order.retain(|key| self.open.contains_key(key));
        }
    }

    /// `error`: as the conventions' `error.type`.
    pub(super) fn end(&mut self, key: &SessionKey, time: BootTime, error: Option<String>) {
        if let Some(Open { mut session, .. }) = self.open.remove(key) {
            session.end = time.max(session.start);
            session.error_type = error;
            self.over.push(session);
        }
    }

    /// The stream that it lives with is followed no longer. Its end may come with its process, at this very time.
    pub(super) fn lose_sight(&mut self, key: &SessionKey, time: BootTime) {
        if let Some(open) = self.open.get_mut(key) {
            open.unseen_since = Some(time);
        }
    }

    pub(super) fn end_process(&mut self, process: ProcessId, time: BootTime) {
        let keys: Vec<_> = self.order.iter().filter(|key| key.process == process).cloned().collect();
        for key in keys {
            match self.open.get(&key).map(|open| open.unseen_since) {
                Some(Some(since)) if since < time => self.forget(&key),
                Some(_) => self.end(&key, time, None),
                None => {}
            }
        }
        self.order.retain(|key| key.process != process);
    }

    /// What is over since this was asked last.
    pub(super) fn take_over(&mut self) -> Vec<McpSession> {
        std::mem::take(&mut self.over)
    }

    /// Sessions whose end was not seen.
    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn forget(&mut self, key: &SessionKey) {
        if self.open.remove(key).is_some() {
            self.forgotten = self.forgotten.saturating_add(1);
        }
    }
}
