//! a11i's kernel half: small programs that copy bytes out. They filter, copy bounded chunks and submit;
//! everything that thinks is in the agent. What they write is defined in `a11i-common`.
//!
//! Uprobe programs can be preempted and interrupted by themselves on the same CPU. So nothing that belongs
//! to one thread (arguments, payload) ever sits in per-CPU memory: it goes to the reserved ring record, to
//! a map entry keyed by the thread, or to the stack. Counters are atomic.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "atomic addition on a target without compare-and-swap")]

mod count;
mod decide;
mod emit;
mod filter;
mod frames;
mod hits;
mod maps;
mod probation;
mod process;
mod registers;
mod request_line;
mod session;
mod settings;
mod socket;
mod task;
mod tls;
mod user_memory;

/// GPL-compatible as the kernel understands it: the tracing helpers are offered to such programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: panics are compiled out; the verifier would refuse a program that can reach this.
    unsafe { core::hint::unreachable_unchecked() }
}
