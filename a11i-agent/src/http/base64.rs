//! Base64 (RFC 4648 section 4), as JSON carries bytes: recorded bodies, and the models' events within Bedrock's.

/// `None` for anything but the standard alphabet with correct padding.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let (quads, rest) = text.as_bytes().as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(quads.len().saturating_mul(3));
    let last = quads.len().saturating_sub(1);
    for (at, quad) in quads.iter().enumerate() {
        let padding = quad.iter().rev().take_while(|byte| **byte == b'=').count();
        if padding > 2 || (padding > 0 && at != last) {
            return None;
        }
        let mut bits = 0u32;
        for byte in quad.iter().take(4usize.saturating_sub(padding)) {
            bits = bits << 6 | u32::from(value(*byte)?);
        }
        let bits = bits << (padding.saturating_mul(6));
        let [_, bytes @ ..] = bits.to_be_bytes();
        out.extend(bytes.iter().take(3usize.saturating_sub(padding)));
    }
    Some(out)
}

const fn value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte.wrapping_sub(b'A')),
        b'a'..=b'z' => Some(byte.wrapping_sub(b'a').wrapping_add(26)),
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0').wrapping_add(52)),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_decode() {
        for (text, want) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmE=", "fooba"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(decode(text).as_deref(), Some(want.as_bytes()));
        }
        assert_eq!(decode("+/8="), Some(vec![0xfb, 0xff]));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["Z", "Zg=", "Zg", "Z===", "====", "Zg==Zg==", "Z g=", "Zm9\u{e9}"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
