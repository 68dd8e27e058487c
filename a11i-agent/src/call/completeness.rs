//! Partial truth as a value: what of a message was not seen.

/// Bits of [`a11i_common::event::cause`], joined over everything that hit one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LossCauses(pub u8);

impl LossCauses {
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
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
