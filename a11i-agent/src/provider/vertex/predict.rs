//! `:predict`: instances in, predictions out. Embedding models count each instance's tokens; models of media report none.

use crate::{
    call::{CallBuilder, Operation, Usage},
    provider::{
        gemini::MethodPath,
        lenient::{Count, Int, Raw, Text, Unreadable, lenient_object, parse},
    },
};

lenient_object! {
    struct Request<'a> {
        "instances" => instances: Raw<'a>,
        "parameters" => parameters: Parameters<'a>,
    }
}

lenient_object! {
    struct Parameters<'a> {
        "outputDimensionality" | "output_dimensionality" => output_dimensionality: Int,
        "dimension" => dimension: Int,
        "sampleCount" | "sample_count" => sample_count: Int,
        "seed" => seed: Int,
    }
}

lenient_object! {
    struct Instance<'a> {
        "content" => content: Text<'a>,
        "text" => text: Text<'a>,
        "prompt" => prompt: Text<'a>,
    }
}

lenient_object! {
    struct Response<'a> {
        "predictions" => predictions: Raw<'a>,
    }
}

lenient_object! {
    struct Prediction<'a> {
        "embeddings" => embeddings: Embeddings<'a>,
    }
}

lenient_object! {
    struct Embeddings<'a> {
        "statistics" => statistics: Statistics<'a>,
    }
}

lenient_object! {
    struct Statistics<'a> {
        "token_count" | "tokenCount" => token_count: Count,
    }
}

/// The model's name says what it makes. Publishers' models only: what users deploy may be anything.
pub(super) fn operation(path: &MethodPath<'_>) -> Option<Operation> {
    path.publisher()?;
    let model = path.model().unwrap_or_default();
    let is = |word: &str| model.contains(word);
    match path.verb {
        "predict" if is("embedding") => Some(Operation::Embeddings),
        "predict" if is("image") => Some(Operation::Other("image_generation")),
        "predict" => Some(Operation::Other("predict")),
        "predictLongRunning" => Some(Operation::Other("video_generation")),
        _ => None,
    }
}

/// Whether the body is a request of this kind.
pub(super) fn request(body: &[u8], call: &mut CallBuilder) -> Result<bool, Unreadable> {
    let request: Request<'_> = parse(body)?;
    if request.instances.0.is_none() {
        return Ok(false);
    }
    let facts = &mut call.request;
    facts.embedding_dimensions = request.parameters.output_dimensionality.0.or(request.parameters.dimension.0);
    facts.choice_count = request.parameters.sample_count.0.filter(|n| *n != 1);
    facts.seed = request.parameters.seed.0;
    request.instances.for_each(|instance: Instance<'_>| {
        for text in [&instance.content, &instance.text, &instance.prompt] {
            call.estimation.input.push(text.as_str().unwrap_or_default());
        }
    });
    Ok(true)
}

/// Whether the body is an answer of this kind.
pub(super) fn response(body: &[u8], call: &mut CallBuilder) -> Result<bool, Unreadable> {
    let response: Response<'_> = parse(body)?;
    if response.predictions.0.is_none() {
        return Ok(false);
    }
    // With one count missing the sum would be wrong.
    let mut total = None;
    let mut known = true;
    response.predictions.for_each(|prediction: Prediction<'_>| match prediction.embeddings.statistics.token_count.0 {
        Some(tokens) => total = Some(total.unwrap_or(0_u64).saturating_add(tokens)),
        None => known = false,
    });
    if call.operation() == Operation::Embeddings {
        call.usage = Usage { input_tokens: total.filter(|_| known), ..Usage::default() };
    }
    Ok(true)
}
