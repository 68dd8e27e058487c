//! The only reads of user pointers, bounds shown to the verifier.

use aya_ebpf::helpers::{bpf_probe_read_user, generated};

/// Copies `len` (at most `N`) bytes into the record. False if the memory cannot be read.
///
/// # Safety
/// `destination` points to `N` writable bytes.
#[inline(always)]
pub(crate) unsafe fn copy<const N: usize>(destination: *mut u8, len: u64, source: u64) -> bool {
    // SAFETY: a local. Volatile: a caller's own comparison may make this one superfluous to the compiler, and be one of another register to the
    // verifier (seen on 5.10 and 6.1).
    let len = unsafe { core::ptr::read_volatile(&raw const len) };
    let len = if len > N as u64 { N as u64 } else { len };
    // SAFETY: the caller gives N bytes and len does not exceed them; the helper checks the source.
    unsafe { generated::bpf_probe_read_user(destination.cast(), len as u32, source as *const _) == 0 }
}

#[inline(always)]
pub(crate) fn read<T>(source: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_user(source as *const T) }.ok()
}

/// Copies a zero-terminated string of at most `N` bytes, terminator included; its length without it.
///
/// # Safety
/// `destination` points to `N` writable bytes.
#[inline(always)]
pub(crate) unsafe fn copy_str<const N: usize>(destination: *mut u8, source: u64) -> Option<u32> {
    // SAFETY: as above.
    let n = unsafe { generated::bpf_probe_read_user_str(destination.cast(), N as u32, source as *const _) };
    // The helper's result includes the terminator; an empty string is no name.
    if n <= 1 || n > N as i64 { None } else { Some((n - 1) as u32) }
}
