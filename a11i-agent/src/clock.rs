//! The only place that asks the time.
//!
//! Records carry the kernel's `CLOCK_BOOTTIME`. Wall time is that plus an offset, measured here again and again so that steps of the wall
//! clock (NTP, an administrator, a resumed guest) are followed. One call's start and end are mapped by one offset: its duration is the
//! kernel's.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use a11i_common::identity::BootTime;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::export::span::ClockOffset;

/// A step of the wall clock is followed within this time.
const REMEASURE_EVERY: Duration = Duration::from_secs(10);

/// Readings per measurement: the one that was interrupted least is used.
const SAMPLES: usize = 5;

/// Kernel time → wall time.
#[derive(Debug)]
pub struct Clock {
    offset_nanos: AtomicI64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    pub fn new() -> Self {
        Self { offset_nanos: AtomicI64::new(measure(Self::boot_now, Self::unix_now)) }
    }

    /// Measures the offset anew.
    pub fn remeasure(&self) {
        self.follow(Self::boot_now, Self::unix_now);
    }

    fn follow(&self, boot: impl FnMut() -> BootTime, unix: impl FnMut() -> u64) {
        self.offset_nanos.store(measure(boot, unix), Ordering::Relaxed);
    }

    /// Measures again and again on the current tokio runtime, until the clock is dropped.
    pub fn follow_steps(self: &Arc<Self>) {
        let clock: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(REMEASURE_EVERY).await;
                let Some(clock) = clock.upgrade() else { return };
                clock.remeasure();
            }
        });
    }

    pub fn offset(&self) -> ClockOffset {
        ClockOffset(self.offset_nanos.load(Ordering::Relaxed))
    }

    /// Wall time of a kernel time, nanoseconds since the Unix epoch.
    pub fn unix_nanos(&self, time: BootTime) -> u64 {
        self.offset().unix_nanos(time)
    }

    /// The time by which records are stamped.
    pub fn boot_now() -> BootTime {
        BootTime(nanos(clock_gettime(ClockId::Boottime)))
    }

    /// The wall clock, nanoseconds since the Unix epoch.
    pub fn unix_now() -> u64 {
        nanos(clock_gettime(ClockId::Realtime))
    }
}

/// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME` from the pair of boot readings that lie closest together around a real one.
fn measure(mut boot: impl FnMut() -> BootTime, mut unix: impl FnMut() -> u64) -> i64 {
    let mut best = (u64::MAX, 0);
    for _ in 0..SAMPLES {
        let before = boot().0;
        let real = unix();
        let after = boot().0;
        let width = after.saturating_sub(before);
        if width < best.0 {
            let middle = before.saturating_add(width / 2);
            best = (width, real.cast_signed().saturating_sub(middle.cast_signed()));
        }
    }
    best.1
}

/// Negative times (a wall clock before 1970) are 0.
fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Clocks that tick by a microsecond with each reading; the wall clock steps as told.
    struct Steps {
        boot: std::cell::Cell<u64>,
        ahead: std::cell::Cell<i64>,
    }
    impl Steps {
        fn boot(&self) -> BootTime {
            self.boot.set(self.boot.get() + 1_000);
            BootTime(self.boot.get())
        }

        fn unix(&self) -> u64 {
            self.boot().0.saturating_add_signed(self.ahead.get())
        }
    }

    #[test]
    fn a_step_of_the_wall_clock_moves_exported_times_by_itself_and_no_duration() {
        let year_2026 = 1_767_225_600_i64 * SECOND.cast_signed();
        let clocks = Steps { boot: std::cell::Cell::new(50 * SECOND), ahead: std::cell::Cell::new(year_2026) };
        let clock = Clock::new();
        let (start, end) = (BootTime(60 * SECOND), BootTime(63 * SECOND));
        let exported = || [start, end].map(|time| clock.unix_nanos(time));
        clock.follow(|| clocks.boot(), || clocks.unix());
        let [before, _] = exported();
        assert_eq!(before, start.0 + year_2026.unsigned_abs());
        for step in [3_600, -7_200, 1] {
            let step = step * SECOND.cast_signed();
            let [unfollowed, _] = exported();
            clocks.ahead.set(clocks.ahead.get() + step);
            assert_eq!(exported()[0], unfollowed, "until it is measured anew");
            clock.follow(|| clocks.boot(), || clocks.unix());
            let [from, to] = exported();
            assert_eq!(from.cast_signed() - unfollowed.cast_signed(), step);
            assert_eq!(to - from, 3 * SECOND, "the kernel's duration");
        }
    }

    #[test]
    fn a_wall_clock_before_1970_gives_a_time_and_no_overflow() {
        let clock = Clock::new();
        clock.follow(|| BootTime(50 * SECOND), || 0);
        assert_eq!(clock.unix_nanos(BootTime(20 * SECOND)), 0);
        assert_eq!(clock.unix_nanos(BootTime(51 * SECOND)), SECOND);
        clock.follow(|| BootTime(0), || u64::MAX);
        clock.unix_nanos(BootTime(u64::MAX));
    }

    #[test]
    fn mapped_kernel_time_lies_between_two_readings_of_the_wall_clock_give_or_take_a_second() {
        let clock = Clock::new();
        let before = Clock::unix_now();
        let mapped = clock.unix_nanos(Clock::boot_now());
        let after = Clock::unix_now();
        let second = 1_000_000_000;
        assert!(before - second <= mapped && mapped <= after + second);
    }
}
