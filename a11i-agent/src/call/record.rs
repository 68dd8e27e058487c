//! [`LlmCall`]: everything known of one call.

use std::{borrow::Cow, sync::Arc};

use a11i_common::identity::BootTime;

use super::{Completeness, ContentGaps, Message, Part, ToolDefinition, Usage, usage::NanoUsd};
use crate::owner::Owner;

/// One HTTP exchange with a model, finished or given up.
#[derive(Clone, Debug)]
pub struct LlmCall {
    pub owner: Arc<Owner>,
    pub role: Role,
    pub operation: Operation,
    pub provider: ProviderName,
    pub server: ServerAddress,
    /// The other end of the socket, where it was seen.
    pub peer: Option<SocketPeer>,
    pub request: RequestFacts,
    pub response: ResponseFacts,
    pub usage: Usage,
    pub outcome: Outcome,
    pub timing: Timing,
    pub content: Content,
    pub estimation: EstimationText,
    pub completeness: Completeness,
    pub capture: CaptureFacts,
    pub correlation: Correlation,
}

/// Which side of the exchange the observed process is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Role {
    #[default]
    Client,
    Server,
}

/// `gen_ai.operation.name`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    Chat,
    TextCompletion,
    GenerateContent,
    Embeddings,
    /// A stored response is fetched: no inference, no usage is reported.
    FetchResponse,
    /// Not predefined by the conventions; low cardinality (`moderation`, `image_generation`, `count_tokens` …).
    Other(&'static str),
}

impl Operation {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
            Self::GenerateContent => "generate_content",
            Self::Embeddings => "embeddings",
            Self::FetchResponse => "fetch_response",
            Self::Other(name) => name,
        }
    }
}

/// `gen_ai.provider.name`: the conventions' value or a custom lower-snake-case one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ProviderName(pub Cow<'static, str>);

impl ProviderName {
    pub const fn of(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `server.address` and `server.port`: from the request's host field (RFC 9110 section 7.2), whose missing port is the scheme's default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerAddress {
    pub address: Option<String>,
    pub port: Option<u16>,
    /// The host is one of the table's or a configured gateway: list prices apply.
    pub known_host: bool,
}

/// `network.peer.address` and `network.peer.port`: the other end of the connection's socket, as the kernel has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SocketPeer {
    Internet(core::net::SocketAddr),
    /// A Unix socket's path, that of the server; an abstract name begins with `@`.
    Unix(String),
}

/// What the request asked for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RequestFacts {
    pub model: Option<String>,
    pub stream: bool,
    pub max_tokens: Option<i64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<i64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub seed: Option<i64>,
    pub stop_sequences: Vec<String>,
    /// Reported when present and not 1.
    pub choice_count: Option<i64>,
    pub output_type: Option<OutputType>,
    pub reasoning_level: Option<String>,
    pub previous_response_id: Option<String>,
    pub conversation_id: Option<String>,
    /// The provider's id of an agent that it runs (OpenAI assistants).
    pub agent_id: Option<String>,
    pub encoding_formats: Vec<String>,
    pub embedding_dimensions: Option<i64>,
    /// Reported when present and not `auto`.
    pub service_tier: Option<String>,
    pub prompt_name: Option<String>,
    pub prompt_version: Option<String>,
    /// The path without its ids, of requests that no dialect knows: bounded, so that it can be a metric dimension.
    pub path_pattern: Option<String>,
    /// Bedrock's guardrail that the call is subject to: its id or ARN.
    pub guardrail_id: Option<String>,
    /// Which attempt of the client's SDK this is (`x-stainless-retry-count`), 0 = first.
    pub retry_count: Option<u32>,
    /// `user-agent`, cut to 256 bytes.
    pub user_agent: Option<String>,
    /// Keyed fingerprint of the credential, 16 hex digits; never the credential.
    pub credential_fingerprint: Option<String>,
    /// `openai-organization`, `openai-project`.
    pub organization: Option<String>,
    pub project: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutputType {
    Text,
    Json,
    Image,
    Speech,
}

/// What the response said of itself.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ResponseFacts {
    /// HTTP status; `None` when no response head was seen.
    pub status: Option<u16>,
    pub id: Option<String>,
    pub model: Option<String>,
    /// The provider's own words, one per choice in index order. `error` for a choice that never finished.
    pub finish_reasons: Vec<String>,
    pub service_tier: Option<String>,
    pub system_fingerprint: Option<String>,
    /// `x-request-id` and its kin: for support tickets, not the response id.
    pub request_id: Option<String>,
    /// The conventions' `openai.api.type`: `chat_completions` or `responses`.
    pub api_type: Option<&'static str>,
    /// Regional processing the provider bills for (Anthropic `inference_geo`), its word.
    pub inference_geo: Option<String>,
    /// Fast mode the provider bills for (Anthropic `speed`), its word.
    pub speed: Option<String>,
    /// Cost the provider itself stated.
    pub stated_cost: Option<NanoUsd>,
    /// This answers an earlier request that was acknowledged at once (a response in the background, a run of an assistant), or what is stated
    /// here is stated again wherever it is fetched: whatever is consumed is consumed by that operation, and counts where it is stated for
    /// the first time ([`super::DeferredAnswers`]).
    pub deferred: Option<Operation>,
    /// What is fetched here was stated before to whoever asked for it, unless it ran in the background.
    pub is_restated: bool,
    /// Events or chunks of a streamed body.
    pub stream_chunks: u64,
    pub rate_limit: RateLimit,
}

