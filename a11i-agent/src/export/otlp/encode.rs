//! Span records and attribute lists → OTLP messages.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{Span, Status, span, status},
};

use crate::export::{
    semconv::{SCOPE_NAME, SCOPE_VERSION},
    span::{SpanKind, SpanRecord, SpanStatus},
    value::{Attributes, Value},
};

/// `Span.flags`: the low byte is the W3C trace flags, and two bits say whether the parent is in another process (OTLP `SpanFlags`).
const SAMPLED: u32 = 0x01;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

pub(crate) fn span(record: &SpanRecord) -> Span {
    let flags = match record.ids.parent_span_id {
        // The parent is the program's span: another producer's.
        Some(_) => HAS_IS_REMOTE | IS_REMOTE,
        None => HAS_IS_REMOTE,
    };
    Span {
        trace_id: record.ids.trace_id.to_vec(),
        span_id: record.ids.span_id.to_vec(),
        parent_span_id: record.ids.parent_span_id.map(|id| id.to_vec()).unwrap_or_default(),
        flags: flags | SAMPLED,
        name: record.name.clone(),
        kind: match record.kind {
            SpanKind::Client => span::SpanKind::Client,
            SpanKind::Server => span::SpanKind::Server,
        }
        .into(),
        start_time_unix_nano: record.start_unix_nanos,
        end_time_unix_nano: record.end_unix_nanos,
        attributes: key_values(&record.attributes),
        status: match &record.status {
            SpanStatus::Unset => None,
            SpanStatus::Error(message) => Some(Status { message: message.clone(), code: status::StatusCode::Error.into() }),
        },
        ..Span::default()
    }
}

pub(crate) fn resource(attributes: &Attributes) -> Resource {
    Resource { attributes: key_values(attributes), ..Resource::default() }
}

pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope { name: SCOPE_NAME.to_owned(), version: SCOPE_VERSION.to_owned(), ..InstrumentationScope::default() }
}

pub(crate) fn key_values(attributes: &Attributes) -> Vec<KeyValue> {
    attributes.iter().map(|(name, value)| key_value(name, value)).collect()
}

fn key_value(name: &str, value: &Value) -> KeyValue {
    let text = |text: &str| any_value::Value::StringValue(text.to_owned());
    let value = match value {
        Value::Text(value) => text(value),
        Value::Bool(value) => any_value::Value::BoolValue(*value),
        Value::Int(value) => any_value::Value::IntValue(*value),
        Value::Double(value) => any_value::Value::DoubleValue(*value),
        Value::Texts(values) => {
            any_value::Value::ArrayValue(ArrayValue { values: values.iter().map(|v| AnyValue { value: Some(text(v)) }).collect() })
        }
    };
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
