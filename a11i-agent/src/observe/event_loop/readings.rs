//! Sums that others keep (kernel half, pipeline, scanner, watcher), read once a second into the instruments.

use super::Observer;
use crate::{call::LossCauses, telemetry::DropReason};

impl Observer {
    /// Nobody knows whose call a missed run was: every call under way says so.
    pub(super) fn read_missed_runs(&mut self) {
        let (runs, grown) = self.missed.read();
        self.instruments.set_missed_runs(&runs);
        if grown {
            tracing::debug!(?runs, "kernel programs missed runs");
            self.pipeline.mark_open_calls(LossCauses::PROGRAM_MISSED);
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
