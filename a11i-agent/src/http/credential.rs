//! What in a head is secret, and what stands in its place.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of the HMAC that are kept: enough to tell keys apart, useless for anything else.
const FINGERPRINT_BYTES: usize = 8;

/// Header fields whose whole value is a credential.
const SECRET_FIELDS: [&str; 7] =
    ["authorization", "proxy-authorization", "ocp-apim-subscription-key", "cookie", "set-cookie", "x-functions-key", "x-auth-key"];

/// Parts of header field names that say the same.
const SECRET_FIELD_PARTS: [&str; 13] = [
    "api-key",
    "apikey",
    "api_key",
    "secret",
    "password",
    "passwd",
    "credential",
    "authorization",
    "signature",
    "access-key",
    "private-key",
    "session-key",
    "jwt",
];

/// Parts of subprotocols that are credentials: browsers can send none in a header of its own (`openai-insecure-api-key.sk-…`).
const SECRET_SUBPROTOCOL_PARTS: [&str; 4] = ["key.", "bearer", "token", "authorization"];

/// Query parameters whose value is a credential, compared without case.
const SECRET_PARAMETERS: [&str; 10] = ["key", "sig", "code", "pwd", "auth", "authorization", "jwt", "session", "sid", "access_key"];

/// Parts of query parameter names that say the same.
const SECRET_PARAMETER_PARTS: [&str; 9] =
    ["api_key", "api-key", "apikey", "token", "secret", "signature", "password", "passwd", "credential"];

/// Makes keyed fingerprints: the same credential gives the same fingerprint on this agent, and nobody without its key can test a guess.
#[derive(Clone)]
pub struct Fingerprinter {
    keyed: Option<Hmac<Sha256>>,
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter")
    }
}

impl Fingerprinter {
    pub fn new(key: &[u8; 32]) -> Self {
        // HMAC takes keys of any length; were it to refuse, fingerprints would be empty and not the credential.
        Self { keyed: Hmac::<Sha256>::new_from_slice(key).ok() }
    }

    /// Trace and span id of what `value` describes: the same for the same, and no other agent's. Never zero.
    pub fn span_ids(&self, value: &[u8]) -> Option<([u8; 16], [u8; 8])> {
        let mut mac = self.keyed.clone()?;
        mac.update(b"span");
        mac.update(value);
        let digest = mac.finalize().into_bytes();
        let (trace_id, rest) = digest.split_first_chunk::<16>()?;
        let (span_id, _) = rest.split_first_chunk::<8>()?;
        (*trace_id != [0; 16] && *span_id != [0; 8]).then_some((*trace_id, *span_id))
    }

    pub fn fingerprint(&self, value: &[u8]) -> String {
        let Some(mut mac) = self.keyed.clone() else { return String::new() };
        mac.update(value);
        let mut hex = String::with_capacity(FINGERPRINT_BYTES.saturating_mul(2));
        for byte in mac.finalize().into_bytes().iter().take(FINGERPRINT_BYTES) {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        hex
    }
}

/// Whether a header field's value must not leave this stage. `name` in lower case.
pub(super) fn is_secret_field(name: &str, value: &[u8]) -> bool {
    if SECRET_FIELDS.contains(&name) || SECRET_FIELD_PARTS.iter().any(|part| name.contains(part)) {
        return true;
    }
    if name == "sec-websocket-protocol" {
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        return SECRET_SUBPROTOCOL_PARTS.iter().any(|part| value.contains(part));
    }
    if !name.contains("token") || name.contains("ratelimit") || name.contains("rate-limit") {
        return false;
    }
    // Counts of tokens (`x-amzn-bedrock-input-token-count`) are numbers, and their names say so.
    let counts = name.contains("tokens") || name.contains("token-count");
    !(counts && !value.is_empty() && value.iter().all(u8::is_ascii_digit))
}

/// The query without the values of secret parameters: `key=abc&alt=sse` → `key=&alt=sse`.
pub(super) fn strip_query(query: &str) -> String {
    let mut out = String::with_capacity(query.len());
    for (n, parameter) in query.split('&').enumerate() {
        if n > 0 {
            out.push('&');
        }
        match parameter.split_once('=') {
            Some((name, _)) if is_secret_parameter(name) => {
                out.push_str(name);
                out.push('=');
            }
            Some(_) | None => out.push_str(parameter),
        }
    }
    out
}

fn is_secret_parameter(name: &str) -> bool {
    let name = percent_decoded(name);
    SECRET_PARAMETERS.contains(&name.as_str()) || SECRET_PARAMETER_PARTS.iter().any(|part| name.contains(part))
}

/// In lower case, so that neither `%6Bey` nor `KEY` hides a key.
fn percent_decoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let hex = rest.strip_prefix('%').and_then(|r| r.get(..2)).and_then(|h| u8::from_str_radix(h, 16).ok());
        let (decoded, taken) = hex.map_or((first, first.len_utf8()), |byte| (char::from(byte), 3));
        out.push(decoded.to_ascii_lowercase());
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_the_first_bytes_of_hmac_sha256() {
        // RFC 4231 test case 2 has a short key; HMAC pads it with zeros, which is what a longer zero-filled key is.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(Fingerprinter::new(&key).fingerprint(b"what do ya want for nothing?"), "5bdcc146bf60754e");
    }

    #[test]
    fn credentials_are_known_by_name_and_token_counts_are_not_credentials() {
        for name in [
            "authorization",
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "cookie",
            "x-amz-security-token",
            "x-my-secret-thing",
            "x-auth-token",
            "x-csrftoken",
            "openai-apikey",
            "x-tokens",
        ] {
            assert!(is_secret_field(name, b"abc"), "{name}");
        }
        for (name, value) in [
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6ms"),
            ("anthropic-ratelimit-input-tokens-limit", "80000"),
            ("x-amzn-bedrock-input-token-count", "12"),
            ("content-type", "application/json"),
            ("host", "api.openai.com"),
            ("www-authenticate", "Bearer"),
        ] {
            assert!(!is_secret_field(name, value.as_bytes()), "{name}");
        }
        assert!(is_secret_field("x-otp-token", b"123456"));
    }

    #[test]
    fn secret_query_values_are_dropped_however_their_name_is_written() {
        assert_eq!(strip_query("key=AIza&alt=sse"), "key=&alt=sse");
        assert_eq!(strip_query("a=1&X-Amz-Signature=ff&%6Bey=x&KEY=y&api-version=2"), "a=1&X-Amz-Signature=&%6Bey=&KEY=&api-version=2");
        assert_eq!(strip_query("x&=&%&%zz=1&%ü=2"), "x&=&%&%zz=1&%ü=2");
        assert_eq!(strip_query("access_token=a=b&code=c"), "access_token=&code=");
    }
}
