//! The record of one model call: the vocabulary that the stages from `provider` to `export` share.
//!
//! Takes nothing, imports no stage. Names are those of the OpenTelemetry GenAI conventions. A field that
//! the provider did not send is `None`: absent is never zero.

mod completeness;
mod message;
mod record;
mod usage;

pub use completeness::{Completeness, LossCauses};
pub use message::{Message, Modality, Part, ToolDefinition};
pub use record::{
    CaptureFacts, CaptureLibrary, CaptureMethod, Content, Correlation, EstimationText, LlmCall, Operation, Outcome, OutputType,
    ProviderName, RequestFacts, ResponseFacts, Role, ServerAddress, TextSample, Timing, TraceParent,
};
pub use usage::{ModalityTokens, NanoUsd, Usage, UsageSource};
