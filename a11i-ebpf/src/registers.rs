//! The probed thread's registers, by architecture: calling convention and stack pointer.

use aya_ebpf::bindings::pt_regs;

/// The Nth integer argument of the function that was entered (System V ABI).
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn argument<const N: usize>(regs: *const pt_regs) -> u64 {
    // SAFETY: the kernel's register context, whole and readable. Volatile: the verifier refuses a context pointer that was
    // computed, which is what the optimiser makes of a choice between two arguments.
    unsafe {
        match N {
            0 => core::ptr::read_volatile(&raw const (*regs).rdi),
            1 => core::ptr::read_volatile(&raw const (*regs).rsi),
            2 => core::ptr::read_volatile(&raw const (*regs).rdx),
            3 => core::ptr::read_volatile(&raw const (*regs).rcx),
            _ => core::ptr::read_volatile(&raw const (*regs).r8),
        }
    }
}

/// Address of the probed instruction.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn instruction(regs: *const pt_regs) -> u64 {
    // SAFETY: the kernel's register context.
    unsafe { core::ptr::read_volatile(&raw const (*regs).rip) }
}

/// Registers that a function keeps for its caller: at its entry and at its return they hold the caller's values.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn kept(regs: *const pt_regs) -> [u64; KEPT] {
    // SAFETY: the kernel's register context.
    unsafe {
        [
            core::ptr::read_volatile(&raw const (*regs).rbx),
            core::ptr::read_volatile(&raw const (*regs).rbp),
            core::ptr::read_volatile(&raw const (*regs).r12),
            core::ptr::read_volatile(&raw const (*regs).r13),
            core::ptr::read_volatile(&raw const (*regs).r14),
            core::ptr::read_volatile(&raw const (*regs).r15),
        ]
    }
}

#[cfg(bpf_target_arch = "x86_64")]
pub(crate) const KEPT: usize = 6;

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn stack_pointer_at_entry(regs: *const pt_regs) -> u64 {
    // SAFETY: the kernel's register context.
    unsafe { core::ptr::read_volatile(&raw const (*regs).rsp) }
}

/// The return has popped its address.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn stack_pointer_at_return(regs: *const pt_regs) -> u64 {
    stack_pointer_at_entry(regs).wrapping_sub(8)
}

/// The Nth integer argument of the function that was entered (AAPCS64).
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn argument<const N: usize>(regs: *const pt_regs) -> u64 {
    // SAFETY: the kernel's register context, whose BPF view begins with `user_pt_regs`; volatile as on x86-64.
    unsafe { core::ptr::read_volatile(&raw const (*regs.cast::<aya_ebpf::bindings::user_pt_regs>()).regs[N]) }
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn stack_pointer_at_entry(regs: *const pt_regs) -> u64 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const (*regs.cast::<aya_ebpf::bindings::user_pt_regs>()).sp) }
}

/// The return address is in a register: the stack pointer is the entry's.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn stack_pointer_at_return(regs: *const pt_regs) -> u64 {
    stack_pointer_at_entry(regs)
}

/// The Nth integer argument of a Go function, and its Nth result when it returns (Go's register ABI, 1.17 and newer).
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn go_argument<const N: usize>(regs: *const pt_regs) -> u64 {
    // SAFETY: the kernel's register context; volatile as above.
    unsafe {
        match N {
            0 => core::ptr::read_volatile(&raw const (*regs).rax),
            1 => core::ptr::read_volatile(&raw const (*regs).rbx),
            2 => core::ptr::read_volatile(&raw const (*regs).rcx),
            _ => core::ptr::read_volatile(&raw const (*regs).rdi),
        }
    }
}

/// Address of the running goroutine's `g`.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn goroutine(regs: *const pt_regs) -> u64 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const (*regs).r14) }
}

/// The Nth integer argument of a Go function, and its Nth result when it returns (Go's register ABI, 1.18 and newer).
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn go_argument<const N: usize>(regs: *const pt_regs) -> u64 {
    argument::<N>(regs)
}

/// Address of the running goroutine's `g`.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn goroutine(regs: *const pt_regs) -> u64 {
    argument::<28>(regs)
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn instruction(regs: *const pt_regs) -> u64 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const (*regs.cast::<aya_ebpf::bindings::user_pt_regs>()).pc) }
}

/// x19 to x28; and x29, the frame pointer.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn kept(regs: *const pt_regs) -> [u64; KEPT] {
    let mut kept = [0; KEPT];
    for (i, value) in kept.iter_mut().enumerate() {
        // SAFETY: as above; 19 + 10 is below 31.
        *value = unsafe { core::ptr::read_volatile(&raw const (*regs.cast::<aya_ebpf::bindings::user_pt_regs>()).regs[19 + i]) };
    }
    kept
}

#[cfg(bpf_target_arch = "aarch64")]
pub(crate) const KEPT: usize = 11;

/// The result pointer of a function that returns a structure by memory.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn result_pointer(regs: *const pt_regs) -> u64 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const (*regs.cast::<aya_ebpf::bindings::user_pt_regs>()).regs[8]) }
}
