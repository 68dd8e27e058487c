//! What the coverage thread tells: attached, detached, limited, not covered, looked at. It goes to the log, the instruments and the watcher.

use std::collections::HashSet;

use a11i_common::identity::ProcessId;

use super::{
    super::coverage::{DetachReason, Note},
    Observer,
};
use crate::{
    call::{CaptureLibrary, LossCauses},
    clock::Clock,
    discovery::scanner::ScanRequest,
    telemetry::DropReason,
};

impl Observer {
    /// Processes without probes: what they do from now on is not seen, and what they do when they have probes again has nothing to do with
    /// what was before, although it may happen at the same addresses.
    fn end_uncovered(&mut self, processes: &HashSet<ProcessId>) {
        // What was seen until then is written already.
        self.drain_all(self.ring_records());
        let mut outputs = Vec::new();
        self.pipeline.interrupt_processes(processes, LossCauses::END_UNSEEN, Clock::boot_now(), &mut |output| outputs.push(output));
        self.take_outputs(outputs);
        let sessions = self.tables.remove_sessions_of(processes);
        tracing::debug!(processes = processes.len(), sessions, "forgot sessions of processes without probes");
    }

    pub(super) fn handle_note(&mut self, note: Note) {
        match note {
            Note::Attached { path, library, probes, files } => {
                tracing::info!(path, library = library.map(CaptureLibrary::as_str), probes, files, "attached");
                self.probes = self.probes.saturating_add(probes as u64);
                self.instruments.probes.set(self.probes);
            }
            Note::AttachedMore { path, probes } => {
                tracing::info!(path, probes, "attached more of a file");
                self.probes = self.probes.saturating_add(probes as u64);
                self.instruments.probes.set(self.probes);
            }
            Note::AttachFailed { path, error } => {
                tracing::warn!(path, %error, remedy = error.remedy(), "not attached: calls through this file are not seen");
                self.instruments.attach_failures.add(1);
            }
            Note::PlanRefused { path, library, method, error } => {
                let (library, method) = (library.as_str(), method.as_str());
                tracing::warn!(path, library, method, %error, remedy = error.remedy(), "not attached, unlike the rest of this file");
                self.instruments.attach_failures.add(1);
            }
            Note::Detached { path, why, probes, files } => {
                match why {
                    DetachReason::Unused => tracing::info!(path, files, "detached a file that nobody uses any more"),
                    DetachReason::SameInode => tracing::info!(path, files, "detached a second name of a file that keeps its probes"),
                    DetachReason::Nobody => tracing::info!(path, files, "detached"),
                    DetachReason::Changed => {
                        tracing::warn!(
                            path,
                            files,
                            "detached a file that was rewritten in place: its probes sat at offsets of code that is gone"
                        );
                    }
                }
                self.probes = self.probes.saturating_sub(probes as u64);
                self.instruments.probes.set(self.probes);
            }
            Note::Disproven { path, library, method, probes } => {
                let (library, method) = (library.as_str(), method.as_str());
                tracing::warn!(path, library, method, "detached functions that are not what they were taken for: no call of them fits");
                self.probes = self.probes.saturating_sub(probes as u64);
                self.instruments.probes.set(self.probes);
                self.instruments.disproven.add(1);
            }
            Note::HalfUnderstood { path, library, method, state } => {
                let (library, method, state) = (library.as_str(), method.as_str(), state.as_str());
                tracing::warn!(path, library, method, state, "functions of one direction are not what they were taken for");
            }
            Note::ProbationFull { attachments } => {
                tracing::warn!(attachments, "too many programs are on probation: what calls say of these is not looked at");
                self.instruments.dropped(DropReason::ProbationFull, attachments);
            }
            Note::LayoutFound { path, layout } => {
                tracing::info!(path, ?layout, "found the layout of a program's TLS records in live ones: from now on they are understood");
            }
            Note::Limited { path, hits_per_second, excluded, limited_files } => {
                tracing::warn!(path, hits_per_second, excluded, "bystander guard: busy processes without LLM traffic lose their probes");
                self.instruments.guard_limits.add(1);
                self.instruments.guard_limited_files.set(limited_files as u64);
            }
            Note::Released { path, limited_files } => {
                tracing::info!(path, "bystander guard: attached for everyone again");
                self.instruments.guard_limited_files.set(limited_files as u64);
            }
            Note::NotCovered { process, report } => {
                tracing::debug!(pid = process.pid.0, reason = report.reason, "not covered");
            }
            Note::Uncovered(processes) => self.end_uncovered(&processes),
            Note::Returning { processes, done } => {
                self.end_uncovered(&processes);
                // It may have waited long enough.
                done.try_send(()).ok();
            }
            Note::Done(request, statistics) => {
                self.stall.handle_answer();
                self.instruments.set_dropped(DropReason::FilePostponed, statistics.files_postponed);
                self.instruments.set_dropped(DropReason::FileUnanswered, statistics.unanswered);
                if request == ScanRequest::Host {
                    self.host_scans = self.host_scans.saturating_add(1);
                    self.watcher.handle_host_scanned(Clock::boot_now());
                }
            }
        }
    }
}
