//! What a provider still allows, by the fields of its answers.

use crate::{call::RateLimit, http::Headers};

/// Requests left, best first: of the shortest window where there are several. The names are OpenAI's, which Azure, Groq, Fireworks, `SambaNova`
/// and gateways use; Anthropic's; Cerebras's; Mistral's; Together's and `OpenRouter`'s; those of the IETF's draft in its older form.
const REQUESTS: [&str; 8] = [
    "x-ratelimit-remaining-requests",
    "anthropic-ratelimit-requests-remaining",
    "x-ratelimit-remaining-req-second",
    "x-ratelimit-remaining-req-minute",
    "x-ratelimit-remaining-requests-minute",
    "x-ratelimit-remaining-requests-day",
    "x-ratelimit-remaining",
    "ratelimit-remaining",
];

const TOKENS: [&str; 6] = [
    "x-ratelimit-remaining-tokens",
    "anthropic-ratelimit-tokens-remaining",
    "x-ratelimit-remaining-tokens-minute",
    "x-ratelimitbysize-remaining-minute",
    "x-tokenlimit-remaining",
    "ratelimitbysize-remaining",
];

/// Of tokens each way, where they are limited apart: the smaller rest is the one that counts.
const TOKENS_APART: [&str; 2] = ["anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-output-tokens-remaining"];

pub(super) fn of(headers: &Headers) -> RateLimit {
    let number = |name: &&str| headers.text(name).and_then(count);
    let apart = || TOKENS_APART.iter().filter_map(number).min();
    RateLimit {
        remaining_requests: REQUESTS.iter().find_map(number).or_else(|| structured(headers.text("ratelimit")?)),
        remaining_tokens: TOKENS.iter().find_map(number).or_else(apart),
    }
}

/// A whole number; Together and others write `29.5` for what comes back bit by bit. Some say -1 where nothing is limited: no number.
fn count(text: &str) -> Option<u64> {
    let text = text.trim();
    let whole =
        text.split_once('.').map_or(text, |(whole, fraction)| if fraction.bytes().all(|b| b.is_ascii_digit()) { whole } else { text });
    whole.parse().ok()
}

/// `"default";r=50;t=30` (draft-ietf-httpapi-ratelimit-headers): `r` is what is left. Hugging Face sends it.
fn structured(field: &str) -> Option<u64> {
    let first = field.split(',').next()?;
    first.split(';').find_map(|parameter| count(parameter.trim().strip_prefix("r=")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeaderValue;

    fn read(fields: &[(&str, &str)]) -> (Option<u64>, Option<u64>) {
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.push((*name).to_owned(), HeaderValue::Text((*value).to_owned()));
        }
        let limit = of(&headers);
        (limit.remaining_requests, limit.remaining_tokens)
    }

    #[test]
    fn every_providers_names_are_read() {
        for (fields, want) in [
            (&[("x-ratelimit-remaining-requests", "9999"), ("x-ratelimit-remaining-tokens", "149984")][..], (Some(9999), Some(149_984))),
            (
                &[("anthropic-ratelimit-requests-remaining", "49"), ("anthropic-ratelimit-tokens-remaining", "80000")],
                (Some(49), Some(80_000)),
            ),
            (
                &[("anthropic-ratelimit-input-tokens-remaining", "500"), ("anthropic-ratelimit-output-tokens-remaining", "70")],
                (None, Some(70)),
            ),
            (&[("x-ratelimit-remaining-req-minute", "4"), ("x-ratelimit-remaining-tokens-minute", "5")], (Some(4), Some(5))),
            (&[("x-ratelimit-remaining", "29.5"), ("x-tokenlimit-remaining", "100")], (Some(29), Some(100))),
            (&[("ratelimit", "\"default\";r=50;t=30, \"day\";r=7;t=3")], (Some(50), None)),
            (&[], (None, None)),
        ] {
            assert_eq!(read(fields), want, "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_count_is_absent() {
        for value in ["-1", "", "many", "1e9", "18446744073709551616", "1.x", "0x10"] {
            assert_eq!(read(&[("x-ratelimit-remaining-requests", value)]), (None, None), "{value}");
        }
    }
}
