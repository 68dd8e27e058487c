//! The kernel half of a11i: small programs that copy bytes out.
#![no_std]
#![no_main]

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

/// An empty program: what a hit costs before anything is done.
#[uprobe]
pub fn empty(_context: ProbeContext) -> u32 {
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
