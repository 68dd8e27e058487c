//! `{"error": …}` as OpenAI, Anthropic and those who follow them write it.

use super::lenient::{Raw, Shape, Text, lenient_object, parse};
use crate::call::CallBuilder;

lenient_object! {
    struct Envelope<'a> {
        "error" => error: Raw<'a>,
        "errors" => errors: Raw<'a>,
        "message" => message: Text<'a>,
        "Message" => aws_message: Text<'a>,
        "detail" => detail: Text<'a>,
        "type" => kind: Text<'a>,
        "code" => code: Text<'a>,
    }
}

lenient_object! {
    struct ErrorObject<'a> {
        "type" => kind: Text<'a>,
        "status" => status: Text<'a>,
        "code" => code: Text<'a>,
        "message" => message: Text<'a>,
    }
}

/// Reads a failed response's body into the call's outcome. Says nothing where the body says nothing.
pub(super) fn read_failure(body: &[u8], call: &mut CallBuilder) {
    let Ok(envelope) = parse::<Envelope<'_>>(body) else { return };
    if !envelope.is_object() {
        return;
    }
    if envelope.error.0.is_some() {
        return read_error(envelope.error, call);
    }
    // Frameworks and gateways in front of a model: {"message"}, {"detail"}.
    let kind = envelope.kind.filled().filter(|kind| *kind != "error").or_else(|| envelope.code.filled());
    call.fail(kind, envelope.message.filled().or_else(|| envelope.aws_message.filled()).or_else(|| envelope.detail.filled()));
}

/// The value of an `error` field: an object, or a text alone.
pub(super) fn read_error(error: Raw<'_>, call: &mut CallBuilder) {
    if let Some(text) = error.text() {
        return call.fail(Some("_OTHER"), Some(&text));
    }
    let Some(object) = error.read::<ErrorObject<'_>>().filter(Shape::is_object) else { return };
    let kind = object.kind.filled().or_else(|| object.status.filled()).or_else(|| object.code.filled());
    call.fail(kind, object.message.filled());
}
