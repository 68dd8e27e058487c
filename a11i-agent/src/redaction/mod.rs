//! Priced calls → redacted calls: the only way down to metrics and export.

mod redacted;

pub use redacted::RedactedCall;
