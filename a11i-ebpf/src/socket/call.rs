//! One socket call: where its bytes lie, and how far their copying has come.

use aya_ebpf::bindings::BPF_NOEXIST;

use crate::{
    count,
    maps::SOCKET_CALLS,
    task::read_kernel,
    tls::frame::{FRESH_SCRATCH, Scratch},
    user_memory,
};

/// `-EAGAIN`: a socket that does not wait has no room.
pub(crate) const REFUSED: i32 = -11;

/// Bytes of a refused call, of which nobody tells how many they are: more than are looked at.
pub(crate) const OFFERED: u64 = 1 << 16;

/// How the bytes of a call are described: values of [`Call::shape`].
pub(crate) mod shape {
    /// In a way that cannot be read from here: kernel pages, several messages, an unknown system call.
    pub(crate) const UNREADABLE: u8 = 0;
    /// One buffer of the process.
    pub(crate) const BUFFER: u8 = 1;
    /// An array of `struct iovec` in the process's memory.
    pub(crate) const USER_VECTOR: u8 = 2;
    /// The kernel's copy of one.
    pub(crate) const KERNEL_VECTOR: u8 = 3;
}

/// Where the bytes of a call lie.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Of the buffer, or of the array.
    pub(crate) base: u64,
    /// Elements of the array.
    pub(crate) segments: u64,
    /// Bytes of the first element that were transferred before.
    pub(crate) skip: u64,
    /// [`shape`].
    pub(crate) shape: u64,
}

pub(crate) const UNREADABLE: Place = Place { base: 0, segments: 0, skip: 0, shape: shape::UNREADABLE as u64 };

/// Value of `SOCKET_CALLS`: only its own thread touches it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) scratch: Scratch,
    pub(crate) place: Place,
    /// Of what is being copied.
    pub(crate) rest: Place,
    pub(crate) sock: u64,
    /// `sock::session_of`.
    pub(crate) session: u64,
    /// Bytes of the call that were not handled yet.
    pub(crate) left: u64,
    /// The next element.
    pub(crate) index: u64,
    /// Runs of the program that copies them.
    pub(crate) runs: u64,
    /// Bytes of the call that were told before it was over (kprobes).
    pub(crate) told: u64,
    /// When a call that sends began (kprobes).
    pub(crate) entered: u64,
    pub(crate) family: u16,
    /// 0 = sends, 1 = receives.
    pub(crate) direction: u8,
    /// Between entry and return (kprobes).
    pub(crate) live: u8,
    pub(crate) reserved: u32,
}

const FRESH: Call = Call {
    scratch: FRESH_SCRATCH,
    place: UNREADABLE,
    rest: UNREADABLE,
    sock: 0,
    session: 0,
    left: 0,
    index: 0,
    runs: 0,
    told: 0,
    entered: 0,
    family: 0,
    direction: 0,
    live: 0,
    reserved: 0,
};

#[inline(always)]
pub(crate) fn thread_key(tgid: u32, tid: u32) -> u64 {
    (u64::from(tgid) << 32) | u64::from(tid)
}

/// The thread's entry, made on first use. `None` if the table is full (counted).
#[inline(always)]
pub(crate) fn of_thread(tgid: u32, tid: u32) -> Option<*mut Call> {
    let thread = thread_key(tgid, tid);
    if let Some(call) = SOCKET_CALLS.get_ptr_mut(&thread) {
        return Some(call);
    }
    let _ = SOCKET_CALLS.insert(&thread, &FRESH, u64::from(BPF_NOEXIST));
    let found = SOCKET_CALLS.get_ptr_mut(&thread);
    if found.is_none() {
        count::add(a11i_common::event::Counter::InFlightFull, 1);
    }
    found
}

/// The `index`th piece of a call: its address and length.
#[inline(always)]
pub(crate) fn piece(place: &Place, index: u64, left: u64) -> Option<(u64, u64)> {
    let (base, length) = if place.shape == u64::from(shape::BUFFER) {
        if index != 0 {
            return None;
        }
        (place.base, left + place.skip)
    } else {
        if index >= place.segments {
            return None;
        }
        let element = place.base + index * 16;
        let [base, length] = if place.shape == u64::from(shape::USER_VECTOR) {
            user_memory::read::<[u64; 2]>(element)?
        } else if place.shape == u64::from(shape::KERNEL_VECTOR) {
            read_kernel::<[u64; 2]>(element)?
        } else {
            return None;
        };
        (base, length)
    };
    let skip = if index == 0 { place.skip } else { 0 };
    if skip > length {
        return None;
    }
    Some((base + skip, length - skip))
}
