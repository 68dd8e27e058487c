//! Who runs: identity of the current process, from members whose offsets the agent took from the running kernel's BTF.

use a11i_common::{
    identity::{Pid, ProcessId},
    settings::UNKNOWN_OFFSET,
};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel, generated::bpf_get_current_task};

use crate::settings;

/// Process and thread of the running program.
#[inline(always)]
pub(crate) fn current_ids() -> (u32, u32) {
    let both = bpf_get_current_pid_tgid();
    ((both >> 32) as u32, both as u32)
}

#[inline(always)]
pub(crate) fn current_task() -> u64 {
    // SAFETY: no arguments, always valid.
    unsafe { bpf_get_current_task() as u64 }
}

/// The current process with its start time; start 0 where BTF did not tell the offsets.
#[inline(always)]
pub(crate) fn current_process(tgid: u32) -> ProcessId {
    process_of(current_task(), tgid)
}

/// `task`: kernel address of any thread of the process `tgid`.
#[inline(always)]
pub(crate) fn process_of(task: u64, tgid: u32) -> ProcessId {
    let start = read_member::<u64>(task, settings::task_group_leader())
        .and_then(|leader| read_member::<u64>(leader, settings::task_start_boottime()))
        .unwrap_or(0);
    ProcessId::from_boot_nanos(Pid(tgid), start)
}

/// Reads a member of a kernel structure; `None` if BTF did not know it or the read fails.
#[inline(always)]
pub(crate) fn read_member<T>(object: u64, offset: u32) -> Option<T> {
    if offset == UNKNOWN_OFFSET {
        return None;
    }
    read_kernel(object + u64::from(offset))
}

#[inline(always)]
pub(crate) fn read_kernel<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}
