//! What the agent gives up once it has what it needs: it reads foreign bytes with great privileges, and should a mistake in it ever be
//! used, little must be left to use.
//!
//! ```text
//!  memory        no core file, nobody without privileges of their own looks into it
//!  capabilities  those of observing and no others; none can come back (before the first thread: they belong to threads)
//!  system_calls  an allow-list without programs, processes, mounts, modules (after everything that needs more is there)
//! ```
//! No step is fatal: a kernel or container that refuses one leaves the agent as it was, and [`Step`] says what that means.

mod capabilities;
mod memory;
mod system_calls;

pub use capabilities::{Needs, give_up_capabilities};
pub use memory::{keep_memory_private, no_core_files};
pub use system_calls::{Role, limit_system_calls};

/// A step that was refused.
#[derive(Debug)]
pub struct Step {
    /// What was attempted.
    pub step: &'static str,
    pub error: String,
    /// What that leaves open.
    pub consequence: &'static str,
    /// Worth a warning; else the same protection comes from elsewhere.
    pub weakens: bool,
}

impl Step {
    pub fn say(&self) {
        let Self { step, error, consequence, weakens } = self;
        if *weakens {
            tracing::warn!(step, error, "containment is weaker than it could be: {consequence}");
        } else {
            tracing::debug!(step, error, "{consequence}");
        }
    }
}

/// Keeps the steps that were refused.
#[derive(Debug, Default)]
pub struct Steps(pub Vec<Step>);

impl Steps {
    fn check<E: std::fmt::Display>(&mut self, step: &'static str, done: Result<(), E>, consequence: &'static str, weakens: bool) {
        if let Err(error) = done {
            self.0.push(Step { step, error: error.to_string(), consequence, weakens });
        }
    }

    pub fn say(&self) {
        self.0.iter().for_each(Step::say);
    }
}
