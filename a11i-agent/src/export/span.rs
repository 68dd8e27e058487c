//! [`SpanRecord`]: a call as a span, free of any protocol.

use std::sync::Arc;

use super::{attributes::span_attributes, resource::ResourceBuilder, semconv::Semconv, value::Attributes};
use crate::{
    call::{LlmCall, Role, TraceParent},
    redaction::RedactedCall,
};
use a11i_common::identity::BootTime;

/// What turns kernel times into wall time: nanoseconds from `CLOCK_BOOTTIME` to the Unix epoch's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClockOffset(pub i64);

impl ClockOffset {
    /// Nanoseconds since the Unix epoch; clamped at its ends.
    pub const fn unix_nanos(self, time: BootTime) -> u64 {
        time.0.saturating_add_signed(self.0)
    }
}

/// Identifies a call's span. Made once per call, so that the terminal and OTLP name the same span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpanIds {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub parent_span_id: Option<[u8; 8]>,
    /// What the program decided, when it sent a trace context.
    pub parent_sampled: Option<bool>,
}

impl SpanIds {
    /// The program's own trace when it sent one, else a new one. The random values must not be zero: all-zero ids are invalid (W3C Trace
    /// Context section 3.2.2.3).
    pub fn new(parent: Option<TraceParent>, random_trace_id: [u8; 16], random_span_id: [u8; 8]) -> Self {
        Self {
            trace_id: parent.map_or(random_trace_id, |p| p.trace_id),
            span_id: random_span_id,
            parent_span_id: parent.map(|p| p.span_id),
            parent_sampled: parent.map(|p| p.sampled),
        }
    }

    /// Ids of a call's span, random where the program's trace context does not say.
    #[cfg(feature = "host")]
    pub fn of(call: &LlmCall) -> Self {
        let crate::call::Correlation { parent, own, outer, .. } = &call.correlation;
        let Some(own) = own else { return Self::below(*parent) };
        // The program's own span is nearer than the hop around it.
        let around = parent.map(|parent| (parent.trace_id, parent.span_id, Some(parent.sampled)));
        let around = around.or(outer.map(|outer| (outer.trace_id, outer.span_id, outer.sampled)));
        Self {
            trace_id: around.map_or(own.trace_id, |(trace_id, ..)| trace_id),
            span_id: own.span_id,
            parent_span_id: around.map(|(_, span_id, _)| span_id),
            parent_sampled: around.and_then(|(.., sampled)| sampled),
        }
    }

    /// The same for a known or unknown parent.
    #[cfg(feature = "host")]
    pub fn below(parent: Option<TraceParent>) -> Self {
        let trace_id = fastrand::u128(1..).to_be_bytes();
        Self::new(parent, trace_id, fastrand::u64(1..).to_be_bytes())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanKind {
    Client,
    Server,
}

impl SpanKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Unset on success, as the conventions ask of instrumentations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SpanStatus {
    Unset,
    /// The provider's message where content policy let it through, else empty.
    Error(String),
}

impl SpanStatus {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Error(_) => "error",
        }
    }
}

/// One span, ready for any encoding.
#[derive(Clone, PartialEq, Debug)]
pub struct SpanRecord {
    pub name: String,
    pub kind: SpanKind,
    pub ids: SpanIds,
    pub start_unix_nanos: u64,
    pub end_unix_nanos: u64,
    pub status: SpanStatus,
    pub attributes: Attributes,
    pub resource: Arc<Attributes>,
}

impl SpanRecord {
    pub fn new(redacted: &RedactedCall, ids: SpanIds, clock: ClockOffset, resources: &ResourceBuilder) -> Self {
        Self::with_resource(redacted, ids, clock, resources.layer, resources.process(&redacted.call().owner))
    }

    /// The same with a resource that was built before.
    pub fn with_resource(redacted: &RedactedCall, ids: SpanIds, clock: ClockOffset, layer: Semconv, resource: Arc<Attributes>) -> Self {
        let call = redacted.call();
        let start = clock.unix_nanos(call.timing.start);
        Self {
            name: span_name(call),
            kind: match call.role {
                Role::Client => SpanKind::Client,
                Role::Server => SpanKind::Server,
            },
            ids,
            start_unix_nanos: start,
            end_unix_nanos: clock.unix_nanos(call.timing.end).max(start),
            status: match &call.outcome.error_type {
                Some(_) => SpanStatus::Error(
                    call.outcome
                        .error_message
                        .as_deref()
                        .map(|m| super::value::cut(m, super::value::VALUE_BYTES).to_owned())
                        .unwrap_or_default(),
                ),
                None => SpanStatus::Unset,
            },
            attributes: span_attributes(redacted, layer),
            resource,
        }
    }
}

/// `{operation} {model}`; a missing model is dropped with its space.
pub fn span_name(call: &LlmCall) -> String {
    let operation = call.operation.as_str();
    match call.request.model.as_deref() {
        // A fetched response has no request model by definition.
        Some(model) if !model.is_empty() => format!("{operation} {}", super::value::cut(model, super::value::VALUE_BYTES)),
        Some(_) | None => operation.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_with_a_trace_context_is_a_child_of_the_programs_span() {
        let parent = TraceParent { trace_id: [1; 16], span_id: [2; 8], sampled: true };
        let ids = SpanIds::new(Some(parent), [9; 16], [8; 8]);
        assert_eq!((ids.trace_id, ids.span_id, ids.parent_span_id), ([1; 16], [8; 8], Some([2; 8])));
        let root = SpanIds::new(None, [9; 16], [8; 8]);
        assert_eq!((root.trace_id, root.parent_span_id, root.parent_sampled), ([9; 16], None, None));
    }

    #[test]
    fn kernel_time_maps_by_the_offset_and_never_wraps() {
        assert_eq!(ClockOffset(100).unix_nanos(BootTime(5)), 105);
        assert_eq!(ClockOffset(-100).unix_nanos(BootTime(5)), 0);
        assert_eq!(ClockOffset(i64::MAX).unix_nanos(BootTime(u64::MAX)), u64::MAX);
    }
}
