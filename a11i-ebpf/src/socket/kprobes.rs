//! Kprobes on the functions behind stream sockets: `inet_sendmsg`, `inet6_sendmsg`, `unix_stream_sendmsg` (socket, message, size), their
//! receiving namesakes (socket, message, size, flags), and what moves pages instead of bytes of the process.

use a11i_common::event::Counter;
use aya_ebpf::{
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use super::{
    call::{self, Place, UNREADABLE},
    iterator, sock,
    transfer::{self, Finished},
};
use crate::{
    count, filter,
    maps::{PROGRAMS_SOCKET_PROBE, SOCKET_CALLS},
    registers, session, task,
};

/// `MSG_OOB`, `MSG_PEEK` and `MSG_ERRQUEUE`: no bytes of the stream are taken.
const NOT_OF_THE_STREAM: u64 = 0x1 | 0x2 | 0x2000;

#[kprobe]
pub(crate) fn socket_send(ctx: ProbeContext) {
    enter(&ctx, 0, Some(registers::argument::<1>(ctx.regs)));
}

#[kprobe]
pub(crate) fn socket_receive(ctx: ProbeContext) {
    if registers::argument::<3>(ctx.regs) & NOT_OF_THE_STREAM == 0 {
        enter(&ctx, 1, Some(registers::argument::<1>(ctx.regs)));
    }
}

/// `inet_sendpage(socket, …)` before 6.5.
#[kprobe]
pub(crate) fn socket_send_pages(ctx: ProbeContext) {
    enter(&ctx, 0, None);
}

/// `tcp_splice_read(socket, …)`.
#[kprobe]
pub(crate) fn socket_receive_pages(ctx: ProbeContext) {
    enter(&ctx, 1, None);
}

/// `tcp_cleanup_rbuf(sock, copied)`, with which every receiving of TCP ends, and some of its waits begin: with all that the call has got so far.
/// It stands for the return of `inet_recvmsg`. The kernel has but a few places for returns (as many as processors, or ten), and a thread that
/// waits for bytes would keep one.
#[kprobe]
#[inline(always)]
pub(crate) fn socket_received_tcp(ctx: ProbeContext) {
    let (tgid, tid) = task::current_ids();
    let Some(call) = SOCKET_CALLS.get_ptr_mut(&call::thread_key(tgid, tid)) else {
        return;
    };
    // SAFETY: a live map value that only this thread touches.
    let call = unsafe { &mut *call };
    let sock = registers::argument::<0>(ctx.regs);
    if call.live == 0 || call.direction != 1 || call.sock != sock {
        return;
    }
    let copied = registers::argument::<1>(ctx.regs) as i32;
    if copied <= 0 || copied as u64 <= call.told {
        return;
    }
    let mut place: Place = call.place;
    place.skip += call.told;
    let bytes = copied as u64 - call.told;
    call.told = copied as u64;
    let done = Finished { tgid, tid, sock, family: call.family, direction: 1, bytes, began: 0, is_refused: false };
    transfer::finish(&ctx, &PROGRAMS_SOCKET_PROBE, &done, &place);
}

/// Return of the others.
#[kretprobe]
#[inline(always)]
pub(crate) fn socket_leave(ctx: RetProbeContext) {
    let (tgid, tid) = task::current_ids();
    let Some(call) = SOCKET_CALLS.get_ptr_mut(&call::thread_key(tgid, tid)) else {
        return;
    };
    // SAFETY: a live map value that only this thread touches.
    let call = unsafe { &mut *call };
    if call.live == 0 {
        return;
    }
    call.live = 0;
    let result = ctx.ret::<u64>() as i32;
    let place: Place = call.place;
    let is_refused = result == call::REFUSED && call.direction == 0;
    if result <= 0 && !is_refused {
        return;
    }
    let bytes = if is_refused { call::OFFERED } else { result as u64 };
    let (sock, family, direction, began) = (call.sock, call.family, call.direction, call.entered);
    let done = Finished { tgid, tid, sock, family, direction, bytes, began, is_refused };
    transfer::finish(&ctx, &PROGRAMS_SOCKET_PROBE, &done, &place);
}

/// Reached by tail calls only.
#[kretprobe]
pub(crate) fn socket_segment(ctx: RetProbeContext) {
    let (tgid, tid) = task::current_ids();
    if let Some(call) = SOCKET_CALLS.get_ptr_mut(&call::thread_key(tgid, tid)) {
        // SAFETY: a live map value that only this thread touches.
        transfer::segment(&ctx, &PROGRAMS_SOCKET_PROBE, unsafe { &mut *call }, tgid, tid);
    }
}

/// Reached by tail calls only.
#[kretprobe]
pub(crate) fn socket_long(ctx: RetProbeContext) {
    let (tgid, tid) = task::current_ids();
    if let Some(call) = SOCKET_CALLS.get_ptr_mut(&call::thread_key(tgid, tid)) {
        // SAFETY: a live map value that only this thread touches.
        transfer::long(&ctx, &PROGRAMS_SOCKET_PROBE, unsafe { &mut *call }, tgid, tid);
    }
}

#[inline(always)]
fn enter(ctx: &ProbeContext, direction: u8, message: Option<u64>) {
    let (tgid, tid) = task::current_ids();
    if !filter::follows(tgid) {
        return;
    }
    let Some(sock) = sock::of_socket(registers::argument::<0>(ctx.regs)) else {
        return;
    };
    let Some(family) = sock::stream_family(sock) else {
        return;
    };
    let Some(call) = call::of_thread(tgid, tid) else {
        return;
    };
    // SAFETY: a live map value that only this thread touches.
    let call = unsafe { &mut *call };
    if call.live != 0 && call.direction == 0 {
        // Its return was missed: the kernel keeps a limited number of them.
        count::add(Counter::AbandonedFrames, 1);
    }
    call.told = 0;
    call.entered = if direction == 0 { session::now() } else { 0 };
    call.place = match message {
        Some(message) => iterator::place(message),
        None => UNREADABLE,
    };
    call.sock = sock;
    call.family = family;
    call.direction = direction;
    call.live = 1;
}
