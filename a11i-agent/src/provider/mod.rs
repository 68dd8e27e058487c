//! HTTP messages → calls.
//!
//! Takes [`crate::http::HttpEvent`]s of one connection. Gives [`crate::call::LlmCall`]s. Refuses what no dialect claims.
//! One provider's format is one file and one line in the list below.

#![warn(clippy::arithmetic_side_effects)]

mod answer;
mod body;
mod body_shape;
mod conversation;
mod endpoint;
mod error_body;
mod event_stream;
mod exchange;
mod grpc_status;
mod hosts;
mod lenient;
mod names;
mod own_telemetry;
mod partial_json;
mod path_template;
mod presumption;
mod rate_limit;
mod route;
mod trace_context;
mod unrecognised;
mod unseen_path;

mod ai_sdk;
mod aleph_alpha;
mod anthropic;
mod anthropic_complete;
mod bedrock;
mod code_assist;
mod cohere;
mod dashscope;
mod deepinfra;
mod gemini;
mod generate;
mod hosted_chat;
mod hunyuan;
mod llama_cpp;
mod lm_studio;
mod mcp;
mod mistral;
mod ollama;
mod openai_assistants;
mod openai_audio;
mod openai_chat;
mod openai_completions;
mod openai_embeddings;
mod openai_images;
mod openai_media_usage;
mod openai_moderations;
mod openai_realtime;
mod openai_responses;
mod openai_responses_socket;
mod openai_stored;
mod perplexity;
mod reka;
mod replicate;
mod rerank;
mod sagemaker;
mod tei;
mod triton;
mod vertex;
mod voyage;
mod watsonx;
mod wenxin;
mod workers_ai;

pub use answer::Framing;
pub use body::{BODY_CAP, TAIL_CAP};
pub use exchange::{ConnectionContext, ConnectionSocket, ExchangeCounters, ExchangeLimits, Exchanges, MAX_EXCHANGES, OpenCall};
pub use lenient::Unreadable;
pub use mcp::{McpExchanges, McpSink, McpTold, PendingRequests};
pub use own_telemetry::{ExportTold, OwnTelemetry, TelemetryExports};
pub use route::{PathRule, Route, RouteSettings, Routes, UnknownDialect, dialect_names};

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

    /// Ends of the paths that are `POST`ed to, by which the kernel half takes a request for a call beforehand. What a path that ends so has to
    /// look like otherwise, [`Self::claims`] knows. None where a host or a field has to vouch for the path, where names of models end it, and
    /// where its end is so short or so usual that it says nothing before the body was looked at.
    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[]
    }

    /// Whether method and path (and marks in the headers) are this format's.
    fn claims(&self, head: &RequestHead) -> Option<Operation>;

    /// Whether its paths mean something else elsewhere, and nothing in a body would tell.
    fn only_at_known_hosts(&self) -> bool {
        false
    }

    /// Whether the request's body, as read into `call`, is this format's: asked where only the path vouches for it.
    fn resembles(&self, call: &CallBuilder) -> bool {
        call.request.model.is_some()
    }

    /// Its hosts serve anything at such paths: a body that does not look like a call is none. The request then leaves the model unnamed.
    fn body_decides(&self) -> bool {
        false
    }

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

/// Names for configuration, and dialects in the order they are asked: those whose paths say most come first.
static DIALECTS: &[(&str, &dyn Dialect)] = &[
    ("hosted.chat", &hosted_chat::HostedChat),
    ("deepinfra", &deepinfra::DeepInfra),
    ("reka", &reka::Reka),
    ("watsonx", &watsonx::Watsonx),
    ("cohere", &cohere::Cohere),
    ("dashscope", &dashscope::DashScope),
    ("ollama", &ollama::Ollama),
    ("hunyuan", &hunyuan::Hunyuan),
    ("wenxin", &wenxin::Wenxin),
    ("mistral.conversations", &mistral::MistralConversations),
    ("mistral.documents", &mistral::MistralDocuments),
    ("ai_sdk", &ai_sdk::AiSdk),
    ("aleph_alpha", &aleph_alpha::AlephAlpha),
    ("anthropic.complete", &anthropic_complete::AnthropicComplete),
    ("lm_studio", &lm_studio::LmStudio),
    ("perplexity.agent", &perplexity::PerplexityAgent),
    ("perplexity.async", &perplexity::PerplexityAsync),
    ("replicate", &replicate::Replicate),
    ("workers_ai", &workers_ai::WorkersAi),
    ("voyage", &voyage::Voyage),
    ("rerank", &rerank::Rerank),
    ("generate", &generate::Generate),
    ("triton", &triton::Triton),
    ("llama_cpp", &llama_cpp::LlamaCpp),
    ("tei", &tei::Tei),
    ("openai.chat", &openai_chat::OpenAiChat),
    ("openai.responses", &openai_responses::OpenAiResponses),
    ("anthropic.messages", &anthropic::Anthropic),
    ("anthropic.batches", &anthropic::batches::AnthropicBatches),
    ("openai.embeddings", &openai_embeddings::OpenAiEmbeddings),
    ("openai.completions", &openai_completions::OpenAiCompletions),
    ("gemini.code_assist", &code_assist::CodeAssist),
    ("gemini", &gemini::Gemini),
    ("gemini.interactions", &gemini::interactions::Interactions),
    ("vertex", &vertex::Vertex),
    ("vertex.anthropic", &vertex::VertexAnthropic),
    ("vertex.openai", &vertex::VertexOpenAi),
    ("gemini.grpc", &gemini::grpc::GEMINI),
    ("vertex.grpc", &vertex::VERTEX_GRPC),
    ("vertex.grpc_predict", &vertex::VERTEX_PREDICT_GRPC),
    ("bedrock.converse", &bedrock::BedrockConverse),
    ("bedrock.invoke", &bedrock::BedrockInvoke),
    ("bedrock.other", &bedrock::BedrockAside),
    ("sagemaker.invoke", &sagemaker::SageMaker),
    ("openai.images", &openai_images::OpenAiImages),
    ("openai.audio", &openai_audio::OpenAiAudio),
    ("openai.moderations", &openai_moderations::OpenAiModerations),
    ("openai.assistants", &openai_assistants::OpenAiAssistants),
    ("openai.stored", &openai_stored::OpenAiStored),
];
