//! The record of one model call: the vocabulary that the stages from `provider` to `export` share.
//!
//! Takes nothing, imports no stage. Names are those of the OpenTelemetry GenAI conventions. A field that
//! the provider did not send is `None`: absent is never zero.

mod attachment;
mod builder;
mod choice;
mod completeness;
mod content_gaps;
mod deferred;
mod mcp;
mod message;
mod record;
mod usage;

pub use builder::{CallBuilder, CallFrame, ERROR_MESSAGE_CAP, Ending, INPUT_CONTENT_CAP, MAX_CHOICES, MAX_MESSAGES, OUTPUT_CONTENT_CAP};
pub use choice::{PartKind, PartSlot};
pub use completeness::{Completeness, LossCauses};
pub use content_gaps::{ContentGaps, STALL_NANOS};
pub use deferred::DeferredAnswers;
pub use mcp::{McpMessage, McpSession};
pub use message::{Message, Modality, Part, ToolDefinition};
pub use record::{
    CaptureFacts, CaptureLibrary, CaptureMethod, Content, Correlation, EstimationText, LlmCall, Operation, Outcome, OutputType,
    ProviderName, RateLimit, RequestFacts, ResponseFacts, Role, ServerAddress, SocketPeer, SpanIdentity, TextSample, Timing, TraceParent,
};
pub use usage::{CacheApartUsage, ModalityTokens, NanoUsd, Usage, UsageSource};
