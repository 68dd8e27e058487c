//! Every number a11i keeps about itself, once: meaning, unit, and the label that tells its series apart.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use a11i_common::event::Counter as KernelCounter;

use super::DropReason;
use crate::sampling::Instrumented;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// For numbers that another keeper (the kernel) sums up, and for levels.
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Shared by all stages in an `Arc`. Fields are the plain counters; [`Instruments::dropped`] and [`Instruments::set_kernel`] the labelled ones.
#[derive(Debug, Default)]
pub struct Instruments {
    /// Records read from the ring.
    pub records: Count,
    /// Plaintext bytes read from the ring.
    pub record_bytes: Count,
    /// Bytes of HTTP connections known to be missing.
    pub lost_bytes: Count,
    /// Gaps in HTTP connections whose size nobody knows.
    pub unknown_gaps: Count,
    /// Sessions that transferred bytes of which no record came.
    pub unseen_sessions: Count,
    /// Connections that turned out to be HTTP joined in its middle.
    pub late_attachments: Count,
    /// Calls that were open when a kernel program had missed a run.
    pub calls_marked: Count,
    /// Bytes that arrived and have no place in their connection.
    pub discarded_bytes: Count,
    /// Finished calls.
    pub calls: Count,
    /// Calls that were not seen whole.
    pub incomplete_calls: Count,
    /// Calls whose tokens were estimated.
    pub estimated_calls: Count,
    /// Calls that their programs report themselves and that left metrics only, or nothing.
    metrics_only: Count,
    suppressed: Count,
    /// MCP requests and notifications.
    pub mcp_messages: Count,
    /// Connections followed now.
    pub flows: Count,
    /// Attached probes now.
    pub probes: Count,
    /// 1 while copying is switched off.
    pub switched_off: Count,
    /// Attachments that failed.
    pub attach_failures: Count,
    /// Files that the bystander guard keeps from some processes now.
    pub guard_limited_files: Count,
    /// Times that the bystander guard limited a file.
    pub guard_limits: Count,
    /// Libraries in files, found without names, whose probes were taken away because no call fitted.
    pub disproven: Count,
    /// Times that TLS with an LLM host showed no plaintext.
    pub tls_without_plaintext: Count,
    /// Spans an endpoint took.
    pub spans_exported: Count,
    /// Calls that sampling left out of the traces.
    pub spans_sampled_out: Count,
    /// Export requests that were taken.
    pub export_requests_ok: Count,
    /// Export requests that failed and were tried again.
    pub export_requests_retried: Count,
    /// Export requests that failed for good.
    pub export_requests_failed: Count,
    /// Spans waiting now.
    pub queue_spans: Count,
    /// Bytes of spans waiting now.
    pub queue_bytes: Count,
    /// Series of metrics of observed processes now.
    pub metric_series: Count,
    kernel: [Count; KernelCounter::COUNT as usize],
    /// By program, in the order they were given first.
    missed_runs: OnceLock<Vec<(&'static str, Count)>>,
    drops: Drops,
}

/// One count per reason.
#[derive(Debug)]
struct Drops([Count; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default())) // the standard library stops at 32
    }
}

/// Causes of lost bytes that the kernel half counts, and its counters.
const LOST_BYTES: [(&str, KernelCounter); 5] = [
    ("ring_full", KernelCounter::RingFullBytes),
    ("user_fault", KernelCounter::UserFaultBytes),
    ("call_limit", KernelCounter::CallLimitBytes),
    ("undecided_budget", KernelCounter::UndecidedBudgetBytes),
    ("switched_off", KernelCounter::SwitchedOffBytes),
];

/// One number, with everything that an exporter needs to say about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observation {
    pub name: &'static str,
    pub description: &'static str,
    pub unit: &'static str,
    /// Grows only, or goes up and down.
    pub monotonic: bool,
    pub label: Option<(&'static str, &'static str)>,
    pub value: u64,
}

impl Instruments {
    pub fn dropped(&self, reason: DropReason, number: u64) {
        // The reasons are numbered from 0 in the order of `ALL`, which a test checks.
        if let Some(count) = self.drops.0.get(reason as usize) {
            count.add(number);
        }
    }

    /// A call that its program reports itself left less than a span.
    pub fn withheld(&self, setting: Instrumented) {
        match setting {
            Instrumented::Child => {}
            Instrumented::MetricsOnly => self.metrics_only.add(1),
            Instrumented::Suppress => self.suppressed.add(1),
        }
    }

