//! Names of the OpenTelemetry GenAI conventions and of `a11i.*`, once; and which layer of the conventions a stream follows.

/// Which state of the GenAI conventions is written. One stream never mixes two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Semconv {
    /// Up to 1.36: `gen_ai.system`. What that layer has no name for (cache tokens, messages on spans …) is left out.
    V1_36,
    /// 1.37 to 1.41, also what `gen_ai_latest_experimental` selects.
    #[default]
    V1_41,
    /// The conventions' new repository: inference metrics, `cache_write`.
    Latest,
}

impl Semconv {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_36 => "1.36",
            Self::V1_41 => "1.41",
            Self::Latest => "latest",
        }
    }

    /// OTLP `schema_url`, where the layer was released under one.
    pub const fn schema_url(self) -> &'static str {
        match self {
            Self::V1_36 => "https://opentelemetry.io/schemas/1.36.0",
            Self::V1_41 => "https://opentelemetry.io/schemas/1.41.0",
            Self::Latest => "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev",
        }
    }
}

/// OTLP instrumentation scope.
pub const SCOPE_NAME: &str = "a11i";
pub const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

pub mod gen_ai {
    pub const OPERATION_NAME: &str = "gen_ai.operation.name";
    pub const PROVIDER_NAME: &str = "gen_ai.provider.name";
    /// Up to 1.36.
    pub const SYSTEM: &str = "gen_ai.system";
    pub const AGENT_ID: &str = "gen_ai.agent.id";
    pub const CONVERSATION_ID: &str = "gen_ai.conversation.id";
    pub const OUTPUT_TYPE: &str = "gen_ai.output.type";
    pub const TOOL_NAME: &str = "gen_ai.tool.name";
    pub const TOOL_CALL_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
    pub const TOOL_CALL_RESULT: &str = "gen_ai.tool.call.result";
    pub const PROMPT_NAME: &str = "gen_ai.prompt.name";
    pub const PROMPT_VERSION: &str = "gen_ai.prompt.version";
    pub const REQUEST_CHOICE_COUNT: &str = "gen_ai.request.choice.count";
    pub const REQUEST_ENCODING_FORMATS: &str = "gen_ai.request.encoding_formats";
    pub const REQUEST_FREQUENCY_PENALTY: &str = "gen_ai.request.frequency_penalty";
    pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
    pub const REQUEST_MODEL: &str = "gen_ai.request.model";
    pub const REQUEST_PRESENCE_PENALTY: &str = "gen_ai.request.presence_penalty";
    pub const REQUEST_PREVIOUS_RESPONSE_ID: &str = "gen_ai.request.previous_response.id";
    pub const REQUEST_REASONING_LEVEL: &str = "gen_ai.request.reasoning.level";
    pub const REQUEST_SEED: &str = "gen_ai.request.seed";
    pub const REQUEST_STOP_SEQUENCES: &str = "gen_ai.request.stop_sequences";
    pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
    pub const REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
    pub const REQUEST_TOP_K: &str = "gen_ai.request.top_k";
    pub const REQUEST_TOP_P: &str = "gen_ai.request.top_p";
    pub const EMBEDDINGS_DIMENSION_COUNT: &str = "gen_ai.embeddings.dimension.count";
    pub const RESPONSE_FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
    pub const RESPONSE_ID: &str = "gen_ai.response.id";
    pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
    pub const RESPONSE_TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
    pub const USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    pub const USAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    pub const USAGE_CACHE_READ_INPUT_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
    /// Up to 1.41.
    pub const USAGE_CACHE_CREATION_INPUT_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
    pub const USAGE_CACHE_WRITE_INPUT_TOKENS: &str = "gen_ai.usage.cache_write.input_tokens";
    pub const USAGE_REASONING_OUTPUT_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
    pub const USAGE_TEXT_INPUT_TOKENS: &str = "gen_ai.usage.text.input_tokens";
    pub const USAGE_IMAGE_INPUT_TOKENS: &str = "gen_ai.usage.image.input_tokens";
    pub const USAGE_AUDIO_INPUT_TOKENS: &str = "gen_ai.usage.audio.input_tokens";
    pub const USAGE_TEXT_OUTPUT_TOKENS: &str = "gen_ai.usage.text.output_tokens";
    pub const USAGE_IMAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.image.output_tokens";
    pub const USAGE_AUDIO_OUTPUT_TOKENS: &str = "gen_ai.usage.audio.output_tokens";
    pub const USAGE_TEXT_CACHE_READ_INPUT_TOKENS: &str = "gen_ai.usage.text.cache_read.input_tokens";
    pub const USAGE_IMAGE_CACHE_READ_INPUT_TOKENS: &str = "gen_ai.usage.image.cache_read.input_tokens";
    pub const USAGE_AUDIO_CACHE_READ_INPUT_TOKENS: &str = "gen_ai.usage.audio.cache_read.input_tokens";
    pub const SYSTEM_INSTRUCTIONS: &str = "gen_ai.system_instructions";
    pub const INPUT_MESSAGES: &str = "gen_ai.input.messages";
    pub const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
    pub const TOOL_DEFINITIONS: &str = "gen_ai.tool.definitions";
    /// Metrics: `input`, `output`.
    pub const TOKEN_TYPE: &str = "gen_ai.token.type";
    /// Metrics of the latest layer.
    pub const TOKEN_MODALITY: &str = "gen_ai.token.modality";
}

