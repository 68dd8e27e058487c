//! Names in paths, and bodies of which nothing but names becomes a fact, request and response alike.

use super::{
    error_body::read_refusal,
    gemini::percent_decoded,
    lenient::{Text, Unreadable, clip, lenient_object, parse},
};
use crate::call::CallBuilder;

/// A name in a path or a field is kept to this length.
const NAME_BYTES: usize = 256;

/// The name that stands in a path, of a model or of what stands for one: percent-decoded, and cut to [`NAME_BYTES`].
pub(super) fn in_path(part: &str) -> String {
    let name = percent_decoded(clip(part, 3 * NAME_BYTES));
    clip(&name, NAME_BYTES).to_owned()
}

/// What a field of a head says, cut to [`NAME_BYTES`].
pub(super) fn in_field(value: &str) -> String {
    clip(value, NAME_BYTES).to_owned()
}

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
    if read_refusal(body, call)? {
        return Ok(());
    }
    let response: Names<'_> = parse(body)?;
    call.response.id = response.id.name();
    call.response.model = response.model.name();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_path_is_decoded_and_cut() {
        assert_eq!(in_path("meta%2Fllama%203"), "meta/llama 3");
        assert_eq!(in_path("plain-1.5"), "plain-1.5");
        assert_eq!(in_path(&"%C3%A9".repeat(1000)).len(), NAME_BYTES);
        assert_eq!(in_path(&"x".repeat(1000)).len(), NAME_BYTES);
    }
}
