//! Where the bytes of a socket call lie, told by the system call that the thread is in. Numbers are the Linux ABI's.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};

use super::call::{Place, UNREADABLE, shape};
use crate::{settings, task::read_kernel, user_memory};

#[cfg(bpf_target_arch = "x86_64")]
mod numbers {
    pub(super) const BUFFER: [u64; 4] = [0, 1, 44, 45]; // read, write, sendto, recvfrom
    pub(super) const VECTOR: [u64; 4] = [19, 20, 327, 328]; // readv, writev, preadv2, pwritev2
    pub(super) const MESSAGE: [u64; 2] = [46, 47]; // sendmsg, recvmsg
}

#[cfg(bpf_target_arch = "aarch64")]
mod numbers {
    pub(super) const BUFFER: [u64; 4] = [63, 64, 206, 207];
    pub(super) const VECTOR: [u64; 4] = [65, 66, 286, 287];
    pub(super) const MESSAGE: [u64; 2] = [211, 212];
}

/// Bytes of `struct pt_regs` before the register in which Go keeps the running goroutine's `g` (`r14`, `x28`), and before the stack pointer.
#[cfg(bpf_target_arch = "x86_64")]
const OFFSETS: [u64; 2] = [8, 152];
#[cfg(bpf_target_arch = "aarch64")]
const OFFSETS: [u64; 2] = [28 * 8, 31 * 8];

/// The goroutine that makes the current system call, if a Go program makes it; of others, any number. `None`: the kernel does not tell.
#[inline(always)]
pub(crate) fn goroutine() -> Option<u64> {
    register(OFFSETS[0])
}

/// The stack pointer with which the current system call is made.
#[inline(always)]
pub(crate) fn stack_pointer() -> Option<u64> {
    register(OFFSETS[1])
}

/// The two helpers came with attach cookies, in 5.15; before, this is dead code and not verified.
#[inline(always)]
fn register(offset: u64) -> Option<u64> {
    if settings::has_attach_cookie() == 0 {
        return None;
    }
    // SAFETY: no arguments; the helper takes the pointer that the other gives.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    read_kernel(registers + offset)
}

/// The number and the second and third argument of the current system call; `None` of another ABI's.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn current() -> Option<(u64, u64, u64)> {
    /// `rdx` in `struct pt_regs`; `rsi`, `rdi`, `orig_rax`, `rip` and `cs` follow.
    const RDX: u64 = 96;
    /// Code segment of 32-bit programs, whose system calls have other numbers.
    const USER32_CS: u64 = 0x23;
    // SAFETY: no arguments; the helper takes the pointer that the other gives.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    let [third, second, _, number, _, segment] = read_kernel::<[u64; 6]>(registers + RDX)?;
    if segment & 0xffff == USER32_CS { None } else { Some((number, second, third)) }
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn current() -> Option<(u64, u64, u64)> {
    // SAFETY: no arguments; the helper takes the pointer that the other gives.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    let [_, second, third, _, _, _, _, _, number] = read_kernel::<[u64; 9]>(registers)?;
    Some((number, second, third))
}

/// Where the bytes lie that the current system call moves.
#[inline(always)]
pub(crate) fn place() -> Place {
    read().unwrap_or(UNREADABLE)
}

#[inline(always)]
fn read() -> Option<Place> {
    let (number, second, third) = current()?;
    let is = |list: &[u64]| list.iter().any(|known| *known == number);
    if is(&numbers::BUFFER) {
        return Some(Place { base: second, segments: 1, skip: 0, shape: u64::from(shape::BUFFER) });
    }
    if is(&numbers::VECTOR) {
        return Some(Place { base: second, segments: third, skip: 0, shape: u64::from(shape::USER_VECTOR) });
    }
    if is(&numbers::MESSAGE) {
        // `struct user_msghdr`: name, length of name, array, elements.
        let [base, segments] = user_memory::read::<[u64; 2]>(second + 16)?;
        return Some(Place { base, segments, skip: 0, shape: u64::from(shape::USER_VECTOR) });
    }
    None
}
