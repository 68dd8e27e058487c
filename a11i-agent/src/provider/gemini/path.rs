//! Paths with a custom method at their end (AIP-136): `…/{collection}/{id}:{verb}`.

use crate::provider::lenient::clip;

/// Longest id taken from a path.
const ID_BYTES: usize = 1024;

/// What such a path says. The colon may be written `%3A`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::provider) struct MethodPath<'p> {
    /// All before the colon, as written.
    resource: &'p str,
    /// All behind it.
    pub(in crate::provider) verb: &'p str,
}

impl<'p> MethodPath<'p> {
    pub(in crate::provider) fn of(path: &'p str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        let (resource, verb) = path.rsplit_once(':').or_else(|| path.rsplit_once("%3A")).or_else(|| path.rsplit_once("%3a"))?;
        (!verb.is_empty() && verb.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(Self { resource, verb })
    }

    /// The model that the path names: behind `models/`; tuned ones and endpoints keep their collection, as clients write them.
    pub(in crate::provider) fn model(&self) -> Option<String> {
        model_of_resource(&percent_decoded(self.resource))
    }

    /// Whose model it is (Vertex AI).
    pub(in crate::provider) fn publisher(&self) -> Option<&'p str> {
        self.resource.split_once("/publishers/").and_then(|(_, rest)| rest.split('/').next()).filter(|name| !name.is_empty())
    }

    /// A resource of Google Cloud, not of the Gemini API.
    pub(in crate::provider) fn is_cloud(&self) -> bool {
        self.publisher().is_some() || self.resource.contains("/projects/") && self.resource.contains("/locations/")
    }

    /// A model deployed by the user.
    pub(in crate::provider) fn is_endpoint(&self) -> bool {
        self.is_cloud() && self.resource.contains("/endpoints/")
    }
}

/// The model that a resource's name ends with, with or without a slash before its first collection.
pub(in crate::provider) fn model_of_resource(name: &str) -> Option<String> {
    let (kept, id) =
        [("models/", ""), ("tunedModels/", "tunedModels/"), ("endpoints/", "endpoints/")].iter().find_map(|(collection, kept)| {
            let id = name.strip_prefix(collection).or_else(|| {
                let (before, id) = name.split_once(collection)?;
                before.ends_with('/').then_some(id)
            })?;
            (!id.is_empty()).then_some((*kept, id))
        })?;
    Some(clip(&format!("{kept}{id}"), ID_BYTES).to_owned())
}

/// `%XX` undone; what is none of that stays as it is.
pub(in crate::provider) fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        let mut ahead = bytes.clone();
        match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_stands_before_the_colon_however_it_is_written() {
        for (path, model, verb) in [
            ("/v1beta/models/gemini-2.5-flash:generateContent", Some("gemini-2.5-flash"), "generateContent"),
            ("/v1beta/models/gemini-2.5-flash%3AgenerateContent", Some("gemini-2.5-flash"), "generateContent"),
            ("/v1beta/tunedModels/mine-1:generateContent", Some("tunedModels/mine-1"), "generateContent"),
            ("/v1/projects/p/locations/l/endpoints/77:generateContent", Some("endpoints/77"), "generateContent"),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude-x%4020250101:rawPredict",
                Some("claude-x@20250101"),
                "rawPredict",
            ),
            ("/proxy/models/a/b:countTokens/", Some("a/b"), "countTokens"),
            ("/v1internal:streamGenerateContent", None, "streamGenerateContent"),
            ("/v1beta/models/x%:generateContent", Some("x%"), "generateContent"),
        ] {
            let found = MethodPath::of(path).unwrap();
            assert_eq!((found.model().as_deref(), found.verb), (model, verb), "{path}");
        }
        for path in ["", "/", "/v1beta/models", "/a:", "/a:b/c", "/a:b c"] {
            assert_eq!(MethodPath::of(path), None, "{path}");
        }
    }

    #[test]
    fn a_resource_may_begin_with_its_collection() {
        for (name, model) in [
            ("models/gemini-x", Some("gemini-x")),
            ("projects/p/locations/l/publishers/google/models/gemini-x", Some("gemini-x")),
            ("projects/p/locations/l/endpoints/7", Some("endpoints/7")),
            ("gemini-x", None),
            ("models/", None),
            ("mymodels/x", None),
        ] {
            assert_eq!(model_of_resource(name).as_deref(), model, "{name}");
        }
    }

    #[test]
    fn the_publisher_and_the_cloud_are_told() {
        let of = |path| MethodPath::of(path).unwrap();
        let claude = of("/v1/projects/p/locations/l/publishers/anthropic/models/c:rawPredict");
        assert_eq!((claude.publisher(), claude.is_cloud(), claude.is_endpoint()), (Some("anthropic"), true, false));
        let endpoint = of("/v1/projects/p/locations/l/endpoints/7:rawPredict");
        assert_eq!((endpoint.publisher(), endpoint.is_cloud(), endpoint.is_endpoint()), (None, true, true));
        assert!(!of("/v1beta/models/g:generateContent").is_cloud() && of("/v1/publishers/google/models/g:generateContent").is_cloud());
    }
}
