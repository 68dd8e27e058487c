//! OpenAI images: generated, edited, varied (<https://platform.openai.com/docs/api-reference/images>), whole or as a stream of partial
//! images; also xAI's, Together's, `DeepInfra`'s and those of local servers. Fireworks has paths of its own for them.

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_refusal},
    lenient::{Flag, Int, Raw, Shape, Text, Unreadable, lenient_object, parse},
    names,
    openai_media_usage::{self, MediaUsage},
    posted,
};
use crate::{
    call::{CallBuilder, Modality, Operation, OutputType, Part, PartSlot, ProviderName},
    http::RequestHead,
};

pub(super) struct OpenAiImages;

const GENERATION: Operation = Operation::Other("image_generation");
const EDIT: Operation = Operation::Other("image_edit");

impl Dialect for OpenAiImages {
    fn name(&self) -> ProviderName {
        ProviderName::of("openai")
    }

    fn usual_operation(&self) -> Operation {
        GENERATION
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/images/generations", GENERATION), ("/images/edits", EDIT), ("/images/variations", Operation::Other("image_variation"))]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        posted(head, self.path_ends()).or_else(|| {
            let fireworks = head.method == "POST" && head.host.as_deref() == Some("api.fireworks.ai");
            fireworks.then(|| fireworks_model(&head.path)).flatten().map(|_| GENERATION)
        })
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        if let Some(model) = fireworks_model(&head.path) {
            call.request.model = Some(names::in_path(model));
        }
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.model = request.model.name().or_else(|| facts.model.take());
        facts.stream = request.stream.0.unwrap_or(false);
        facts.choice_count = request.n.0.filter(|n| *n != 1);
        facts.seed = request.seed.0;
        facts.output_type = Some(OutputType::Image);
        if let Some(prompt) = request.prompt.filled() {
            call.prompt(prompt);
        }
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if read_refusal(body, call)? {
            return Ok(());
        }
        let response: Response<'_> = parse(body)?;
        if response.error.0.is_some() {
            read_error(response.error, call);
        }
        call.response.id = response.id.name();
        call.response.model = response.model.name();
        if let Some(reason) = response.finish_reason.filled() {
            call.finish(0, reason);
        }
        let mut index = 0;
        response.data.for_each(|image: Image<'_>| {
            image_part(index, &image, call);
            index = index.saturating_add(1);
        });
        if response.usage.is_object() {
            openai_media_usage::read(&response.usage, call);
        }
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(event) = parse::<Event<'_>>(frame.data) else { return };
        let kind = event.kind.filled().or(frame.event).unwrap_or_default();
        if event.error.0.is_some() {
            read_error(event.error, call);
        } else if kind == "error" {
            call.fail(event.code.filled().or(Some("error")), event.message.filled());
        } else if kind.ends_with(".partial_image") {
            // What it shows is replaced by the next one.
            call.whole_part(0, PartSlot(0), 0, || Part::Generic { generic_type: "partial_image".to_owned() });
        } else if kind.ends_with(".completed") {
            call.restart_output();
            image_part(0, &Image { b64_json: event.b64_json, url: event.url, ..Image::default() }, call);
            if event.usage.is_object() {
                openai_media_usage::read(&event.usage, call);
            }
            call.has_ended = true;
        }
    }
}

lenient_object! {
    /// In JSON or as a form.
    struct Request<'a> {
        "model" => model: Text<'a>,
        "prompt" => prompt: Text<'a>,
        "n" => n: Int,
        "seed" => seed: Int,
        "stream" => stream: Flag,
    }
}

lenient_object! {
    struct Response<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "data" => data: Raw<'a>,
        "usage" => usage: MediaUsage<'a>,
        "error" => error: Raw<'a>,
        // Fireworks.
        "finishReason" => finish_reason: Text<'a>,
    }
}

lenient_object! {
    struct Image<'a> {
        "url" => url: Text<'a>,
        "b64_json" => b64_json: Text<'a>,
        "revised_prompt" => revised_prompt: Text<'a>,
        "mime_type" => mime_type: Text<'a>,
    }
}

lenient_object! {
    struct Event<'a> {
        "type" => kind: Text<'a>,
        "b64_json" => b64_json: Text<'a>,
        "url" => url: Text<'a>,
        "usage" => usage: MediaUsage<'a>,
        "error" => error: Raw<'a>,
        "code" => code: Text<'a>,
        "message" => message: Text<'a>,
    }
}

/// Parts of one image that a slot tells apart.
const PARTS_PER_IMAGE: u64 = 2;

/// `/inference/v1/workflows/{model}/text_to_image`, `/inference/v1/image_generation/{model}`.
fn fireworks_model(path: &str) -> Option<&str> {
    let workflow = || path.split_once("/workflows/").and_then(|(_, rest)| rest.trim_end_matches('/').strip_suffix("/text_to_image"));
    let generation = || path.split_once("/image_generation/").map(|(_, rest)| rest.trim_end_matches('/'));
    workflow().or_else(generation).filter(|model| !model.is_empty())
}

/// A link or the bytes, and the prompt that the provider made of the one it was given.
fn image_part(index: u64, image: &Image<'_>, call: &mut CallBuilder) {
    let slot = PartSlot(index.saturating_mul(PARTS_PER_IMAGE));
    let mime_type = || image.mime_type.name();
    if let Some(url) = image.url.filled() {
        call.whole_part(0, slot, url.len(), || Part::Uri { modality: Modality::Image, mime_type: mime_type(), uri: url.to_owned() });
    } else if let Some(bytes) = image.b64_json.filled() {
        call.whole_part(0, slot, bytes.len(), || Part::Blob {
            modality: Modality::Image,
            mime_type: mime_type(),
            content: bytes.to_owned(),
        });
    }
    if let Some(prompt) = image.revised_prompt.filled() {
        let slot = PartSlot(index.saturating_mul(PARTS_PER_IMAGE).saturating_add(1));
        call.whole_part(0, slot, prompt.len(), || Part::Text { content: prompt.to_owned() });
    }
}

#[cfg(test)]
#[path = "openai_images_tests.rs"]
mod tests;