    /// For drops that another keeper sums up.
    pub fn set_dropped(&self, reason: DropReason, total: u64) {
        if let Some(count) = self.drops.0.get(reason as usize) {
            count.set(total);
        }
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops.0.get(reason as usize).map(Count::value).unwrap_or_default()
    }

    /// The kernel's own sum of one of its counters.
    pub fn set_kernel(&self, counter: KernelCounter, number: u64) {
        if let Some(count) = self.kernel.get(counter as usize) {
            count.set(number);
        }
    }

    /// What the kernel says its programs missed, by program.
    pub fn set_missed_runs(&self, runs: &[(&'static str, u64)]) {
        let series = self.missed_runs.get_or_init(|| runs.iter().map(|(program, _)| (*program, Count::default())).collect());
        for (program, number) in runs {
            if let Some((_, count)) = series.iter().find(|(known, _)| known == program) {
                count.set(*number);
            }
        }
    }

    fn kernel_sum(&self, counters: &[KernelCounter]) -> u64 {
        let values = counters.iter().filter_map(|counter| self.kernel.get(*counter as usize)).map(Count::value);
        values.fold(0, u64::saturating_add)
    }

    /// Everything, series of one name next to each other.
    pub fn observe(&self) -> Vec<Observation> {
        let counter = |name, unit, description, count: &Count| Observation {
            name,
            description,
            unit,
            monotonic: true,
            label: None,
            value: count.value(),
        };
        let level = |name, unit, description, count: &Count| Observation { monotonic: false, ..counter(name, unit, description, count) };
        let result = |result: &'static str, count: &Count| Observation {
            label: Some(("result", result)),
            ..counter("a11i.export.requests", "{request}", "Export requests by result.", count)
        };
        let mut all = vec![
            counter("a11i.capture.records", "{record}", "Records read from the ring.", &self.records),
            counter("a11i.capture.bytes", "By", "Plaintext bytes read from the ring.", &self.record_bytes),
            counter("a11i.capture.lost_bytes", "By", "Bytes of HTTP connections known to be missing.", &self.lost_bytes),
            counter("a11i.capture.unknown_gaps", "{gap}", "Gaps whose size nobody knows.", &self.unknown_gaps),
            counter("a11i.capture.discarded_bytes", "By", "Duplicates, and bytes after their gap or the end.", &self.discarded_bytes),
            counter("a11i.calls", "{call}", "Finished calls.", &self.calls),
            counter("a11i.calls.incomplete", "{call}", "Calls that were not seen whole.", &self.incomplete_calls),
            counter("a11i.calls.marked", "{call}", "Calls that were open when a kernel program had missed a run.", &self.calls_marked),
            counter("a11i.calls.estimated", "{call}", "Calls whose tokens were estimated.", &self.estimated_calls),
            counter("a11i.mcp.messages", "{message}", "MCP requests, with or without their answer, and notifications.", &self.mcp_messages),
            level("a11i.flows.active", "{flow}", "Connections followed now.", &self.flows),
            level("a11i.attach.probes", "{probe}", "Attached probes.", &self.probes),
            level("a11i.capture.switched_off", "1", "1 while copying is switched off.", &self.switched_off),
            counter("a11i.attach.failures", "{attachment}", "Attachments that failed.", &self.attach_failures),
            level("a11i.guard.limited_files", "{file}", "Files that busy bystanders are kept from.", &self.guard_limited_files),
            counter(
                "a11i.coverage.tls_without_plaintext",
                "{process}",
                "Times that a process began TLS with an LLM host and no plaintext of it was seen.",
                &self.tls_without_plaintext,
            ),
            counter(
                "a11i.probation.disproven",
                "{plan}",
                "Functions found without names whose calls were none of theirs.",
                &self.disproven,
            ),
            counter("a11i.guard.limits", "{limit}", "Times that a file was kept from busy bystanders.", &self.guard_limits),
            counter("a11i.export.spans", "{span}", "Spans an endpoint took.", &self.spans_exported),
            counter("a11i.export.sampled_out", "{span}", "Calls that sampling left out of the traces.", &self.spans_sampled_out),
            result("ok", &self.export_requests_ok),
            result("retried", &self.export_requests_retried),
            result("failed", &self.export_requests_failed),
            level("a11i.export.queue.spans", "{span}", "Spans waiting.", &self.queue_spans),
            level("a11i.export.queue.bytes", "By", "Bytes of spans waiting.", &self.queue_bytes),
            level("a11i.export.metric_series", "{series}", "Series of observed processes.", &self.metric_series),
        ];
        for (setting, count) in [(Instrumented::MetricsOnly, &self.metrics_only), (Instrumented::Suppress, &self.suppressed)] {
            all.push(Observation {
                label: Some(("instrumented", setting.as_str())),
                ..counter("a11i.calls.withheld", "{call}", "Calls whose programs report them, without a span or at all.", count)
            });
        }
        for (cause, counter) in LOST_BYTES {
            all.push(Observation {
                name: "a11i.capture.lost",
                description: "Plaintext bytes that the kernel programs saw and could not or should not copy, by cause.",
                unit: "By",
                monotonic: true,
                label: Some(("cause", cause)),
                value: self.kernel_sum(&[counter]),
            });
        }
        for (cause, value) in [
            ("table_full", self.kernel_sum(&[KernelCounter::InFlightFull, KernelCounter::SessionsFull])),
            ("count_unreadable", self.kernel_sum(&[KernelCounter::CountUnreadable])),
            ("end_lost", self.kernel_sum(&[KernelCounter::SessionRecordsLost])),
            ("session_unseen", self.unseen_sessions.value()),
            ("late_attachment", self.late_attachments.value()),
            ("program_missed", self.missed_runs.get().into_iter().flatten().map(|(_, count)| count.value()).sum()),
        ] {
            all.push(Observation {
                name: "a11i.capture.losses",
                description: "Losses whose bytes nobody could count, by cause.",
                unit: "{loss}",
                monotonic: true,
                label: Some(("cause", cause)),
                value,
            });
        }
        for (program, count) in self.missed_runs.get().into_iter().flatten() {
            all.push(Observation {
                name: "a11i.capture.missed_runs",
                description: "Runs that a kernel program missed, since it would have recursed.",
                unit: "{run}",
                monotonic: true,
                label: Some(("program", program)),
                value: count.value(),
            });
        }
        for (counter, name) in KernelCounter::ALL {
            if let Some(count) = self.kernel.get(counter as usize) {
                all.push(Observation {
                    name: "a11i.capture.kernel",
                    description: "What the kernel programs counted.",
                    unit: "1",
                    monotonic: true,
                    label: Some(("counter", name)),
                    value: count.value(),
                });
            }
        }
        for (reason, name) in DropReason::ALL {
            all.push(Observation {
                name: "a11i.dropped",
                description: "What was seen and did not come out, by reason.",
                unit: "1",
                monotonic: true,
                label: Some(("reason", name)),
                value: self.drops(reason),
            });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_series() {
        for (index, (reason, _)) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            let instruments = Instruments::default();
            instruments.dropped(*reason, 3);
            let total: u64 = instruments.observe().iter().filter(|o| o.name == "a11i.dropped").map(|o| o.value).sum();
            assert_eq!((instruments.drops(*reason), total), (3, 3));
        }
    }

    #[test]
    fn losses_are_told_by_cause() {
        let instruments = Instruments::default();
        instruments.set_kernel(KernelCounter::UndecidedBudgetBytes, 7);
        instruments.set_kernel(KernelCounter::SessionsFull, 2);
        instruments.set_missed_runs(&[("a", 1), ("b", 3)]);
        instruments.set_missed_runs(&[("a", 1), ("b", 4)]);
        instruments.late_attachments.set(9);
        let all = instruments.observe();
        let value = |name: &str, label: &str| {
            all.iter().find(|o| o.name == name && o.label.is_some_and(|(_, value)| value == label)).map(|o| o.value)
        };
        assert_eq!((value("a11i.capture.lost", "undecided_budget"), value("a11i.capture.lost", "ring_full")), (Some(7), Some(0)));
        assert_eq!(value("a11i.capture.missed_runs", "b"), Some(4));
        for (cause, want) in [("table_full", 2), ("program_missed", 5), ("late_attachment", 9)] {
            assert_eq!(value("a11i.capture.losses", cause), Some(want), "{cause}");
        }
    }

    #[test]
    fn no_series_is_listed_twice() {
        let all = Instruments::default().observe();
        let mut keys: Vec<_> = all.iter().map(|o| (o.name, o.label)).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all.len());
    }
}