impl ResponseFacts {
    /// The status is one of RFC 9110's client or server errors.
    pub fn has_error_status(&self) -> bool {
        self.status.is_some_and(|status| status >= 400)
    }
}

/// What the provider still allows in its window, by the fields of its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RateLimit {
    pub remaining_requests: Option<u64>,
    pub remaining_tokens: Option<u64>,
}

/// Whether it worked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// `error.type`: the provider's code, the status as text, or one of ours (`cancelled`, `connection_closed`). `None` = success.
    pub error_type: Option<String>,
    /// The provider's words. Content: exported only where policy allows.
    pub error_message: Option<String>,
}

/// Kernel times of the exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    /// First byte of the request.
    pub start: BootTime,
    /// First event or body byte of a streamed response (`gen_ai.response.time_to_first_chunk`).
    pub first_chunk: Option<BootTime>,
    /// First event with content (`a11i.response.time_to_first_token`).
    pub first_token: Option<BootTime>,
    /// Last event with content.
    pub last_token: Option<BootTime>,
    /// Between events with content.
    pub gaps: ContentGaps,
    /// Last byte, failure or cancellation.
    pub end: BootTime,
}

/// Prompts and answers. Leaves the pipeline only through `redaction`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Content {
    pub system_instructions: Vec<Part>,
    pub input_messages: Vec<Message>,
    pub output_messages: Vec<Message>,
    pub tool_definitions: Vec<ToolDefinition>,
    /// Content was longer than the cap per call and is cut.
    pub truncated: bool,
}

/// What a tokenizer needs when the provider reported nothing: bounded samples of the texts and their full lengths.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EstimationText {
    pub input: TextSample,
    pub output: TextSample,
    /// Messages of the prompt, for the per-message overhead of chat formats.
    pub input_messages: u32,
    /// Tool definitions of the prompt.
    pub tool_definitions: u32,
    /// Tool calls of the answer.
    pub output_tool_calls: u32,
}

pub use sample::TextSample;

mod sample {
    /// Up to [`TextSample::CAP`] bytes of a text and the length of the whole.
    #[derive(Clone, PartialEq, Eq, Debug, Default)]
    pub struct TextSample {
        text: String,
        total_bytes: u64,
    }

    impl TextSample {
        /// Enough that the tokens per byte of the rest are as in the sample; small enough for a thousand streams.
        pub const CAP: usize = 32 * 1024;

        pub fn push(&mut self, piece: &str) {
            self.total_bytes = self.total_bytes.saturating_add(piece.len() as u64);
            let room = Self::CAP.saturating_sub(self.text.len());
            let cut = piece.floor_char_boundary(room.min(piece.len()));
            self.text.push_str(piece.get(..cut).unwrap_or_default());
        }

        pub fn text(&self) -> &str {
            &self.text
        }

        /// Length in bytes of all that was pushed.
        pub const fn total_bytes(&self) -> u64 {
            self.total_bytes
        }

        pub const fn is_empty(&self) -> bool {
            self.total_bytes == 0
        }
    }
}

/// `a11i.capture.library` and `a11i.capture.method`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CaptureFacts {
    pub library: Option<CaptureLibrary>,
    pub method: Option<CaptureMethod>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CaptureLibrary {
    OpenSsl,
    BoringSsl,
    LibreSsl,
    AwsLc,
    GnuTls,
    Go,
    Rustls,
    Plaintext,
}

impl CaptureLibrary {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenSsl => "openssl",
            Self::BoringSsl => "boringssl",
            Self::LibreSsl => "libressl",
            Self::AwsLc => "aws-lc",
            Self::GnuTls => "gnutls",
            Self::Go => "go",
            Self::Rustls => "rustls",
            Self::Plaintext => "plaintext",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CaptureMethod {
    Symbol,
    Gopclntab,
    Structure,
    Anchor,
    Signature,
    Socket,
}

impl CaptureMethod {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Symbol => "symbol",
            Self::Gopclntab => "gopclntab",
            Self::Structure => "structure",
            Self::Anchor => "anchor",
            Self::Signature => "signature",
            Self::Socket => "socket",
        }
    }
}

/// What joins this call to others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Correlation {
    /// From the request's `traceparent` (W3C Trace Context level 1) or b3.
    pub parent: Option<TraceParent>,
    /// The call's own span, where other calls may name it.
    pub own: Option<SpanIdentity>,
    /// The call on this host in which this one was made, or whose other end it is.
    pub outer: Option<SpanIdentity>,
    /// The logical call is billed at another of its hops, or was when its answer, which is fetched here, was told first.
    pub is_hop: bool,
    /// The program reports this call itself: `a11i.duplicate_of_sdk`.
    pub is_duplicate: bool,
}

/// A span that a11i will write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpanIdentity {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// What the program that began the trace decided, where it did.
    pub sampled: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceParent {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub sampled: bool,
}
