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
    /// Bytes the buffer has: no call transfers more.
    pub(crate) capacity: u64,
    /// Time of the entry, of calls that write; else 0.
    pub(crate) entered: u64,
    pub(crate) operation: u8,
    /// A socket call was made inside: what the function transferred is not sent later.
    pub(crate) has_sent: u8,
    pub(crate) reserved: [u8; 6],
}

pub(crate) const FREE_FRAME: Frame = Frame {
    stack_pointer: 0,
    session: 0,
    buffer: 0,
    count_pointer: 0,
    attachment: 0,
    capacity: 0,
    entered: 0,
    operation: 0,
    has_sent: 0,
    reserved: [0; 6],
};

/// The frames of one thread. Only that thread touches them.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Frames {
    pub(crate) frames: [Frame; FRAMES_PER_THREAD],
    pub(crate) scratch: Scratch,
}

/// Where `emit::transfer` keeps its place. It lies in memory, because the verifier forgets there what it knew of a number: else it
/// would walk the copy loop, and all that follows each of its turns, once for every way that leads to it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    /// Bytes the call transferred, bytes to copy of them, bytes handled so far, and of those the ones that could not be read.
    pub(crate) length: u64,
    pub(crate) limit: u64,
    pub(crate) cursor: u64,
    pub(crate) faulted: u64,
    /// Bytes after those to copy.
    pub(crate) skipped: u64,
    /// The call, for the program that copies long ones.
    pub(crate) session: u64,
    pub(crate) attachment: u64,
    pub(crate) buffer: u64,
    /// When the call began, where that is what its bytes are told with; 0 = when they are told.
    pub(crate) began: u64,
    pub(crate) direction: u8,
    /// The call begins a request.
    pub(crate) wake: u8,
    pub(crate) skip_cause: u8,
    /// Where the path of a request line lies.
    pub(crate) path_start: u8,
    pub(crate) path_end: u8,
    /// The library has taken the bytes although the call failed: see [`super::gnutls`].
    pub(crate) queued: u8,
    /// Pieces of a socket call that are gathered: they may not go beyond the frame under way, or may begin a request.
    pub(crate) follows_frames: u8,
    pub(crate) looks_for_request: u8,
    /// [`Frame::has_sent`] of the call; not 0 as well where threads say nothing of what is sent.
    pub(crate) has_sent: u8,
    pub(crate) reserved: [u8; 7],
}

pub(crate) const FRESH_SCRATCH: Scratch = Scratch {
    length: 0,
    limit: 0,
    cursor: 0,
    faulted: 0,
    skipped: 0,
    session: 0,
    attachment: 0,
    buffer: 0,
    began: 0,
    direction: 0,
    wake: 0,
    skip_cause: 0,
    path_start: 0,
    path_end: 0,
    queued: 0,
    follows_frames: 0,
    looks_for_request: 0,
    has_sent: 0,
    reserved: [0; 7],
};
