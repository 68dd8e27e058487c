//! The embedded table: an index over its text; rows are parsed when they are needed.
//!
//! The text stays in the binary's read-only pages, the index holds slices of it.

use std::cmp::Ordering;

use super::row::{Row, parse_day};

const EMBEDDED: &str = include_str!("prices.tsv");

/// The region column of a row that holds everywhere.
const ANYWHERE: &str = "-";

#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Sorted by provider, then by the folded id.
    entries: Vec<Entry>,
    pub(super) date: &'static str,
    /// The day on which a row's own price was in force.
    pub(super) in_force: u32,
}

/// One id of one row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) provider: &'static str,
    pub(super) id: &'static str,
    region: &'static str,
    pub(super) alias: bool,
    line: &'static str,
}

impl Entry {
    pub(super) fn row(&self) -> Option<Row> {
        Row::parse(self.line)
    }

    #[cfg(test)]
    pub(super) fn is_everywhere(&self) -> bool {
        self.region == ANYWHERE
    }
}

impl Table {
    pub(super) fn embedded() -> Self {
        Self::read(EMBEDDED)
    }

    pub(super) fn read(text: &'static str) -> Self {
        let mut table = Self { entries: Vec::new(), date: "", in_force: 0 };
        let mut provider = "";
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                if let Some(date) = comment.strip_prefix("date ") {
                    table.date = date;
                } else if let Some(day) = comment.strip_prefix("in-force ").and_then(parse_day) {
                    table.in_force = day;
                }
            } else if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                provider = name;
            } else {
                table.add(provider, line);
            }
        }
        table.entries.sort_by(|a, b| a.provider.cmp(b.provider).then_with(|| compare_folded(a.id, b.id)));
        table.entries.shrink_to_fit();
        table
    }

    fn add(&mut self, provider: &'static str, line: &'static str) {
        let mut fields = line.split('\t');
        let (Some(id), Some(region)) = (fields.next(), fields.next()) else { return };
        self.entries.push(Entry { provider, id, region, alias: false, line });
        let aliases = fields.find_map(|field| field.strip_prefix("alias ")).unwrap_or_default();
        self.entries.extend(aliases.split_ascii_whitespace().map(|id| Entry { provider, id, region, alias: true, line }));
    }

    /// The row of that very id: in the region, else everywhere; spelt the same, else but for dots and dashes.
    pub(super) fn get(&self, provider: &str, id: &str, region: Option<&str>) -> Option<Entry> {
        let order = |entry: &Entry| entry.provider.cmp(provider).then_with(|| compare_folded(entry.id, id));
        let start = self.entries.partition_point(|entry| order(entry) == Ordering::Less);
        let same = self.entries.get(start..)?.iter().take_while(|entry| order(entry) == Ordering::Equal);
        let rank = |entry: &&Entry| {
            let regional = region.is_some_and(|region| entry.region == region);
            let own = !entry.alias;
            (entry.id.eq_ignore_ascii_case(id), regional, own)
        };
        same.filter(|entry| entry.region == ANYWHERE || Some(entry.region) == region).max_by_key(rank).copied()
    }

    #[cfg(test)]
    pub(super) fn has_provider(&self, provider: &str) -> bool {
        let start = self.entries.partition_point(|entry| entry.provider < provider);
        self.entries.get(start).is_some_and(|entry| entry.provider == provider)
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// Gateways differ in dots and dashes (`claude-3.5-sonnet`, `claude-3-5-sonnet`) and in case.
fn compare_folded(a: &str, b: &str) -> Ordering {
    let fold = |byte: u8| if byte == b'.' { b'-' } else { byte.to_ascii_lowercase() };
    a.bytes().map(fold).cmp(b.bytes().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_embedded_table_is_understood() {
        let table = Table::embedded();
        assert!(table.entries().len() > 2_800, "{}", table.entries().len());
        for entry in table.entries() {
            assert!(entry.row().is_some(), "{} {}", entry.provider, entry.line);
        }
        assert_eq!(table.date, "2026-08-21");
        assert_eq!(table.in_force, parse_day("2026-11-20").unwrap());
    }

    #[test]
    fn a_row_of_another_region_never_matches() {
        let table = Table::read("[p]\nm\teu\tchat\t-\tin=2\nm\t-\tchat\t-\tin=1\nonly\teu\tchat\t-\tin=9");
        let line = |id, region| table.get("p", id, region).map(|e: Entry| e.region);
        assert_eq!(line("m", Some("eu")), Some("eu"));
        assert_eq!(line("m", Some("us")), Some("-"));
        assert_eq!(line("m", None), Some("-"));
        assert_eq!(line("only", None), None);
    }

    #[test]
    fn dots_and_dashes_are_one_but_the_same_spelling_wins() {
        let table = Table::read("[p]\na-1.5\t-\tchat\t-\tin=1\na-1-5\t-\tchat\t-\tin=2\nb-1.5\t-\tchat\t-\tin=3");
        let id = |id| table.get("p", id, None).map(|e: Entry| e.id);
        assert_eq!(id("a-1.5"), Some("a-1.5"));
        assert_eq!(id("a-1-5"), Some("a-1-5"));
        assert_eq!(id("B-1-5"), Some("b-1.5"));
        assert_eq!(id("b-1"), None);
    }
}
