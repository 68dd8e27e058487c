//! Blocks of one frame: literals, sequences, and the window they refer to.

use super::{
    BLOCK_BYTES,
    bits::Backward,
    fse::Table,
    huffman::Huffman,
    sequences::{LITERAL_LENGTH, MATCH_LENGTH, OFFSET, literal_length, match_length, offset_value},
};

/// Tables of a frame: 2,048 Huffman codes of two bytes, and three times up to 512 entries of four.
const TABLES_BYTES: usize = 12 * 1024;

#[derive(Debug)]
pub(super) struct Blocks {
    /// The last bytes decoded: at least the window, once there are as many.
    history: Vec<u8>,
    window: usize,
    literals: Vec<u8>,
    huffman: Option<Huffman>,
    literal_lengths: Option<Table>,
    offsets: Option<Table>,
    match_lengths: Option<Table>,
    /// The offsets used last, newest first.
    recent: [u32; 3],
}

impl Blocks {
    pub(super) fn new(window: usize) -> Self {
        Self {
            history: Vec::new(),
            window,
            literals: Vec::new(),
            huffman: None,
            literal_lengths: None,
            offsets: None,
            match_lengths: None,
            recent: [1, 4, 8],
        }
    }

    pub(super) fn raw(&mut self, content: &[u8]) -> &[u8] {
        let start = self.history.len();
        self.history.extend_from_slice(content);
        self.history.get(start..).unwrap_or_default()
    }

    pub(super) fn run(&mut self, byte: u8, size: usize) -> &[u8] {
        let start = self.history.len();
        self.history.resize(start.saturating_add(size), byte);
        self.history.get(start..).unwrap_or_default()
    }

    pub(super) fn compressed(&mut self, content: &[u8]) -> Option<&[u8]> {
        let start = self.history.len();
        let sequences = self.read_literals(content)?;
        self.execute(sequences, start)?;
        self.history.get(start..)
    }

    /// Drops history beyond the window, once it is worth the move. `None`: with another block, more than `memory` would be held.
    pub(super) fn make_room(&mut self, memory: usize) -> Option<()> {
        let most = self.window.saturating_add((self.window >> 2).max(BLOCK_BYTES));
        if self.history.len() > most {
            self.history.drain(..self.history.len().saturating_sub(self.window));
        }
        let memory = memory.checked_sub(self.beside_history())?;
        let needed = self.history.len().saturating_add(BLOCK_BYTES);
        if needed > memory {
            return None;
        }
        // Left to itself it doubles: good for the many bodies that are small.
        let capacity = self.history.capacity();
        if capacity < needed && capacity.saturating_mul(2).max(needed) > most.saturating_add(BLOCK_BYTES).min(memory) {
            self.history.reserve_exact(BLOCK_BYTES);
        }
        Some(())
    }

    pub(super) fn held(&self) -> usize {
        self.beside_history().saturating_add(self.history.capacity())
    }

    fn beside_history(&self) -> usize {
        self.literals.capacity().saturating_add(TABLES_BYTES)
    }

