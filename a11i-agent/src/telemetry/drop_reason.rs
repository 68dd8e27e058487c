//! Why something seen did not come out: the labels of one counter.

/// `reason` of `a11i.dropped`. Kernel losses have their own counter (`a11i.capture.kernel`), since the kernel counts them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(usize)]
pub enum DropReason {
    /// A record of the ring that does not decode.
    RecordMalformed,
    /// No room for another flow.
    FlowTableFull,
    /// The bytes of all flows together exceed their bound.
    FlowMemory,
    /// A connection that is not HTTP.
    NotHttp,
    /// An HTTP/2 connection: not decoded by this version.
    Http2NotDecoded,
    /// A message that breaks the protocol or a limit.
    HttpMalformed,
    /// An exchange that no dialect claims.
    NotLlm,
    /// A body that is not what its dialect writes.
    BodyMalformed,
    /// No room for another estimate: the call goes on without.
    EstimateQueueFull,
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
    /// A line for standard output whose reader is too far behind.
    PrinterBehind,
}

impl DropReason {
    pub const ALL: [(Self, &'static str); 23] = [
        (Self::RecordMalformed, "record_malformed"),
        (Self::FlowTableFull, "flow_table_full"),
        (Self::FlowMemory, "flow_memory"),
        (Self::NotHttp, "not_http"),
        (Self::Http2NotDecoded, "http2_not_decoded"),
        (Self::HttpMalformed, "http_malformed"),
        (Self::NotLlm, "not_llm"),
        (Self::BodyMalformed, "body_malformed"),
        (Self::EstimateQueueFull, "estimate_queue_full"),
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
        (Self::PrinterBehind, "printer_behind"),
    ];
}
