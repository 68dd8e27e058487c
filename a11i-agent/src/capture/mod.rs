//! The kernel half from the agent's side: load, read records, count losses. With `attach/links/` the only place that imports aya.
//!
//! Takes settings. Gives records as bytes for `a11i_common::decode`, counters, and the loaded programs for
//! `attach`. Refuses to start where the main job cannot work, with the reason and the remedy.

pub mod btf;
pub mod control;
pub mod features;
pub mod hazards;
pub mod hits;
pub mod loader;
pub mod losses;
pub mod missed;
pub mod mmap_events;
mod perf_buffer;
pub mod probation;
pub mod ring;
pub mod sockets;
pub mod switch;
