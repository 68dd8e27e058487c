//! Notices a scanner that stands still: somebody's file keeps its thread, and new programs are not attached meanwhile.

use a11i_common::identity::BootTime;

/// Longer than any single file takes to be analysed.
const STALL_NANOS: u64 = 5_000_000_000;

/// Requests given and answered, and when something was last seen to move.
#[derive(Debug, Default)]
pub(super) struct StallWatch {
    given: u64,
    answered: u64,
    progress: u64,
    /// Since when nothing moves although something waits.
    still_since: Option<BootTime>,
    said: bool,
}

impl StallWatch {
    pub(super) fn handle_request(&mut self) {
        self.given = self.given.saturating_add(1);
    }

    pub(super) fn handle_answer(&mut self) {
        self.answered = self.answered.saturating_add(1);
    }

    /// Looked at regularly with [`crate::discovery::scanner::Scanner::progress`]. True once per stall, when it has lasted too long.
    pub(super) fn observe(&mut self, progress: u64, now: BootTime) -> bool {
        if progress != self.progress || self.given <= self.answered {
            self.progress = progress;
            self.still_since = None;
            self.said = false;
            return false;
        }
        let since = *self.still_since.get_or_insert(now);
        let stalled = now.nanos_since(since) > STALL_NANOS && !self.said;
        self.said |= stalled;
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> BootTime {
        BootTime(seconds * 1_000_000_000)
    }

    #[test]
    fn a_stall_is_said_once_and_the_next_one_again() {
        let mut watch = StallWatch::default();
        watch.handle_request();
        let said: Vec<_> = (0..12).map(|second| watch.observe(0, at(second))).collect();
        assert_eq!(said.iter().position(|said| *said), Some(6));
        assert_eq!(said.iter().filter(|said| **said).count(), 1);
        assert!(!watch.observe(1, at(12)));
        assert!((13..=18).all(|second| !watch.observe(1, at(second))));
        assert!(watch.observe(1, at(19)));
    }

    #[test]
    fn a_scanner_without_work_may_stand_still() {
        let mut watch = StallWatch::default();
        watch.handle_request();
        watch.handle_answer();
        assert!((0..100).all(|second| !watch.observe(0, at(second))));
    }
}
