//! The end of sockets.

use a11i_common::{
    event::{Counter, RecordKind},
    session::SessionKey,
};
use aya_ebpf::{
    macros::{kprobe, raw_tracepoint},
    programs::{ProbeContext, RawTracePointContext},
};

use super::{binding, sock};
use crate::{
    emit, filter,
    maps::{DECISIONS, SESSIONS, SOCKETS},
    registers, session, settings, task,
};

/// `TCP_FIN_WAIT1`, `TCP_CLOSE`, `TCP_LAST_ACK` of the Linux ABI.
const FIN_WAIT1: u32 = 4;
const CLOSE: u32 = 7;
const LAST_ACK: u32 = 9;

/// `inet_sock_set_state(sk, old, new)`: in any context, so that the process is the one that was seen to use the socket.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn socket_state(ctx: RawTracePointContext) {
    let state = ctx.arg::<u32>(2);
    if state != FIN_WAIT1 && state != LAST_ACK && state != CLOSE {
        return;
    }
    let sock = ctx.arg::<u64>(0);
    if state == CLOSE {
        binding::closed(sock);
    }
    let Some(tgid) = SOCKETS.get_ptr(&sock) else {
        return;
    };
    // SAFETY: a live map value, one aligned word.
    let key = session::key(unsafe { *tgid }, sock);
    if state == CLOSE {
        end(&key);
        let _ = SOCKETS.remove(&sock);
    } else {
        tell(RecordKind::WriteShutdown, &key);
    }
}

/// `unix_release(socket)`: the last descriptor of a Unix socket is closed.
#[kprobe]
pub(crate) fn socket_release(ctx: ProbeContext) {
    let (tgid, _) = task::current_ids();
    if !filter::follows(tgid) {
        return;
    }
    if let Some(sock) = sock::of_socket(registers::argument::<0>(ctx.regs)) {
        end(&session::key(tgid, sock::session_of(sock, sock::UNIX)));
    }
}

/// Tells the end of the session and forgets it.
#[inline(always)]
pub(crate) fn end(key: &SessionKey) {
    tell(RecordKind::SessionEnd, key);
    let _ = SESSIONS.remove(key);
    let _ = DECISIONS.remove(key);
}

#[inline(always)]
fn tell(kind: RecordKind, key: &SessionKey) {
    let Some(session) = SESSIONS.get_ptr(key) else {
        return;
    };
    // SAFETY: a live map value.
    let session = unsafe { &*session };
    let record = session::record(kind, key, session, session.process.pid.0, u64::from(settings::socket_attachment()));
    emit::fixed(&record, Counter::SessionRecordsLost);
}
