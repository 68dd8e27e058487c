//! How evenly a stream came: the gaps between its events with content.

use a11i_common::identity::BootTime;

/// A gap this long is a stall: models take 10 to 100 ms a token, and a reader notices two seconds without one.
pub const STALL_NANOS: u64 = 2_000_000_000;

/// Of one stream. Gaps in which bytes were lost on the way to us are none of the stream's, and are left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ContentGaps {
    /// The last event with content, unless bytes were lost since.
    since: Option<BootTime>,
    count: u64,
    sum_nanos: u64,
    longest_nanos: u64,
    stalls: u64,
}

impl ContentGaps {
    /// An event with content came.
    pub fn content(&mut self, time: BootTime) {
        if let Some(since) = self.since.replace(time) {
            let gap = time.nanos_since(since);
            self.count = self.count.saturating_add(1);
            self.sum_nanos = self.sum_nanos.saturating_add(gap);
            self.longest_nanos = self.longest_nanos.max(gap);
            self.stalls = self.stalls.saturating_add(u64::from(gap >= STALL_NANOS));
        }
    }

    /// Bytes are missing here: what was in them nobody knows.
    pub const fn lose(&mut self) {
        self.since = None;
    }

    /// `None`: there was no gap that was seen whole.
    pub const fn mean_nanos(&self) -> Option<u64> {
        self.sum_nanos.checked_div(self.count)
    }

    pub fn longest_nanos(&self) -> Option<u64> {
        (self.count > 0).then_some(self.longest_nanos)
    }

    /// Gaps of [`STALL_NANOS`] and longer.
    pub fn stalls(&self) -> Option<u64> {
        (self.count > 0).then_some(self.stalls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn gaps(milliseconds: &[Option<u64>]) -> ContentGaps {
        let mut gaps = ContentGaps::default();
        for time in milliseconds {
            match time {
                Some(time) => gaps.content(BootTime(time * MILLISECOND)),
                None => gaps.lose(),
            }
        }
        gaps
    }

    #[test]
    fn mean_longest_and_stalls_are_those_between_events_with_content() {
        let gaps = gaps(&[Some(100), Some(120), Some(120), Some(2_120), Some(2_160)]);
        assert_eq!(gaps.mean_nanos(), Some(515 * MILLISECOND));
        assert_eq!((gaps.longest_nanos(), gaps.stalls()), (Some(2_000 * MILLISECOND), Some(1)));
    }

    #[test]
    fn one_event_has_no_gap() {
        for times in [&[][..], &[Some(7)], &[Some(7), None], &[Some(7), None, Some(9)]] {
            let gaps = gaps(times);
            assert_eq!((gaps.mean_nanos(), gaps.longest_nanos(), gaps.stalls()), (None, None, None), "{times:?}");
        }
    }

    #[test]
    fn a_gap_with_lost_bytes_is_none_of_the_streams() {
        assert_eq!(gaps(&[Some(0), Some(10), None, Some(9_000), Some(9_030)]).mean_nanos(), Some(20 * MILLISECOND));
    }
}
