//! How much of what was said may leave.

use crate::owner::Owner;

/// `content`: the strictest comes first, so that the smaller of two is the safer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum ContentPolicy {
    /// Nothing that a user, a tool or a model said, nor an error text that may quote it.
    #[default]
    None,
    /// Everything, as it was.
    Full,
}

impl ContentPolicy {
    /// The policy for one call: what is configured, and the strictest for an owner that is not known.
    #[must_use]
    pub fn decide(configured: Self, owner: &Owner) -> Self {
        // Nothing but the process id: a rule about process or container might forbid what the default allows.
        let unknown = *owner == Owner::unknown(owner.process);
        if unknown { Self::None } else { configured }
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
        let unknown = Owner::default();
        let known = Owner { executable_name: Some("python3".to_owned()), ..Owner::default() };
        assert_eq!(ContentPolicy::decide(ContentPolicy::Full, &unknown), ContentPolicy::None);
        assert_eq!(ContentPolicy::decide(ContentPolicy::Full, &known), ContentPolicy::Full);
        assert_eq!(ContentPolicy::decide(ContentPolicy::None, &known), ContentPolicy::None);
        assert_eq!(ContentPolicy::default(), ContentPolicy::None);
    }

    #[test]
    fn the_strictest_of_two_wins() {
        assert_eq!(ContentPolicy::Full.strictest(ContentPolicy::None), ContentPolicy::None);
        assert_eq!(ContentPolicy::Full.strictest(ContentPolicy::Full), ContentPolicy::Full);
    }
}
