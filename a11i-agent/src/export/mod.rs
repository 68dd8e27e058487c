//! Redacted calls → telemetry.
//!
//! Takes [`crate::redaction::RedactedCall`]s, and nothing less redacted. Gives span records, JSON lines, terminal lines (pure values) and,
//! with the feature `host`, OTLP traces and metrics under one resource per observed process. Never blocks the producer: what an endpoint
//! does not take in time is dropped and counted.

pub mod attributes;
pub mod json;
pub mod pretty;
pub mod resource;
pub mod semconv;
pub mod span;
mod timestamp;
pub mod value;

#[cfg(test)]
pub(crate) mod samples;