    /// RFC 8878 section 3.1.1.3.1. Returns the sequences section.
    fn read_literals<'d>(&mut self, content: &'d [u8]) -> Option<&'d [u8]> {
        self.literals.clear();
        let &first = content.first()?;
        let (kind, format) = (first & 3, first >> 2 & 3);
        let header_bytes = match (kind < 2, format) {
            (true, 0 | 2) => 1,
            (true, 1) => 2,
            (true, _) | (false, 0 | 1) => 3,
            (false, 2) => 4,
            (false, _) => 5,
        };
        let (header, rest) = content.split_at_checked(header_bytes)?;
        let header = header.iter().rev().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        if kind < 2 {
            let size = usize::try_from(if format & 1 == 0 { header >> 3 } else { header >> 4 }).ok().filter(|size| *size <= BLOCK_BYTES)?;
            if kind == 1 {
                let (&byte, rest) = rest.split_first()?;
                self.literals.resize(size, byte);
                return Some(rest);
            }
            let (literals, rest) = rest.split_at_checked(size)?;
            self.literals.extend_from_slice(literals);
            return Some(rest);
        }
        let size_bits = match format {
            0 | 1 => 10,
            2 => 14,
            _ => 18,
        };
        let mask = (1_u64 << size_bits).wrapping_sub(1);
        let size = usize::try_from(header >> 4 & mask).ok().filter(|size| *size <= BLOCK_BYTES)?;
        let stored = usize::try_from(header >> 4 >> size_bits & mask).ok()?;
        let (mut streams, rest) = rest.split_at_checked(stored)?;
        if kind == 2 {
            let (huffman, after) = Huffman::read(streams)?;
            self.huffman = Some(huffman);
            streams = after;
        }
        let huffman = self.huffman.as_ref()?;
        if format == 0 {
            huffman.decode(streams, size, &mut self.literals)?;
            return Some(rest);
        }
        let (&[a0, a1, b0, b1, c0, c1], mut streams) = streams.split_first_chunk::<6>()?;
        let each = size.div_ceil(4);
        for length in [[a0, a1], [b0, b1], [c0, c1]].map(u16::from_le_bytes) {
            let (stream, after) = streams.split_at_checked(usize::from(length))?;
            huffman.decode(stream, each, &mut self.literals)?;
            streams = after;
        }
        huffman.decode(streams, size.checked_sub(each.checked_mul(3)?)?, &mut self.literals)?;
        Some(rest)
    }

    /// RFC 8878 sections 3.1.1.3.2 and 3.1.1.4: literals and matches in turn.
    fn execute(&mut self, section: &[u8], start: usize) -> Option<()> {
        let (&first, rest) = section.split_first()?;
        let (count, rest) = match first {
            0 => {
                self.history.extend_from_slice(&self.literals);
                return rest.is_empty().then_some(());
            }
            1..128 => (u32::from(first), rest),
            128..255 => {
                let (&second, rest) = rest.split_first()?;
                (u32::from(first & 127) << 8 | u32::from(second), rest)
            }
            255 => {
                let (&[low, high], rest) = rest.split_first_chunk::<2>()?;
                (u32::from(u16::from_le_bytes([low, high])).saturating_add(0x7f00), rest)
            }
        };
        let (&modes, rest) = rest.split_first()?;
        let rest = LITERAL_LENGTH.table(modes >> 6, &mut self.literal_lengths, rest)?;
        let rest = OFFSET.table(modes >> 4 & 3, &mut self.offsets, rest)?;
        let rest = MATCH_LENGTH.table(modes >> 2 & 3, &mut self.match_lengths, rest)?;
        if modes & 3 != 0 {
            return None;
        }
        let (Some(lengths), Some(offsets), Some(matches)) = (&self.literal_lengths, &self.offsets, &self.match_lengths) else {
            return None;
        };
        let largest = start.checked_add(BLOCK_BYTES)?;
        let mut literals = self.literals.as_slice();
        let mut bits = Backward::new(rest)?;
        let (mut length_state, mut offset_state, mut match_state) =
            (lengths.start(&mut bits), offsets.start(&mut bits), matches.start(&mut bits));
        for left in (0..count).rev() {
            let offset = offset_value(offsets.symbol(offset_state), &mut bits)?;
            let match_length = match_length(matches.symbol(match_state), &mut bits)?;
            let literal_length = literal_length(lengths.symbol(length_state), &mut bits)?;
            if left > 0 {
                length_state = lengths.next(length_state, &mut bits);
                match_state = matches.next(match_state, &mut bits);
                offset_state = offsets.next(offset_state, &mut bits);
            }
            if bits.left() < 0 {
                return None;
            }
            let (part, after) = literals.split_at_checked(usize::try_from(literal_length).ok()?)?;
            literals = after;
            self.history.extend_from_slice(part);
            let offset = resolve(&mut self.recent, offset, literal_length == 0)?;
            let match_length = usize::try_from(match_length).ok()?;
            if self.history.len().checked_add(match_length)? > largest {
                return None;
            }
            copy_match(&mut self.history, usize::try_from(offset).ok()?, match_length)?;
        }
        self.history.extend_from_slice(literals);
        (bits.left() == 0 && self.history.len() <= largest).then_some(())
    }
}

/// RFC 8878 section 3.1.1.5: the offset meant, and the list of recent ones after it.
fn resolve(recent: &mut [u32; 3], value: u32, no_literals: bool) -> Option<u32> {
    let [first, second, third] = *recent;
    // Without literals before it, the newest offset would only prolong the match before: the list shifts by one.
    let (offset, list) = match (value, no_literals) {
        (0, _) => return None,
        (1, false) => (first, [first, second, third]),
        (1, true) | (2, false) => (second, [second, first, third]),
        (2, true) | (3, false) => (third, [third, first, second]),
        (3, true) => {
            let offset = first.checked_sub(1)?;
            (offset, [offset, first, second])
        }
        (value, _) => {
            let offset = value.saturating_sub(3);
            (offset, [offset, first, second])
        }
    };
    *recent = list;
    (offset > 0).then_some(offset)
}

/// Appends `length` bytes from `offset` back; they may overlap what is being written.
fn copy_match(history: &mut Vec<u8>, offset: usize, length: usize) -> Option<()> {
    let start = history.len().checked_sub(offset)?;
    let mut left = length;
    while left > 0 {
        let here = left.min(history.len().saturating_sub(start));
        history.extend_from_within(start..start.saturating_add(here));
        left = left.saturating_sub(here);
    }
    Some(())
}
