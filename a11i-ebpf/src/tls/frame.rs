//! Calls between their entry and their return.
//!
//! A frame is known by the stack pointer at its entry: unique among the live frames of a thread, and known
//! again at the return. So nested calls, TLS inside TLS and callbacks never mix arguments.

use a11i_common::limits::FRAMES_PER_THREAD;

/// One call of a buffer function.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    /// Stack pointer at entry; 0 = free.
    pub(crate) stack_pointer: u64,
    pub(crate) session: u64,
    pub(crate) buffer: u64,
    /// Where the function stores the transferred count (`_ex` forms).
    pub(crate) count_pointer: u64,
    pub(crate) attachment: u64,
    pub(crate) operation: u8,
    pub(crate) reserved: [u8; 7],
}

pub(crate) const FREE_FRAME: Frame =
    Frame { stack_pointer: 0, session: 0, buffer: 0, count_pointer: 0, attachment: 0, operation: 0, reserved: [0; 7] };

/// The frames of one thread. Only that thread touches them.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Frames {
    pub(crate) frames: [Frame; FRAMES_PER_THREAD],
}
