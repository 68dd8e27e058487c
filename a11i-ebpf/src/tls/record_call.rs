//! The rustls record that a thread is in. rustls encrypts and decrypts in functions that call back nobody, so a thread is in one at most.

use aya_ebpf::bindings::BPF_NOEXIST;

use super::frame::Scratch;
use crate::{
    count,
    maps::{RUSTLS_CALLS, RUSTLS_FRESH},
    registers,
};
use a11i_common::{event::Counter, rustls::RustlsSample};

/// Words at a place that may hold a connection's record layer: its two keys stand within the first dozen in every build seen; the rest is
/// room for other orders of its members.
pub(crate) const WINDOW_WORDS: usize = 40;

/// Words around a key among which the other direction's is looked for: eight before it, seven behind its second word.
pub(crate) const NEIGHBOUR_WORDS: usize = 17;

/// Value of the map `RUSTLS_CALLS`. Only its thread touches it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RecordCall {
    /// Stack pointer at the entry of a decryption that has not returned; 0 = none.
    pub(crate) stack_pointer: u64,
    /// The key: the boxed object.
    pub(crate) object: u64,
    pub(crate) sequence: u64,
    /// Address of the function.
    pub(crate) function: u64,
    pub(crate) attachment: u64,
    /// Where the function writes its result.
    pub(crate) out: u64,
    /// The record's bytes: as it came, then its plaintext. Not of plaintext in slices.
    pub(crate) buffer: u64,
    pub(crate) length: u64,
    /// The record is a vector without its header.
    pub(crate) owned: u64,
    pub(crate) session: u64,
    /// The next of an array of (pointer, length), and how many there are; 0 = the plaintext is one piece.
    pub(crate) slices: u64,
    pub(crate) slices_left: u64,
    /// Bytes to leave out before the first byte, and bytes not copied yet.
    pub(crate) skip: u64,
    pub(crate) left: u64,
    /// Where the key stands in its connection, and what stands beside it.
    pub(crate) place: u64,
    pub(crate) vtable: u64,
    pub(crate) object_size: u64,
    pub(crate) peer: u64,
    pub(crate) peer_size: u64,
    /// 0 = write, 1 = read.
    pub(crate) direction: u32,
    /// Runs of the program that copies slices.
    pub(crate) turns: u32,
    /// The record is the application's.
    pub(crate) is_data: u32,
    /// The content type in the header of a record to decrypt.
    pub(crate) outer_type: u32,
    /// Bytes of a plaintext record, in all its slices.
    pub(crate) plaintext: u32,
    /// Index after that of the word found; 0 = none.
    pub(crate) hit: u32,
    pub(crate) kept: [u64; registers::KEPT],
    pub(crate) window: [u64; WINDOW_WORDS],
    pub(crate) sample: RustlsSample,
    pub(crate) scratch: Scratch,
}

#[inline(always)]
pub(crate) fn thread_key(tgid: u32, tid: u32) -> u64 {
    (u64::from(tgid) << 32) | u64::from(tid)
}

/// The thread's entry, made on first sight.
#[inline(always)]
pub(crate) fn find_or_insert(tgid: u32, tid: u32) -> Option<*mut RecordCall> {
    let key = thread_key(tgid, tid);
    if let Some(call) = RUSTLS_CALLS.get_ptr_mut(&key) {
        return Some(call);
    }
    let fresh = RUSTLS_FRESH.get_ptr(0)?;
    // SAFETY: a live map value, never written.
    let inserted = RUSTLS_CALLS.insert(&key, unsafe { &*fresh }, u64::from(BPF_NOEXIST));
    if inserted.is_err() {
        count::add(Counter::RustlsFull, 1);
        return None;
    }
    RUSTLS_CALLS.get_ptr_mut(&key)
}

#[inline(always)]
pub(crate) fn find(tgid: u32, tid: u32) -> Option<*mut RecordCall> {
    RUSTLS_CALLS.get_ptr_mut(&thread_key(tgid, tid))
}
