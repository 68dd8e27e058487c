//! `sched_process_exec`: the process has a new program.

use a11i_common::event::{Counter, ProcessRecord, RecordKind};
use aya_ebpf::{bindings::BPF_RB_FORCE_WAKEUP, macros::raw_tracepoint, programs::RawTracePointContext};

use crate::{
    count, filter,
    maps::{IN_FLIGHT, RING, RUSTLS_CALLS, SOCKET_CALLS},
    session, task,
};

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(crate) fn process_exec(ctx: RawTracePointContext) {
    let (tgid, tid) = task::current_ids();
    // The old program's calls will not return. A thread that was not the leader has the leader's id by now: args[1] is its old one.
    for thread in [tid, ctx.arg::<u32>(1)] {
        let thread = (u64::from(tgid) << 32) | u64::from(thread);
        let _ = IN_FLIGHT.remove(&thread);
        let _ = SOCKET_CALLS.remove(&thread);
        let _ = RUSTLS_CALLS.remove(&thread);
    }
    if !filter::follows(tgid) {
        return;
    }
    let Some(mut entry) = RING.reserve::<ProcessRecord>(0) else {
        count::add(Counter::ProcessRecordsLost, 1);
        return;
    };
    entry.write(ProcessRecord { header: session::header(RecordKind::Exec, task::current_process(tgid), tid, 0), other: 0, reserved: 0 });
    // At once: its libraries may need probes before its first call.
    entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
}
