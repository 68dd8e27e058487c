//! How much is read for whom: one container with ten thousand libraries must not keep the scanner from the others.
//!
//! Counted by mount namespace, in windows of a minute. What is over budget is postponed to a later host scan. Code has a budget of its own:
//! it is looked at when nobody waits, and must not keep what names tell from being looked at.

use std::collections::HashMap;

use a11i_common::identity::BootTime;

use crate::attach::Depth;

/// See the module.
#[derive(Default)]
pub(super) struct Budgets {
    spent: HashMap<u64, Spent>,
}

#[derive(Default)]
struct Spent {
    since: BootTime,
    files: u32,
    bytes: u64,
    code: u64,
}

impl Budgets {
    /// One more file may be opened for this namespace, and is counted.
    pub(super) fn open(&mut self, namespace: u64, now: BootTime) -> bool {
        if self.spent.len() >= MAX_NAMESPACES && !self.spent.contains_key(&namespace) {
            self.spent.retain(|_, spent| now.nanos_since(spent.since) < WINDOW_NANOS);
            if self.spent.len() >= MAX_NAMESPACES {
                return false;
            }
        }
        let spent = self.spent.entry(namespace).or_insert_with(|| Spent { since: now, ..Spent::default() });
        if now.nanos_since(spent.since) >= WINDOW_NANOS {
            *spent = Spent { since: now, ..Spent::default() };
        }
        if spent.files >= FILES || spent.bytes >= BYTES {
            return false;
        }
        spent.files = spent.files.saturating_add(1);
        true
    }

    /// The code of one more file may be looked at.
    pub(super) fn may_search(&self, namespace: u64, now: BootTime) -> bool {
        self.spent.get(&namespace).is_none_or(|spent| spent.code < CODE_BYTES || now.nanos_since(spent.since) >= WINDOW_NANOS)
    }

    pub(super) fn read(&mut self, namespace: u64, depth: Depth, bytes: u64) {
        if let Some(spent) = self.spent.get_mut(&namespace) {
            let read = match depth {
                Depth::Names => &mut spent.bytes,
                Depth::Whole => &mut spent.code,
            };
            *read = read.saturating_add(bytes);
        }
    }
}

const WINDOW_NANOS: u64 = 60 * 1_000_000_000;
/// A desktop's programs map some two thousand files that are executable; opening and reading one takes about a tenth of a millisecond.
const FILES: u32 = 4_096;
/// A few seconds of reading at most. The largest programs have half a gigabyte, of which symbols are read.
const BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Some ten seconds of reading. A program of half a gigabyte is read some five times; the same one is not read so often again.
const CODE_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Containers that begin within a minute.
const MAX_NAMESPACES: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_namespace_over_its_budget_waits_and_others_do_not() {
        let mut budgets = Budgets::default();
        let opened = (0..FILES + 10).filter(|_| budgets.open(1, BootTime(SECOND))).count();
        assert_eq!(opened, FILES as usize);
        assert!(budgets.open(2, BootTime(SECOND)));
        assert!(!budgets.open(1, BootTime(60 * SECOND)));
        assert!(budgets.open(1, BootTime(61 * SECOND)));
    }

    #[test]
    fn bytes_count_too() {
        let mut budgets = Budgets::default();
        assert!(budgets.open(1, BootTime(0)));
        budgets.read(1, Depth::Names, BYTES);
        assert!(!budgets.open(1, BootTime(0)));
    }

    #[test]
    fn code_that_was_read_keeps_no_names_from_being_read() {
        let mut budgets = Budgets::default();
        assert!(budgets.open(1, BootTime(0)) && budgets.may_search(1, BootTime(0)));
        budgets.read(1, Depth::Whole, CODE_BYTES);
        assert!(budgets.open(1, BootTime(0)) && !budgets.may_search(1, BootTime(0)));
        assert!(budgets.may_search(2, BootTime(0)) && budgets.may_search(1, BootTime(WINDOW_NANOS)));
    }

    #[test]
    fn the_table_of_namespaces_is_bounded() {
        let mut budgets = Budgets::default();
        let opened = (0..MAX_NAMESPACES as u64 + 5).filter(|namespace| budgets.open(*namespace, BootTime(0))).count();
        assert_eq!(opened, MAX_NAMESPACES);
        assert!(budgets.open(u64::MAX, BootTime(WINDOW_NANOS)));
    }
}
