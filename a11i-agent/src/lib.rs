//! a11i's agent: from records on a ring buffer to telemetry.
//!
//! ```text
//!  capture     │ record          → Event            (I/O)
//!  owner       │ process         → Owner            process · container; travels with the call
//!  flow        │ Event           → Segment          bytes in order, gaps marked   ┐
//!  http        │ Segment         → HttpEvent        h1 · sse · content codings    │ pure:
//!  provider    │ HttpEvent       → LlmCall          one dialect per file          │ no I/O,
//!  tokens      │ LlmCall         → CountedCall      reported, else estimated      │ no clock,
//!  cost        │ CountedCall     → PricedCall       from a dated price book       │ no panic
//!  redaction   │ PricedCall      → RedactedCall     the only way down, by policy  ┘
//!              ├───────────────► metrics            every call is counted
//!  sampling    │ RedactedCall    → Option<..>       traces only
//!  export      ▼ OTLP spans · metrics               (I/O)
//! ```
//! A stage imports the stage above it and the vocabularies `a11i_common`, `call` and `owner`, never a stage
//! below. Only [`pipeline`] knows them all. Without the feature `host` the crate is its pure half alone (with `finders`, and what reads files).

#![deny(unsafe_code)]

// The vocabularies.
pub mod call;
pub mod owner;

// What sets up the kernel side; knows nothing of calls.
#[cfg(feature = "finders")]
pub mod attach;
#[cfg(feature = "finders")]
pub mod discovery;
#[cfg(feature = "finders")]
pub mod machine_code;

// The pure stages, in the order of the data.
pub mod cost;
pub mod flow;
pub mod http;
pub mod pipeline;
pub mod provider;
pub mod redaction;
pub mod replay;
pub mod tokens;
pub mod verdict;

// The way out: its values are pure, what sends them needs the host.
pub mod export;
pub mod sampling;

// The rim.
#[cfg(feature = "host")]
pub mod admin;
#[cfg(feature = "host")]
pub mod capture;
#[cfg(feature = "host")]
pub mod cli;
#[cfg(feature = "host")]
pub mod clock;
#[cfg(feature = "host")]
pub mod config;
#[cfg(feature = "host")]
pub mod contain;
#[cfg(feature = "host")]
pub mod observe;
#[cfg(feature = "host")]
pub mod telemetry;

#[cfg(test)]
mod fixture;
