//! `sched_process_exec`: the process has a new program.

use a11i_common::event::{Counter, ProcessRecord, RecordKind};
use aya_ebpf::{bindings::BPF_RB_FORCE_WAKEUP, macros::raw_tracepoint, programs::RawTracePointContext};

use crate::{count, filter, maps::RING, session, task};

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(crate) fn process_exec(_ctx: RawTracePointContext) {
    let (tgid, tid) = task::current_ids();
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