pub mod aws {
    pub const BEDROCK_GUARDRAIL_ID: &str = "aws.bedrock.guardrail.id";
}

pub mod openai {
    pub const API_TYPE: &str = "openai.api.type";
    pub const REQUEST_SERVICE_TIER: &str = "openai.request.service_tier";
    pub const RESPONSE_SERVICE_TIER: &str = "openai.response.service_tier";
    pub const RESPONSE_SYSTEM_FINGERPRINT: &str = "openai.response.system_fingerprint";
    /// Up to 1.36.
    pub const OLD_REQUEST_SERVICE_TIER: &str = "gen_ai.openai.request.service_tier";
    pub const OLD_RESPONSE_SERVICE_TIER: &str = "gen_ai.openai.response.service_tier";
    pub const OLD_RESPONSE_SYSTEM_FINGERPRINT: &str = "gen_ai.openai.response.system_fingerprint";
}

/// Stable, general names.
pub mod mcp {
    pub const METHOD_NAME: &str = "mcp.method.name";
    pub const PROTOCOL_VERSION: &str = "mcp.protocol.version";
    pub const RESOURCE_URI: &str = "mcp.resource.uri";
    pub const SESSION_ID: &str = "mcp.session.id";
    pub const JSONRPC_REQUEST_ID: &str = "jsonrpc.request.id";
    pub const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";
    pub const NETWORK_TRANSPORT: &str = "network.transport";
    pub const NETWORK_PROTOCOL_NAME: &str = "network.protocol.name";
}

pub mod general {
    pub const ERROR_TYPE: &str = "error.type";
    pub const SERVER_ADDRESS: &str = "server.address";
    pub const SERVER_PORT: &str = "server.port";
    pub const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
    pub const NETWORK_PEER_PORT: &str = "network.peer.port";
    pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
    pub const HTTP_REQUEST_RESEND_COUNT: &str = "http.request.resend_count";
    /// A path without its ids.
    pub const URL_TEMPLATE: &str = "url.template";
    pub const USER_AGENT_ORIGINAL: &str = "user_agent.original";
    /// Marks the series that holds what exceeded the bound on series.
    pub const METRIC_OVERFLOW: &str = "otel.metric.overflow";
}

