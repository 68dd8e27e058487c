//! The whole top-level fields of a JSON object of which a piece is missing.
//!
//! From the front: fields up to the one that the hole hits. From the back, when the document's end was seen: read
//! backwards, a quote outside of a string always ends one, so the fields after the hole are told apart without knowing
//! what the hole held. Key order does not matter. Nothing is guessed: a field that the hole may have touched is left out.

use serde_json::value::RawValue;

/// A document with a hole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragments<'a> {
    /// From the document's first byte.
    pub(super) head: &'a [u8],
    /// Up to the document's last byte. Empty when its end was not seen.
    pub(super) tail: &'a [u8],
}

impl Fragments<'_> {
    /// An object of the fields that are whole, as JSON. `{}` when none is.
    pub(super) fn salvage(self) -> Vec<u8> {
        let mut out = vec![b'{'];
        let fields = fields_from_front(self.head).into_iter().chain(fields_from_back(self.tail).into_iter().rev());
        for field in fields.filter(|field| is_field(field)) {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(field);
        }
        out.push(b'}');
        out
    }
}

/// `"key": value`, both well-formed, and small enough to be copied.
fn is_field(field: &[u8]) -> bool {
    let mut object = Vec::with_capacity(field.len().saturating_add(2));
    object.push(b'{');
    object.extend_from_slice(field);
    object.push(b'}');
    // As a raw value, so that invalid UTF-8 is found too.
    serde_json::from_slice::<&RawValue>(&object).is_ok()
}

fn fields_from_front(text: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut start = None;
    for (at, byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' if depth == 0 => return fields, // a string
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                if depth == 1 {
                    if *byte == b'[' {
                        return fields;
                    }
                    start = at.checked_add(1);
                }
            }
            b'}' | b']' => {
                if depth <= 1 {
                    fields.extend(start.and_then(|from| text.get(from..at)));
                    return fields;
                }
                depth = depth.saturating_sub(1);
            }
            b',' if depth == 1 => {
                fields.extend(start.and_then(|from| text.get(from..at)));
                start = at.checked_add(1);
            }
            b if depth == 0 && !b.is_ascii_whitespace() => return fields, // the document does not begin with its object
            _ => {}
        }
    }
    fields
}

/// Last field first.
fn fields_from_back(text: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut depth = 0usize;
    let mut in_string = false;
    let mut end = None;
    for (at, byte) in text.iter().enumerate().rev() {
        if *byte == b'"' {
            // A quote is the string's own when an odd number of backslashes stands before it; outside of strings there are none.
            let before = text.get(..at).unwrap_or_default();
            let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
            if backslashes == before.len() && backslashes > 0 {
                return fields; // the hole may hold one more
            }
            if !in_string {
                in_string = true;
            } else if backslashes.is_multiple_of(2) {
                in_string = false;
            }
            continue;
        }
        if in_string {
            continue;
        }
        match byte {
            b'}' | b']' => {
                if depth == 0 {
                    if *byte == b']' {
                        return fields;
                    }
                    end = Some(at);
                }
                depth = depth.saturating_add(1);
            }
            b'{' | b'[' => {
                if depth <= 1 {
                    fields.extend(at.checked_add(1).zip(end).and_then(|(from, to)| text.get(from..to)));
                    return fields;
                }
                depth = depth.saturating_sub(1);
            }
            b',' if depth == 1 => {
                fields.extend(at.checked_add(1).zip(end).and_then(|(from, to)| text.get(from..to)));
                end = Some(at);
            }
            b if depth == 0 && !b.is_ascii_whitespace() => return fields, // the document does not end with its object
            _ => {}
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document() -> Value {
        json!({
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": "say \"model\":\"other\", \\ and {[}\u{e9}\\\""}, {"a": ["},{", "]"]}],
            "stream": true,
            "stop": ["\\\"", "x,y"],
            "max_tokens": 1234,
            "nested": {"model": "wrong", "max_tokens": 9},
        })
    }

    #[test]
    fn a_hole_anywhere_leaves_only_true_fields() {
        let whole = document();
        let text = serde_json::to_vec(&whole).unwrap();
        for from in 0..=text.len() {
            for to in from..=text.len() {
                let salvaged = Fragments { head: &text[..from], tail: &text[to..] }.salvage();
                let read: Value = serde_json::from_slice(&salvaged).unwrap_or_else(|e| panic!("{from}..{to}: {e}"));
                for (key, value) in read.as_object().unwrap() {
                    assert_eq!(Some(value), whole.get(key), "hole {from}..{to}");
                }
            }
        }
    }

    #[test]
    fn what_begins_with_something_else_has_no_fields() {
        for text in [&b"data: {\"a\":1,\"b\":2}"[..], b"\"a\" {\"a\":1}", b"{}{\"a\":1,"] {
            assert_eq!(Fragments { head: text, tail: b"" }.salvage(), b"{}");
        }
    }

    #[test]
    fn fields_on_both_sides_of_the_hole_are_found() {
        let text = br#"{"model":"m","messages":[{"content":"aaaaaaaa"}],"stream":true}"#;
        let hole = 30..34;
        let salvaged = Fragments { head: &text[..hole.start], tail: &text[hole.end..] }.salvage();
        assert_eq!(String::from_utf8(salvaged).unwrap(), r#"{"model":"m","stream":true}"#);
    }

    #[test]
    fn a_cut_document_keeps_what_came_before_the_cut() {
        let text = br#"{"stream":true,"model":"m","messages":[{"content":"aaaa"#;
        let salvaged = Fragments { head: text, tail: b"" }.salvage();
        assert_eq!(String::from_utf8(salvaged).unwrap(), r#"{"stream":true,"model":"m"}"#);
    }

    #[test]
    fn a_number_at_the_cut_is_not_taken() {
        assert_eq!(Fragments { head: br#"{"a":1,"b":12"#, tail: b"" }.salvage(), br#"{"a":1}"#);
        assert_eq!(Fragments { head: b"", tail: br#"2,"b":34}"# }.salvage(), br#"{"b":34}"#);
    }

    #[test]
    fn no_object_gives_an_empty_one() {
        for text in ["", "[1,2]", "hello", "\"x\"", "}", "{"] {
            assert_eq!(Fragments { head: text.as_bytes(), tail: text.as_bytes() }.salvage(), b"{}", "{text}");
        }
    }
}
