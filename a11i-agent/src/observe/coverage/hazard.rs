//! Which processes probes would harm on this kernel.

use a11i_common::identity::ProcessId;

use crate::{
    capture::hazards::Hazards,
    discovery::process::{Confinement, ProcFs},
};

/// What is wrong with one process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hazard {
    Seccomp,
    ShadowStack,
}

impl Hazard {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Seccomp => {
                "it has a seccomp filter, and this kernel shows the filter a system call that belongs to the probe: the call would fail or end it"
            }
            Self::ShadowStack => "it has a shadow stack, and return probes of this kernel would end it",
        }
    }

    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Seccomp => {
                "use a kernel that passes `uretprobe` and `uprobe` by seccomp filters (6.14, or a stable release with that fix)"
            }
            Self::ShadowStack => "use Linux 6.11 or newer, or start the program without a shadow stack (GLIBC_TUNABLES)",
        }
    }
}

/// Looks at processes with this kernel's hazards in mind.
pub(super) struct HazardWatch {
    hazards: Hazards,
    proc: ProcFs,
    /// A process with a shadow stack was seen: there may be more.
    shadow_stack_seen: bool,
}

impl HazardWatch {
    pub(super) const fn new(hazards: Hazards, proc: ProcFs) -> Self {
        Self { hazards, proc, shadow_stack_seen: false }
    }

    /// There is something to look for.
    pub(super) const fn is_needed(&self) -> bool {
        self.hazards.endanger_confined() || self.hazards.endanger_shadow_stacks()
    }

    /// No process may have probes before it was looked at. Filters are common and are installed by whoever starts a program; shadow stacks
    /// are rare, so that there it is time enough when the first one was seen (a program needs a network round trip from its start to its
    /// first TLS record, and is looked at within 20 ms).
    pub(super) const fn is_cautious(&self) -> bool {
        self.hazards.endanger_confined() || self.shadow_stack_seen
    }

    pub(super) fn look(&mut self, process: ProcessId) -> Option<Hazard> {
        if !self.is_needed() {
            return None;
        }
        // What cannot be read has ended, or is not to be trusted with a probe; nothing follows from it for others.
        let read = self.proc.confinement(process.pid);
        let was_read = read.is_ok();
        let confinement = read.unwrap_or(Confinement { seccomp: true, shadow_stack: true });
        let hazard = if confinement.seccomp && self.hazards.endanger_confined() {
            Some(Hazard::Seccomp)
        } else {
            (confinement.shadow_stack && self.hazards.endanger_shadow_stacks()).then_some(Hazard::ShadowStack)
        };
        self.shadow_stack_seen |= was_read && hazard == Some(Hazard::ShadowStack);
        hazard
    }
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::Pid;

    use super::*;
    use crate::{
        capture::hazards::{ProbeCall, ShadowStacks},
        discovery::testing::TempDir,
    };

    fn process(dir: &TempDir, pid: u32, status: &str) -> ProcessId {
        let folder = dir.path().join(pid.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("status"), status).unwrap();
        ProcessId { pid: Pid(pid), start_ticks: 1 }
    }

    #[test]
    fn confined_processes_are_in_danger_only_on_kernels_that_show_filters_the_call() {
        let dir = TempDir::new("hazard");
        let confined = process(&dir, 7, "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n");
        let free = process(&dir, 8, "Name:\tx\nSeccomp:\t0\n");
        let gone = ProcessId { pid: Pid(9), start_ticks: 1 };
        let mut safe = HazardWatch::new(Hazards::NONE, ProcFs::at(dir.path()));
        assert_eq!((safe.look(confined), safe.is_cautious()), (None, false));
        let unfixed = Hazards { return_call: ProbeCall::Filtered, ..Hazards::NONE };
        let mut watch = HazardWatch::new(unfixed, ProcFs::at(dir.path()));
        assert!(watch.is_cautious());
        assert_eq!((watch.look(confined), watch.look(free), watch.look(gone)), (Some(Hazard::Seccomp), None, Some(Hazard::Seccomp)));
    }

    #[test]
    fn the_first_shadow_stack_makes_cautious() {
        let dir = TempDir::new("shstk");
        let free = process(&dir, 7, "Seccomp:\t2\nx86_Thread_features:\t\n");
        let shadowed = process(&dir, 8, "Seccomp:\t0\nx86_Thread_features:\tshstk wrss \n");
        let mut watch = HazardWatch::new(Hazards { shadow_stacks: ShadowStacks::Broken, ..Hazards::NONE }, ProcFs::at(dir.path()));
        assert_eq!((watch.look(free), watch.is_cautious()), (None, false));
        let gone = ProcessId { pid: Pid(9), start_ticks: 1 };
        assert_eq!((watch.look(gone), watch.is_cautious()), (Some(Hazard::ShadowStack), false), "a status that was not read says nothing");
        assert_eq!((watch.look(shadowed), watch.is_cautious()), (Some(Hazard::ShadowStack), true));
    }
}
