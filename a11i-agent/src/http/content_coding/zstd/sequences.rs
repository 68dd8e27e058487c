//! The three codes of a sequence and their tables (RFC 8878 section 3.1.1.3.2).

use super::{bits::Backward, fse::Table};

const PREDEFINED_LITERAL_LENGTHS: [i16; 36] =
    [4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1];
const PREDEFINED_MATCH_LENGTHS: [i16; 53] = [
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, -1, -1, -1, -1, -1, -1, -1,
];
const PREDEFINED_OFFSETS: [i16; 29] = [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1];

/// (base, extra bits) of the literal length codes from 16 on; below, the code is the length.
const LITERAL_LENGTHS: [(u32, u8); 20] = [
    (16, 1),
    (18, 1),
    (20, 1),
    (22, 1),
    (24, 2),
    (28, 2),
    (32, 3),
    (40, 3),
    (48, 4),
    (64, 6),
    (128, 7),
    (256, 8),
    (512, 9),
    (1024, 10),
    (2048, 11),
    (4096, 12),
    (8192, 13),
    (16_384, 14),
    (32_768, 15),
    (65_536, 16),
];

/// (base, extra bits) of the match length codes from 32 on; below, the length is the code + 3.
const MATCH_LENGTHS: [(u32, u8); 21] = [
    (35, 1),
    (37, 1),
    (39, 1),
    (41, 1),
    (43, 2),
    (47, 2),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 5),
    (131, 7),
    (259, 8),
    (515, 9),
    (1027, 10),
    (2051, 11),
    (4099, 12),
    (8195, 13),
    (16_387, 14),
    (32_771, 15),
    (65_539, 16),
];

/// What distinguishes the three tables.
pub(super) struct Code {
    predefined: &'static [i16],
    predefined_log: u8,
    largest_log: u8,
    /// Largest symbol.
    largest: u8,
}

pub(super) const LITERAL_LENGTH: Code = Code { predefined: &PREDEFINED_LITERAL_LENGTHS, predefined_log: 6, largest_log: 9, largest: 35 };
pub(super) const OFFSET: Code = Code { predefined: &PREDEFINED_OFFSETS, predefined_log: 5, largest_log: 8, largest: 31 };
pub(super) const MATCH_LENGTH: Code = Code { predefined: &PREDEFINED_MATCH_LENGTHS, predefined_log: 6, largest_log: 9, largest: 52 };

impl Code {
    /// Makes the table that `mode` names, from `data` where it is described there; returns what follows.
    pub(super) fn table<'d>(&self, mode: u8, table: &mut Option<Table>, data: &'d [u8]) -> Option<&'d [u8]> {
        match mode {
            0 => {
                *table = Some(Table::build(self.predefined, self.predefined_log)?);
                Some(data)
            }
            1 => {
                let (&symbol, rest) = data.split_first()?;
                *table = Some(Table::run((symbol <= self.largest).then_some(symbol)?));
                Some(rest)
            }
            2 => {
                let (described, rest) = Table::read(data, self.largest_log, usize::from(self.largest).saturating_add(1))?;
                *table = Some(described);
                Some(rest)
            }
            // The table of the block before.
            _ => table.is_some().then_some(data),
        }
    }
}

pub(super) fn literal_length(code: u8, bits: &mut Backward<'_>) -> Option<u32> {
    match code.checked_sub(16) {
        None => Some(u32::from(code)),
        Some(long) => with_extra(*LITERAL_LENGTHS.get(usize::from(long))?, bits),
    }
}

pub(super) fn match_length(code: u8, bits: &mut Backward<'_>) -> Option<u32> {
    match code.checked_sub(32) {
        None => Some(u32::from(code).saturating_add(3)),
        Some(long) => with_extra(*MATCH_LENGTHS.get(usize::from(long))?, bits),
    }
}

/// The offset value, in which 1 to 3 stand for the offsets used last.
pub(super) fn offset_value(code: u8, bits: &mut Backward<'_>) -> Option<u32> {
    with_extra((1_u32.checked_shl(u32::from(code))?, code), bits)
}

fn with_extra((base, extra): (u32, u8), bits: &mut Backward<'_>) -> Option<u32> {
    base.checked_add(u32::try_from(bits.take(extra)).ok()?)
}
