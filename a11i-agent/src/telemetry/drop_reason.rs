//! Why something seen did not come out: the labels of one counter.

/// `reason` of `a11i.dropped`. Kernel losses have their own counter (`a11i.capture.kernel`), since the kernel counts them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(usize)]
pub enum DropReason {
    /// A record of the ring that does not decode.
    RecordMalformed,
    /// No room for another flow.
    FlowTableFull,
    /// A flow that was idle for too long.
    FlowExpired,
    /// A connection that is not HTTP.
    NotHttp,
    /// A message that breaks the protocol or a limit.
    HttpMalformed,
    /// A request whose path looks like a model call and whose body does not.
    NotLlm,
    /// A model call on a connection that has too many under way.
    TooManyExchanges,
    /// An event of a stream that is larger than any model sends.
    StreamEventTooLarge,
    /// An event of a stream whose checksum does not fit.
    StreamEventDamaged,
    /// A body of a model call that does not decode: its content coding is unknown or broken, or it is beyond the limits of decoding.
    BodyUndecoded,
    /// A call whose process could not be looked at, or not in time: it goes on without, and without content.
    OwnerUnknown,
    /// That a process reports its calls itself, or may, while too many have calls: its next call begins anew.
    InstrumentedForgotten,
    /// The length of an MCP session whose end was not seen.
    McpSessionForgotten,
    /// Arguments or a result of an MCP message that waits for its other half, while too much of them does: it goes on without.
    McpContent,
    /// A question who a process is, while too many wait.
    OwnerQuestion,
    /// What a process states about itself, since its memory did not answer in time: it is known without.
    OwnerUnanswered,
    /// What was known of a process, while too many are known.
    OwnerEvicted,
    /// A look at a process, while the scanner has too many to do; the next host scan makes up for it.
    ScanRejected,
    /// A look at a process that was never asked for, since too many were.
    ScanNotRequested,
    /// A young process that is not looked at again, since too many are young.
    ScanNotFollowed,
    /// Mappings of code that the kernel told nobody, since a buffer was full; a host scan follows.
    MappingLost,
    /// A process that mapped code and was not looked at for it, since too many did.
    MappingNotFollowed,
    /// A file that is looked at later, since its container has used up its budget.
    FilePostponed,
    /// A look at a file or a process that did not end in time; it is tried again when it answers.
    FileUnanswered,
    /// What calls say for and against functions that were found without names, while too many of them are on probation: they keep their probes.
    ProbationFull,
    /// No room for another estimate: the call goes on without.
    EstimateQueueFull,
    /// An estimate that was not ready when the time of a shutdown was over: the call goes on without.
    EstimateShutdown,
    /// No price matches: the call goes on without a cost.
    PriceMiss,
    /// A span while the queue had its most items.
    SpanQueueFull,
    /// A span while the queue had its most bytes.
    SpanQueueBytes,
    /// Content of a span that is larger than a batch may be; the span went on without it.
    SpanContentTooLarge,
    /// A span that is larger than a batch may be, even without content.
    SpanTooLarge,
    /// Spans whose endpoint did not answer for as long as retries last.
    SpanRetriesExhausted,
    /// Spans of a request that the endpoint refused for good.
    SpanRefused,
    /// Spans the endpoint rejected of a request it took (partial success).
    SpanRejected,
    /// Spans left when the time of a shutdown was over.
    SpanShutdown,
    /// Data points of a request that did not arrive; the next one repeats their sums.
    MetricNotDelivered,
    /// Data points the endpoint rejected of a request it took.
    MetricRejected,
    /// Measurements that went to an overflow series.
    MetricOverflow,
    /// Processes without a metric resource of their own: theirs went to the overflow resource.
    MetricResourceOverflow,
    /// What a request is, while too many verdicts wait to be taken: the kernel half goes on copying it within its budgets.
    VerdictTableFull,
    /// A line for standard output whose reader is too far behind.
    PrinterBehind,
}

impl DropReason {
    pub const ALL: [(Self, &'static str); 42] = [
        (Self::RecordMalformed, "record_malformed"),
        (Self::FlowTableFull, "flow_table_full"),
        (Self::FlowExpired, "flow_expired"),
        (Self::NotHttp, "not_http"),
        (Self::HttpMalformed, "http_malformed"),
        (Self::NotLlm, "not_llm"),
        (Self::TooManyExchanges, "too_many_exchanges"),
        (Self::StreamEventTooLarge, "stream_event_too_large"),
        (Self::StreamEventDamaged, "stream_event_damaged"),
        (Self::BodyUndecoded, "body_undecoded"),
        (Self::OwnerUnknown, "owner_unknown"),
        (Self::InstrumentedForgotten, "instrumented_forgotten"),
        (Self::McpSessionForgotten, "mcp_session_forgotten"),
        (Self::McpContent, "mcp_content"),
        (Self::OwnerQuestion, "owner_question"),
        (Self::OwnerUnanswered, "owner_unanswered"),
        (Self::OwnerEvicted, "owner_evicted"),
        (Self::ScanRejected, "scan_rejected"),
        (Self::ScanNotRequested, "scan_not_requested"),
        (Self::ScanNotFollowed, "scan_not_followed"),
        (Self::MappingLost, "mapping_lost"),
        (Self::MappingNotFollowed, "mapping_not_followed"),
        (Self::FilePostponed, "file_postponed"),
        (Self::FileUnanswered, "file_unanswered"),
        (Self::ProbationFull, "probation_full"),
        (Self::EstimateQueueFull, "estimate_queue_full"),
        (Self::EstimateShutdown, "estimate_shutdown"),
        (Self::PriceMiss, "price_miss"),
        (Self::SpanQueueFull, "span_queue_full"),
        (Self::SpanQueueBytes, "span_queue_bytes"),
        (Self::SpanContentTooLarge, "span_content_too_large"),
        (Self::SpanTooLarge, "span_too_large"),
        (Self::SpanRetriesExhausted, "span_retries_exhausted"),
        (Self::SpanRefused, "span_refused"),
        (Self::SpanRejected, "span_rejected"),
        (Self::SpanShutdown, "span_shutdown"),
        (Self::MetricNotDelivered, "metric_not_delivered"),
        (Self::MetricRejected, "metric_rejected"),
        (Self::MetricOverflow, "metric_overflow"),
        (Self::MetricResourceOverflow, "metric_resource_overflow"),
        (Self::VerdictTableFull, "verdict_table_full"),
        (Self::PrinterBehind, "printer_behind"),
    ];
}
