//! `{"error": …}` as OpenAI, Anthropic and those who follow them write it.

use super::lenient::{Few, Raw, Shape, Text, Unreadable, lenient_object, parse};
use crate::call::CallBuilder;

lenient_object! {
    struct Envelope<'a> {
        "error" => error: Raw<'a>,
        "errors" => errors: Raw<'a>,
        "message" => message: Text<'a>,
        "Message" => aws_message: Text<'a>,
        "detail" => detail: Text<'a>,
        "type" => kind: Text<'a>,
        "error_type" => error_type: Text<'a>,
        "error_code" => error_code: Text<'a>,
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

/// Whether the response's status says that the call failed: its body then is no answer, and is read as [`read_failure`] does.
pub(super) fn read_refusal(body: &[u8], call: &mut CallBuilder) -> Result<bool, Unreadable> {
    if !call.response.has_error_status() {
        return Ok(false);
    }
    failure(&parse(body)?, call);
    Ok(true)
}

/// Reads a failed response's body into the call's outcome. Says nothing where the body says nothing.
pub(super) fn read_failure(body: &[u8], call: &mut CallBuilder) {
    if let Ok(envelope) = parse(body) {
        failure(&envelope, call);
    }
}

fn failure(envelope: &Envelope<'_>, call: &mut CallBuilder) {
    if !envelope.is_object() {
        return;
    }
    // Beside or instead of an `error` object: Cohere and TGI write `error_type`, Databricks `error_code`.
    let apart = envelope.error_type.filled().or_else(|| envelope.error_code.filled());
    if let Some(text) = envelope.error.text() {
        return call.fail(apart.or(type_of_a_text(call)), Some(&text));
    }
    if envelope.error.0.is_some() {
        return read_error(envelope.error, call);
    }
    // watsonx, Cloudflare: the first of several.
    if let Some(first) = envelope.errors.read::<Few<ErrorObject<'_>>>().and_then(|errors| errors.0.into_iter().next()) {
        return call.fail(first.kind.filled().or_else(|| first.code.filled()), first.message.filled());
    }
    // Frameworks and gateways in front of a model: {"message"}, {"detail"}.
    let kind = apart.or_else(|| envelope.kind.filled().filter(|kind| *kind != "error")).or_else(|| envelope.code.filled());
    call.fail(kind, envelope.message.filled().or_else(|| envelope.aws_message.filled()).or_else(|| envelope.detail.filled()));
}

/// A text is no type: the status says more, where it says that this failed.
fn type_of_a_text(call: &CallBuilder) -> Option<&'static str> {
    (!call.response.has_error_status()).then_some("_OTHER")
}

/// The value of an `error` field: an object, or a text alone.
pub(super) fn read_error(error: Raw<'_>, call: &mut CallBuilder) {
    if let Some(text) = error.text() {
        return call.fail(type_of_a_text(call), Some(&text));
    }
    let Some(object) = error.read::<ErrorObject<'_>>().filter(Shape::is_object) else { return };
    let kind = object.kind.filled().or_else(|| object.status.filled()).or_else(|| object.code.filled());
    call.fail(kind, object.message.filled());
}
