//! HTTP messages → calls.
//!
//! Takes [`crate::http::HttpEvent`]s of one connection. Gives [`crate::call::LlmCall`]s. Refuses what no dialect claims.
//! One provider's format is one file and one line in the list below.

#![warn(clippy::arithmetic_side_effects)]

mod answer;
mod body;
mod error_body;
mod exchange;
mod hosts;
mod lenient;
mod own_telemetry;
mod partial_json;
mod presumption;
mod route;
mod trace_context;

mod anthropic;
mod mcp;
mod openai_chat;
mod openai_completions;
mod openai_embeddings;
mod openai_responses;

pub use answer::Framing;
pub use body::{BODY_CAP, TAIL_CAP};
pub use exchange::{ConnectionContext, ConnectionSocket, ExchangeCounters, ExchangeLimits, Exchanges, MAX_EXCHANGES, OpenCall};
pub use lenient::Unreadable;
pub use mcp::{McpExchanges, McpSink, McpTold, PendingRequests};
pub use own_telemetry::{ExportTold, OwnTelemetry, TelemetryExports};
pub use route::{Route, RouteSettings, Routes, UnknownDialect};

use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::{RequestHead, ResponseHead},
};

/// One provider's wire format. Pure: bytes in, the call grows. The format is told apart from the provider: many
/// services speak OpenAI's.
pub trait Dialect: Sync {
    /// Who is taken for the provider where the host does not tell.
    fn name(&self) -> ProviderName;

    /// What it is called for at a path that configuration names.
    fn usual_operation(&self) -> Operation {
        Operation::Chat
    }

    /// Ends of the paths that are `POST`ed to. What a path that ends so has to look like otherwise, [`Self::claims`] knows.
    fn path_ends(&self) -> &'static [(&'static str, Operation)];

    /// Whether method and path (and marks in the headers) are this format's.
    fn claims(&self, head: &RequestHead) -> Option<Operation>;

    /// What the request's head alone says: the model in a path, a stream asked for by the path.
    fn request_head(&self, _head: &RequestHead, _call: &mut CallBuilder) {}

    /// The request's body. When part of it was lost: an object of the fields that are whole.
    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable>;

    /// What the response's head alone says: counts and failures in fields.
    fn response_head(&self, _head: &ResponseHead, _call: &mut CallBuilder) {}

    /// How streams come where nothing labels them.
    fn stream_framing(&self) -> Framing {
        Framing::Sse
    }

    /// A response answered whole, failures too. When part of it was lost: an object of the fields that are whole.
    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable>;

    /// The next event of a streamed response.
    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder);

    /// The stream ended or broke off; `gap`: events of it were lost. For numbers that only a later event would have made final.
    fn stream_end(&self, _gap: bool, _call: &mut CallBuilder) {}
}

/// One event of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamFrame<'a> {
    /// SSE's `event:` field, the event type of an AWS event stream's message.
    pub event: Option<&'a str>,
    /// JSON in the formats so far; not checked to be UTF-8.
    pub data: &'a [u8],
}

/// What a path that is `POST`ed to is called for, by its end.
fn posted(head: &RequestHead, ends: &[(&str, Operation)]) -> Option<Operation> {
    let path = head.path.trim_end_matches('/');
    let found = ends.iter().find(|(end, _)| path.ends_with(end));
    found.filter(|_| head.method == "POST").map(|(_, operation)| *operation)
}

/// In the order they are asked.
static DIALECTS: [&dyn Dialect; 5] = [
    &openai_chat::OpenAiChat,
    &openai_responses::OpenAiResponses,
    &anthropic::Anthropic,
    &openai_embeddings::OpenAiEmbeddings,
    &openai_completions::OpenAiCompletions,
];

/// Names for configuration, in the order of [`DIALECTS`].
static DIALECT_NAMES: [&str; 5] = ["openai.chat", "openai.responses", "anthropic.messages", "openai.embeddings", "openai.completions"];
