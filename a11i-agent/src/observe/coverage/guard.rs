//! The bystander guard: which processes pay for probes on a file that others talk to LLMs through. A state machine: hit rates and time in,
//! decisions out.
//!
//! ```text
//!          bystanders above the limit for 3 s                    30 s, 60 s, … 10 min over
//!   Calm ───────────────────────────────────────► Limited ──────────────────────────────► Trying
//!    ▲ ▲                                          │     ▲                                  │   │
//!    │ └──── every excluded process has ended ────┘     └──── above the limit (pause × 2) ─┘   │
//!    └───────────────────────────── below the limit for a second ──────────────────────────────┘
//! ```
//!
//! A *bystander* is a process without LLM traffic. While a file is limited, the busiest bystanders are excluded, as many as it takes to
//! come below half the limit; everyone else who maps the file keeps probes of its own, new processes too, until one of them is a
//! bystander above the limit itself. So a program that has not spoken to an LLM yet is seen when it does, unless it is one of the busy
//! ones. Whether those have calmed down cannot be seen while they have no probes: everyone is probed again for a second now and then.

use std::collections::{HashMap, HashSet};

use a11i_common::identity::{BootTime, Pid};

/// What the guard allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GuardSettings {
    /// Hits of entry probes that the bystanders of one file may cause in a second. 0: no limit.
    pub hits_per_second: u64,
}

/// One process's share of a file's hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Share {
    pub pid: Pid,
    pub hits_per_second: u64,
    /// It has LLM traffic: never excluded, never counted.
    pub talks: bool,
}

/// What has become of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    /// From everyone to all but the excluded.
    Limit { hits_per_second: u64, excluded: usize },
    /// More are excluded.
    Narrow,
    /// Everyone for a while, to see whether the excluded have calmed down.
    Try,
    /// They have not: as before the trial.
    Resume,
    /// Everyone again.
    Release,
}

#[derive(Debug)]
pub(super) struct Guard<F> {
    settings: GuardSettings,
    files: HashMap<F, Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    state: State,
    /// Since when the bystanders have been above the limit without a break.
    hot_since: Option<BootTime>,
    excluded: HashSet<Pid>,
    /// Pauses doubled so far.
    level: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Calm,
    /// Until the next trial.
    Limited {
        until: BootTime,
    },
    Trying {
        since: BootTime,
    },
    /// Calm after it was limited: until then, another limit begins with a longer pause.
    Released {
        until: BootTime,
    },
}

/// A burst shorter than this is nobody's burden.
const HOT_NANOS: u64 = 3 * SECOND;
/// First pause between trials. A trial lasts about a second: it costs a busy process 3 % at most, and 0.2 % with the longest pause.
const FIRST_PAUSE_NANOS: u64 = 30 * SECOND;
const LONGEST_PAUSE_NANOS: u64 = 600 * SECOND;
const SECOND: u64 = 1_000_000_000;
/// A trial shorter than this says nothing about a second.
const TRIAL_NANOS: u64 = SECOND * 9 / 10;

impl<F: Copy + Eq + std::hash::Hash> Guard<F> {
    pub(super) fn new(settings: GuardSettings) -> Self {
        Self { settings, files: HashMap::new() }
    }

    pub(super) const fn settings(&self) -> GuardSettings {
        self.settings
    }

    /// The file is not to be attached for everyone now.
    pub(super) fn is_limited(&self, file: &F) -> bool {
        self.files.get(file).is_some_and(|watch| matches!(watch.state, State::Limited { .. }))
    }

    /// The process is to have no probes of this file now.
    pub(super) fn excludes(&self, file: &F, pid: Pid) -> bool {
        self.is_limited(file) && self.files.get(file).is_some_and(|watch| watch.excluded.contains(&pid))
    }

    pub(super) fn excluded(&self, file: &F) -> usize {
        self.files.get(file).filter(|_| self.is_limited(file)).map_or(0, |watch| watch.excluded.len())
    }

    /// Somebody waits for rates, however low they are in sum.
    pub(super) fn is_trying(&self) -> bool {
        self.files.values().any(|watch| matches!(watch.state, State::Trying { .. }))
    }

