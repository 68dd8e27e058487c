//! One line of the price table, read when a call needs it.

use super::prices::{NanoPerMtok, Prices, parse_nanos};

/// A model's prices at one provider, in one region or everywhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Row {
    /// `chat`, `embedding`, `responses` …
    pub(super) mode: &'static str,
    /// Maximum input tokens.
    pub(super) context_window: Option<u64>,
    pub(super) base: Prices,
    pub(super) tiers: Vec<Tier>,
    /// Price history, oldest first: from that day on (0 = launch).
    pub(super) dated: Vec<(u32, Prices)>,
    pub(super) search: Option<SearchFee>,
    /// Nano-dollars per request.
    pub(super) request_fee: u64,
    pub(super) multipliers: Multipliers,
}

/// Prices that replace the base ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tier {
    /// Total input tokens must exceed this.
    pub(super) above: Option<u64>,
    pub(super) service: Service,
    pub(super) prices: Prices,
}

/// A service tier with prices of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Service {
    #[default]
    Standard,
    Priority,
    Flex,
    Batch,
}

/// In nano-dollars per thousand searches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SearchFee {
    Each(u64),
    /// However many searches one prompt made.
    Prompt(u64),
}

/// Factors on every price in thousandths; absent where the provider bills none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Multipliers {
    pub(super) us: Option<u64>,
    pub(super) eu: Option<u64>,
    pub(super) fast: Option<u64>,
}

impl Row {
    /// `None` when any part of the line is not understood: half a row would be a wrong price.
    pub(super) fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        let (_model, _region) = (fields.next()?, fields.next()?);
        let mode = fields.next()?;
        let context_window = match fields.next()? {
            "-" => None,
            window => Some(window.parse().ok()?),
        };
        let mut row = Self { mode, context_window, base: Prices::parse(fields.next()?)?, ..Self::default() };
        for field in fields {
            row.field(field)?;
        }
        Some(row)
    }

    fn field(&mut self, field: &'static str) -> Option<()> {
        let (tag, rest) = field.split_once(' ')?;
        match tag {
            "alias" => {}
            "priority" => self.tier(None, Service::Priority, rest)?,
            "flex" => self.tier(None, Service::Flex, rest)?,
            "batch" => self.tier(None, Service::Batch, rest)?,
            "above" => {
                let (tokens, prices) = rest.split_once(' ')?;
                self.tier(Some(tokens.parse().ok()?), Service::Standard, prices)?;
            }
            "priority-above" => {
                let (tokens, prices) = rest.split_once(' ')?;
                self.tier(Some(tokens.parse().ok()?), Service::Priority, prices)?;
            }
            "from" => {
                let (day, prices) = rest.split_once(' ')?;
                let day = if day == "start" { 0 } else { parse_day(day)? };
                self.dated.push((day, Prices::parse(prices)?));
            }
            "search" => self.search = Some(parse_search(rest)?),
            "request" => self.request_fee = parse_nanos(rest)?,
            "times" => {
                for pair in rest.split_ascii_whitespace() {
                    let (name, factor) = pair.split_once('=')?;
                    let thousandths = Some(parse_nanos(factor)? / 1_000_000);
                    match name {
                        "us" => self.multipliers.us = thousandths,
                        "eu" => self.multipliers.eu = thousandths,
                        "fast" => self.multipliers.fast = thousandths,
                        _ => return None,
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn tier(&mut self, above: Option<u64>, service: Service, prices: &str) -> Option<()> {
        self.tiers.push(Tier { above, service, prices: Prices::parse(prices)? });
        Some(())
    }
}

/// A fee by search context size is taken at `medium`: the size asked for is the provider's default unless the request says otherwise.
fn parse_search(text: &str) -> Option<SearchFee> {
    let value = |key: &str| -> Option<NanoPerMtok> {
        let (_, value) = text.split_ascii_whitespace().filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == key)?;
        parse_nanos(value)
    };
    value("prompt").map(SearchFee::Prompt).or_else(|| value("each").or_else(|| value("medium")).map(SearchFee::Each))
}

/// `YYYY-MM-DD` as days since 1970-01-01 (proleptic Gregorian calendar).
pub(super) fn parse_day(text: &str) -> Option<u32> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<u32>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is the last: then months follow one linear rule.
    let (year, month) = if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
    let leap_days = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    let day_of_year = month.checked_mul(153)?.checked_add(2)? / 5;
    // 0000-03-01 is 719,468 days before the epoch.
    year.checked_mul(365)?.checked_add(leap_days)?.checked_add(day_of_year)?.checked_add(day)?.checked_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_the_epoch() {
        assert_eq!(parse_day("1970-01-01"), Some(0));
        assert_eq!(parse_day("2000-02-29"), Some(11_016));
        assert_eq!(parse_day("2026-11-20"), Some(20_777));
        assert_eq!(parse_day("2026-13-01"), None);
        assert_eq!(parse_day("launch"), None);
    }

    #[test]
    fn a_line_with_an_unknown_field_is_no_row() {
        assert!(Row::parse("m\t-\tchat\t8192\tin=1 out=2").is_some());
        assert!(Row::parse("m\t-\tchat\t8192\tin=1 out=2\tsurprise x=1").is_none());
        assert!(Row::parse("m\t-\tchat\t8192\tin=1 out=free").is_none());
    }
}
