//! What probes do to processes that confine themselves: found out by trying, in children of our own, with nothing attached.
//!
//! - From Linux 6.11 on x86-64 a probed function returns through a stub in the process that makes the system call `uretprobe`; from 6.18
//!   some entry probes go through `uprobe`. Neither is the program's own call. A kernel that shows them to the process's seccomp filter
//!   gets the process killed, or its return value replaced by an error number; fixed kernels pass them by the filter.
//! - A user shadow stack (x86, Linux 6.6) holds a second copy of each return address. A return probe replaces the first one: where the
//!   kernel does not replace the second too, the function's return ends the process. It does since the call `uretprobe` exists: both
//!   came in one series.
//!
//! Elsewhere (arm64) probes are breakpoint instructions, which no filter sees.

use std::fs;

use serde::Serialize;

/// One of the system calls that the kernel makes a probed process do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeCall {
    /// This kernel has no such call.
    Absent,
    /// Filters do not see it.
    Unfiltered,
    /// Filters see it.
    Filtered,
    /// It could not be tried.
    Unknown,
}

impl ProbeCall {
    /// Whether a process with a seccomp filter is in danger. What is not known is.
    pub const fn endangers_confined(self) -> bool {
        matches!(self, Self::Filtered | Self::Unknown)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "this kernel has no such call",
            Self::Unfiltered => "tried: seccomp filters do not see it",
            Self::Filtered => "tried: seccomp filters see it",
            Self::Unknown => "could not be tried, so taken for dangerous",
        }
    }
}

/// User shadow stacks on this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShadowStacks {
    /// No process can have one.
    Unavailable,
    /// Return probes keep them right.
    Followed,
    /// A return probe ends a process that has one.
    Broken,
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Hazards {
    /// `uretprobe`.
    pub return_call: ProbeCall,
    /// `uprobe`.
    pub entry_call: ProbeCall,
    pub shadow_stacks: ShadowStacks,
}

impl Hazards {
    /// Nothing is dangerous.
    pub const NONE: Self = Self { return_call: ProbeCall::Absent, entry_call: ProbeCall::Absent, shadow_stacks: ShadowStacks::Unavailable };

    pub fn probe() -> Self {
        let own_filter = status_number(&fs::read_to_string("/proc/self/status").unwrap_or_default(), "Seccomp:") != Some(0);
        let return_call = trial::of_call(trial::URETPROBE, own_filter);
        Self {
            return_call,
            entry_call: trial::of_call(trial::UPROBE, own_filter),
            shadow_stacks: shadow_stacks(return_call, &fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        }
    }

    /// Processes with a seccomp filter must not be probed.
    pub const fn endanger_confined(&self) -> bool {
        self.return_call.endangers_confined() || self.entry_call.endangers_confined()
    }

    /// Processes with a shadow stack must not be probed.
    pub const fn endanger_shadow_stacks(&self) -> bool {
        matches!(self.shadow_stacks, ShadowStacks::Broken)
    }
}

/// The kernel lists the feature only where it lets processes use it.
fn shadow_stacks(return_call: ProbeCall, cpuinfo: &str) -> ShadowStacks {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    match return_call {
        _ if !flags.split_ascii_whitespace().any(|flag| flag == "user_shstk") => ShadowStacks::Unavailable,
        ProbeCall::Unfiltered | ProbeCall::Filtered => ShadowStacks::Followed,
        ProbeCall::Absent | ProbeCall::Unknown => ShadowStacks::Broken,
    }
}

fn status_number(status: &str, name: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// What a child said by its exit status.
#[cfg(any(target_arch = "x86_64", test))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Absent,
    /// The call was there, whatever it said.
    Reached,
    /// The filter answered in its place.
    Refused,
    Failed,
}

/// `without`: tried with no filter of ours; `with`: with one that refuses the call.
#[cfg(any(target_arch = "x86_64", test))]
const fn conclude(without: Verdict, with: Verdict, own_filter: bool) -> ProbeCall {
    match (without, with) {
        // A filter above us (a container's) may say "no such call" too.
        (Verdict::Absent, _) if own_filter => ProbeCall::Unknown,
        (Verdict::Absent, _) => ProbeCall::Absent,
        (Verdict::Reached, Verdict::Refused) => ProbeCall::Filtered,
        (Verdict::Reached, Verdict::Reached) => ProbeCall::Unfiltered,
        (Verdict::Reached | Verdict::Refused | Verdict::Failed, _) => ProbeCall::Unknown,
    }
}

#[cfg(target_arch = "x86_64")]
mod trial {
    use std::{mem, ptr};

    use super::{ProbeCall, Verdict, conclude};

    /// Numbers of `arch/x86/entry/syscalls/syscall_64.tbl`; the same for all time.
    pub(super) const URETPROBE: libc::c_long = 335;
    pub(super) const UPROBE: libc::c_long = 336;

    /// An error number that neither call gives by itself.
    const REFUSAL: u16 = 77;

    const EXIT_ABSENT: libc::c_int = 10;
    const EXIT_REACHED: libc::c_int = 11;
    const EXIT_REFUSED: libc::c_int = 12;
    const EXIT_FAILED: libc::c_int = 13;

    pub(super) fn of_call(number: libc::c_long, own_filter: bool) -> ProbeCall {
        conclude(in_child(number, false), in_child(number, true), own_filter)
    }

