//! Sums that others keep (kernel half, pipeline, scanner, watcher), read once a second into the instruments.

use a11i_common::identity::BootTime;

use super::{super::resolver::Question, Observer};
use crate::{call::LossCauses, capture::missed::Grown, clock::Clock, telemetry::DropReason};

/// Between two readings of missed runs before calls leave: a reading takes some ten system calls, and nobody waits for a finished call.
const LEAVING_NANOS: u64 = 20_000_000;

/// Between sweeps of the kernel's session table.
const SWEEP_NANOS: u64 = 60_000_000_000;

/// The same while ends of processes are missed: preemptible kernels miss some in every storm of execs, and a sweep of a full table takes
/// tens of milliseconds.
const MISSED_ENDS_NANOS: u64 = 5_000_000_000;

impl Observer {
    /// What was missed of the life of processes is found by looking.
    pub(super) fn read_missed_runs(&mut self, now: BootTime) {
        let grown = self.missed.read();
        self.instruments.set_missed_runs(&self.missed.runs());
        self.mark_missed(grown);
        if grown.begins {
            self.watcher.scan_soon(now);
        }
        self.ends_missed |= grown.ends;
        self.tables.sweep_exited();
        // The kernel's session table, for processes that ended without a word.
        let pause = if self.ends_missed { MISSED_ENDS_NANOS } else { SWEEP_NANOS };
        if self.last_sweep.plus_nanos(pause) <= now {
            (self.ends_missed, self.last_sweep) = (false, now);
            self.tables.sweep_rustls_keys();
            if !self.resolver.ask(Question::Ended(self.tables.processes())) {
                self.ends_missed = true;
                tracing::debug!("too busy to look for processes whose end was missed");
            }
        }
    }

    /// Nobody knows whose call a missed run was: every call under way, and every one that has not left yet, says so where its bytes come from
    /// such programs.
    fn mark_missed(&mut self, grown: Grown) {
        if grown != Grown::default() {
            tracing::debug!(?grown, runs = ?self.missed.runs(), "kernel programs missed runs");
        }
        if grown.probes || grown.sockets {
            self.pipeline.mark_calls(LossCauses::PROGRAM_MISSED, |capture| grown.touches(capture), &mut self.leaving);
        }
    }

    /// Calls leave when it is known whether a run was missed until they were finished.
    pub(in crate::observe) fn let_calls_leave(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        self.next_leaving = Clock::boot_now().plus_nanos(LEAVING_NANOS);
        let grown = self.missed.read_data_programs();
        self.mark_missed(grown);
        for call in std::mem::take(&mut self.leaving) {
            self.let_leave(call);
        }
    }

    /// Sums that others keep, into the instruments.
    pub(super) fn read_counters(&self) {
        let instruments = &self.instruments;
        for (counter, value) in self.counters.read() {
            instruments.set_kernel(counter, value);
            tracing::trace!(name = counter.as_str(), value, "kernel counter");
        }
        let counters = self.pipeline.counters();
        instruments.records.set(counters.records);
        instruments.record_bytes.set(counters.payload_bytes);
        instruments.lost_bytes.set(counters.lost_bytes);
        instruments.unknown_gaps.set(counters.unknown_gaps);
        instruments.unseen_sessions.set(counters.unseen_sessions);
        instruments.late_attachments.set(counters.late_attachments);
        instruments.calls_marked.set(counters.calls_marked);
        instruments.discarded_bytes.set(counters.discarded_bytes);
        instruments.flows.set(self.pipeline.flows() as u64);
        let watcher = self.watcher.counts();
        for (reason, total) in [
            (DropReason::FlowTableFull, counters.flows_evicted),
            (DropReason::FlowExpired, counters.flows_expired),
            (DropReason::NotLlm, counters.exchanges.unlike),
            (DropReason::TooManyExchanges, counters.exchanges.too_many),
            (DropReason::StreamEventTooLarge, counters.exchanges.dropped_events),
            (DropReason::InstrumentedForgotten, counters.instrumented_forgotten),
            (DropReason::McpSessionForgotten, counters.mcp_sessions_forgotten),
            (DropReason::McpContent, counters.mcp_contents_dropped),
            (DropReason::BodyUndecoded, counters.exchanges.undecoded),
            (DropReason::StreamEventDamaged, counters.exchanges.damaged_events),
            (DropReason::OwnerUnknown, counters.calls_without_owner),
            (DropReason::OwnerUnanswered, self.resolver.unanswered()),
            (DropReason::OwnerEvicted, counters.owners_evicted),
            (DropReason::ScanRejected, self.scanner.rejected()),
            (DropReason::ScanNotRequested, watcher.requests_dropped),
            (DropReason::ScanNotFollowed, watcher.young_full),
            (DropReason::MappingNotFollowed, watcher.mappings_not_followed),
            (DropReason::MappingLost, watcher.mappings_lost),
        ] {
            instruments.set_dropped(reason, total);
        }
    }
}
