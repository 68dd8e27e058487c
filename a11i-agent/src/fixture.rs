//! A call, and the head of a request, to start from in unit tests.

use std::sync::Arc;

use a11i_common::identity::BootTime;

use crate::{
    call::{
        CaptureFacts, Completeness, Content, Correlation, EstimationText, LlmCall, Operation, Outcome, ProviderName, RequestFacts,
        ResponseFacts, Role, ServerAddress, Timing, Usage,
    },
    http::{HeaderValue, Headers, HttpVersion, RequestHead},
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

/// A client's request without any field but the host.
pub(crate) fn request_head(method: &str, host: &str, path: &str) -> RequestHead {
    request(method, host, path, &[])
}

/// A client's request.
pub(crate) fn request(method: &str, host: &str, path: &str, header: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        role: Role::Client,
        version: HttpVersion::Http11,
        method: method.to_owned(),
        path: path.to_owned(),
        query: None,
        host: Some(host.to_owned()),
        port: None,
        headers: fields(header),
        first_byte: BootTime(0),
    }
}

pub(crate) fn fields(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in fields {
        headers.push((*name).to_owned(), HeaderValue::Text((*value).to_owned()));
    }
    headers
}
