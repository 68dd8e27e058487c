//! Requests of HTTP/2 whose path was not seen: it was put into a header table before anybody looked, or in bytes that were lost.
//!
//! What such a request is, its other fields and its body tell. Nothing that follows from it is taken for a field that was sent: the path
//! only chooses who reads the body, and the call is marked, since its head has unseen fields.

use serde::{
    Deserialize,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{body::BodyBuffer, body_shape, lenient};
use crate::http::{ExchangeId, RequestHead};

/// A request that may be a call, until its body has been read.
#[derive(Debug)]
pub(super) struct Unseen {
    pub(super) id: ExchangeId,
    pub(super) head: RequestHead,
    pub(super) body: BodyBuffer,
}

impl Unseen {
    /// Of a path that was seen, its dialect decides; so does a method that is none of calls'.
    pub(super) fn is_possible(head: &RequestHead) -> bool {
        head.headers.has_unseen()
            && head.path.is_empty()
            && matches!(head.method.as_str(), "" | "POST")
            && head.headers.text("content-type").is_none_or(|kind| kind.contains("json"))
    }

    /// The head with a path by which the dialect of the body claims it, and the body; `None`: it is no call, or nobody can say.
    /// `is_finished`: the body's end was seen. `server_name`: the connection's. `is_known`: whether a host
    /// is a provider's.
    pub(super) fn presumed(
        mut self,
        is_finished: bool,
        server_name: Option<&str>,
        is_known: impl FnOnce(&str) -> bool,
    ) -> Option<(RequestHead, BodyBuffer)> {
        let salvaged = if self.body.whole().is_some() { None } else { Some(self.body.salvage(is_finished)) };
        let is_whole = salvaged.is_none();
        let bytes = salvaged.as_deref().or_else(|| self.body.whole())?;
        let shape: Shape = lenient::parse(bytes).ok()?;
        let host = self.head.host.as_deref().or(server_name).unwrap_or_default();
        // A model and a prompt are words of many forms.
        if !is_known(host) && !body_shape::is_call(bytes) {
            return None;
        }
        let path = shape.path(Marks {
            is_anthropic: host.ends_with("anthropic.com") || self.head.headers.text("anthropic-version").is_some(),
            is_whole,
        })?;
        path.clone_into(&mut self.head.path);
        // Only what is posted has such a body.
        "POST".clone_into(&mut self.head.method);
        Some((self.head, self.body))
    }
}

/// What is known beside the body.
#[derive(Clone, Copy)]
struct Marks {
    is_anthropic: bool,
    /// A field that is absent was not sent.
    is_whole: bool,
}

/// Top-level fields of a body, as far as they tell formats apart.
#[derive(Default)]
struct Shape {
    /// Bits by [`FIELDS`].
    fields: u32,
    /// The model's name speaks of embeddings.
    embeds: bool,
}

/// Fields that are looked at.
const FIELDS: [&str; 22] = [
    "model",
    "messages",
    "input",
    "prompt",
    "contents",
    "system",
    "max_tokens",
    "anthropic_version",
    "encoding_format",
    "dimensions",
    "instructions",
    "tools",
    "reasoning",
    "previous_response_id",
    "max_output_tokens",
    "store",
    "text",
    "include",
    "stream",
    "voice",
    "size",
    "quality",
];

impl Shape {
    fn has(&self, name: &str) -> bool {
        FIELDS
            .iter()
            .position(|field| *field == name)
            .and_then(|nth| u32::try_from(nth).ok())
            .is_some_and(|nth| self.fields & bit(nth) != 0)
    }

    fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }

    /// A path at which a body like this is posted.
    fn path(&self, marks: Marks) -> Option<&'static str> {
        if self.has("contents") && !self.has("messages") {
            // Its model stands in the path, and is not known.
            return Some("/v1beta/models/:generateContent");
        }
        if !self.has("model") {
            return None;
        }
        if self.has("messages") {
            let anthropic = marks.is_anthropic || self.has("anthropic_version") || self.has("system") && self.has("max_tokens");
            return Some(match anthropic {
                // A message needs the field, a count of its tokens does not know it.
                true if marks.is_whole && !self.has("max_tokens") => "/v1/messages/count_tokens",
                true => "/v1/messages",
                false => "/v1/chat/completions",
            });
        }
        if self.has("input") {
            return Some(match self {
                _ if self.has("voice") => "/v1/audio/speech",
                _ if self.embeds || self.has_any(&["encoding_format", "dimensions"]) => "/v1/embeddings",
                _ => "/v1/responses",
            });
        }
        self.has("prompt").then_some(if self.has_any(&["size", "quality"]) { "/v1/images/generations" } else { "/v1/completions" })
    }
}

const fn bit(nth: u32) -> u32 {
    1_u32.wrapping_shl(nth)
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut shape = Shape::default();
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if let Some(nth) = FIELDS.iter().position(|field| *field == name).and_then(|nth| u32::try_from(nth).ok()) {
                shape.fields |= bit(nth);
            }
            if name == "model" {
                let model: lenient::Text<'de> = map.next_value()?;
                shape.embeds = model.0.is_some_and(|model| model.contains("embed"));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(body: &str) -> Option<&'static str> {
        let shape: Shape = lenient::parse(body.as_bytes()).ok()?;
        shape.path(Marks { is_anthropic: false, is_whole: true })
    }

    #[test]
    fn a_body_tells_who_reads_it() {
        for (body, want) in [
            (r#"{"model":"m","messages":[]}"#, Some("/v1/chat/completions")),
            (r#"{"model":"m","messages":[],"max_tokens":1,"system":"s"}"#, Some("/v1/messages")),
            (r#"{"model":"text-embedding-3","input":"a"}"#, Some("/v1/embeddings")),
            (r#"{"model":"m","input":"a","dimensions":3}"#, Some("/v1/embeddings")),
            (r#"{"model":"m","input":"a","stream":true}"#, Some("/v1/responses")),
            (r#"{"model":"m","prompt":"a"}"#, Some("/v1/completions")),
            (r#"{"model":"m","prompt":"a","size":"1x1"}"#, Some("/v1/images/generations")),
            (r#"{"contents":[]}"#, Some("/v1beta/models/:generateContent")),
            (r#"{"model":"T","year":1912}"#, None),
            (r#"{"messages":[{"to":"a"}]}"#, None),
            (r#"["model","messages"]"#, None),
            ("model=m&messages=", None),
        ] {
            assert_eq!(path(body), want, "{body}");
        }
    }

    #[test]
    fn anthropics_marks_are_known_and_a_field_is_missed_only_where_all_were_seen() {
        let shape: Shape = lenient::parse(br#"{"model":"m","messages":[]}"#).unwrap();
        assert_eq!(shape.path(Marks { is_anthropic: true, is_whole: true }), Some("/v1/messages/count_tokens"));
        assert_eq!(shape.path(Marks { is_anthropic: true, is_whole: false }), Some("/v1/messages"));
    }
}
