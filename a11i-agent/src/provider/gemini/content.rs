//! What parts of prompts and of answers have in common.

use crate::{
    call::Modality,
    provider::lenient::{Raw, Text, lenient_object},
};

lenient_object! {
    /// Media inside the message.
    struct Blob<'a> {
        "mimeType" | "mime_type" => mime_type: Text<'a>,
        "data" => data: Text<'a>,
    }
}

lenient_object! {
    /// Media elsewhere.
    struct FileData<'a> {
        "mimeType" | "mime_type" => mime_type: Text<'a>,
        "fileUri" | "file_uri" => uri: Text<'a>,
    }
}

lenient_object! {
    struct FunctionCall<'a> {
        "id" => id: Text<'a>,
        "name" => name: Text<'a>,
        "args" => args: Raw<'a>,
        "partialArgs" | "partial_args" => partial_args: Raw<'a>,
    }
}

impl Blob<'_> {
    pub(super) fn media(&self) -> (Modality, Option<String>) {
        (modality(self.mime_type.as_str()), self.mime_type.name())
    }
}

impl FileData<'_> {
    pub(super) fn media(&self) -> (Modality, Option<String>) {
        (modality(self.mime_type.as_str()), self.mime_type.name())
    }
}

/// By media type.
pub(super) fn modality(mime_type: Option<&str>) -> Modality {
    let kind = mime_type.and_then(|mime| mime.split('/').next()).unwrap_or_default();
    match kind {
        "image" => Modality::Image,
        "video" => Modality::Video,
        "audio" => Modality::Audio,
        _ => Modality::Document,
    }
}
