//! `grpc-status`: whether a gRPC call worked, told behind the body of its answer, or in the head of an answer that has none
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use super::gemini::percent_decoded;
use crate::{call::CallBuilder, http::Headers};

/// A status other than `OK` fails the call, whatever the HTTP status says.
pub(super) fn read(fields: &Headers, call: &mut CallBuilder) {
    let Some(status) = fields.text("grpc-status").map(str::trim).filter(|status| *status != "0") else { return };
    let name = status.parse().ok().and_then(|code: usize| STATUS_NAMES.get(code)).copied();
    let message = fields.text("grpc-message").map(percent_decoded);
    call.fail(name.or(Some(status)), message.as_deref());
}

/// `google.rpc.Code`, by number.
const STATUS_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{CallFrame, Ending, Operation, ProviderName},
        http::HeaderValue,
    };

    #[test]
    fn a_status_is_told_by_its_name_with_its_message() {
        let told = |fields: &[(&str, &str)]| {
            let mut headers = Headers::default();
            for (name, value) in fields {
                headers.push((*name).to_owned(), HeaderValue::Text((*value).to_owned()));
            }
            let mut call = CallBuilder::new(ProviderName::of("gcp.gemini"), Operation::GenerateContent, false);
            read(&headers, &mut call);
            let outcome = call.build(CallFrame::default(), Ending::Seen).outcome;
            (outcome.error_type, outcome.error_message)
        };
        assert_eq!(told(&[]), (None, None));
        assert_eq!(told(&[("grpc-status", "0")]), (None, None));
        assert_eq!(told(&[("grpc-status", "8"), ("grpc-message", "a%20b")]), (Some("RESOURCE_EXHAUSTED".into()), Some("a b".into())));
        assert_eq!(told(&[("grpc-status", "99")]).0.as_deref(), Some("99"));
    }
}
