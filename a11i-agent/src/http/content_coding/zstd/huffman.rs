//! Huffman-coded literals (RFC 8878 section 4.2).

use super::{bits::Backward, fse};

/// Longest code.
const LARGEST_BITS: u8 = 11;

/// Accuracy of the table that codes the weights.
const WEIGHTS_LOG: u8 = 6;

/// All but the last weight are stated.
const STATED_WEIGHTS: usize = 255;

#[derive(Debug)]
pub(super) struct Huffman {
    /// (symbol, bits) by the next `bits` bits.
    codes: Vec<(u8, u8)>,
    bits: u8,
}

impl Huffman {
    /// From a description at the start of `data`; returns what follows it.
    pub(super) fn read(data: &[u8]) -> Option<(Self, &[u8])> {
        let (&header, rest) = data.split_first()?;
        let (weights, rest) = if header < 128 {
            let (coded, rest) = rest.split_at_checked(usize::from(header))?;
            (coded_weights(coded)?, rest)
        } else {
            let count = usize::from(header.saturating_sub(127));
            let (packed, rest) = rest.split_at_checked(count.div_ceil(2))?;
            (packed.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(count).collect(), rest)
        };
        Some((Self::build(weights)?, rest))
    }

    /// Decodes one stream, which must be used up exactly, behind `out`.
    pub(super) fn decode(&self, stream: &[u8], count: usize, out: &mut Vec<u8>) -> Option<()> {
        let mut bits = Backward::new(stream)?;
        for _ in 0..count {
            let (symbol, length) = self.codes.get(usize::try_from(bits.peek(self.bits)).ok()?)?;
            out.push(*symbol);
            bits.skip(*length);
        }
        (bits.left() == 0).then_some(())
    }

    fn build(mut weights: Vec<u8>) -> Option<Self> {
        let mut sum = 0_u32;
        for weight in &weights {
            if *weight > LARGEST_BITS {
                return None;
            }
            sum = sum.checked_add(if *weight > 0 { 1 << weight.saturating_sub(1) } else { 0 })?;
        }
        // The last weight fills the sum up to a power of two.
        let bits = u8::try_from(sum.checked_ilog2()?.checked_add(1)?).ok()?;
        if bits > LARGEST_BITS {
            return None;
        }
        let missing = (1_u32 << bits).checked_sub(sum)?;
        if !missing.is_power_of_two() {
            return None;
        }
        weights.push(u8::try_from(missing.ilog2().checked_add(1)?).ok()?);
        let mut codes = Vec::with_capacity(1 << bits);
        // Longest codes first: weight 1 has `bits` bits.
        for weight in 1..=bits {
            for (symbol, _) in weights.iter().enumerate().filter(|(_, w)| **w == weight) {
                let code = (u8::try_from(symbol).ok()?, bits.checked_add(1)?.checked_sub(weight)?);
                codes.extend((0..1_u32 << weight.saturating_sub(1)).map(|_| code));
            }
        }
        (codes.len() == 1 << bits).then_some(Self { codes, bits })
    }
}

/// Weights coded by two interleaved states; the stream's end ends the list.
fn coded_weights(data: &[u8]) -> Option<Vec<u8>> {
    let (table, stream) = fse::Table::read(data, WEIGHTS_LOG, usize::from(LARGEST_BITS) + 1)?;
    let mut bits = Backward::new(stream)?;
    let mut this = table.start(&mut bits);
    let mut other = table.start(&mut bits);
    let mut weights = Vec::new();
    loop {
        weights.push(table.symbol(this));
        this = table.next(this, &mut bits);
        if bits.left() < 0 {
            weights.push(table.symbol(other));
            break;
        }
        std::mem::swap(&mut this, &mut other);
        if weights.len() > STATED_WEIGHTS {
            return None;
        }
    }
    (weights.len() <= STATED_WEIGHTS).then_some(weights)
}
