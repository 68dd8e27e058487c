//! Where finished calls go: the summary, standard output, the exporter.

use super::{printer::Printer, tally::ProcessTally};
use crate::{
    call::McpSession,
    clock::Clock,
    config::Output as OutputFormat,
    export::{
        ExporterHandle, ShutdownReport,
        json::json_line,
        pretty::{PrettyStyle, pretty_line, pretty_mcp},
        resource::ResourceBuilder,
        span::{SpanIds, SpanRecord},
    },
    pipeline::FinishedCall,
    redaction::{RedactedCall, RedactedMcp},
    sampling::Instrumented,
    telemetry::{DropReason, Instruments},
};

/// Totals of a run, for the summary of `exec`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub calls: u64,
    pub errors: u64,
    pub incomplete: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_nano_usd: i64,
    /// Calls without a cost.
    pub unpriced: u64,
    pub export: Option<ShutdownReport>,
}

/// Where calls go.
pub(super) struct Outlet {
    pub(super) format: OutputFormat,
    pub(super) style: PrettyStyle,
    pub(super) printer: Option<Printer>,
    pub(super) exporter: Option<ExporterHandle>,
    pub(super) resources: ResourceBuilder,
    pub(super) summary: Summary,
    pub(super) tally: ProcessTally,
}

impl Outlet {
    pub(super) fn take(&mut self, finished: &FinishedCall, clock: &Clock, instruments: &Instruments) {
        let redacted = &finished.call;
        let call = redacted.call();
        instruments.calls.add(1);
        if !call.completeness.is_whole() {
            instruments.incomplete_calls.add(1);
            self.summary.incomplete = self.summary.incomplete.saturating_add(1);
        }
        if call.usage.is_estimated() {
            instruments.estimated_calls.add(1);
        }
        if let Some(miss) = &finished.price_miss {
            instruments.dropped(DropReason::PriceMiss, 1);
            tracing::debug!(
                provider = miss.provider.as_str(),
                model = miss.model.as_deref().unwrap_or("none"),
                reason = miss.reason.as_str(),
                "no price"
            );
        }
        let reported = finished.reported;
        if reported != Instrumented::Child {
            instruments.withheld(reported);
        }
        if reported != Instrumented::Suppress {
            self.summary.add(finished);
        }
        self.tally.add(call.owner.process, call.capture, call.completeness);
        match (reported, &self.exporter) {
            (Instrumented::Child, _) => self.tell(redacted, clock, instruments),
            (Instrumented::MetricsOnly, Some(exporter)) => exporter.offer_metrics(redacted),
            (Instrumented::MetricsOnly | Instrumented::Suppress, _) => {}
        }
    }

    /// A span, in whatever form.
    fn tell(&self, redacted: &RedactedCall, clock: &Clock, instruments: &Instruments) {
        let ids = SpanIds::of(redacted.call());
        let line = match self.format {
            OutputFormat::Json => Some(json_line(&SpanRecord::new(redacted, ids, clock.offset(), &self.resources), None)),
            OutputFormat::Pretty => Some(pretty_line(redacted, clock.offset(), self.style)),
            OutputFormat::Auto | OutputFormat::None => None,
        };
        self.print(line, instruments);
        if let Some(exporter) = &self.exporter {
            exporter.offer(redacted, ids);
        }
    }
}

impl Outlet {
    pub(super) fn take_mcp(&self, redacted: &RedactedMcp, clock: &Clock, instruments: &Instruments) {
        instruments.mcp_messages.add(1);
        let ids = SpanIds::below(redacted.message().correlation.parent);
        let line = match self.format {
            OutputFormat::Json => Some(json_line(&SpanRecord::of_mcp(redacted, ids, clock.offset(), &self.resources), None)),
            OutputFormat::Pretty => Some(pretty_mcp(redacted, clock.offset(), self.style)),
            OutputFormat::Auto | OutputFormat::None => None,
        };
        self.print(line, instruments);
        if let Some(exporter) = &self.exporter {
            exporter.offer_mcp(redacted, ids);
        }
    }

    pub(super) fn take_mcp_session(&self, session: &McpSession) {
        if let Some(exporter) = &self.exporter {
            exporter.offer_mcp_session(session);
        }
    }

    fn print(&self, line: Option<String>, instruments: &Instruments) {
        if let (Some(line), Some(printer)) = (line, &self.printer)
            && !printer.print(line)
        {
            instruments.dropped(DropReason::PrinterBehind, 1);
        }
    }
}

impl Summary {
    fn add(&mut self, finished: &FinishedCall) {
        let call = finished.call.call();
        self.calls = self.calls.saturating_add(1);
        self.errors = self.errors.saturating_add(u64::from(call.outcome.error_type.is_some()));
        self.input_tokens = self.input_tokens.saturating_add(call.usage.input_tokens.unwrap_or(0));
        self.output_tokens = self.output_tokens.saturating_add(call.usage.output_tokens.unwrap_or(0));
        match finished.call.cost() {
            Some(cost) => self.cost_nano_usd = self.cost_nano_usd.saturating_add(cost.total.0),
            None => self.unpriced = self.unpriced.saturating_add(1),
        }
    }
}
