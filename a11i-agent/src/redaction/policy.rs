//! How much of what was said may leave.

/// `content`: the strictest comes first, so that the smaller of two is the safer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum ContentPolicy {
    /// Nothing that a user, a tool or a model said, nor an error text that may quote it.
    #[default]
    None,
    /// Everything, as it was.
    Full,
}

/// Was the owner of the call resolved in time?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnerKnowledge {
    Resolved,
    /// Process or container are not known (yet): a rule about them might forbid what the default allows.
    Unresolved,
}

impl ContentPolicy {
    /// The policy for one call: what is configured, and the strictest for an owner that is not known.
    #[must_use]
    pub const fn decide(configured: Self, owner: OwnerKnowledge) -> Self {
        match owner {
            OwnerKnowledge::Resolved => configured,
            OwnerKnowledge::Unresolved => Self::None,
        }
    }

    /// Where several sources speak (file, environment, annotation), the strictest wins.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        self.min(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_owner_gets_the_strictest_policy() {
        assert_eq!(ContentPolicy::decide(ContentPolicy::Full, OwnerKnowledge::Unresolved), ContentPolicy::None);
        assert_eq!(ContentPolicy::decide(ContentPolicy::Full, OwnerKnowledge::Resolved), ContentPolicy::Full);
        assert_eq!(ContentPolicy::default(), ContentPolicy::None);
    }

    #[test]
    fn the_strictest_of_two_wins() {
        assert_eq!(ContentPolicy::Full.strictest(ContentPolicy::None), ContentPolicy::None);
        assert_eq!(ContentPolicy::Full.strictest(ContentPolicy::Full), ContentPolicy::Full);
    }
}
