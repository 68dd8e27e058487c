//! Which connection a rustls key belongs to.
//!
//! A connection's record layer has the boxes of both directions side by side, each two words: the object and its method table. Whoever calls
//! `encrypt` or `decrypt` holds a pointer to the connection, in a register that functions keep or on its stack. So the two keys are joined by
//! where they stand, whatever thread they are used on and wherever the connection moves; never by time, and never by an address alone, since
//! freed keys' addresses are used again at once: an object counts as the one that was seen before when its content is the same.

use a11i_common::{
    event::Counter,
    rustls::{RustlsKey, RustlsKeyState, SESSION_BIT, UNSEEN},
};
use aya_ebpf::{
    helpers::generated::{bpf_get_smp_processor_id, bpf_probe_read_user},
    maps::ProgramArray,
    programs::ProbeContext,
};

use super::{
    record_call::{self, NEIGHBOUR_WORDS, RecordCall, WINDOW_WORDS},
    rustls,
};
use crate::{count, emit::launder, maps::RUSTLS_KEYS, registers, session, task, user_memory};
use a11i_common::probe::RUSTLS_SLICE;

/// Words of the caller's stack that may point to the connection. It was the third in the builds seen.
const STACK_WORDS: usize = 40;
/// No pointer is lower, and none of user space higher.
const LOWEST: u64 = 0x1_0000;
const HIGHEST: u64 = 1 << 56;
/// Method tables of one program lie this close together.
const NEAR: u64 = 256 * 1024 * 1024;
/// Boxed keys are smaller.
const LARGEST_OBJECT: u64 = 8192;
/// Words of a method table: destructor, size, alignment, and the method.
const METHOD: u64 = 24;
/// Index of this key in its window of neighbours.
const BEFORE: usize = 8;
/// A box is two words: the next one is this far away at least.
const BOX_WORDS: usize = 2;

/// Finds the connection of the record's key, and goes on with copying.
#[inline(always)]
pub(crate) fn join(ctx: &ProbeContext, programs: &ProgramArray) {
    let (tgid, tid) = task::current_ids();
    let Some(call) = record_call::find(tgid, tid) else {
        return;
    };
    // SAFETY: a live map value that only this thread touches.
    let call = unsafe { &mut *call };
    call.kept = registers::kept(ctx.regs);
    call.place = 0;
    call.peer = 0;
    search(call, registers::stack_pointer_at_entry(ctx.regs));
    if launder(&raw const call.peer) == 0 && launder(&raw const call.is_data) != 0 {
        count::add(Counter::RustlsUnjoined, 1);
    }
    if register(call, tgid) && launder(&raw const call.is_data) != 0 {
        // SAFETY: nothing here has to be dropped.
        unsafe { programs.tail_call(ctx, RUSTLS_SLICE) };
        count::add(Counter::RustlsFull, 1);
    }
}

/// Looks for the key behind every pointer that the caller kept, until one has the other direction's beside it.
#[inline(always)]
fn search(call: &mut RecordCall, stack_pointer: u64) {
    for candidate in 0..registers::KEPT + STACK_WORDS {
        let pointer = if candidate < registers::KEPT {
            launder(&raw const call.kept[candidate])
        } else {
            user_memory::read::<u64>(stack_pointer + 8 * (candidate - registers::KEPT) as u64).unwrap_or(0)
        };
        if pointer & 7 != 0 || pointer < LOWEST || pointer > HIGHEST {
            continue;
        }
        look(call, pointer);
        if launder(&raw const call.peer) != 0 {
            return;
        }
    }
}

/// Reads words into the thread's window. False: not all are readable.
#[inline(always)]
fn fill<const N: usize>(call: &mut RecordCall, from: u64) -> bool {
    // SAFETY: N words of the window, which has more; the helper checks the source.
    unsafe { bpf_probe_read_user((&raw mut call.window).cast(), (8 * N) as u32, from as *const _) == 0 }
}

#[inline(always)]
fn look(call: &mut RecordCall, pointer: u64) {
    if !fill::<WINDOW_WORDS>(call, pointer) {
        return;
    }
    call.hit = 0;
    let object = launder(&raw const call.object);
    for i in 0..WINDOW_WORDS - 1 {
        if launder(&raw const call.window[i]) == object {
            call.hit = i as u32 + 1;
        }
    }
    let hit = u64::from(launder(&raw const call.hit));
    if hit == 0 {
        return;
    }
    let place = pointer + 8 * (hit - 1);
    let Some(vtable) = user_memory::read::<u64>(place + 8) else {
        return;
    };
    // The very function that was entered is the table's method.
    if vtable & 7 != 0 || user_memory::read::<u64>(vtable + METHOD) != Some(launder(&raw const call.function)) {
        return;
    }
    call.place = place;
    call.vtable = vtable;
    call.object_size = user_memory::read::<u64>(vtable + 8).unwrap_or(0);
    neighbour(call, place);
}

