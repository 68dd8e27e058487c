//! a11i about itself: its log, its counters, its health page.

pub mod drop_reason;
pub mod health;
pub mod instruments;
pub mod logging;

pub use drop_reason::DropReason;
pub use health::{HealthServer, Phase, Readiness};
pub use instruments::Instruments;
