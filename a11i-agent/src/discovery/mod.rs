//! Which process maps which file, and what that file offers.
//!
//! Takes process ids (from the kernel's exec, fork and exit records, and from listing `/proc`). Gives
//! [`scanner::ScanReport`]s: candidates with an open file and a [`crate::attach::ProbePlan`], or the reason why a
//! process is not covered. Refuses files that could stall or kill the agent ([`file::OpenError`]). Nothing here
//! touches the kernel's probes: `attach::links` executes the plans.

#[cfg(feature = "host")]
mod budget;
pub mod client_hello;
#[cfg(feature = "host")]
pub(crate) mod deadline;
pub mod elf;
#[cfg(feature = "host")]
pub mod empty_files;
pub mod evidence;
#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "only the host opens files"))]
pub mod file;
#[cfg(feature = "host")]
pub mod files;
pub mod fingerprint;
#[cfg(feature = "host")]
pub mod inspect;
#[cfg(feature = "host")]
pub mod late_mappings;
#[cfg(feature = "host")]
pub mod ld_so_cache;
#[cfg(feature = "host")]
pub mod maps;
#[cfg(feature = "host")]
pub mod mounts;
#[cfg(feature = "host")]
mod namespaces;
#[cfg(feature = "host")]
mod prefix;
#[cfg(feature = "host")]
pub mod process;
#[cfg(feature = "host")]
mod reported;
#[cfg(feature = "host")]
pub mod scan;
#[cfg(feature = "host")]
pub mod scanner;
#[cfg(feature = "host")]
mod script;
#[cfg(feature = "host")]
mod version;
#[cfg(feature = "host")]
pub mod watcher;

#[cfg(test)]
pub(crate) mod testing;
