//! Every number a11i keeps about itself, once: meaning, unit, and the label that tells its series apart.

use std::sync::atomic::{AtomicU64, Ordering};

use a11i_common::event::Counter as KernelCounter;

use super::DropReason;

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
    /// Bytes that arrived and have no place in their connection.
    pub discarded_bytes: Count,
    /// Finished calls.
    pub calls: Count,
    /// Calls that were not seen whole.
    pub incomplete_calls: Count,
    /// Calls whose tokens were estimated.
    pub estimated_calls: Count,
    /// Connections followed now.
    pub flows: Count,
    /// Attached probes now.
    pub probes: Count,
    /// Attachments that failed.
    pub attach_failures: Count,
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
            counter("a11i.calls.estimated", "{call}", "Calls whose tokens were estimated.", &self.estimated_calls),
            level("a11i.flows.active", "{flow}", "Connections followed now.", &self.flows),
            level("a11i.attach.probes", "{probe}", "Attached probes.", &self.probes),
            counter("a11i.attach.failures", "{attachment}", "Attachments that failed.", &self.attach_failures),
            counter("a11i.export.spans", "{span}", "Spans an endpoint took.", &self.spans_exported),
            counter("a11i.export.sampled_out", "{span}", "Calls that sampling left out of the traces.", &self.spans_sampled_out),
            result("ok", &self.export_requests_ok),
            result("retried", &self.export_requests_retried),
            result("failed", &self.export_requests_failed),
            level("a11i.export.queue.spans", "{span}", "Spans waiting.", &self.queue_spans),
            level("a11i.export.queue.bytes", "By", "Bytes of spans waiting.", &self.queue_bytes),
            level("a11i.export.metric_series", "{series}", "Series of observed processes.", &self.metric_series),
        ];
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
    fn no_series_is_listed_twice() {
        let all = Instruments::default().observe();
        let mut keys: Vec<_> = all.iter().map(|o| (o.name, o.label)).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all.len());
    }
}
