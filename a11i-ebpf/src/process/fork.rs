//! `sched_process_fork(parent, child)`: a new process, or only a thread, which is ignored.

use a11i_common::event::{Counter, ProcessRecord, RecordKind};
use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::{count, emit, maps::WATCHED, session, settings, task};

#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn process_fork(ctx: RawTracePointContext) {
    let child = ctx.arg::<u64>(1);
    let Some(tgid) = task::read_member::<u32>(child, settings::task_tgid()) else {
        return;
    };
    if task::read_member::<u32>(child, settings::task_pid()) != Some(tgid) {
        return;
    }
    let (parent, tid) = task::current_ids();
    if settings::only_watched() != 0 {
        if WATCHED.get_ptr(&parent).is_none() {
            return;
        }
        if WATCHED.insert(&tgid, &1, 0).is_err() {
            count::add(Counter::ProcessesFull, 1);
        }
    }
    let record =
        ProcessRecord { header: session::header(RecordKind::Fork, task::process_of(child, tgid), tid, 0), other: parent, reserved: 0 };
    emit::fixed(&record, Counter::ProcessRecordsLost);
}
