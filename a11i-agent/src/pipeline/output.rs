//! What leaves the pipeline: finished calls, questions to others, and what the kernel half should know.

use std::sync::Arc;

use a11i_common::identity::{AttachmentId, ProcessId};

use crate::{
    call::{CaptureFacts, Completeness, LlmCall, McpSession},
    cost::PriceMiss,
    flow::FlowId,
    http::MalformedReason,
    owner::Owner,
    redaction::{RedactedCall, RedactedMcp},
    sampling::Instrumented,
    verdict::Verdict,
};

/// What leaves the pipeline.
pub enum Output {
    Leaving(Leaving),
    /// An MCP session is over. Nothing of it is content.
    McpSession(Box<McpSession>),
    Notice(Notice),
    /// Somebody should look at this process and tell [`super::Pipeline::handle_owner`].
    WhoIs(ProcessId),
    /// The flow is no longer followed: the kernel's entry can go, so that whatever comes next begins a new one.
    Forgotten(FlowId),
    /// What the flow's request is, for the kernel half: how much of it is copied. `request`: as its records number it.
    Verdict {
        flow: FlowId,
        request: u16,
        verdict: Verdict,
    },
    /// Plaintext of a TLS connection to an LLM host was seen, or it was said why it cannot be followed. Once per flow. `host`: its name, in
    /// lower case; None: of a call, and nobody knows to whom.
    PlaintextSeen {
        process: ProcessId,
        host: Option<String>,
    },
    /// What came through probes was read as HTTP, or as nothing that is known. Once per flow.
    Recognised {
        attachment: AttachmentId,
        is_http: bool,
    },
}

/// What is on its way to the exporters.
pub enum Leaving {
    Call(Box<FinishedCall>),
    /// A call without usage: count its tokens elsewhere, then [`super::Pipeline::finish`] it.
    Estimate(Box<LlmCall>),
    /// An MCP request with its answer, or a notification.
    Mcp(Box<RedactedMcp>),
}

impl Leaving {
    /// Where `touched` of how it was captured, something of it may be missing after all. Whether that is so.
    pub(super) fn mark(&mut self, missing: Completeness, touched: impl Fn(CaptureFacts) -> bool) -> bool {
        match self {
            Self::Call(finished) if touched(finished.call.call().capture) => finished.call.mark(missing),
            Self::Estimate(call) if touched(call.capture) => call.completeness = call.completeness.join(missing),
            Self::Mcp(message) if touched(message.message().capture) => message.mark(missing),
            Self::Call(_) | Self::Estimate(_) | Self::Mcp(_) => return false,
        }
        true
    }
}

/// A call at the end of its way, and what was missing to price it.
pub struct FinishedCall {
    pub call: RedactedCall,
    pub price_miss: Option<PriceMiss>,
    /// What is told of it, where its program reports it itself.
    pub reported: Instrumented,
}

/// Something about a connection that nobody would know otherwise.
#[derive(Clone, Debug)]
pub struct Notice {
    pub owner: Arc<Owner>,
    /// SNI, where one was seen.
    pub server_name: Option<String>,
    /// The server name is that of an LLM provider or a configured gateway.
    pub llm_host: bool,
    pub kind: NoticeKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NoticeKind {
    NotHttp,
    /// The connection changed to another protocol (WebSocket, CONNECT).
    Upgraded,
    Malformed(MalformedReason),
}
