//! From sums of hits to rates per file and process.

use std::collections::HashMap;

use a11i_common::identity::{AttachmentId, BootTime, Pid};

/// The last reading.
#[derive(Debug, Default)]
pub(super) struct HitRates {
    last: HashMap<(AttachmentId, Pid), u64>,
    at: Option<BootTime>,
}

/// What happened between two readings.
#[derive(Debug, Default)]
pub(super) struct Interval<F> {
    pub begin: BootTime,
    /// Hits in a second, by file and process.
    pub rates: HashMap<F, HashMap<Pid, u64>>,
}

const SECOND: u64 = 1_000_000_000;

impl HitRates {
    /// None at the first reading: there is nothing to compare with. Attachments that are no more are left out.
    pub(super) fn handle_reading<F: Copy + Eq + std::hash::Hash>(
        &mut self,
        pairs: Vec<(AttachmentId, Pid, u64)>,
        file_of: impl Fn(AttachmentId) -> Option<F>,
        now: BootTime,
    ) -> Option<Interval<F>> {
        let begin = self.at.replace(now);
        let last = std::mem::take(&mut self.last);
        let mut rates: HashMap<F, HashMap<Pid, u64>> = HashMap::new();
        for (attachment, pid, hits) in pairs {
            self.last.insert((attachment, pid), hits);
            let before = last.get(&(attachment, pid)).copied().unwrap_or_default();
            // Less than before: the entry was dropped and made anew.
            let more = hits.checked_sub(before).unwrap_or(hits);
            let (Some(begin), Some(file)) = (begin, file_of(attachment)) else { continue };
            let rate = u128::from(more) * u128::from(SECOND) / u128::from(now.nanos_since(begin).max(1));
            let sum = rates.entry(file).or_default().entry(pid).or_default();
            *sum = sum.saturating_add(u64::try_from(rate).unwrap_or(u64::MAX));
        }
        begin.map(|begin| Interval { begin, rates })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_came_since_the_last_reading_over_all_attachments_of_a_file() {
        let (everyone, one, other) = (AttachmentId(1), AttachmentId(2), AttachmentId(3));
        let file_of = |id: AttachmentId| (id != other).then_some('f');
        let mut rates = HitRates::default();
        assert!(rates.handle_reading(vec![(everyone, Pid(7), 1_000)], file_of, BootTime(SECOND)).is_none());
        let pairs = vec![(everyone, Pid(7), 1_400), (one, Pid(7), 100), (one, Pid(8), 6), (other, Pid(7), 9_000)];
        let interval = rates.handle_reading(pairs, file_of, BootTime(3 * SECOND)).unwrap();
        assert_eq!(interval.begin, BootTime(SECOND));
        assert_eq!(interval.rates, HashMap::from([('f', HashMap::from([(Pid(7), 250), (Pid(8), 3)]))]));
    }

    #[test]
    fn an_entry_that_was_made_anew_counts_from_zero() {
        let mut rates = HitRates::default();
        rates.handle_reading(vec![(AttachmentId(1), Pid(7), 1_000)], |_| Some(()), BootTime(0));
        let interval = rates.handle_reading(vec![(AttachmentId(1), Pid(7), 30)], |_| Some(()), BootTime(SECOND)).unwrap();
        assert_eq!(interval.rates[&()][&Pid(7)], 30);
    }
}