/// What the conventions lack.
pub mod a11i {
    /// Metric: requests to providers' own hosts that no dialect knows.
    pub const UNRECOGNISED_REQUESTS: &str = "a11i.unrecognised.requests";
    /// USD, double.
    pub const COST_USD: &str = "a11i.cost.usd";
    /// The uncached part of the input.
    pub const COST_INPUT_USD: &str = "a11i.cost.input_usd";
    pub const COST_OUTPUT_USD: &str = "a11i.cost.output_usd";
    pub const COST_CACHE_READ_USD: &str = "a11i.cost.cache_read_usd";
    pub const COST_CACHE_WRITE_USD: &str = "a11i.cost.cache_write_usd";
    /// Per request and per search, whatever the tokens.
    pub const COST_FEES_USD: &str = "a11i.cost.fees_usd";
    /// USD, double: what this hop costs of a logical call that is billed at another hop.
    pub const COST_HOP: &str = "a11i.cost.hop";
    /// The program reports this call itself: whoever adds up costs or tokens of both counts it once. True or absent.
    pub const DUPLICATE_OF_SDK: &str = "a11i.duplicate_of_sdk";
    /// Who said so, or how the row of the price table matched.
    pub const COST_SOURCE: &str = "a11i.cost.source";
    /// `reported`, `estimated`; only where there is usage.
    pub const USAGE_SOURCE: &str = "a11i.usage.source";
    /// Searches the provider ran and bills per call.
    pub const USAGE_WEB_SEARCH_REQUESTS: &str = "a11i.usage.web_search_requests";
    /// Part of the cache writes that lives an hour and is billed dearer.
    pub const USAGE_CACHE_WRITE_1H: &str = "a11i.usage.cache_write_1h.input_tokens";
    /// Input tokens divided by the model's window.
    pub const CONTEXT_SATURATION: &str = "a11i.context.saturation";
    pub const CAPTURE_LIBRARY: &str = "a11i.capture.library";
    pub const CAPTURE_METHOD: &str = "a11i.capture.method";
    pub const CAPTURE_COMPLETE: &str = "a11i.capture.complete";
    /// Where it is known and the capture is not complete.
    pub const CAPTURE_LOST_BYTES: &str = "a11i.capture.lost_bytes";
    /// `ring_full`, `user_fault`, `call_limit`, `table_full`, `not_http`, `joined_late`.
    pub const CAPTURE_LOSS_CAUSES: &str = "a11i.capture.loss_causes";
    /// Content was longer than the cap per call and is cut.
    pub const CONTENT_TRUNCATED: &str = "a11i.content.truncated";
    /// First event with content, seconds after the request's first byte.
    pub const RESPONSE_TIME_TO_FIRST_TOKEN: &str = "a11i.response.time_to_first_token";
    /// Events of a streamed body.
    pub const RESPONSE_CHUNKS: &str = "a11i.response.chunks";
    /// Between events with content of a stream, seconds.
    pub const RESPONSE_CHUNK_GAP_MEAN: &str = "a11i.response.chunk_gap.mean";
    pub const RESPONSE_CHUNK_GAP_MAX: &str = "a11i.response.chunk_gap.max";
    /// Gaps of two seconds and longer.
    pub const RESPONSE_STALLS: &str = "a11i.response.stalls";
    /// What the provider still allows in its window.
    pub const RATE_LIMIT_REMAINING_REQUESTS: &str = "a11i.rate_limit.remaining_requests";
    pub const RATE_LIMIT_REMAINING_TOKENS: &str = "a11i.rate_limit.remaining_tokens";
    /// `x-request-id` and its kin.
    pub const RESPONSE_REQUEST_ID: &str = "a11i.response.request_id";
    /// Billing facts of providers other than OpenAI.
    pub const REQUEST_SERVICE_TIER: &str = "a11i.request.service_tier";
    pub const RESPONSE_SERVICE_TIER: &str = "a11i.response.service_tier";
    pub const RESPONSE_INFERENCE_GEO: &str = "a11i.response.inference_geo";
    pub const RESPONSE_SPEED: &str = "a11i.response.speed";
    /// `openai-organization`, `openai-project`.
    pub const REQUEST_ORGANIZATION: &str = "a11i.request.organization";
    pub const REQUEST_PROJECT: &str = "a11i.request.project";
    /// Keyed fingerprint of the API key.
    pub const CREDENTIAL_FINGERPRINT: &str = "a11i.credential.fingerprint";
}

/// Attributes that hold prompts, answers or tools.
pub const CONTENT: [&str; 6] = [
    gen_ai::SYSTEM_INSTRUCTIONS,
    gen_ai::INPUT_MESSAGES,
    gen_ai::OUTPUT_MESSAGES,
    gen_ai::TOOL_DEFINITIONS,
    gen_ai::TOOL_CALL_ARGUMENTS,
    gen_ai::TOOL_CALL_RESULT,
];
