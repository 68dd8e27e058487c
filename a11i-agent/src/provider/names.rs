//! Bodies of which nothing but names becomes a fact, request and response alike.

use super::{
    error_body::read_failure,
    lenient::{Text, Unreadable, lenient_object, parse},
};
use crate::call::CallBuilder;

lenient_object! {
    struct Names<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
    }
}

pub(super) fn request(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let request: Names<'_> = parse(body)?;
    let facts = &mut call.request;
    facts.model = request.model.name().or_else(|| facts.model.take());
    Ok(())
}

/// A failure too.
pub(super) fn response(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let response: Names<'_> = parse(body)?;
    if call.response.status.is_some_and(|status| status >= 400) {
        read_failure(body, call);
        return Ok(());
    }
    call.response.id = response.id.name();
    call.response.model = response.model.name();
    Ok(())
}