/// A box beside this one whose method table is of the same program.
#[inline(always)]
fn neighbour(call: &mut RecordCall, place: u64) {
    if !fill::<NEIGHBOUR_WORDS>(call, place.wrapping_sub(8 * BEFORE as u64)) {
        return;
    }
    let (own, function) = (launder(&raw const call.vtable), launder(&raw const call.function));
    // The nearest first, behind and before.
    for turn in 0..2 * (BEFORE - BOX_WORDS + 1) {
        let apart = BOX_WORDS + turn / 2;
        let at = if turn & 1 == 0 { BEFORE + apart } else { BEFORE - apart };
        if at + 1 >= NEIGHBOUR_WORDS || launder(&raw const call.peer) != 0 {
            continue;
        }
        let (object, vtable) = (launder(&raw const call.window[at]), launder(&raw const call.window[at + 1]));
        if object < LOWEST || object > HIGHEST || object & 7 != 0 || vtable & 7 != 0 || vtable == own {
            continue;
        }
        if vtable.wrapping_sub(own).wrapping_add(NEAR) > 2 * NEAR {
            continue;
        }
        let Some([_, size, align, method]) = user_memory::read::<[u64; 4]>(vtable) else {
            continue;
        };
        let is_table = size != 0 && size <= LARGEST_OBJECT && align >= 8 && align <= 256 && method != function;
        if is_table && method.wrapping_sub(function).wrapping_add(NEAR) <= 2 * NEAR {
            call.peer = object;
            call.peer_size = size;
        }
    }
}

/// Enters the key, and the other direction's if it stands beside it. False: there is no room.
#[inline(always)]
fn register(call: &mut RecordCall, tgid: u32) -> bool {
    let direction = launder(&raw const call.direction) & 1;
    let key = RustlsKey { object: launder(&raw const call.object), tgid, direction };
    let peer = RustlsKey { object: launder(&raw const call.peer), tgid, direction: 1 - direction };
    let peer_fingerprint = if peer.object == 0 { None } else { rustls::fingerprint(peer.object, launder(&raw const call.peer_size)) };
    let is_refresh = launder(&raw const call.is_data) == 0;
    let mut session = if is_refresh { launder(&raw const call.session) } else { 0 };
    let mut is_peer_known = false;
    if let Some(state) = RUSTLS_KEYS.get_ptr_mut(&peer)
        && peer_fingerprint.is_some()
    {
        // SAFETY: a live map value.
        let state = unsafe { &mut *state };
        if Some(state.fingerprint) == peer_fingerprint {
            is_peer_known = true;
            if session == 0 {
                session = state.session;
            }
            if state.peer != key.object {
                // The key that this one replaces.
                let _ = RUSTLS_KEYS.remove(&RustlsKey { object: state.peer, tgid, direction });
                state.peer = key.object;
            }
        } else {
            let state = *state;
            rustls::release(&peer, &state);
        }
    }
    if session == 0 {
        session = new_session();
    }
    call.session = session;
    let (size, attachment) = (launder(&raw const call.object_size) as u32, launder(&raw const call.attachment));
    let object_size = if launder(&raw const call.place) == 0 { 0 } else { size };
    let mut state = RustlsKeyState {
        session,
        fingerprint: rustls::fingerprint(key.object, u64::from(object_size)).unwrap_or(0),
        next_sequence: launder(&raw const call.sequence).wrapping_add(1),
        peer: peer.object,
        attachment,
        object_size,
        reserved: 0,
    };
    if is_refresh && let Some(known) = RUSTLS_KEYS.get_ptr(&key) {
        // SAFETY: a live map value.
        let old = unsafe { (*known).peer };
        if peer.object != 0 && old != 0 && old != peer.object {
            // The other direction's key was replaced.
            let _ = RUSTLS_KEYS.remove(&RustlsKey { object: old, tgid, direction: 1 - direction });
        }
        if peer.object == 0 {
            state.peer = old;
        }
    }
    if RUSTLS_KEYS.insert(&key, &state, 0).is_err() {
        count::add(Counter::RustlsFull, 1);
        return false;
    }
    if let Some(fingerprint) = peer_fingerprint
        && !is_peer_known
    {
        state.fingerprint = fingerprint;
        state.next_sequence = UNSEEN;
        state.peer = key.object;
        state.object_size = launder(&raw const call.peer_size) as u32;
        if RUSTLS_KEYS.insert(&peer, &state, 0).is_err() {
            count::add(Counter::RustlsFull, 1);
        }
    }
    true
}

/// From the clock and the CPU: no two are alike.
#[inline(always)]
fn new_session() -> u64 {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    SESSION_BIT | (session::now() << 8) | u64::from(cpu & 0xff)
}
