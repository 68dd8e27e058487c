//! Bit readers. Both give zeros past their end and say so afterwards.

/// Reads from the last bit to the first, as Huffman and sequence streams are written (RFC 8878 section 4.1).
#[derive(Clone, Copy)]
pub(super) struct Backward<'a> {
    data: &'a [u8],
    /// Unread bits; below zero after reading past the start.
    left: i64,
}

impl<'a> Backward<'a> {
    /// The highest set bit of the last byte marks the end. `None` without one.
    pub(super) fn new(data: &'a [u8]) -> Option<Self> {
        let last = data.last().filter(|byte| **byte != 0)?;
        let bits = i64::try_from(data.len()).ok()?.checked_mul(8)?;
        Some(Self { data, left: bits.saturating_sub(i64::from(last.leading_zeros())).saturating_sub(1) })
    }

    pub(super) const fn left(&self) -> i64 {
        self.left
    }

    /// The next `count` bits (at most 32), highest first, without taking them.
    pub(super) fn peek(&self, count: u8) -> u64 {
        let start = self.left.saturating_sub(i64::from(count));
        let mask = (1_u64 << count).wrapping_sub(1);
        if let Ok(start) = usize::try_from(start) {
            return self.window(start >> 3) >> (start & 7) & mask;
        }
        // Part or all of it lies before the start: those bits are zero, below the real ones.
        let missing = u32::try_from(start.unsigned_abs()).unwrap_or(u32::MAX);
        self.window(0).checked_shl(missing).unwrap_or(0) & mask & self.real_mask(count, missing)
    }

    pub(super) fn take(&mut self, count: u8) -> u64 {
        let bits = self.peek(count);
        self.skip(count);
        bits
    }

    pub(super) fn skip(&mut self, count: u8) {
        self.left = self.left.saturating_sub(i64::from(count));
    }

    /// Only the bits below the read position are data; those above were read before.
    fn real_mask(&self, count: u8, missing: u32) -> u64 {
        let real = u32::from(count).saturating_sub(missing);
        (1_u64 << real).wrapping_sub(1).checked_shl(missing).unwrap_or(0)
    }

    fn window(&self, byte: usize) -> u64 {
        let tail = self.data.get(byte..).unwrap_or_default();
        match tail.first_chunk::<8>() {
            Some(eight) => u64::from_le_bytes(*eight),
            None => tail.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte)),
        }
    }
}

/// Reads from the first bit on, as table descriptions are written.
pub(super) struct Forward<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Forward<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// At most 16 bits. `None` past the end.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        let mut bits = 0;
        for n in 0..count {
            let byte = self.data.get(self.at >> 3)?;
            bits |= u32::from(byte >> (self.at & 7) & 1) << n;
            self.at = self.at.saturating_add(1);
        }
        Some(bits)
    }

    pub(super) fn untake(&mut self) {
        self.at = self.at.saturating_sub(1);
    }

    /// What follows the last byte that was begun.
    pub(super) fn rest(self) -> &'a [u8] {
        self.data.get(self.at.div_ceil(8)..).unwrap_or_default()
    }
}
