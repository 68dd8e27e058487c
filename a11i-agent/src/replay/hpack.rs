//! Header blocks as some library might write them (RFC 7541): which representation a field gets is decided by a seed.

use std::collections::VecDeque;

use super::seed::Seed;
use crate::http::huffman_encode;

/// Entries of the static table (appendix A) that heads of API calls make use of, with their indices.
const STATIC: [(u8, &str, &str); 14] = [
    (1, ":authority", ""),
    (2, ":method", "GET"),
    (3, ":method", "POST"),
    (4, ":path", "/"),
    (7, ":scheme", "https"),
    (8, ":status", "200"),
    (12, ":status", "400"),
    (13, ":status", "404"),
    (14, ":status", "500"),
    (19, "accept", ""),
    (23, "authorization", ""),
    (28, "content-length", ""),
    (31, "content-type", ""),
    (58, "user-agent", ""),
];

/// The first index of the dynamic table (section 2.3.3).
const FIRST_DYNAMIC: usize = 62;

/// What an entry counts beside its bytes (section 4.1).
const OVERHEAD: usize = 32;

/// Size of a table before anybody has said otherwise.
const INITIAL_BYTES: usize = 4096;

/// One direction's encoder.
#[derive(Debug)]
pub(super) struct Encoder {
    /// Newest first.
    entries: VecDeque<(String, String)>,
    limit: usize,
    /// Sizes to announce at the beginning of the next block: the smallest since the last one, then the present one (section 4.2).
    updates: Vec<usize>,
}

impl Encoder {
    pub(super) const fn new() -> Self {
        Self { entries: VecDeque::new(), limit: INITIAL_BYTES, updates: Vec::new() }
    }

    /// The peer allows another size of the table.
    pub(super) fn resize(&mut self, limit: usize) {
        self.updates.push(limit);
        self.limit = limit;
        self.evict(0);
    }

    /// A header block of these fields.
    pub(super) fn block(&mut self, fields: &[(String, String)], seed: &mut Seed) -> Vec<u8> {
        let mut out = Vec::new();
        let least = self.updates.iter().min().copied();
        let present = self.updates.last().copied();
        for size in least.filter(|least| Some(*least) != present).into_iter().chain(present) {
            integer(&mut out, 0x20, 5, size);
        }
        self.updates.clear();
        for (name, value) in fields {
            self.field(&mut out, name, value, seed);
        }
        out
    }

    fn field(&mut self, out: &mut Vec<u8>, name: &str, value: &str, seed: &mut Seed) {
        let same = |n: &str, v: &str| n == name && v == value;
        let dynamic = |nth: usize| nth.saturating_add(FIRST_DYNAMIC);
        let whole = STATIC.iter().find(|(_, n, v)| same(n, v)).map(|(index, ..)| usize::from(*index));
        let whole = whole.or_else(|| self.entries.iter().position(|(n, v)| same(n, v)).map(dynamic));
        if let Some(index) = whole.filter(|_| seed.below(8) > 0) {
            return integer(out, 0x80, 7, index);
        }
        let named = STATIC.iter().find(|(_, n, _)| *n == name).map(|(index, ..)| usize::from(*index));
        let named = named.or_else(|| self.entries.iter().position(|(n, _)| n == name).map(dynamic));
        let named = named.filter(|_| seed.below(8) > 0).unwrap_or(0);
        // Section 6.2: with incremental indexing as a rule, without, and never indexed.
        let (flags, bits, is_inserted) = match seed.below(8) {
            0 => (0x00, 4, false),
            1 => (0x10, 4, false),
            _ => (0x40, 6, true),
        };
        integer(out, flags, bits, named);
        if named == 0 {
            string(out, name, seed);
        }
        string(out, value, seed);
        if is_inserted {
            self.insert(name, value);
        }
    }

    fn insert(&mut self, name: &str, value: &str) {
        let size = size(name, value);
        self.evict(size);
        if size <= self.limit {
            self.entries.push_front((name.to_owned(), value.to_owned()));
        }
    }

    fn evict(&mut self, room: usize) {
        let bytes = |entries: &VecDeque<(String, String)>| entries.iter().map(|(n, v)| size(n, v)).sum::<usize>();
        while bytes(&self.entries).saturating_add(room) > self.limit && self.entries.pop_back().is_some() {}
    }
}

fn size(name: &str, value: &str) -> usize {
    name.len().saturating_add(value.len()).saturating_add(OVERHEAD)
}

/// Section 5.2.
fn string(out: &mut Vec<u8>, text: &str, seed: &mut Seed) {
    if seed.below(2) == 0 {
        integer(out, 0, 7, text.len());
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut coded = Vec::new();
    huffman_encode(text.as_bytes(), &mut coded);
    integer(out, 0x80, 7, coded.len());
    out.append(&mut coded);
}

/// Section 5.1.
fn integer(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let most = u8::MAX.wrapping_shr(8_u32.saturating_sub(bits));
    let Some(mut rest) = value.checked_sub(most.into()) else {
        out.push(flags | u8::try_from(value).unwrap_or(most));
        return;
    };
    out.push(flags | most);
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}
