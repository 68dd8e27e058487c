//! `sched_process_exit`: once per thread. The thread's in-flight frames go; with the last thread, the process.

use a11i_common::event::{Counter, ProcessRecord, RecordKind};
use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::{
    emit, filter,
    maps::{IN_FLIGHT, RUSTLS_CALLS, SOCKET_CALLS, WATCHED},
    session, settings, task,
};

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn process_exit(_ctx: RawTracePointContext) {
    let (tgid, tid) = task::current_ids();
    let thread = (u64::from(tgid) << 32) | u64::from(tid);
    let _ = IN_FLIGHT.remove(&thread);
    let _ = SOCKET_CALLS.remove(&thread);
    let _ = RUSTLS_CALLS.remove(&thread);
    if !is_last_thread(tgid, tid) {
        return;
    }
    if filter::follows(tgid) {
        let process = task::current_process(tgid);
        let record = ProcessRecord { header: session::header(RecordKind::Exit, process, tid, 0), other: 0, reserved: 0 };
        emit::fixed(&record, Counter::ProcessRecordsLost);
    }
    let _ = WATCHED.remove(&tgid);
}

/// `signal->live` is decremented before the tracepoint fires; without BTF the leader's end stands for the process's.
#[inline(always)]
fn is_last_thread(tgid: u32, tid: u32) -> bool {
    let live = task::read_member::<u64>(task::current_task(), settings::task_signal())
        .and_then(|signal| task::read_member::<i32>(signal, settings::signal_live()));
    match live {
        Some(live) => live <= 0,
        None => tgid == tid,
    }
}
