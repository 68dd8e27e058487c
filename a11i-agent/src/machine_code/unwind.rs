//! Function bounds by `.eh_frame_hdr` (Linux Standard Base, "Exception Frames"): present in many stripped programs, absent in some.

use super::Image;

/// The sorted table of functions that can be unwound.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct UnwindTable {
    /// (start, address of its description), ascending.
    entries: Vec<(u64, u64)>,
}

impl UnwindTable {
    pub(super) fn of(image: &Image<'_>) -> Self {
        Self::read(image).unwrap_or_default()
    }

    fn read(image: &Image<'_>) -> Option<Self> {
        let table = image.elf().unwind_table()?;
        let header: [u8; 12] = *image.bytes(table, 12)?.first_chunk()?;
        // The form that all linkers write: count as 4 bytes, entries as pairs of 4-byte distances from the table.
        let [VERSION, _, COUNT_UDATA4, TABLE_DATAREL_SDATA4, _, _, _, _, c0, c1, c2, c3] = header else { return None };
        let count = u64::from(u32::from_le_bytes([c0, c1, c2, c3])).min(MAX_FUNCTIONS);
        let bytes = image.bytes(table.checked_add(12)?, count.checked_mul(8)?)?;
        let distance = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| i64::from(i32::from_le_bytes(*bytes)));
        let mut entries: Vec<(u64, u64)> = bytes
            .chunks_exact(8)
            .filter_map(|entry| {
                let (start, description) = entry.split_at_checked(4)?;
                Some((table.wrapping_add_signed(distance(start)), table.wrapping_add_signed(distance(description))))
            })
            .collect();
        entries.sort_unstable();
        entries.dedup_by_key(|(start, _)| *start);
        Some(Self { entries })
    }

    /// Start and end of the function with `address` in it. The table and the description must say the same.
    pub(super) fn bounds(&self, image: &Image<'_>, address: u64) -> Option<(u64, u64)> {
        let index = self.entries.partition_point(|(start, _)| *start <= address).checked_sub(1)?;
        let (start, description) = *self.entries.get(index)?;
        let (stated, end) = described(image, description)?;
        (stated == start && (start..end).contains(&address)).then_some((start, end))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What the frame description entry at `at` says: start and end.
fn described(image: &Image<'_>, at: u64) -> Option<(u64, u64)> {
    let head: [u8; 24] = *image.bytes(at, 24)?.first_chunk()?;
    let word = |at: usize| head.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes));
    let length = word(0).filter(|length| (8..u32::MAX).contains(length))?;
    let to_common = word(4).filter(|distance| *distance != 0)?;
    let common = at.checked_add(4)?.checked_sub(to_common.into())?;
    let place = at.checked_add(8)?;
    match encoding(image, common)? {
        PCREL_SDATA4 if length >= 12 => {
            let start = place.wrapping_add_signed(i64::from(word(8)?.cast_signed()));
            Some((start, start.checked_add(word(12)?.into())?))
        }
        PCREL_SDATA8 if length >= 20 => {
            let long = |at: usize| head.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u64::from_le_bytes(*bytes));
            let start = place.wrapping_add(long(8)?);
            Some((start, start.checked_add(long(16)?)?))
        }
        _ => None,
    }
}

/// How the addresses of descriptions that share this common entry are written.
fn encoding(image: &Image<'_>, common: u64) -> Option<u8> {
    let bytes = image.bytes_up_to(common, 64)?;
    let (head, rest) = bytes.split_first_chunk::<9>()?;
    let [_, _, _, _, 0, 0, 0, 0, 1 | 3] = *head else { return None };
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (augmentation, rest) = rest.split_at_checked(end)?;
    let mut rest = rest.get(1..)?;
    let augmentation = augmentation.strip_prefix(b"z")?;
    // Code alignment, data alignment, return register, length of what follows: numbers of 7 bits a byte.
    for _ in 0..4 {
        let last = rest.iter().position(|byte| byte & 0x80 == 0)?;
        rest = rest.get(last.checked_add(1)?..)?;
    }
    for letter in augmentation {
        let (first, after) = rest.split_first()?;
        match letter {
            b'R' => return Some(*first),
            b'L' => rest = after,
            b'P' => {
                let size = match first & 0x0f {
                    0x02 | 0x0a => 2,
                    0x03 | 0x0b => 4,
                    0x00 | 0x04 | 0x0c => 8,
                    _ => return None,
                };
                rest = after.get(size..)?;
            }
            b'S' | b'B' | b'G' => {} // signal frame, pointer authentication, memory tagging: no data
            _ => return None,
        }
    }
    None
}

const VERSION: u8 = 1;
/// `DW_EH_PE_udata4`.
const COUNT_UDATA4: u8 = 0x03;
/// `DW_EH_PE_datarel | DW_EH_PE_sdata4`.
const TABLE_DATAREL_SDATA4: u8 = 0x3b;
/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`.
const PCREL_SDATA4: u8 = 0x1b;
/// `DW_EH_PE_pcrel | DW_EH_PE_sdata8`.
const PCREL_SDATA8: u8 = 0x1c;
/// Browsers have about a million.
const MAX_FUNCTIONS: u64 = 4 * 1024 * 1024;
