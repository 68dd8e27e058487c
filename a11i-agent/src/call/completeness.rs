//! Partial truth as a value: what of a message was not seen.

use a11i_common::event::cause;

/// Why bytes were not seen, joined over everything that hit one call: bits of [`a11i_common::event::cause`], and above them those that
/// only user space knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LossCauses(pub u16);

impl LossCauses {
    /// A kernel program was not run where it should have been (it missed or would have recursed); nobody knows which call that hit.
    pub const PROGRAM_MISSED: Self = Self(1 << 8);
    /// The observation ended before the connection said how far it had come.
    pub const END_UNSEEN: Self = Self(1 << 9);

    /// Every cause and its label.
    const NAMES: [(Self, &'static str); 10] = [
        (Self::of_kernel(cause::RING_FULL), "ring_full"),
        (Self::of_kernel(cause::USER_FAULT), "user_fault"),
        (Self::of_kernel(cause::CALL_LIMIT), "call_limit"),
        (Self::of_kernel(cause::TABLE_FULL), "table_full"),
        (Self::of_kernel(cause::NOT_HTTP), "not_http"),
        (Self::of_kernel(cause::UNDECIDED_BUDGET), "undecided_budget"),
        (Self::of_kernel(cause::NOT_LLM), "not_llm"),
        (Self::of_kernel(cause::SWITCHED_OFF), "switched_off"),
        (Self::PROGRAM_MISSED, "program_missed"),
        (Self::END_UNSEEN, "end_unseen"),
    ];

    /// As a record tells them.
    pub const fn of_kernel(bits: u8) -> Self {
        // `u16::from` is not const.
        Self(bits as u16)
    }

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of `others` is among them.
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Nothing but what nobody wants was left out: no loss.
    pub const fn are_by_intention(self) -> bool {
        self.0 != 0 && self.0 & !Self::of_kernel(cause::BY_INTENTION).0 == 0
    }

    /// Labels of the causes.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(cause, _)| self.has(*cause)).map(|(_, name)| name)
    }
}

/// Travels with every message body and, joined, with the call; becomes `a11i.capture.complete` and `a11i.capture.lost_bytes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Completeness {
    /// Every byte was seen.
    #[default]
    Whole,
    /// Bytes are missing. `lost` is their number where it is known.
    Gap { lost: Option<u64>, causes: LossCauses },
    /// Observation began after the message had begun; how much was missed is unknown.
    JoinedLate,
}

impl Completeness {
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::Whole)
    }

    /// Both facts hold of one call: the sum of known losses, unknown if any is unknown.
    #[must_use]
    pub const fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole, x) | (x, Self::Whole) => x,
            (Self::JoinedLate, Self::JoinedLate) => Self::JoinedLate,
            (Self::JoinedLate, Self::Gap { causes, .. }) | (Self::Gap { causes, .. }, Self::JoinedLate) => Self::Gap { lost: None, causes },
            (Self::Gap { lost: a, causes: x }, Self::Gap { lost: b, causes: y }) => {
                let lost = match (a, b) {
                    (Some(a), Some(b)) => Some(a.saturating_add(b)),
                    _ => None,
                };
                Self::Gap { lost, causes: x.with(y) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_name_of_its_own() {
        let all = LossCauses(u16::MAX);
        let mut names: Vec<_> = all.names().collect();
        assert_eq!(names.len(), LossCauses::NAMES.len());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LossCauses::NAMES.len());
        assert_eq!((0..8).filter(|bit| LossCauses::of_kernel(1 << bit).names().count() == 1).count(), 8);
        assert_eq!(
            LossCauses(cause::RING_FULL.into()).with(LossCauses::END_UNSEEN).names().collect::<Vec<_>>(),
            ["ring_full", "end_unseen"]
        );
    }

    #[test]
    fn what_nobody_wants_is_no_loss_unless_something_else_was_lost_too() {
        for (bits, want) in [
            (0, false),
            (cause::NOT_HTTP, true),
            (cause::NOT_LLM | cause::NOT_HTTP, true),
            (cause::NOT_LLM | cause::RING_FULL, false),
            (cause::UNDECIDED_BUDGET, false),
            (cause::SWITCHED_OFF, false),
        ] {
            assert_eq!(LossCauses::of_kernel(bits).are_by_intention(), want, "{bits}");
        }
        assert!(!LossCauses::END_UNSEEN.are_by_intention());
    }
}
