//! Instruments of the end-to-end tests: a provider that knows what it answered, an OTLP receiver that keeps what it got,
//! the agent as a child process, and real clients that talk to the provider.
//!
//! Nothing here is part of the product. A failure of an instrument is a failed test, so it panics with what it wanted and
//! what it found.
#![expect(clippy::expect_used, clippy::panic, reason = "test support: a failure is a failed test")]

pub mod agent;
pub mod difference;
pub mod feature_table;
pub mod fixtures;
pub mod kernel;
pub mod observed;
pub mod otlp_sink;
pub mod provider_stub;
pub mod remains;
pub mod requirement;
pub mod serial;
pub mod workload;
