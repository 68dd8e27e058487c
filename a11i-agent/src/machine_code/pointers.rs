//! Addresses that stand in data: method tables, function pointers.

use super::Image;
use crate::discovery::elf::Machine;

/// Words in data that hold addresses of this file once it is loaded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pointers {
    /// (slot, value), by slot.
    by_slot: Vec<(u64, u64)>,
    /// Indices of `by_slot`, by value.
    by_value: Vec<u32>,
}

impl Pointers {
    /// From relocations (RELA, RELR); of a program at fixed addresses also the words as they stand, aligned to 8.
    pub fn of(image: &Image<'_>) -> Self {
        let mut by_slot = Vec::new();
        rela(image, &mut by_slot);
        relr(image, &mut by_slot);
        if !image.is_position_independent() {
            plain(image, &mut by_slot);
        }
        by_slot.sort_unstable();
        by_slot.dedup_by_key(|(slot, _)| *slot);
        let mut by_value: Vec<u32> = (0..u32::try_from(by_slot.len()).unwrap_or(0)).collect();
        let value = |index: &u32| by_slot.get(*index as usize).map(|(slot, value)| (*value, *slot));
        by_value.sort_unstable_by_key(value);
        Self { by_slot, by_value }
    }

    /// (slot, value) in ascending order of slot.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.by_slot.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.by_slot.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_slot.is_empty()
    }

    /// What the word at `slot` holds.
    pub fn value_at(&self, slot: u64) -> Option<u64> {
        let index = self.by_slot.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
        self.by_slot.get(index).map(|(_, value)| *value)
    }

    /// Slots that hold `value`, ascending.
    pub fn slots_of(&self, value: u64) -> impl Iterator<Item = u64> + '_ {
        let at = |index: u32| self.by_slot.get(index as usize).copied().unwrap_or_default();
        let first = self.by_value.partition_point(|index| at(*index).1 < value);
        let rest = self.by_value.get(first..).unwrap_or_default();
        rest.iter().map(move |index| at(*index)).take_while(move |(_, held)| *held == value).map(|(slot, _)| slot)
    }
}

fn rela(image: &Image<'_>, into: &mut Vec<(u64, u64)>) {
    let relative = match image.machine() {
        Machine::X86_64 => R_X86_64_RELATIVE,
        Machine::Aarch64 => R_AARCH64_RELATIVE,
    };
    let Some((offset, size)) = image.elf().relocations().rela else { return };
    table(image, offset, size, RELA_BYTES, |entry| {
        let word = |at: usize| entry.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if word(8) & 0xffff_ffff == relative && into.len() < MAX_POINTERS {
            into.push((word(0), word(16)));
        }
    });
}

/// An even word is an address to relocate; an odd one has a bit for each of the 63 words after it.
fn relr(image: &Image<'_>, into: &mut Vec<(u64, u64)>) {
    let Some((offset, size)) = image.elf().relocations().relr else { return };
    let mut slots: Vec<u64> = Vec::new();
    let mut next = 0_u64;
    table(image, offset, size, 8, |entry| {
        let entry = entry.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if entry & 1 == 0 {
            slots.push(entry);
            next = entry.wrapping_add(8);
        } else {
            slots.extend((0..63_u64).filter(|bit| entry >> (bit + 1) & 1 == 1).map(|bit| next.wrapping_add(bit * 8)));
            next = next.wrapping_add(63 * 8);
        }
        slots.truncate(MAX_POINTERS.saturating_sub(into.len()));
    });
    // The value stands in the file at the slot. Slots are dense: read in runs, not one by one.
    let mut rest = slots.as_slice();
    while let Some(first) = rest.first() {
        let end = first.saturating_add(RUN);
        let count = rest.iter().take_while(|slot| (*first..end).contains(*slot)).count().max(1);
        let (run, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        let length = run.last().map_or(8, |last| last.saturating_sub(*first).saturating_add(8));
        let bytes = image.bytes(*first, length).unwrap_or_default();
        into.extend(run.iter().filter_map(|slot| {
            let at = usize::try_from(slot.checked_sub(*first)?).ok()?;
            Some((*slot, u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?)))
        }));
        rest = after;
    }
}

fn plain(image: &Image<'_>, into: &mut Vec<(u64, u64)>) {
    let segments = image.segments();
    let lowest = segments.iter().map(|segment| segment.vaddr).min().unwrap_or(0);
    let highest = segments.iter().map(|segment| segment.vaddr.saturating_add(segment.file_size)).max().unwrap_or(0);
    for segment in segments.iter().filter(|segment| !segment.executable) {
        // Windows are a multiple of 8 apart, so the first word of each is as far from alignment as the segment is.
        let skip = usize::try_from(segment.vaddr.wrapping_neg() % 8).unwrap_or(0);
        image.windows(segment, 8, |base, bytes| {
            let bytes = bytes.get(skip..).unwrap_or_default();
            let words = bytes.chunks_exact(8).map(|word| word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)));
            for (slot, value) in (base.wrapping_add(skip as u64)..).step_by(8).zip(words) {
                if (lowest..highest).contains(&value) && into.len() < MAX_POINTERS && image.segments().iter().any(|s| s.holds(value)) {
                    into.push((slot, value));
                }
            }
            into.len() < MAX_POINTERS
        });
    }
}

/// Calls `visit` with each entry of a table at `offset` in the file.
fn table(image: &Image<'_>, offset: u64, size: u64, entry: u64, mut visit: impl FnMut(&[u8])) {
    let source = image.elf().source();
    let size = size.min(MAX_TABLE).min(source.len().saturating_sub(offset));
    let mut window = Vec::new();
    let step = entry.saturating_mul(ENTRIES);
    let mut at = 0;
    while at < size {
        let length = usize::try_from((size - at).min(step)).unwrap_or(0);
        window.resize(length, 0);
        if source.read_exact_at(offset.saturating_add(at), &mut window).is_err() {
            return;
        }
        window.chunks_exact(usize::try_from(entry).unwrap_or(1).max(1)).for_each(&mut visit);
        at = at.saturating_add(step);
    }
}

const R_X86_64_RELATIVE: u64 = 8;
const R_AARCH64_RELATIVE: u64 = 1027;
const RELA_BYTES: u64 = 24;
/// Entries read at once.
const ENTRIES: u64 = 16_384;
/// Bytes of data read at once.
const RUN: u64 = 64 * 1024;
/// Browsers have some million relocations; 40 MB of ours.
const MAX_POINTERS: usize = 2 * 1024 * 1024;
const MAX_TABLE: u64 = 128 * 1024 * 1024;
