//! The system calls that are left: an allow-list by seccomp, for all threads at once.
//!
//! What is not on it answers EPERM instead of ending the process: an agent that is killed for a call that some C library makes on some
//! machine would be blind without a word, while an error stands in the log of whoever made the call. The list is of what observing, exporting
//! and looking up names take; not on it are above all execve, new processes, ptrace and process_vm_*, mounts and namespaces, modules and
//! kexec, other users' ids and new listeners. `bpf` and `perf_event_open` stay: programs come and go, and so do probes.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Is, SeccompCondition as Condition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::Steps;

/// Whose system calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// `run`, and the privileged half of `exec` in a process of its own.
    Observer,
    /// Both halves of `exec` in one process: it passes signals on to its command and waits for it.
    Launcher,
}

/// From here on, for all threads. The last step: nothing can be added to the list.
pub fn limit_system_calls(role: Role) -> Steps {
    let mut steps = Steps::default();
    let limited = install(role, apply_filter_all_threads);
    steps.check("seccomp", limited, "the agent may make every system call its user may", true);
    steps
}

fn install(role: Role, apply: fn(&[seccompiler::sock_filter]) -> seccompiler::Result<()>) -> seccompiler::Result<()> {
    // The first filter must leave the second one possible, which is why it forbids one call only.
    apply(&without_clone3()?)?;
    apply(&allow_list(role)?)
}

/// The flags of clone3 are in memory, where a filter does not see them. A C library that hears that there is no such call uses clone.
fn without_clone3() -> Result<BpfProgram, BackendError> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno(libc::ENOSYS)), ARCHITECTURE)?.try_into()
}

fn allow_list(role: Role) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    rules.extend(ALLOWED_HERE.iter().map(|call| (*call, Vec::new())));
    rules.extend(conditional()?);
    match role {
        Role::Observer => {
            // abort(3), and a thread's own signals.
            rules.insert(libc::SYS_tgkill, vec![to_itself()?]);
            rules.insert(libc::SYS_kill, vec![to_itself()?]);
        }
        Role::Launcher => rules.extend(LAUNCHER.iter().map(|call| (*call, Vec::new()))),
    }
    SeccompFilter::new(rules, SeccompAction::Errno(errno(libc::EPERM)), SeccompAction::Allow, ARCHITECTURE)?.try_into()
}

/// Calls that are allowed with some arguments only.
fn conditional() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let any_of = |argument: u8, values: &[u64]| -> Result<Vec<SeccompRule>, BackendError> {
        values.iter().map(|value| SeccompRule::new(vec![Condition::new(argument, Len::Dword, Is::Eq, *value)?])).collect()
    };
    let thread = bits(libc::CLONE_THREAD);
    Ok(BTreeMap::from([
        // Threads, and no processes.
        (libc::SYS_clone, vec![SeccompRule::new(vec![Condition::new(0, Len::Qword, Is::MaskedEq(thread), thread)?])?]),
        (libc::SYS_socket, any_of(0, &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(bits))?),
        (libc::SYS_prctl, any_of(0, &[libc::PR_SET_NAME, libc::PR_GET_NAME, PR_SET_VMA, libc::PR_CAPBSET_READ].map(bits))?),
        (libc::SYS_ioctl, any_of(1, &IOCTLS)?),
        // Limits may be read.
        (libc::SYS_prlimit64, vec![SeccompRule::new(vec![Condition::new(2, Len::Qword, Is::Eq, 0)?])?]),
    ]))
}

fn to_itself() -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![Condition::new(0, Len::Dword, Is::Eq, u64::from(std::process::id()))?])
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

/// Names of memory areas, set by C libraries (prctl(2)).
const PR_SET_VMA: i32 = 0x5356_4d41;

/// Is it a terminal, whose and how wide; non-blocking, bytes waiting (resolver); and of perf events: enable, disable, their program, their number.
const IOCTLS: [u64; 10] = [0x5401, 0x540f, 0x802c_542a, 0x5413, 0x5421, 0x541b, 0x2400, 0x2401, 0x4004_2408, 0x8008_2407];

/// On every architecture.
const ALLOWED: &[i64] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_membarrier,
    // Threads, their signals and their end.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_getcpu,
    // Who and where it is.
    libc::SYS_getcwd,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getuid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_capget,
    // Time.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    // Files: /proc, libraries of others, configuration, and at the end the agent's own socket and lock are removed.
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    // The folder of the lock, should somebody remove it.
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Connections to endpoints and name servers, and those that the health page and the admin socket accept. No new listener.
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
    // The work itself.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
];

/// Older names of the same.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(target_arch = "aarch64")]
const ALLOWED_HERE: &[i64] = &[];

/// Of the half that has the command for a child.
const LAUNCHER: &[i64] = &[
    libc::SYS_getpgid,
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_tgkill,
    libc::SYS_wait4,
    libc::SYS_waitid,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getpgrp,
];

const fn bits(flag: i32) -> u64 {
    flag.cast_unsigned() as u64
}

const fn errno(number: i32) -> u32 {
    number.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt as _, process::Command, thread};

    use seccompiler::apply_filter;

    use super::*;

    /// What a thread under the filter may do; the filter goes with the thread.
    fn under_the_filter<T: Send + 'static>(role: Role, work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = thread::spawn(move || {
            install(role, apply_filter).unwrap();
            work()
        });
        thread.join().unwrap()
    }

    #[test]
    fn no_program_can_be_run() {
        let permission = Some(libc::EPERM);
        let [exec, spawn] = under_the_filter(Role::Observer, || {
            let exec = Command::new("/bin/true").exec().raw_os_error();
            let spawn = Command::new("/bin/true").spawn().map(drop).unwrap_err().raw_os_error();
            [exec, spawn]
        });
        assert_eq!([exec, spawn], [permission, permission]);
    }

    #[test]
    fn mounts_other_users_limits_and_signals_to_others_are_refused() {
        use rustix::{io::Errno, process};
        let answers = under_the_filter(Role::Observer, || {
            let core = process::Rlimit { current: Some(0), maximum: Some(0) };
            let parent = process::getppid().unwrap();
            [
                process::setrlimit(process::Resource::Core, core),
                process::test_kill_process(parent),
                process::chroot("/"),
                rustix::net::socket(rustix::net::AddressFamily::PACKET, rustix::net::SocketType::RAW, None).map(drop),
            ]
        });
        assert_eq!(answers, [Err(Errno::PERM); 4]);
    }

    #[test]
    fn threads_files_names_and_sockets_are_still_there() {
        under_the_filter(Role::Observer, || {
            assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
            assert!(std::fs::read_to_string("/proc/thread-self/status").unwrap().contains("Seccomp:\t2"));
            let listener = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 80)).unwrap();
            assert!(listener.count() > 0);
            assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_ok());
            assert!(rustix::process::test_kill_process(rustix::process::getpid()).is_ok());
        });
    }

    #[test]
    fn the_launcher_may_signal_its_command_and_run_no_other() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let (killed, spawned) = under_the_filter(Role::Launcher, move || {
            let killed = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            (killed, Command::new("/bin/true").spawn().is_ok())
        });
        assert_eq!((killed, spawned), (Ok(()), false));
        assert!(!child.wait().unwrap().success());
    }
}
