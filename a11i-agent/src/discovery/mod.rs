//! Which process maps which file, and what that file offers.
//!
//! Takes process ids (from the kernel's exec, fork and exit records, and from listing `/proc`). Gives
//! [`scanner::ScanReport`]s: candidates with an open file and a [`crate::attach::ProbePlan`], or the reason why a
//! process is not covered. Refuses files that could stall or kill the agent ([`file::OpenError`]). Nothing here
//! touches the kernel's probes: `attach::links` executes the plans.

mod budget;
pub mod client_hello;
pub(crate) mod deadline;
pub mod elf;
pub mod empty_files;
pub mod evidence;
pub mod file;
pub mod files;

pub mod inspect;
pub mod late_mappings;
pub mod ld_so_cache;
pub mod maps;
pub mod mounts;
mod namespaces;
mod prefix;
pub mod process;
mod reported;
pub mod scan;
pub mod scanner;
mod script;
mod version;
pub mod watcher;

#[cfg(test)]
pub(crate) mod testing;
