//! Function bounds by `.eh_frame_hdr` (Linux Standard Base, "Exception Frames"): present in many stripped programs, absent in some.

use super::{
    Image,
    call_frame::{Common, Numbers, begins_by_call},
};

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

    /// Start and end of the function, or of the fragment of one, with `address` in it. The table and the description must say the same.
    pub(super) fn bounds(&self, image: &Image<'_>, address: u64) -> Option<(u64, u64)> {
        self.described(image, address).map(|description| (description.start, description.end))
    }

    /// Whether a function begins at `start`, by its description; none where none begins there at all. What begins there otherwise is a
    /// fragment: part of a function that stands elsewhere.
    pub(super) fn begins_function(&self, image: &Image<'_>, start: u64) -> Option<bool> {
        let description = self.described(image, start).filter(|description| description.start == start)?;
        Some(begins_by_call(image.machine(), &description.common, &description.instructions))
    }

    fn described(&self, image: &Image<'_>, address: u64) -> Option<Description> {
        let index = self.entries.partition_point(|(start, _)| *start <= address).checked_sub(1)?;
        let (start, at) = *self.entries.get(index)?;
        let description = Description::read(image, at)?;
        (description.start == start && (start..description.end).contains(&address)).then_some(description)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// A frame description entry.
struct Description {
    start: u64,
    end: u64,
    common: Common,
    /// The first of its instructions.
    instructions: Vec<u8>,
}

impl Description {
    fn read(image: &Image<'_>, at: u64) -> Option<Self> {
        let bytes = image.bytes_up_to(at, ENTRY_BYTES)?;
        let word = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes));
        let long = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u64::from_le_bytes(*bytes));
        let length = word(0).filter(|length| (8..u32::MAX).contains(length))?;
        let to_common = word(4).filter(|distance| *distance != 0)?;
        let common = common(image, at.checked_add(4)?.checked_sub(to_common.into())?)?;
        let place = at.checked_add(8)?;
        let (start, size, after) = match common.encoding {
            PCREL_SDATA4 if length >= 12 => (place.wrapping_add_signed(i64::from(word(8)?.cast_signed())), u64::from(word(12)?), 16),
            PCREL_SDATA8 if length >= 20 => (place.wrapping_add(long(8)?), long(16)?, 24),
            _ => return None,
        };
        let end = usize::try_from(length).ok()?.checked_add(4)?.min(bytes.len());
        let mut rest = Numbers(bytes.get(after..end).unwrap_or_default());
        let data = rest.unsigned().and_then(|size| usize::try_from(size).ok());
        let instructions = data.and_then(|size| rest.0.get(size..)).unwrap_or(UNREADABLE);
        Some(Self { start, end: start.checked_add(size)?, common, instructions: instructions.to_vec() })
    }
}

/// What descriptions share that point to `at`.
fn common(image: &Image<'_>, at: u64) -> Option<Common> {
    let bytes = image.bytes_up_to(at, ENTRY_BYTES)?;
    let (head, rest) = bytes.split_first_chunk::<9>()?;
    let [l0, l1, l2, l3, 0, 0, 0, 0, 1 | 3] = *head else { return None };
    let end = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?.checked_sub(5)?;
    let rest = rest.get(..end.min(rest.len()))?;
    let zero = rest.iter().position(|byte| *byte == 0)?;
    let (augmentation, rest) = rest.split_at_checked(zero)?;
    let augmentation = augmentation.strip_prefix(b"z")?;
    let mut rest = Numbers(rest.get(1..)?);
    rest.unsigned()?; // code alignment
    let data_alignment = rest.signed()?;
    let return_column = rest.unsigned()?;
    let length = usize::try_from(rest.unsigned()?).ok()?;
    let (mut data, instructions) = rest.0.split_at_checked(length)?;
    let mut encoding = None;
    for letter in augmentation {
        match letter {
            b'R' => {
                let (first, after) = data.split_first()?;
                (encoding, data) = (Some(*first), after);
            }
            b'L' => data = data.get(1..)?,
            b'P' => {
                let (first, after) = data.split_first()?;
                let size = match first & 0x0f {
                    0x02 | 0x0a => 2,
                    0x03 | 0x0b => 4,
                    0x00 | 0x04 | 0x0c => 8,
                    _ => return None,
                };
                data = after.get(size..)?;
            }
            b'S' | b'B' | b'G' => {} // signal frame, pointer authentication, memory tagging: no data
            _ => return None,
        }
    }
    Some(Common { encoding: encoding?, data_alignment, return_column, instructions: instructions.to_vec() })
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
/// Of an entry: all that is asked for stands at its beginning.
const ENTRY_BYTES: u64 = 128;
/// An operation that does not exist: what could not be read says nothing about a beginning.
const UNREADABLE: &[u8] = &[0x3f];
