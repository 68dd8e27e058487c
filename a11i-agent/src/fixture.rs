//! A call, and the head of a request, to start from in unit tests.

use std::sync::Arc;

use a11i_common::identity::BootTime;

use crate::{
    call::{
        CaptureFacts, Completeness, Content, Correlation, EstimationText, LlmCall, Operation, Outcome, ProviderName, RequestFacts,
        ResponseFacts, Role, ServerAddress, Timing, Usage,
    },
    http::{Headers, HttpVersion, RequestHead},
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

/// Without any field but the host.
pub(crate) fn request_head(method: &str, host: &str, path: &str) -> RequestHead {
    RequestHead {
        role: Role::Client,
        version: HttpVersion::Http11,
        method: method.to_owned(),
        path: path.to_owned(),
        query: None,
        host: Some(host.to_owned()),
        port: None,
        headers: Headers::default(),
        first_byte: BootTime(0),
    }
}
