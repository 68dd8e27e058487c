//! The running agent's door for its operator: one agent per host, and a socket where it is asked and told things.
//!
//! ```text
//!  place        the folder for both, in the host's /run
//!  lock         who observes this host
//!  kernel_lock  the same among agents that do not see the same folder
//!  protocol     one JSON line asks, JSON lines answer
//!  server       root's connections only, bounded in number, length and time
//!  client       the other end: `a11i processes`, `a11i control`, and `exec` asking `run` not to report its command too
//! ```
//! Knows nothing of observing: requests go to whoever takes [`Asked`] from the channel.

pub mod client;
mod kernel_lock;
mod lock;
mod place;
mod protocol;
mod server;

pub use kernel_lock::KernelLock;
pub use lock::{Holder, HostLock, LockError};
pub use place::{Place, PlaceError};
pub use protocol::{REQUEST_BYTES, Reply, Request, Status};
pub use server::{AdminServer, Asked, PullBrake};
