//! Integers with a prefix (RFC 7541 section 5.1).

use super::HpackError;

/// Continuation bytes of a value below 2^35: no length or index of a header block comes near it.
const CONTINUATIONS: u32 = 5;

/// Reads an integer whose first byte has `prefix_bits` (1 to 8) low bits of it. Gives the value and the rest.
pub(super) fn read(input: &[u8], prefix_bits: u32) -> Result<(u64, &[u8]), HpackError> {
    let (&first, mut rest) = input.split_first().ok_or(HpackError::Truncated)?;
    let mask = u8::MAX.checked_shr(8_u32.saturating_sub(prefix_bits)).unwrap_or(u8::MAX);
    let mut value = u64::from(first & mask);
    if value < u64::from(mask) {
        return Ok((value, rest));
    }
    for n in 0..CONTINUATIONS {
        let (&byte, tail) = rest.split_first().ok_or(HpackError::Truncated)?;
        rest = tail;
        let part = u64::from(byte & 0x7f).checked_shl(n.saturating_mul(7)).unwrap_or(u64::MAX);
        value = value.saturating_add(part);
        if byte & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(HpackError::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7541 appendix C.1.
        assert_eq!(read(&[0b1110_1010, 9], 5), Ok((10, &[9][..])));
        assert_eq!(read(&[0b0001_1111, 0b1001_1010, 0b0000_1010], 5), Ok((1337, &[][..])));
        assert_eq!(read(&[42], 8), Ok((42, &[][..])));
    }

    #[test]
    fn what_does_not_end_is_refused() {
        assert_eq!(read(&[], 7), Err(HpackError::Truncated));
        assert_eq!(read(&[0x7f, 0x80], 7), Err(HpackError::Truncated));
        assert_eq!(read(&[0xff; 64], 7), Err(HpackError::Invalid));
    }
}
