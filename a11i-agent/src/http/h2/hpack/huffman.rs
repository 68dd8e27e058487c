//! Strings in the Huffman code of RFC 7541 appendix B.
//!
//! The code is canonical: symbols of one length are numbered in order, so that the lengths alone are the table.

use super::HpackError;

/// Bits of each byte's code. The end-of-string symbol has 30 and is the last.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// The code, by length in bits.
struct Code {
    /// First code of a length.
    first: [u32; LONGEST + 1],
    /// How many there are.
    count: [u32; LONGEST + 1],
    /// Where their symbols begin in `symbols`.
    start: [u32; LONGEST + 1],
    /// Bytes by length, then by value.
    symbols: [u8; 256],
}

static CODE: Code = code();

#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler"
)]
const fn code() -> Code {
    let mut code = Code { first: [0; LONGEST + 1], count: [0; LONGEST + 1], start: [0; LONGEST + 1], symbols: [0; 256] };
    let (mut next, mut placed, mut length) = (0_u32, 0_u32, SHORTEST);
    while length <= LONGEST {
        code.first[length] = next;
        code.start[length] = placed;
        let mut byte = 0;
        while byte < LENGTHS.len() {
            if LENGTHS[byte] as usize == length {
                code.symbols[placed as usize] = byte as u8;
                placed += 1;
                code.count[length] += 1;
            }
            byte += 1;
        }
        next = (next + code.count[length]) << 1;
        length += 1;
    }
    code
}

/// Appends the decoded string to `out`, which grows to at most `limit` bytes.
///
/// # Errors
/// [`HpackError::Invalid`] where padding is longer than 7 bits, is not of ones, or the end-of-string symbol occurs (section 5.2);
/// [`HpackError::TooLarge`] beyond `limit`.
pub(super) fn decode(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), HpackError> {
    let (mut code, mut length) = (0_u32, 0_usize);
    for byte in input {
        for bit in (0..8).rev() {
            code = (code << 1) | u32::from((byte >> bit) & 1);
            length = length.saturating_add(1);
            if let Some(symbol) = symbol(code, length) {
                if out.len() >= limit {
                    return Err(HpackError::TooLarge);
                }
                out.push(symbol);
                (code, length) = (0, 0);
            } else if length >= LONGEST {
                return Err(HpackError::Invalid);
            }
        }
    }
    let ones = 1_u32.checked_shl(u32::try_from(length).unwrap_or(u32::MAX)).and_then(|power| power.checked_sub(1));
    if length < 8 && Some(code) == ones { Ok(()) } else { Err(HpackError::Invalid) }
}

fn symbol(code: u32, length: usize) -> Option<u8> {
    let nth = code.checked_sub(*CODE.first.get(length)?)?;
    if nth >= *CODE.count.get(length)? {
        return None;
    }
    let place = usize::try_from(CODE.start.get(length)?.checked_add(nth)?).ok()?;
    CODE.symbols.get(place).copied()
}

/// Appends the coded string to `out`. A bystander decodes only; `replay` makes what is decoded.
pub(in crate::http) fn encode(input: &[u8], out: &mut Vec<u8>) {
    let (mut hold, mut bits) = (0_u64, 0_u32);
    for byte in input {
        let Some(&length) = LENGTHS.get(usize::from(*byte)) else { continue };
        hold = (hold.wrapping_shl(length.into())) | u64::from(code_of(*byte));
        bits = bits.saturating_add(length.into());
        while let Some(left) = bits.checked_sub(8) {
            let [.., whole] = hold.wrapping_shr(left).to_be_bytes();
            out.push(whole);
            bits = left;
        }
    }
    if bits > 0 {
        // Padding is the beginning of the end-of-string symbol: ones (section 5.2).
        let missing = 8_u32.saturating_sub(bits);
        let [.., last] = (hold.wrapping_shl(missing) | u64::from(u8::MAX.wrapping_shr(bits))).to_be_bytes();
        out.push(last);
    }
}

/// A byte's code: symbols of one length are numbered in order.
fn code_of(byte: u8) -> u32 {
    let length_of = |byte: u8| LENGTHS.get(usize::from(byte)).copied();
    let before = (0..byte).filter(|other| length_of(*other) == length_of(byte)).count();
    let first = length_of(byte).and_then(|length| CODE.first.get(usize::from(length))).copied();
    first.unwrap_or_default().saturating_add(u32::try_from(before).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(input, &mut out);
        out
    }

    fn decoded(input: &[u8]) -> Result<Vec<u8>, HpackError> {
        let mut out = Vec::new();
        decode(input, 1 << 16, &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7541 appendices C.4 and C.6.
        let www = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&www).unwrap(), b"www.example.com");
        assert_eq!(encoded(b"www.example.com"), www);
        assert_eq!(decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(), b"no-cache");
        assert_eq!(decoded(&[0x64, 0x02]).unwrap(), b"302");
        assert_eq!(decoded(&[0xae, 0xc3, 0x77, 0x1a, 0x4b]).unwrap(), b"private");
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        assert_eq!(decoded(&encoded(&all)).unwrap(), all);
    }

    #[test]
    fn bad_padding_and_the_end_symbol_are_refused() {
        assert_eq!(decoded(&[0xff]), Err(HpackError::Invalid), "8 bits of padding");
        assert_eq!(decoded(&[0x00]), Err(HpackError::Invalid), "padding of zeros behind '0'");
        assert_eq!(decoded(&[0xff; 4]), Err(HpackError::Invalid), "the end of the string");
        assert_eq!(decode(&encoded(b"abc"), 2, &mut Vec::new()), Err(HpackError::TooLarge));
    }
}
