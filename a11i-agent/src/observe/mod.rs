//! The running agent: kernel half, discovery, attachment, pipeline and output, joined by one event loop.
//!
//! Takes a [`crate::config::Config`] and a [`Scope`]. Used by `run` (the host) and `exec` (one tree of processes). Threads: one
//! scans and attaches, one looks at processes, one counts tokens, one prints; the event loop alone touches the pipeline, so the data path has no lock.

mod admin;
mod brake;
mod command;
mod coverage;
mod estimator;
mod event_loop;
mod hidden;
mod outlet;
mod printer;
mod reload;
mod resolver;
mod setup;
mod stall;
mod tally;
mod unseen;

pub use admin::{AdminLink, ReadConfig};
pub use brake::Brake;
pub use command::{CoverageReport, FileReport, NotCoveredReport, PlanReport, ProbationState, ProcessReport, Progress, Seen};
pub use event_loop::{Observer, Prepared};
pub use outlet::Summary;
pub use setup::{Scope, StartError, load_settings, pipeline_settings};
