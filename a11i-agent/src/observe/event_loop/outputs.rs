//! What the pipeline gives: calls to the outlet, questions to the threads that answer them, verdicts to the kernel half, notices to the log.

use super::{
    super::resolver::{Answer, Question},
    Observer,
};
use crate::{
    capture::control::Decided,
    clock::Clock,
    pipeline::{Leaving, Notice, NoticeKind, Output, Pipeline},
    telemetry::DropReason,
    verdict::Verdict,
};

/// Finished calls that wait for the next reading of missed runs. More of them bring it forward.
const CALLS_LEAVING: usize = 1024;

impl Observer {
    pub(in crate::observe) fn take_outputs(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            self.take_output(output);
        }
        if !self.leaving.is_empty() && (self.leaving.len() >= CALLS_LEAVING || self.next_leaving <= Clock::boot_now()) {
            self.let_calls_leave();
        }
    }

    fn take_output(&mut self, output: Output) {
        match output {
            Output::Leaving(leaving) => self.leaving.push(leaving),
            Output::McpSession(session) => self.out.take_mcp_session(&session),
            Output::Notice(notice) => self.take_notice(&notice),
            Output::Recognised { attachment, is_http } => self.recognised.handle(attachment, is_http),
            Output::PlaintextSeen { process, host } => self.unseen.handle_seen(process, host.as_deref()),
            Output::WhoIs(process) => {
                if !self.resolver.ask(Question::WhoIs(process)) {
                    self.instruments.dropped(DropReason::OwnerQuestion, 1);
                    self.handle_answer(Answer::Owner(process, None));
                }
            }
            Output::Forgotten(flow) => self.tables.forget_session(flow.process, flow.session),
            Output::Verdict { flow, request, verdict } => {
                match verdict {
                    Verdict::Llm | Verdict::LlmHost => self.talkers.handle_talk(flow.process),
                    Verdict::NotLlm | Verdict::Ignore | Verdict::Glance => {}
                }
                match self.tables.decide(flow.process, flow.session, request, verdict.code()) {
                    // Of what is over, nothing more is copied.
                    Decided::Told | Decided::Over => {}
                    Decided::Full => {
                        self.instruments.dropped(DropReason::VerdictTableFull, 1);
                        self.pipeline.verdict_undelivered(&flow, request, verdict);
                    }
                }
            }
        }
    }

    /// A finished call goes on its way.
    pub(super) fn let_leave(&mut self, leaving: Leaving) {
        match leaving {
            Leaving::Call(finished) => self.out.take(&finished, &self.clock, &self.instruments),
            Leaving::Mcp(message) => self.out.take_mcp(&message, &self.clock, &self.instruments),
            Leaving::Estimate(call) => {
                let settings = self.pipeline.settings();
                if let Err(call) = self.estimator.offer(call, settings) {
                    self.instruments.dropped(DropReason::EstimateQueueFull, 1);
                    let finished = Pipeline::finish(settings, *call, None);
                    self.out.take(&finished, &self.clock, &self.instruments);
                }
            }
        }
    }

    fn take_notice(&self, notice: &Notice) {
        let reason = match notice.kind {
            NoticeKind::NotHttp | NoticeKind::Upgraded => DropReason::NotHttp,
            NoticeKind::Malformed(_) => DropReason::HttpMalformed,
        };
        self.instruments.dropped(reason, 1);
        let (pid, process) = (notice.owner.process.pid.0, notice.owner.executable_name.as_deref().unwrap_or("unknown"));
        let server_name = notice.server_name.as_deref().unwrap_or("unknown");
        if notice.llm_host {
            tracing::warn!(pid, process, server_name, kind = ?notice.kind, "connection to an LLM host cannot be followed");
        } else {
            tracing::debug!(pid, process, server_name, kind = ?notice.kind, "connection not followed");
        }
    }
}
