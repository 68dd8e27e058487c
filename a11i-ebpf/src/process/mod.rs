//! Process life, so that discovery need not poll and no map entry outlives its owner.

pub(crate) mod exec;
pub(crate) mod exit;
pub(crate) mod fork;
