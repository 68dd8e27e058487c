//! The end: what is left is read, every open call ends, and all of it goes out within a stated time.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{super::outlet::Summary, Observer, RECORDS_PER_TURN};
use crate::{clock::Clock, pipeline::Pipeline, telemetry::DropReason};

/// Ends of the steps of a shutdown, in eighths of its time: reading what is left and finding owners, counting tokens, exporting. What
/// then remains is the printer's.
const DRAIN_EIGHTHS: u32 = 2;
const ESTIMATE_EIGHTHS: u32 = 4;
const EXPORT_EIGHTHS: u32 = 7;

impl Observer {
    /// Reads what is left, ends every call that is open, flushes. Everything together takes no longer than `within`; what would take
    /// longer is given up and counted.
    pub async fn finish(mut self, within: Duration) -> Summary {
        let begin = Instant::now();
        let until = |eighths: u32| begin.checked_add(within / 8 * eighths).unwrap_or(begin);
        // What is written while we read is not waited for.
        let mut left = self.ring_records();
        while self.drain() == RECORDS_PER_TURN && left > 0 && Instant::now() < until(DRAIN_EIGHTHS) {
            left = left.saturating_sub(RECORDS_PER_TURN);
        }
        let mut outputs = Vec::new();
        self.pipeline.shutdown(Clock::boot_now(), &mut |output| outputs.push(output));
        self.take_outputs(outputs);
        while self.pipeline.waiting_calls() > 0
            && let Ok(Some(answer)) = timeout_at(until(DRAIN_EIGHTHS), self.answers.recv()).await
        {
            self.handle_answer(answer);
        }
        let mut outputs = Vec::new();
        self.pipeline.release_calls(&mut |output| outputs.push(output));
        self.take_outputs(outputs);
        self.let_calls_leave();
        self.finish_estimates(until(ESTIMATE_EIGHTHS)).await;
        self.read_counters();
        if let Some(exporter) = self.out.exporter.take() {
            let left = until(EXPORT_EIGHTHS).saturating_duration_since(Instant::now());
            self.out.summary.export = Some(exporter.shutdown(left).await);
        }
        if let Some(printer) = self.out.printer.take() {
            printer.finish(until(8).saturating_duration_since(Instant::now()));
        }
        self.out.summary
    }

    /// Calls that are not counted by then go on without an estimate.
    async fn finish_estimates(&mut self, until: Instant) {
        while !self.estimator.is_idle()
            && let Ok(finished) = timeout_at(until, self.estimator.finished()).await
        {
            self.out.take(&finished, &self.clock, &self.instruments);
        }
        let late = self.estimator.take_back();
        self.instruments.dropped(DropReason::EstimateShutdown, late.len() as u64);
        for call in late {
            let finished = Pipeline::finish(self.pipeline.settings(), *call, None);
            self.out.take(&finished, &self.clock, &self.instruments);
        }
    }
}
