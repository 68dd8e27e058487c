//! JSON whose strings are not what strings have to be: texts are cut within a character by servers that count bytes (what is no UTF-8) and by
//! those that count UTF-16 units (half of a surrogate pair, as an escape). And numbers that are none, as Python writes and reads them. One of
//! these would cost the whole document.

use std::borrow::Cow;

use super::BYTE_ORDER_MARK;

/// What is left of half a pair, behind its backslash: the replacement character. It has the same length.
const REPLACEMENT: &str = "ufffd";

/// The document with replacement characters for what is none; as it is where there is nothing to mend, or where it is no object and no array.
pub(in crate::provider) fn mended(json: &[u8]) -> Cow<'_, [u8]> {
    let text = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
    if !matches!(text.trim_ascii_start().first(), Some(b'{' | b'[')) || !is_suspicious(text) {
        return Cow::Borrowed(json);
    }
    let text = String::from_utf8_lossy(text);
    let pairs = whole_pairs(&text);
    let numbers = finite_numbers(&pairs);
    let is_whole = [&text, &pairs, &numbers].into_iter().all(|text| matches!(text, Cow::Borrowed(_)));
    if is_whole { Cow::Borrowed(json) } else { Cow::Owned(numbers.into_owned().into_bytes()) }
}

/// Whether anything here may have to be mended. Nearly every event of every stream ends its visit with this one look.
fn is_suspicious(text: &[u8]) -> bool {
    // Half of a pair is from d800 to dfff; what is below are Korean syllables, the most usual ones among them.
    let is_one = |at| match text.get(at..) {
        Some([b'\\', b'u', b'd' | b'D', digit, ..]) => !matches!(digit, b'0'..=b'7'),
        Some(rest) => rest.starts_with(b"NaN") || rest.starts_with(b"Infinity"),
        None => false,
    };
    memchr::memchr3_iter(b'\\', b'N', b'I', text).any(is_one) || !text.is_ascii() && std::str::from_utf8(text).is_err()
}

/// With nothing in place of what is no number.
fn finite_numbers(text: &str) -> Cow<'_, str> {
    const NONE: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest, mut is_in_string) = (String::new(), text, false);
    while let Some(character) = rest.chars().next() {
        if !is_in_string && let Some(after) = NONE.iter().find_map(|word| rest.strip_prefix(word)) {
            out.push_str("null");
            rest = after;
            continue;
        }
        let escaped = if is_in_string && character == '\\' { rest.chars().nth(1).map_or(0, char::len_utf8) } else { 0 };
        is_in_string ^= character == '"';
        let (taken, after) = rest.split_at_checked(character.len_utf8().saturating_add(escaped)).unwrap_or((rest, ""));
        out.push_str(taken);
        rest = after;
    }
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

/// With [`REPLACEMENT`] for each escape of a surrogate that has no other half.
fn whole_pairs(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('\\') {
        let (is_whole, next) = match unit(after) {
            Some((0xd800..=0xdbff, next)) => match next.strip_prefix('\\').and_then(unit) {
                Some((0xdc00..=0xdfff, behind)) => (true, behind),
                _ => (false, next),
            },
            Some((0xdc00..=0xdfff, next)) => (false, next),
            Some((_, next)) => (true, next),
            // Another escape: what it escapes may be a backslash.
            None => {
                let mut characters = after.chars();
                characters.next();
                (true, characters.as_str())
            }
        };
        let taken = after.strip_suffix(next).unwrap_or_default();
        out.push_str(before);
        out.push('\\');
        out.push_str(if is_whole { taken } else { REPLACEMENT });
        rest = next;
    }
    out.push_str(rest);
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

/// The UTF-16 unit of an escape behind its backslash, and what follows it.
fn unit(escape: &str) -> Option<(u16, &str)> {
    let (digits, rest) = escape.strip_prefix('u')?.split_at_checked(4)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    Some((u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &[u8]) -> Option<String> {
        serde_json::from_slice::<Vec<String>>(&mended(json)).ok()?.pop()
    }

    #[test]
    fn half_a_pair_is_replaced_and_a_whole_one_stays() {
        for (json, want) in [
            (r#"["a\ud83db"]"#, "a\u{fffd}b"),
            (r#"["\uDE00"]"#, "\u{fffd}"),
            (r#"["\ud83d\ude00"]"#, "\u{1f600}"),
            (r#"["\ud83d\ud83d\ude00\ude00"]"#, "\u{fffd}\u{1f600}\u{fffd}"),
            (r#"["\ud83d\n"]"#, "\u{fffd}\n"),
            (r#"["\\ud83d"]"#, "\\ud83d"),
            (r#"["\\\ud83d"]"#, "\\\u{fffd}"),
            (r#"["\u00e9\ud83d"]"#, "\u{e9}\u{fffd}"),
        ] {
            assert_eq!(text(json.as_bytes()).as_deref(), Some(want), "{json}");
        }
    }

    #[test]
    fn korean_is_no_half_of_anything() {
        assert!(!is_suspicious(br#"{"a":"\ud55c\uD574\u00e9"}"#));
        for half in [&br"\ud83d"[..], br"\uDe00", br"\udfff", br"\uD800"] {
            assert!(is_suspicious(half), "{half:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(text(b"[\"a\xe2\x82\"]").as_deref(), Some("a\u{fffd}"));
        assert_eq!(text(b" [\"\xff\\ud83d\"]").as_deref(), Some("\u{fffd}\u{fffd}"));
    }

    #[test]
    fn what_is_no_number_is_absent() {
        let json = br#"{"a":NaN,"b":[-Infinity,Infinity,1],"NaN":"\"Infinity\\","c":"\\"}"#;
        let value: serde_json::Value = serde_json::from_slice(&mended(json)).unwrap();
        assert_eq!(value, serde_json::json!({"a": null, "b": [null, null, 1], "NaN": "\"Infinity\\", "c": "\\"}));
        let text = br#"{"a":"NaN or Infinity"}"#;
        assert!(matches!(mended(text), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_whole_or_no_document_is_not_copied() {
        for bytes in [&b"{\"a\":\"\\ud83d\\ude00\"}"[..], b"\x00\x00\xff{", b"\xff\xff", b"", b"data: \xff", b"\xef\xbb\xbf{}", b"{\"\\u"] {
            assert!(matches!(mended(bytes), Cow::Borrowed(same) if same == bytes), "{bytes:?}");
        }
    }

    #[test]
    fn an_end_anywhere_is_no_trouble() {
        let json = r#"["\ud83d\ude00\\\ud83d\"\u00e9\ude00"]"#;
        for cut in 0..json.len() {
            let cut = json.get(..cut).unwrap_or_default();
            assert!(mended(cut.as_bytes()).len() == cut.len());
        }
    }
}