    /// The file is attached for everyone for a moment.
    pub(super) fn is_trying_file(&self, file: &F) -> bool {
        self.files.get(file).is_some_and(|watch| matches!(watch.state, State::Trying { .. }))
    }

    /// Rates of one file from `begin` to `now`; processes without hits may be left out.
    pub(super) fn handle_rates(&mut self, file: F, shares: &[Share], begin: BootTime, now: BootTime) -> Option<Decision> {
        let limit = self.settings.hits_per_second;
        if limit == 0 {
            return None;
        }
        let bystanders: Vec<Share> = shares.iter().filter(|share| !share.talks).copied().collect();
        let sum = bystanders.iter().fold(0u64, |sum, share| sum.saturating_add(share.hits_per_second));
        let is_hot = sum >= limit;
        if !is_hot && !self.files.contains_key(&file) {
            return None;
        }
        let watch = self.files.entry(file).or_default();
        watch.hot_since = if is_hot { Some(watch.hot_since.unwrap_or(begin)) } else { None };
        let is_hot_for_long = watch.hot_since.is_some_and(|since| now.nanos_since(since) >= HOT_NANOS);
        let decision = match watch.state {
            State::Calm | State::Released { .. } if is_hot_for_long => {
                watch.level = if matches!(watch.state, State::Released { .. }) { watch.level.saturating_add(1) } else { 0 };
                watch.exclude(&bystanders, limit);
                watch.limit(now);
                Some(Decision::Limit { hits_per_second: sum, excluded: watch.excluded.len() })
            }
            State::Calm | State::Released { .. } => None,
            State::Limited { .. } => {
                // What an excluded process still shows comes from before its links were gone.
                let probed: Vec<Share> = bystanders.into_iter().filter(|share| !watch.excluded.contains(&share.pid)).collect();
                let one_is_hot = probed.iter().any(|share| share.hits_per_second >= limit);
                let probed_sum = probed.iter().fold(0u64, |sum, share| sum.saturating_add(share.hits_per_second));
                if probed_sum < limit {
                    watch.hot_since = None;
                }
                let before = watch.excluded.len();
                if one_is_hot || is_hot_for_long && probed_sum >= limit {
                    watch.exclude(&probed, limit);
                    watch.hot_since = None;
                }
                (watch.excluded.len() > before).then_some(Decision::Narrow)
            }
            State::Trying { since } if begin < since || now.nanos_since(since) < TRIAL_NANOS => None,
            State::Trying { .. } if is_hot => {
                watch.level = watch.level.saturating_add(1);
                watch.exclude(&bystanders, limit);
                watch.limit(now);
                Some(Decision::Resume)
            }
            State::Trying { .. } => {
                watch.release(now);
                Some(Decision::Release)
            }
        };
        self.forget_calm(now);
        decision
    }

    /// Files whose next trial is due.
    pub(super) fn handle_timeout(&mut self, now: BootTime) -> Vec<(F, Decision)> {
        let mut due = Vec::new();
        for (file, watch) in &mut self.files {
            if let State::Limited { until } = watch.state
                && until <= now
            {
                watch.state = State::Trying { since: now };
                watch.hot_since = None;
                due.push((*file, Decision::Try));
            }
        }
        self.forget_calm(now);
        due
    }

    /// The process has LLM traffic: files from which it was excluded.
    pub(super) fn handle_talks(&mut self, pid: Pid) -> Vec<F> {
        self.files.iter_mut().filter_map(|(file, watch)| watch.excluded.remove(&pid).then_some(*file)).collect()
    }

    /// The process has ended. A file that was limited because of it alone is everyone's again.
    pub(super) fn handle_exit(&mut self, pid: Pid, now: BootTime) -> Vec<(F, Decision)> {
        let mut released = Vec::new();
        for (file, watch) in &mut self.files {
            if watch.excluded.remove(&pid) && watch.excluded.is_empty() && matches!(watch.state, State::Limited { .. }) {
                watch.release(now);
                released.push((*file, Decision::Release));
            }
        }
        released
    }

    /// The file is attached no longer.
    pub(super) fn forget(&mut self, file: &F) {
        self.files.remove(file);
    }

