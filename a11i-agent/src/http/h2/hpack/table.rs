//! The dynamic table of one direction (RFC 7541 section 2.3), as far as it is known.
//!
//! Indices count from the newest entry, so that what was inserted before a loss, and how much, moves none of the entries that were
//! inserted since: those are certain, and everything behind them is unknown ("poisoned"). Keeping an entry longer than the encoder does is
//! harmless: it never refers to what it has evicted.

use std::collections::VecDeque;

/// RFC 7541 section 4.1: what an entry counts beside its bytes.
const OVERHEAD: usize = 32;

/// Size of a table before anybody has said otherwise (RFC 9113 section 6.5.2).
const INITIAL_BYTES: usize = 4096;

/// Larger tables are followed up to here: browsers ask for 64 KiB, most libraries for 4.
const MOST_BYTES: usize = 64 * 1024;

/// Name and value of a field, unknown where they refer to what was lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) name: Option<Box<[u8]>>,
    pub(super) value: Option<Box<[u8]>>,
}

#[derive(Debug)]
pub(super) struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    limit: usize,
    /// There may be entries behind the known ones.
    unknown_tail: bool,
}

impl Table {
    /// `from_the_start`: the connection was seen from its beginning.
    pub(super) const fn new(from_the_start: bool) -> Self {
        let limit = if from_the_start { INITIAL_BYTES } else { MOST_BYTES };
        Self { entries: VecDeque::new(), bytes: 0, limit, unknown_tail: !from_the_start }
    }

    /// Nobody knows what was inserted meanwhile.
    pub(super) fn poison(&mut self) {
        *self = Self::new(false);
    }

    /// The encoder's size update (section 6.3).
    pub(super) fn resize(&mut self, limit: u64) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if limit == 0 {
            // Everything is evicted, the unknown too.
            self.unknown_tail = false;
        }
        self.limit = limit.min(MOST_BYTES);
        self.evict(0);
        self.unknown_tail |= limit > MOST_BYTES;
    }

    /// `nth` counts from 0. Outer `None`: there is no such entry, and never was one that we could have missed.
    pub(super) fn get(&self, nth: usize) -> Option<Entry> {
        match self.entries.get(nth) {
            Some(entry) => Some(entry.clone()),
            None => self.unknown_tail.then(Entry::default),
        }
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        let size = size(&entry);
        self.evict(size);
        if size > self.limit {
            // Section 4.4: it empties the table and is not kept.
            return;
        }
        self.bytes = self.bytes.saturating_add(size);
        self.entries.push_front(entry);
    }

    /// Makes room. A name that is not known counts nothing, so that its entry stays longer here than with the encoder.
    fn evict(&mut self, room: usize) {
        while self.bytes.saturating_add(room) > self.limit {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.bytes = self.bytes.saturating_sub(size(&oldest));
        }
    }
}

fn size(entry: &Entry) -> usize {
    let length = |text: &Option<Box<[u8]>>| text.as_ref().map_or(0, |text| text.len());
    length(&entry.name).saturating_add(length(&entry.value)).saturating_add(OVERHEAD)
}
