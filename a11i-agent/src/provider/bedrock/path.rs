//! What a request's path says: the model (or agent) and what is asked of it.

use crate::{
    call::Operation,
    http::RequestHead,
    provider::hosts::{HOSTS, matches},
};

/// Longest model id that the API takes.
const MODEL_ID_BYTES: usize = 2048;

/// Who makes models for Bedrock: how ids begin, after the region of an inference profile.
const VENDORS: [&str; 21] = [
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "google",
    "luma",
    "meta",
    "minimax",
    "mistral",
    "moonshot",
    "moonshotai",
    "nvidia",
    "openai",
    "poolside",
    "qwen",
    "stability",
    "twelvelabs",
    "writer",
    "xai",
    "zai",
];

/// `/model/{id}/{api}`, the id percent-decoded. Ids are encoded by some clients and not by others, whose ARNs then have slashes.
pub(in crate::provider) fn model(head: &RequestHead) -> Option<(String, &str)> {
    if head.method != "POST" {
        return None;
    }
    let (_, rest) = head.path.split_once("/model/")?;
    let (id, api) = rest.trim_end_matches('/').rsplit_once('/')?;
    let id = decoded(id)?;
    (!id.is_empty() && (!id.contains('/') || id.starts_with("arn:")) && is_vouched_for(head, &id)).then_some((id, api))
}

/// Such paths are others', too: the host, the client's library or the id itself has to be of AWS.
fn is_vouched_for(head: &RequestHead, id: &str) -> bool {
    let vendor = |part: Option<&str>| part.is_some_and(|part| VENDORS.contains(&part));
    let mut parts = id.split('.');
    is_host_of(head, "aws.bedrock")
        || is_signed(head)
        || id.starts_with("arn:aws")
        || id.contains('.') && (vendor(parts.next()) || vendor(parts.next()))
}

/// Marks that AWS's own clients leave on what they sign and send.
pub(in crate::provider) fn is_signed(head: &RequestHead) -> bool {
    ["x-amz-date", "x-amz-security-token", "amz-sdk-invocation-id"].iter().any(|name| head.headers.text(name).is_some())
}

/// Whether the request goes to a host of this provider's.
pub(in crate::provider) fn is_host_of(head: &RequestHead, provider: &str) -> bool {
    let host = head.host.as_deref().unwrap_or_default();
    HOSTS.iter().any(|rule| rule.provider == provider && head.path.starts_with(rule.path_prefix) && matches(rule.pattern, host))
}

/// What a model is for, as far as its id says. What is generated from what, the request's body says.
pub(super) fn operation_of_model(id: &str) -> Operation {
    let is = |word: &str| id.contains(word);
    if is("embed") {
        Operation::Embeddings
    } else if is("rerank") {
        Operation::Other("rerank")
    } else if is("titan-image") || is("nova-canvas") || is("stability.") {
        Operation::Other("image_generation")
    } else if is("nova-reel") || is("luma.ray") {
        Operation::Other("video_generation")
    } else {
        Operation::Chat
    }
}

/// Percent-decoding (RFC 3986 section 2.1); `None` for what is then no text or too long.
pub(in crate::provider) fn decoded(text: &str) -> Option<String> {
    if text.len() > MODEL_ID_BYTES.saturating_mul(3) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let escaped = (*byte == b'%').then(|| tail.split_first_chunk::<2>()).flatten();
        let value = escaped.and_then(|([high, low], after)| Some((hex(*high)?.wrapping_shl(4) | hex(*low)?, after)));
        let (value, after) = value.unwrap_or((*byte, tail));
        out.push(value);
        rest = after;
    }
    String::from_utf8(out).ok().filter(|text| text.len() <= MODEL_ID_BYTES)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_what_is_none_stays() {
        for (text, want) in [
            ("anthropic.claude-v2%3A1", Some("anthropic.claude-v2:1")),
            ("a%2Fb%2fc", Some("a/b/c")),
            ("100%", Some("100%")),
            ("%zz%4", Some("%zz%4")),
            ("%ff", None),
        ] {
            assert_eq!(decoded(text).as_deref(), want, "{text}");
        }
        assert_eq!(decoded(&"x".repeat(MODEL_ID_BYTES + 1)), None);
    }

    #[test]
    fn a_models_id_says_what_it_is_for() {
        for (id, want) in [
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "chat"),
            ("amazon.titan-embed-text-v2:0", "embeddings"),
            ("cohere.rerank-v3-5:0", "rerank"),
            ("amazon.nova-canvas-v1:0", "image_generation"),
            ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc", "chat"),
        ] {
            assert_eq!(operation_of_model(id).as_str(), want, "{id}");
        }
    }
}
