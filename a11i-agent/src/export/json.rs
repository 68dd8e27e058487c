//! The JSON line of a call: what `replay` and `--output json` print.

use serde::{Serialize, Serializer};

use super::{span::SpanRecord, value::Attributes};

/// One line without its line end. `id` is the recorded exchange's, for `replay`.
pub fn json_line(span: &SpanRecord, id: Option<&str>) -> String {
    let line = Line {
        id,
        span_name: &span.name,
        kind: span.kind.as_str(),
        start_time_unix_nano: span.start_unix_nanos,
        end_time_unix_nano: span.end_unix_nanos,
        status: span.status.as_str(),
        status_message: match &span.status {
            super::span::SpanStatus::Error(message) if !message.is_empty() => Some(message),
            super::span::SpanStatus::Error(_) | super::span::SpanStatus::Unset => None,
        },
        trace_id: Hex(&span.ids.trace_id),
        span_id: Hex(&span.ids.span_id),
        parent_span_id: span.ids.parent_span_id.as_ref().map(|id| Hex(id)),
        resource: &span.resource,
        attributes: &span.attributes,
    };
    // Keys are strings and values plain: serialising cannot fail.
    serde_json::to_string(&line).unwrap_or_default()
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    span_name: &'a str,
    kind: &'static str,
    start_time_unix_nano: u64,
    end_time_unix_nano: u64,
    /// `unset` or `error`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<&'a str>,
    trace_id: Hex<'a>,
    span_id: Hex<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<Hex<'a>>,
    resource: &'a Attributes,
    attributes: &'a Attributes,
}

struct Hex<'a>(&'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}", HexDigits(self.0)))
    }
}

struct HexDigits<'a>(&'a [u8]);

impl std::fmt::Display for HexDigits<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{samples, span::ClockOffset};

    #[test]
    fn a_line_has_the_documented_members_and_no_line_end() {
        let span = samples::span(&samples::chat(), ClockOffset(1_000));
        let line = json_line(&span, Some("openai.1"));
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["id"], "openai.1");
        assert_eq!(value["span_name"], "chat gpt-4o");
        assert_eq!(value["kind"], "client");
        assert_eq!(value["status"], "unset");
        assert_eq!(value["start_time_unix_nano"], 2_000);
        assert_eq!(value["trace_id"], "01".repeat(16));
        assert_eq!(value["span_id"], "02".repeat(8));
        assert_eq!(value["resource"]["service.name"], "unknown_service:python3");
        assert_eq!(value["attributes"]["gen_ai.usage.input_tokens"], 100);
        assert!(value.get("parent_span_id").is_none());
        assert!(serde_json::from_str::<serde_json::Value>(&json_line(&span, None)).unwrap().get("id").is_none());
    }
}
