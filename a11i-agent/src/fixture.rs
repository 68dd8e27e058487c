//! A call to start from in unit tests.

use std::sync::Arc;

use crate::call::{
    CaptureFacts, Completeness, Content, Correlation, EstimationText, LlmCall, Operation, Outcome, ProviderName, RequestFacts,
    ResponseFacts, Role, ServerAddress, Timing, Usage,
};

/// An answered chat call at a known host, of which nothing else is known.
pub(crate) fn call(provider: &'static str, model: &str) -> LlmCall {
    LlmCall {
        owner: Arc::default(),
        role: Role::Client,
        operation: Operation::Chat,
        provider: ProviderName::of(provider),
        peer: None,
        server: ServerAddress { known_host: true, ..ServerAddress::default() },
        request: RequestFacts { model: Some(model.to_owned()), ..RequestFacts::default() },
        response: ResponseFacts { status: Some(200), ..ResponseFacts::default() },
        usage: Usage::default(),
        outcome: Outcome::default(),
        timing: Timing::default(),
        content: Content::default(),
        estimation: EstimationText::default(),
        completeness: Completeness::default(),
        capture: CaptureFacts::default(),
        correlation: Correlation::default(),
    }
}
