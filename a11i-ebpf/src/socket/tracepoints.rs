//! The raw tracepoints `sock_send_length(sk, length, flags)` and `sock_recv_length` (6.3+): after a socket call, with what it transferred. Where
//! the bytes lie is told by the system call that the thread is in. No system call that is not about a socket comes by here.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use super::{
    call, life, sock, system_call,
    transfer::{self, Finished},
};
use crate::{
    filter,
    maps::{PROGRAMS_SOCKET_TRACE, SESSIONS, SOCKET_CALLS},
    session, task,
};

/// `MSG_OOB`, `MSG_PEEK`, `MSG_ERRQUEUE`: no bytes of the stream are taken.
const NOT_OF_THE_STREAM: u32 = 0x1 | 0x2 | 0x2000;

#[raw_tracepoint(tracepoint = "sock_send_length")]
#[inline(always)]
pub(crate) fn socket_sent(ctx: RawTracePointContext) {
    over(&ctx, 0);
}

#[raw_tracepoint(tracepoint = "sock_recv_length")]
#[inline(always)]
pub(crate) fn socket_received(ctx: RawTracePointContext) {
    if ctx.arg::<u32>(2) & NOT_OF_THE_STREAM == 0 {
        over(&ctx, 1);
    }
}

/// Reached by tail calls only.
#[raw_tracepoint]
pub(crate) fn socket_segment_traced(ctx: RawTracePointContext) {
    let (tgid, tid) = task::current_ids();
    if let Some(call) = SOCKET_CALLS.get_ptr_mut(&call::thread_key(tgid, tid)) {
        // SAFETY: a live map value that only this thread touches.
        transfer::segment(&ctx, &PROGRAMS_SOCKET_TRACE, unsafe { &mut *call }, tgid, tid);
    }
}

/// Reached by tail calls only.
#[raw_tracepoint]
pub(crate) fn socket_long_traced(ctx: RawTracePointContext) {
    let (tgid, tid) = task::current_ids();
    if let Some(call) = SOCKET_CALLS.get_ptr_mut(&call::thread_key(tgid, tid)) {
        // SAFETY: a live map value that only this thread touches.
        transfer::long(&ctx, &PROGRAMS_SOCKET_TRACE, unsafe { &mut *call }, tgid, tid);
    }
}

#[inline(always)]
fn over(ctx: &RawTracePointContext, direction: u8) {
    let (tgid, tid) = task::current_ids();
    if !filter::follows(tgid) {
        return;
    }
    let length = ctx.arg::<u32>(1) as i32;
    let is_refused = length == call::REFUSED && direction == 0;
    if length < 0 && !is_refused {
        return;
    }
    let sock = ctx.arg::<u64>(0);
    let Some(family) = sock::stream_family(sock) else {
        return;
    };
    if length == 0 {
        if direction == 1 && family == sock::UNIX {
            end_of_answers(tgid, sock);
        }
        return;
    }
    let place = system_call::place();
    let bytes = if is_refused { call::OFFERED } else { length as u64 };
    let done = Finished { tgid, tid, sock, family, direction, bytes, began: 0, is_refused };
    transfer::finish(ctx, &PROGRAMS_SOCKET_TRACE, &done, &place);
}

/// Nothing tells here when a Unix socket is closed. A client that has read to the end of its answers will get no more.
#[inline(always)]
fn end_of_answers(tgid: u32, sock: u64) {
    let key = session::key(tgid, sock::session_of(sock, sock::UNIX));
    let Some(session) = SESSIONS.get_ptr(&key) else {
        return;
    };
    // SAFETY: a live map value; a single byte.
    if unsafe { (*session).request_direction } == 0 {
        life::end(&key);
    }
}
