//! Finite-state entropy tables (RFC 8878 section 4.1).

use super::bits::{Backward, Forward};

/// Symbols of any table: Huffman weights and the three sequence codes stay below.
const SYMBOLS: usize = 256;

#[derive(Clone, Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    accuracy_log: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    symbol: u8,
    bits: u8,
    base: u16,
}

/// Where a decoder is in its table.
#[derive(Clone, Copy)]
pub(super) struct FseState(u16);

impl Table {
    /// Always the same symbol, no bits.
    pub(super) fn run(symbol: u8) -> Self {
        Self { entries: vec![Entry { symbol, bits: 0, base: 0 }], accuracy_log: 0 }
    }

    /// From probabilities; -1 is "less than one". `None` when they do not fill the table.
    pub(super) fn build(probabilities: &[i16], accuracy_log: u8) -> Option<Self> {
        let size = 1_usize << accuracy_log;
        let mut entries = vec![Entry::default(); size];
        let mut next = [0_u16; SYMBOLS];
        let mut high = size;
        for (symbol, probability) in probabilities.iter().enumerate() {
            if *probability == -1 {
                high = high.checked_sub(1)?;
                entries.get_mut(high)?.symbol = u8::try_from(symbol).ok()?;
                *next.get_mut(symbol)? = 1;
            }
        }
        let step = (size >> 1).wrapping_add(size >> 3).wrapping_add(3);
        let mask = size.wrapping_sub(1);
        let mut at = 0_usize;
        for (symbol, probability) in probabilities.iter().enumerate() {
            let Ok(count @ 1..) = u16::try_from(*probability) else { continue };
            *next.get_mut(symbol)? = count;
            for _ in 0..count {
                entries.get_mut(at)?.symbol = u8::try_from(symbol).ok()?;
                loop {
                    at = at.wrapping_add(step) & mask;
                    if at < high {
                        break;
                    }
                    if high == 0 {
                        return None;
                    }
                }
            }
        }
        if at != 0 {
            return None;
        }
        for entry in &mut entries {
            let state = next.get_mut(usize::from(entry.symbol))?;
            let bits = u32::from(accuracy_log).checked_sub(state.checked_ilog2()?)?;
            entry.base = u16::try_from((usize::from(*state) << bits).checked_sub(size)?).ok()?;
            entry.bits = u8::try_from(bits).ok()?;
            *state = state.checked_add(1)?;
        }
        Some(Self { entries, accuracy_log })
    }

    /// From a description at the start of `data`; returns what follows it.
    pub(super) fn read(data: &[u8], largest_log: u8, symbols: usize) -> Option<(Self, &[u8])> {
        let mut bits = Forward::new(data);
        let accuracy_log = u8::try_from(bits.take(4)?).ok()?.checked_add(5)?;
        if accuracy_log > largest_log {
            return None;
        }
        let mut remaining = 1_u32 << accuracy_log;
        let mut probabilities: Vec<i16> = Vec::with_capacity(symbols);
        while remaining > 0 {
            let count = remaining.checked_add(1)?.ilog2().checked_add(1)?;
            let mut value = bits.take(count)?;
            let low = (1_u32 << count.saturating_sub(1)).wrapping_sub(1);
            let threshold = (1_u32 << count).checked_sub(1)?.checked_sub(remaining.checked_add(1)?)?;
            if value & low < threshold {
                bits.untake();
                value &= low;
            } else if value > low {
                value = value.checked_sub(threshold)?;
            }
            let probability = i16::try_from(value).ok()?.checked_sub(1)?;
            remaining = remaining.checked_sub(u32::from(probability.unsigned_abs()))?;
            probabilities.push(probability);
            if probability == 0 {
                loop {
                    let zeros = bits.take(2)?;
                    probabilities.extend((0..zeros).map(|_| 0));
                    if zeros != 3 || probabilities.len() > symbols {
                        break;
                    }
                }
            }
            if probabilities.len() > symbols {
                return None;
            }
        }
        Some((Self::build(&probabilities, accuracy_log)?, bits.rest()))
    }

    pub(super) fn start(&self, bits: &mut Backward<'_>) -> FseState {
        FseState(u16::try_from(bits.take(self.accuracy_log)).unwrap_or_default())
    }

    pub(super) fn symbol(&self, state: FseState) -> u8 {
        self.entry(state).symbol
    }

    pub(super) fn next(&self, state: FseState, bits: &mut Backward<'_>) -> FseState {
        let entry = self.entry(state);
        FseState(entry.base.wrapping_add(u16::try_from(bits.take(entry.bits)).unwrap_or_default()))
    }

    fn entry(&self, state: FseState) -> Entry {
        // A state is always inside its table: base + bits stays below the size by construction.
        self.entries.get(usize::from(state.0)).copied().unwrap_or_default()
    }
}