    fn forget_calm(&mut self, now: BootTime) {
        self.files.retain(|_, watch| match watch.state {
            State::Calm => watch.hot_since.is_some(),
            State::Released { until } => until > now || watch.hot_since.is_some(),
            State::Limited { .. } | State::Trying { .. } => true,
        });
    }
}

impl Watch {
    /// The busiest go first, until what is left is below half the limit.
    fn exclude(&mut self, bystanders: &[Share], limit: u64) {
        let mut left: Vec<&Share> = bystanders.iter().filter(|share| !self.excluded.contains(&share.pid)).collect();
        left.sort_unstable_by_key(|share| share.hits_per_second);
        let mut sum = left.iter().fold(0u64, |sum, share| sum.saturating_add(share.hits_per_second));
        while sum >= limit.div_ceil(2)
            && let Some(busiest) = left.pop()
        {
            sum = sum.saturating_sub(busiest.hits_per_second);
            self.excluded.insert(busiest.pid);
        }
    }

    fn pause(&self) -> u64 {
        FIRST_PAUSE_NANOS.saturating_mul(1 << self.level.min(16)).min(LONGEST_PAUSE_NANOS)
    }

    fn limit(&mut self, now: BootTime) {
        self.state = State::Limited { until: now.plus_nanos(self.pause()) };
        self.hot_since = None;
    }

