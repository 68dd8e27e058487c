//! What the pipeline counts.

use crate::provider::ExchangeCounters;

/// Totals since start. Every drop in the pure stages is in one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PipelineCounters {
    pub records: u64,
    pub payload_bytes: u64,
    /// Bytes of HTTP connections that were transferred and not seen.
    pub lost_bytes: u64,
    /// Gaps whose size nobody knows.
    pub unknown_gaps: u64,
    /// Sessions that transferred bytes of which no record came: told by their end.
    pub unseen_sessions: u64,
    /// Connections that turned out to be HTTP joined in its middle: they were open before their library had probes.
    pub late_attachments: u64,
    /// Calls that were open when a kernel program had missed a run, and so may lack something.
    pub calls_marked: u64,
    /// Bytes that arrived and have no place: duplicates, and what came after its gap or the end.
    pub discarded_bytes: u64,
    pub flows_opened: u64,
    /// Flows that had to go because the table was full.
    pub flows_evicted: u64,
    pub flows_expired: u64,
    pub calls: u64,
    /// Calls whose process could not be looked at (in time): they left with the strictest content policy.
    pub calls_without_owner: u64,
    /// Owners that were forgotten because too many were kept.
    pub owners_evicted: u64,
    /// Processes of which it was forgotten that they report their calls themselves, or may: too many had calls.
    pub instrumented_forgotten: u64,
    /// MCP sessions whose end was not seen: they have no length.
    pub mcp_sessions_forgotten: u64,
    /// Arguments and results of MCP messages that were not kept while those waited: too much did.
    pub mcp_contents_dropped: u64,
    pub exchanges: ExchangeCounters,
}

/// Counted as it happens, so that connections which live for days are in the sums.
pub(super) fn add_exchanges(total: &mut ExchangeCounters, before: ExchangeCounters, after: ExchangeCounters) {
    add(&mut total.too_many, after.too_many.saturating_sub(before.too_many));
    add(&mut total.unlike, after.unlike.saturating_sub(before.unlike));
    add(&mut total.dropped_events, after.dropped_events.saturating_sub(before.dropped_events));
    add(&mut total.damaged_events, after.damaged_events.saturating_sub(before.damaged_events));
    add(&mut total.undecoded, after.undecoded.saturating_sub(before.undecoded));
    add(&mut total.presumed, after.presumed.saturating_sub(before.presumed));
}

pub(super) const fn add(total: &mut u64, more: u64) {
    *total = total.saturating_add(more);
}
