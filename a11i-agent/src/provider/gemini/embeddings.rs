//! Request bodies of embedContent and batchEmbedContents. The vectors of the answers are skipped unread.

use super::request::model_name;
use crate::{
    call::CallBuilder,
    provider::lenient::{Int, Raw, Text, lenient_object},
};

lenient_object! {
    /// One request, or many.
    struct Request<'a> {
        "model" => model: Text<'a>,
        "content" => content: Content<'a>,
        "outputDimensionality" | "output_dimensionality" => dimensions: Int,
        "embedContentConfig" | "embed_content_config" => config: Config<'a>,
        "requests" => requests: Raw<'a>,
    }
}

lenient_object! {
    /// Vertex AI's place of the parameters.
    struct Config<'a> {
        "outputDimensionality" | "output_dimensionality" => dimensions: Int,
    }
}

lenient_object! {
    struct Content<'a> {
        "parts" => parts: Raw<'a>,
    }
}

lenient_object! {
    struct Part<'a> {
        "text" => text: Text<'a>,
    }
}

pub(super) fn read(request: &Request<'_>, call: &mut CallBuilder) {
    call.request.model = call.request.model.take().or_else(|| model_name(&request.model));
    let mut sizes = Sizes::Unasked;
    if request.requests.0.is_none() {
        one(request, &mut sizes, call);
    }
    request.requests.for_each(|request: Request<'_>| one(&request, &mut sizes, call));
    if let Sizes::Same(dimensions) = sizes {
        call.request.embedding_dimensions = dimensions;
    }
}

/// A call has one number of dimensions: that which all of its requests name.
enum Sizes {
    Unasked,
    Same(Option<i64>),
    Different,
}

fn one(request: &Request<'_>, sizes: &mut Sizes, call: &mut CallBuilder) {
    call.request.model = call.request.model.take().or_else(|| model_name(&request.model));
    let size = request.dimensions.0.or(request.config.dimensions.0);
    *sizes = match *sizes {
        Sizes::Unasked => Sizes::Same(size),
        Sizes::Same(known) if known == size => Sizes::Same(known),
        Sizes::Same(_) | Sizes::Different => Sizes::Different,
    };
    request.content.parts.for_each(|part: Part<'_>| {
        if let Some(text) = part.text.as_str() {
            call.estimation.input.push(text);
        }
    });
}
