//! Capabilities: those of observing, for life, and no others.
//!
//! They belong to threads, and no thread can take them from another: this runs before the first thread is made, so that all have the same.

use rustix::{
    io::Errno,
    thread::{
        CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
    },
};

use super::Steps;
use crate::capture::features::{AttachMode, Features};

/// What observing takes (processes come and go, so it takes it for life).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    /// Perf events need CAP_SYS_ADMIN, uprobe-multi links do not (6.6).
    pub attach_mode: AttachMode,
    /// Kprobes are perf events, too.
    pub kprobes: bool,
    /// Maps count against RLIMIT_MEMLOCK, which has to be raised (below 5.11).
    pub locked_memory: bool,
    /// A configured port is below 1024.
    pub low_port: bool,
}

impl Needs {
    pub fn of(features: &Features, kprobes: bool, ports: [u16; 2]) -> Self {
        Self {
            attach_mode: features.attach_mode(),
            kprobes,
            locked_memory: counts_maps_as_locked(&features.kernel_release),
            low_port: ports.into_iter().any(|port| (1..FIRST_FREE_PORT).contains(&port)),
        }
    }

    /// Of `permitted`, what is kept.
    fn kept(self, permitted: CapabilitySet) -> CapabilitySet {
        let own = CapabilitySet::BPF | CapabilitySet::PERFMON;
        let mut wanted = own | CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::CHECKPOINT_RESTORE;
        // CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON (capabilities(7)).
        if self.attach_mode == AttachMode::PerfEvent || self.kprobes || !permitted.contains(own) {
            wanted |= CapabilitySet::SYS_ADMIN;
        }
        if self.locked_memory {
            wanted |= CapabilitySet::SYS_RESOURCE;
        }
        if self.low_port {
            wanted |= CapabilitySet::NET_BIND_SERVICE;
        }
        wanted & permitted
    }
}

/// `net.ipv4.ip_unprivileged_port_start`, unless somebody lowered it.
const FIRST_FREE_PORT: u16 = 1024;

/// Highest capability number of the ABI's two words; those beyond the kernel's last one are refused and passed over.
const CAPABILITIES: u32 = 63;

/// Gives up everything but what is needed: effective, permitted, inheritable, ambient and bounding set; and that the user id 0, or a program
/// with privileges of its own, could bring any of it back.
pub fn give_up_capabilities(needs: Needs) -> Steps {
    let mut steps = Steps::default();
    steps.check("no_new_privs", set_no_new_privs(true), "a program started from here could gain privileges", true);
    let before = match capabilities(None) {
        Ok(before) => before,
        Err(error) => {
            steps.check("capabilities", Err(error), "the agent keeps every capability it was started with", true);
            return steps;
        }
    };
    let kept = needs.kept(before.permitted);
    let superfluous = before.permitted.difference(kept);
    let may_set = before.effective.contains(CapabilitySet::SETPCAP);

    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    // Without CAP_SETPCAP whoever started the agent has chosen its capabilities; no_new_privs and the missing execve stand in for the rest.
    steps.check(
        "securebits",
        set_capabilities_secure_bits(bits),
        "no securebits: no_new_privs alone keeps privileges from coming back",
        may_set,
    );
    steps.check(
        "bounding set",
        drop_bounding_set(),
        "the bounding set stays: no_new_privs alone keeps privileges from coming back",
        may_set,
    );
    steps.check("ambient set", clear_ambient_capability_set(), "the ambient set stays as it was", true);
    let after = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    let weakens = !superfluous.is_empty();
    steps.check("capabilities", set_capabilities(None, after), "the agent keeps every capability it was started with", weakens);
    steps
}

fn drop_bounding_set() -> Result<(), Errno> {
    for number in 0..=CAPABILITIES {
        let Some(capability) = 1_u64.checked_shl(number).map(CapabilitySet::from_bits_retain) else { continue };
        match remove_capability_from_bounding_set(capability) {
            // EINVAL: this kernel has no such capability.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Before 5.11 maps counted against RLIMIT_MEMLOCK. A release that does not say its version is taken for a new one: the limit then stays.
fn counts_maps_as_locked(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) < (5, 11))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Needs = Needs { attach_mode: AttachMode::Multi, kprobes: false, locked_memory: false, low_port: false };
    const FIVE: CapabilitySet = CapabilitySet::BPF
        .union(CapabilitySet::PERFMON)
        .union(CapabilitySet::SYS_PTRACE)
        .union(CapabilitySet::DAC_READ_SEARCH)
        .union(CapabilitySet::CHECKPOINT_RESTORE);

    #[test]
    fn a_new_kernel_takes_five_and_an_old_one_more() {
        let all = CapabilitySet::from_bits_retain((1 << 41) - 1);
        assert_eq!(NEW.kept(all), FIVE);
        let old = Needs { attach_mode: AttachMode::PerfEvent, kprobes: true, locked_memory: true, low_port: true };
        assert_eq!(old.kept(all), FIVE | CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_RESOURCE | CapabilitySet::NET_BIND_SERVICE);
    }

    #[test]
    fn nothing_is_kept_that_was_not_there() {
        assert_eq!(
            NEW.kept(CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::KILL),
            CapabilitySet::BPF | CapabilitySet::PERFMON
        );
        assert_eq!(NEW.kept(CapabilitySet::SYS_ADMIN), CapabilitySet::SYS_ADMIN);
        assert_eq!(NEW.kept(CapabilitySet::empty()), CapabilitySet::empty());
    }

    #[test]
    fn kernels_before_5_11_count_maps_as_locked_memory() {
        for (release, counts) in [("5.10.0-30-amd64", true), ("4.19", true), ("5.11.0", false), ("6.1.0", false), ("unknown", false)] {
            assert_eq!(counts_maps_as_locked(release), counts, "{release}");
        }
    }

    #[test]
    fn giving_up_leaves_what_is_kept_and_never_fails_for_good() {
        // In a thread of its own: capabilities are a thread's.
        let after = std::thread::spawn(|| {
            let before = capabilities(None).unwrap().permitted;
            give_up_capabilities(NEW);
            (before, capabilities(None).unwrap())
        });
        let (before, after) = after.join().unwrap();
        assert_eq!((after.effective, after.permitted, after.inheritable), (NEW.kept(before), NEW.kept(before), CapabilitySet::empty()));
    }
}
