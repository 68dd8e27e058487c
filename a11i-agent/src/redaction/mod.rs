//! Priced calls → redacted calls: the only way down to metrics and export.
//!
//! Takes a [`PricedCall`](crate::cost::PricedCall) and a [`ContentPolicy`], gives a [`RedactedCall`] in which what policy withholds is gone, not hidden.
//! Refuses to decide: the policy comes from the configuration and the owner, by [`ContentPolicy::decide`].

#![warn(clippy::arithmetic_side_effects)]

mod mcp;
mod policy;
mod redacted;

pub use mcp::{RedactedMcp, redact_mcp};
pub use policy::ContentPolicy;
pub use redacted::{RedactedCall, redact};
