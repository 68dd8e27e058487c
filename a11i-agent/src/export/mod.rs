//! Redacted calls → telemetry.
//!
//! Takes [`crate::redaction::RedactedCall`]s, and nothing less redacted. Gives span records, JSON lines, terminal lines (pure values) and,
//! with the feature `host`, OTLP traces and metrics under one resource per observed process. Never blocks the producer: what an endpoint
//! does not take in time is dropped and counted.

pub mod attributes;
pub mod json;
mod mcp;
pub mod pretty;
pub mod resource;
pub mod semconv;
pub mod span;
pub(crate) mod timestamp;
pub mod value;

#[cfg(feature = "host")]
mod delivery;
#[cfg(feature = "host")]
pub mod exporter;
#[cfg(feature = "host")]
mod histogram;
#[cfg(feature = "host")]
mod metrics;
#[cfg(feature = "host")]
mod metrics_worker;
#[cfg(feature = "host")]
mod otlp;
#[cfg(feature = "host")]
mod queue;
#[cfg(feature = "host")]
mod traces_worker;

#[cfg(feature = "host")]
pub use exporter::{Exporter, ExporterHandle, ShutdownReport, resource_builder};
#[cfg(feature = "host")]
pub use otlp::ClientError;

#[cfg(test)]
pub(crate) mod samples;