    /// Makes the call in a child. From the wrong place, as here, both calls do nothing but fail or raise SIGILL.
    fn in_child(number: libc::c_long, filtered: bool) -> Verdict {
        #[expect(unsafe_code, reason = "rustix has no fork")]
        // SAFETY: fork without the C library's handlers. The child makes system calls on its own copy of this stack, allocates nothing,
        // takes no lock, and ends in `_exit`.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(libc::SIGCHLD), 0, 0, 0, 0) };
        match child {
            0 => child_main(number, filtered),
            child if child > 0 => wait_for(child),
            _ => Verdict::Failed,
        }
    }

    fn wait_for(child: libc::c_long) -> Verdict {
        let (Ok(child), mut status) = (libc::pid_t::try_from(child), 0) else { return Verdict::Failed };
        loop {
            #[expect(unsafe_code, reason = "rustix would want the process as its own")]
            // SAFETY: waits for our own child; `status` is ours.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            if waited == child {
                break;
            }
            if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
                return Verdict::Failed;
            }
        }
        if !libc::WIFEXITED(status) {
            return Verdict::Failed;
        }
        match libc::WEXITSTATUS(status) {
            EXIT_ABSENT => Verdict::Absent,
            EXIT_REACHED => Verdict::Reached,
            EXIT_REFUSED => Verdict::Refused,
            _ => Verdict::Failed,
        }
    }

    /// SIGILL is how both calls answer a caller that is not the kernel's own stub. Handled, so that nobody reports a crash.
    extern "C" fn on_illegal_instruction(_signal: libc::c_int) {
        exit(EXIT_REACHED);
    }

    fn exit(code: libc::c_int) -> ! {
        #[expect(unsafe_code, reason = "nothing of the parent's may run at exit")]
        // SAFETY: ends the child.
        unsafe {
            libc::_exit(code)
        }
    }

    fn child_main(number: libc::c_long, filtered: bool) -> ! {
        #[expect(unsafe_code, reason = "system calls that rustix lacks")]
        // SAFETY: all zeros is a valid sigaction; handler and structures live until the child ends.
        let result = unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = on_illegal_instruction as *const () as usize;
            if libc::sigaction(libc::SIGILL, &raw const action, ptr::null_mut()) != 0 || filtered && !refuse(number) {
                exit(EXIT_FAILED);
            }
            libc::syscall(number)
        };
        let error = std::io::Error::last_os_error().raw_os_error().filter(|_| result == -1);
        exit(match error {
            Some(libc::ENOSYS) => EXIT_ABSENT,
            Some(error) if error == i32::from(REFUSAL) => EXIT_REFUSED,
            Some(_) | None => EXIT_REACHED,
        })
    }

    /// A seccomp filter that answers this call with [`REFUSAL`] and lets every other pass.
    fn refuse(number: libc::c_long) -> bool {
        let Ok(number) = u32::try_from(number) else { return false };
        #[expect(clippy::cast_possible_truncation, reason = "operation codes have 16 bits; libc names them in 32")]
        let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let mut program = [
            // The number is the first word of what a filter sees.
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
            libc::sock_filter { jf: 1, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number) },
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | u32::from(REFUSAL)),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        ];
        let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
        #[expect(unsafe_code, reason = "rustix has no seccomp")]
        // SAFETY: the filter's program outlives the call, which copies it; this is the child.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod trial {
    use super::ProbeCall;

    pub(super) const URETPROBE: i64 = 0;
    pub(super) const UPROBE: i64 = 0;

    /// Only x86-64 has such calls.
    pub(super) fn of_call(_number: i64, _own_filter: bool) -> ProbeCall {
        ProbeCall::Absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_that_filters_see_or_that_nobody_could_try_is_dangerous() {
        use Verdict::{Absent, Failed, Reached, Refused};
        assert_eq!(conclude(Absent, Refused, false), ProbeCall::Absent);
        assert_eq!(conclude(Reached, Reached, false), ProbeCall::Unfiltered);
        assert_eq!(conclude(Reached, Refused, false), ProbeCall::Filtered);
        for (without, with) in [(Failed, Failed), (Reached, Failed), (Refused, Refused), (Failed, Reached)] {
            assert_eq!(conclude(without, with, false), ProbeCall::Unknown);
            assert!(ProbeCall::Unknown.endangers_confined());
        }
        assert_eq!(conclude(Absent, Refused, true), ProbeCall::Unknown);
    }

    #[test]
    fn shadow_stacks_are_safe_where_the_kernel_has_the_call_that_came_with_them() {
        let cpuinfo = "processor\t: 0\nflags\t\t: fpu user_shstk ibt\n";
        assert_eq!(shadow_stacks(ProbeCall::Absent, "flags : fpu shstk"), ShadowStacks::Unavailable);
        assert_eq!(shadow_stacks(ProbeCall::Absent, cpuinfo), ShadowStacks::Broken);
        assert_eq!(shadow_stacks(ProbeCall::Unfiltered, cpuinfo), ShadowStacks::Followed);
        assert_eq!(shadow_stacks(ProbeCall::Filtered, cpuinfo), ShadowStacks::Followed);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn trying_gives_the_same_answer_twice_and_ends_its_children() {
        assert_eq!(Hazards::probe(), Hazards::probe());
        // A call that every kernel has and every filter sees: the trial itself works.
        let own_filter = false;
        assert_eq!(trial::of_call(libc::SYS_getppid, own_filter), ProbeCall::Filtered);
        assert_eq!(trial::of_call(100_000, own_filter), ProbeCall::Absent);
    }
}