    fn release(&mut self, now: BootTime) {
        self.state = State::Released { until: now.plus_nanos(self.pause()) };
        self.hot_since = None;
        self.excluded.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 2_000;
    const FILE: u8 = 1;

    fn guard() -> Guard<u8> {
        Guard::new(GuardSettings { hits_per_second: LIMIT })
    }

    fn at(seconds: u64) -> BootTime {
        BootTime(seconds * SECOND)
    }

    fn share(pid: u32, hits_per_second: u64) -> Share {
        Share { pid: Pid(pid), hits_per_second, talks: false }
    }

    /// One second of rates that ends at `end`, after what is due.
    fn second(guard: &mut Guard<u8>, end: u64, shares: &[Share]) -> Vec<Decision> {
        let mut decisions: Vec<Decision> = guard.handle_timeout(at(end - 1)).into_iter().map(|(_, decision)| decision).collect();
        let seen: Vec<Share> = shares.iter().filter(|share| !guard.excludes(&FILE, share.pid)).copied().collect();
        decisions.extend(guard.handle_rates(FILE, &seen, at(end - 1), at(end)));
        decisions
    }

    #[test]
    fn a_busy_bystander_is_excluded_after_three_seconds_and_everyone_else_is_not() {
        let mut guard = guard();
        let shares = [share(7, 100_000), share(8, 3), Share { talks: true, ..share(9, 5_000) }];
        assert_eq!(second(&mut guard, 1, &shares), []);
        assert_eq!(second(&mut guard, 2, &shares), []);
        assert_eq!(second(&mut guard, 3, &shares), [Decision::Limit { hits_per_second: 100_003, excluded: 1 }]);
        assert!(guard.excludes(&FILE, Pid(7)) && !guard.excludes(&FILE, Pid(8)) && !guard.excludes(&FILE, Pid(9)));
    }

    #[test]
    fn a_burst_with_a_break_is_nobodys_burden() {
        let mut guard = guard();
        for end in 1..60 {
            let hits = if end % 3 == 0 { 10 } else { 100_000 };
            assert_eq!(second(&mut guard, end, &[share(7, hits)]), [], "second {end}");
        }
    }

    #[test]
    fn many_small_bystanders_are_excluded_until_half_the_limit_is_left() {
        let mut guard = guard();
        let shares: Vec<Share> = (1..=100).map(|pid| share(pid, 100)).collect();
        for end in 1..=3 {
            second(&mut guard, end, &shares);
        }
        assert_eq!(guard.excluded(&FILE), 91);
    }

    #[test]
    fn while_it_is_limited_a_new_busy_process_is_excluded_at_once() {
        let mut guard = guard();
        for end in 1..=3 {
            second(&mut guard, end, &[share(7, 9_000)]);
        }
        assert_eq!(second(&mut guard, 4, &[share(8, 2_000)]), [Decision::Narrow]);
        assert_eq!(second(&mut guard, 5, &[share(9, 1_999)]), []);
        assert!(guard.excludes(&FILE, Pid(8)) && !guard.excludes(&FILE, Pid(9)));
    }

    #[test]
    fn everyone_is_tried_after_pauses_that_double_up_to_ten_minutes() {
        let mut guard = guard();
        let (mut tries, mut end) = (Vec::new(), 0);
        while tries.len() < 8 {
            end += 1;
            if second(&mut guard, end, &[share(7, 9_000)]).contains(&Decision::Try) {
                tries.push(end - 1);
            }
        }
        let pauses: Vec<u64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // Each with the second that the trial before it took.
        assert_eq!((tries[0], pauses), (33, vec![61, 121, 241, 481, 601, 601, 601]));
    }

    #[test]
    fn a_bystander_that_calmed_down_is_probed_again() {
        let mut guard = guard();
        for end in 1..=3 {
            second(&mut guard, end, &[share(7, 9_000)]);
        }
        let decisions: Vec<(u64, Decision)> =
            (4..40).flat_map(|end| second(&mut guard, end, &[share(7, 5)]).into_iter().map(move |decision| (end, decision))).collect();
        assert_eq!(decisions, [(34, Decision::Try), (34, Decision::Release)]);
        assert!(!guard.is_limited(&FILE));
    }

    #[test]
    fn an_end_of_the_only_excluded_process_and_an_llm_call_of_an_excluded_one_bring_them_back() {
        let mut guard = guard();
        for end in 1..=3 {
            second(&mut guard, end, &[share(7, 9_000), share(8, 9_000)]);
        }
        assert_eq!(guard.handle_talks(Pid(7)), [FILE]);
        assert!(!guard.excludes(&FILE, Pid(7)) && guard.excludes(&FILE, Pid(8)));
        assert_eq!(guard.handle_exit(Pid(8), at(4)), [(FILE, Decision::Release)]);
        assert!(!guard.is_limited(&FILE));
    }

    #[test]
    fn zero_is_no_limit() {
        let mut guard = Guard::new(GuardSettings { hits_per_second: 0 });
        for end in 1..10 {
            assert_eq!(second(&mut guard, end, &[share(7, u64::MAX)]), []);
        }
    }

    proptest! {
        #[test]
        fn talkers_are_never_excluded_and_what_is_left_is_below_the_limit(
            rates in prop::collection::vec(prop::collection::vec((1u32..20, 0u64..50_000, any::<bool>()), 0..12), 1..200)
        ) {
            let mut guard = guard();
            let mut hot = 0u64;
            for (end, rates) in (1..).zip(rates) {
                let shares: Vec<Share> = rates
                    .into_iter()
                    .map(|(pid, hits_per_second, talks)| Share { pid: Pid(if talks { pid + 100 } else { pid }), hits_per_second, talks })
                    .collect();
                let was_limited = guard.is_limited(&FILE);
                let sum: u64 = shares.iter().filter(|share| !share.talks).map(|share| share.hits_per_second).sum();
                hot = if sum >= LIMIT { hot + 1 } else { 0 };
                let decisions = second(&mut guard, end, &shares);
                if let Some(Decision::Limit { .. }) = decisions.last() {
                    prop_assert!(!was_limited && hot >= 3, "limited after {hot} s");
                }
                prop_assert!((100..130).all(|pid| !guard.excludes(&FILE, Pid(pid))));
                if !matches!(decisions.last(), None | Some(Decision::Try | Decision::Release)) {
                    let probed: Vec<u64> = shares
                        .iter()
                        .filter(|share| !share.talks && !guard.excludes(&FILE, share.pid))
                        .map(|share| share.hits_per_second)
                        .collect();
                    prop_assert!(probed.iter().sum::<u64>() < LIMIT, "left: {probed:?}");
                }
            }
            // However it was treated, a file that is quiet for the longest pause and a trial is everyone's again.
            for end in 1_000..1_000 + LONGEST_PAUSE_NANOS / SECOND + 3 {
                second(&mut guard, end, &[]);
            }
            prop_assert!(!guard.is_limited(&FILE) && !guard.is_trying());
        }
    }
}
