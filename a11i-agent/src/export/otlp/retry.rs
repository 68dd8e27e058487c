//! How long to wait before sending again.

use std::time::Duration;

/// First wait; the collector's own exporters begin with five seconds, SDKs with one.
const FIRST: Duration = Duration::from_secs(1);

/// Longest wait of our own choice.
const LONGEST: Duration = Duration::from_secs(30);

/// Longest wait an endpoint may ask for: one that says "tomorrow" would turn every later span into a dropped one.
const LONGEST_ASKED: Duration = Duration::from_mins(2);

/// A batch is given up after this long, so that what comes later gets its chance.
pub(crate) const GIVE_UP_AFTER: Duration = Duration::from_mins(5);

/// Exponential back-off with full jitter above half: many agents that lost one collector do not come back as one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    waited: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST, waited: Duration::ZERO }
    }
}

impl Backoff {
    /// The next wait, or `None` when it is time to give up. `jitter` from 0 to 1; `asked` is the endpoint's own wish.
    pub(crate) fn wait(&mut self, asked: Option<Duration>, jitter: f64) -> Option<Duration> {
        if self.waited >= GIVE_UP_AFTER {
            return None;
        }
        let own = self.next.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        self.next = self.next.saturating_mul(2).min(LONGEST);
        let wait = asked.map_or(own, |asked| own.max(asked.min(LONGEST_ASKED)));
        self.waited = self.waited.saturating_add(wait);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_end() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = std::iter::from_fn(|| backoff.wait(None, 1.0)).collect();
        assert_eq!(waits[..6], [1, 2, 4, 8, 16, 30].map(Duration::from_secs));
        assert!(waits.iter().all(|w| *w <= LONGEST));
        assert!(waits.iter().sum::<Duration>() >= GIVE_UP_AFTER && waits.len() < 20);
    }

    #[test]
    fn the_endpoints_wish_is_honoured_within_reason() {
        assert_eq!(Backoff::default().wait(Some(Duration::from_secs(7)), 0.0), Some(Duration::from_secs(7)));
        assert_eq!(Backoff::default().wait(Some(Duration::from_hours(24)), 0.0), Some(LONGEST_ASKED));
        assert_eq!(Backoff::default().wait(Some(Duration::ZERO), 0.0), Some(Duration::from_millis(500)));
    }
}
