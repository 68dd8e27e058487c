//! Whom a file's probes are for.

use std::collections::BTreeSet;

use a11i_common::identity::ProcessId;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Reach {
    #[default]
    Nobody,
    /// Every process that maps the file, now or later.
    Everyone,
    /// These processes, and no child of theirs: the kernel matches a process by its memory.
    Processes(BTreeSet<ProcessId>),
}

/// Where a file's links are to be moved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Goal {
    pub reach: Reach,
    /// What was before will be asked for again soon.
    pub is_for_a_moment: bool,
}

impl Reach {
    pub const fn is_everyone(&self) -> bool {
        matches!(self, Self::Everyone)
    }

    pub fn has(&self, process: ProcessId) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everyone => true,
            Self::Processes(processes) => processes.contains(&process),
        }
    }
}
