//! The end of a call's way: it waits a moment for its owner, where nobody has looked at the process yet, then goes to be counted and priced.

use std::sync::Arc;

use a11i_common::identity::{BootTime, ProcessId};

use super::{Leaving, Output, Pipeline, Sink, counters::add, desk::Desk};
use crate::{
    call::{CaptureFacts, Completeness, Correlation, LlmCall, McpMessage},
    owner::{Owner, cache::Known},
    redaction::{ContentPolicy, redact_mcp},
    tokens,
};

/// How long a finished call waits for its owner: looking at a process takes a millisecond, on a busy machine some more.
pub const OWNER_WAIT_NANOS: u64 = 250_000_000;

/// Calls that wait for their owner at once. More of them leave without.
pub(super) const CALLS_WAITING: usize = 1024;

/// What is finished and leaves.
pub(super) enum Finished {
    Llm(Box<LlmCall>),
    Mcp(Box<McpMessage>),
}

/// A finished call whose owner is still looked for.
pub(super) struct WaitingCall {
    finished: Finished,
    /// Set when time passes for the first time: by then all that was to be read has been read.
    leave_at: Option<BootTime>,
}

impl Finished {
    fn owner(&mut self) -> &mut Arc<Owner> {
        match self {
            Self::Llm(call) => &mut call.owner,
            Self::Mcp(message) => &mut message.owner,
        }
    }

    fn correlation(&mut self) -> &mut Correlation {
        match self {
            Self::Llm(call) => &mut call.correlation,
            Self::Mcp(message) => &mut message.correlation,
        }
    }

    const fn capture(&self) -> CaptureFacts {
        match self {
            Self::Llm(call) => call.capture,
            Self::Mcp(message) => message.capture,
        }
    }

    fn completeness(&mut self) -> &mut Completeness {
        match self {
            Self::Llm(call) => &mut call.completeness,
            Self::Mcp(message) => &mut message.completeness,
        }
    }
}

impl Desk {
    /// A call is finished. It goes, or waits for its owner.
    pub(super) fn leave(&mut self, mut finished: Finished, owner_open: bool, sink: Sink<'_>) {
        if !self.settings.trace_correlation {
            finished.correlation().parent = None;
        }
        if let Finished::Llm(call) = &mut finished {
            self.deferred.settle(call);
        }
        let process = finished.owner().process;
        if owner_open && self.waiting.len() < CALLS_WAITING && self.owners.owner(process) == Known::Awaited {
            self.waiting.push_back(WaitingCall { finished, leave_at: None });
        } else if owner_open {
            self.go_with_best_owner(finished, sink);
        } else {
            self.go(finished, sink);
        }
    }

    /// Lets waiting calls go, in their order: those of one process, or all.
    pub(super) fn release(&mut self, of: Option<ProcessId>, sink: Sink<'_>) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            if of.is_none_or(|process| waiting.finished.owner().process == process) {
                self.go_with_best_owner(waiting.finished, sink);
            } else {
                self.waiting.push_back(waiting);
            }
        }
    }

    /// Something may be missing of every waiting call that was captured in a way that is `touched`. How many there are.
    pub(super) fn mark_waiting(&mut self, missing: Completeness, touched: impl Fn(CaptureFacts) -> bool) -> usize {
        let mut marked = 0;
        for WaitingCall { finished, .. } in self.waiting.iter_mut().filter(|waiting| touched(waiting.finished.capture())) {
            let completeness = finished.completeness();
            *completeness = completeness.join(missing);
            marked += 1;
        }
        marked
    }

    pub(super) fn release_late(&mut self, now: BootTime, sink: Sink<'_>) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            let leave_at = *waiting.leave_at.get_or_insert_with(|| now.plus_nanos(OWNER_WAIT_NANOS));
            if leave_at <= now {
                self.go_with_best_owner(waiting.finished, sink);
            } else {
                self.waiting.push_back(waiting);
            }
        }
    }

    fn go_with_best_owner(&mut self, mut finished: Finished, sink: Sink<'_>) {
        let process = finished.owner().process;
        let best = self.owners.best(process);
        if *best == Owner::unknown(process) {
            add(&mut self.counters.calls_without_owner, 1);
        }
        *finished.owner() = best;
        self.go(finished, sink);
    }

    fn go(&mut self, finished: Finished, sink: Sink<'_>) {
        let leaving = match finished {
            Finished::Llm(mut call) => {
                add(&mut self.counters.calls, 1);
                call.correlation.is_duplicate |= self.settings.instrumented.names(&call.owner);
                if tokens::needs_estimate(&call) {
                    Leaving::Estimate(call)
                } else {
                    Leaving::Call(Box::new(Pipeline::finish(&self.settings, *call, None)))
                }
            }
            Finished::Mcp(message) => {
                let policy = ContentPolicy::decide(self.settings.content, &message.owner);
                Leaving::Mcp(Box::new(redact_mcp(*message, policy)))
            }
        };
        sink(Output::Leaving(leaving));
    }
}
