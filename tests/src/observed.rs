//! One finished call as the agent reports it: from a JSON line or from an OTLP span, in one shape.

use std::{collections::BTreeMap, fmt::Write as _};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use serde_json::{Value, json};

/// Attributes by name.
pub type Attributes = BTreeMap<String, Value>;

/// A call as reported.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedCall {
    pub span_name: String,
    /// Lower case: `client`, `server`.
    pub kind: String,
    /// Lower case: `unset`, `ok`, `error`.
    pub status: String,
    pub start_time_unix_nano: u64,
    pub end_time_unix_nano: u64,
    /// Lower-case hexadecimal.
    pub trace_id: String,
    pub span_id: String,
    /// `None`: the root of its trace.
    pub parent_span_id: Option<String>,
    pub resource: Attributes,
    pub attributes: Attributes,
}

impl ObservedCall {
    /// From a line of `--output json`.
    ///
    /// # Errors
    /// What is missing or of the wrong type: the line is the agent's public interface.
    pub fn from_json_line(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
        let text =
            |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| format!("no text `{name}` in {line}"));
        let map = |name: &str| {
            let fields = value.get(name).and_then(Value::as_object).ok_or_else(|| format!("no object `{name}` in {line}"))?;
            Ok::<Attributes, String>(fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
        };
        let time = |name: &str| {
            let field = value.get(name).ok_or_else(|| format!("no `{name}` in {line}"))?;
            // 64-bit integers are strings in OTLP's JSON; both forms hold the number exactly.
            field.as_u64().or_else(|| field.as_str()?.parse().ok()).ok_or_else(|| format!("`{name}` is no time in {line}"))
        };
        Ok(Self {
            span_name: text("span_name")?,
            kind: word(value.get("kind").ok_or_else(|| format!("no `kind` in {line}"))?, "SPAN_KIND_"),
            status: word(value.get("status").ok_or_else(|| format!("no `status` in {line}"))?, "STATUS_CODE_"),
            start_time_unix_nano: time("start_time_unix_nano")?,
            end_time_unix_nano: time("end_time_unix_nano")?,
            trace_id: text("trace_id")?,
            span_id: text("span_id")?,
            parent_span_id: text("parent_span_id").ok(),
            resource: map("resource")?,
            attributes: map("attributes")?,
        })
    }

    /// From a span of an OTLP request.
    pub fn from_otlp(resource: Option<&Resource>, span: &Span) -> Self {
        let status = span.status.as_ref().map_or("unset", |status| match status.code() {
            StatusCode::Unset => "unset",
            StatusCode::Ok => "ok",
            StatusCode::Error => "error",
        });
        let kind = match span.kind() {
            SpanKind::Unspecified => "unspecified",
            SpanKind::Internal => "internal",
            SpanKind::Server => "server",
            SpanKind::Client => "client",
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
        };
        Self {
            span_name: span.name.clone(),
            kind: kind.to_owned(),
            status: status.to_owned(),
            start_time_unix_nano: span.start_time_unix_nano,
            end_time_unix_nano: span.end_time_unix_nano,
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_span_id: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
            resource: resource.map(|resource| attributes(&resource.attributes)).unwrap_or_default(),
            attributes: attributes(&span.attributes),
        }
    }

    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes.get(name)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.attribute(name).and_then(Value::as_str)
    }

    pub fn int(&self, name: &str) -> Option<u64> {
        self.attribute(name).and_then(Value::as_u64)
    }

    /// `process.pid` of the resource.
    pub fn pid(&self) -> Option<u32> {
        self.resource.get("process.pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok())
    }

    pub fn response_id(&self) -> Option<&str> {
        self.text("gen_ai.response.id")
    }
}

/// OTLP attributes as JSON values.
pub fn attributes(pairs: &[KeyValue]) -> Attributes {
    pairs.iter().map(|pair| (pair.key.clone(), pair.value.as_ref().map_or(Value::Null, any_value))).collect()
}

fn any_value(value: &AnyValue) -> Value {
    match &value.value {
        None => Value::Null,
        Some(any_value::Value::StringValue(text)) => json!(text),
        Some(any_value::Value::BoolValue(flag)) => json!(flag),
        Some(any_value::Value::IntValue(number)) => json!(number),
        Some(any_value::Value::DoubleValue(number)) => json!(number),
        Some(any_value::Value::BytesValue(bytes)) => json!(hex(bytes)),
        Some(any_value::Value::ArrayValue(array)) => array.values.iter().map(any_value).collect(),
        Some(any_value::Value::KvlistValue(list)) => json!(attributes(&list.values)),
        // An index into the dictionary of the profiles signal: in the signals received here, a mistake of the sender.
        Some(any_value::Value::StringValueStrindex(index)) => json!(format!("index {index} without a dictionary")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a text");
        text
    })
}

/// `SPAN_KIND_CLIENT`, `Client`, `client` and `{"code": …}` are one word.
fn word(value: &Value, prefix: &str) -> String {
    let text = value.as_str().or_else(|| value.get("code").and_then(Value::as_str)).unwrap_or_default();
    text.strip_prefix(prefix).unwrap_or(text).to_lowercase()
}
