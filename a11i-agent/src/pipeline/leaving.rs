//! The end of a call's way: it waits a moment for its owner, where nobody has looked at the process yet, then goes to be counted and priced.

use a11i_common::identity::BootTime;

use super::{Output, Pipeline, Sink, counters::add, desk::Desk};
use crate::{
    call::{Completeness, LlmCall},
    owner::{Owner, cache::Known},
    tokens,
};

/// How long a finished call waits for its owner: looking at a process takes a millisecond, on a busy machine some more.
pub const OWNER_WAIT_NANOS: u64 = 250_000_000;

/// Calls that wait for their owner at once. More of them leave without.
pub(super) const CALLS_WAITING: usize = 1024;

/// A finished call whose owner is still looked for.
pub(super) struct WaitingCall {
    call: LlmCall,
    /// Set when time passes for the first time: by then all that was to be read has been read.
    leave_at: Option<BootTime>,
}

impl Desk {
    /// A call is finished. It goes, or waits for its owner.
    pub(super) fn leave(&mut self, mut call: LlmCall, owner_open: bool, sink: Sink<'_>) {
        if !self.settings.trace_correlation {
            call.correlation.parent = None;
        }
        self.deferred.settle(&mut call);
        if owner_open && self.waiting.len() < CALLS_WAITING && self.owners.owner(call.owner.process) == Known::Awaited {
            self.waiting.push_back(WaitingCall { call, leave_at: None });
        } else if owner_open {
            self.go_with_best_owner(call, sink);
        } else {
            self.go(call, sink);
        }
    }

    /// Lets waiting calls go, in their order.
    pub(super) fn release(&mut self, whose: impl Fn(&LlmCall) -> bool, sink: Sink<'_>) {
        for waiting in std::mem::take(&mut self.waiting) {
            if whose(&waiting.call) {
                self.go_with_best_owner(waiting.call, sink);
            } else {
                self.waiting.push_back(waiting);
            }
        }
    }

    /// Something of every waiting call may be missing. How many there are.
    pub(super) fn mark_waiting(&mut self, missing: Completeness) -> usize {
        for WaitingCall { call, .. } in &mut self.waiting {
            call.completeness = call.completeness.join(missing);
        }
        self.waiting.len()
    }

    pub(super) fn release_late(&mut self, now: BootTime, sink: Sink<'_>) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            let leave_at = *waiting.leave_at.get_or_insert_with(|| now.plus_nanos(OWNER_WAIT_NANOS));
            if leave_at <= now {
                self.go_with_best_owner(waiting.call, sink);
            } else {
                self.waiting.push_back(waiting);
            }
        }
    }

    fn go_with_best_owner(&mut self, mut call: LlmCall, sink: Sink<'_>) {
        let process = call.owner.process;
        call.owner = self.owners.best(process);
        if *call.owner == Owner::unknown(process) {
            add(&mut self.counters.calls_without_owner, 1);
        }
        self.go(call, sink);
    }

    fn go(&mut self, call: LlmCall, sink: Sink<'_>) {
        add(&mut self.counters.calls, 1);
        if tokens::needs_estimate(&call) {
            sink(Output::Estimate(Box::new(call)));
        } else {
            sink(Output::Call(Box::new(Pipeline::finish(&self.settings, call, None))));
        }
    }
}
