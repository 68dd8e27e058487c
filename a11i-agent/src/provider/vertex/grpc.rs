//! Vertex AI over gRPC (<https://github.com/googleapis/googleapis/tree/master/google/cloud/aiplatform>): the same names as the Gemini API's,
//! other numbers. v1 and v1beta1 number them alike.

use super::{NAME, predict};
use crate::{
    call::Operation,
    provider::gemini::{
        self, COUNT_TOKENS,
        grpc::{
            Grpc, Method, method,
            schema::{BLOB, CODE_EXECUTION_RESULT, EXECUTABLE_CODE, FILE_DATA, MODALITY_COUNT, NOTHING, TYPES},
        },
        protobuf::{Kind, Schema, many, one},
    },
};

const PACKAGE: &str = "/google.cloud.aiplatform.";

pub(in crate::provider) static VERTEX: Grpc = Grpc {
    provider: NAME,
    package: PACKAGE,
    methods: &[
        method("PredictionService/GenerateContent", Operation::GenerateContent, &GENERATE_REQUEST, &GENERATE_RESPONSE),
        method("PredictionService/StreamGenerateContent", Operation::GenerateContent, &GENERATE_REQUEST, &GENERATE_RESPONSE),
        method("PredictionService/EmbedContent", Operation::Embeddings, &EMBED_REQUEST, &EMBED_RESPONSE),
        method("PredictionService/CountTokens", COUNT_TOKENS, &COUNT_REQUEST, &NOTHING),
        method("LlmUtilityService/CountTokens", COUNT_TOKENS, &COUNT_REQUEST, &NOTHING),
    ],
    path_ends: &[
        ("PredictionService/GenerateContent", Operation::GenerateContent),
        ("PredictionService/StreamGenerateContent", Operation::GenerateContent),
    ],
    read_request: gemini::request,
    read_response: gemini::whole,
};

/// Embeddings by `Predict`: what else is predicted is no model call that could be told from its head.
pub(in crate::provider) static VERTEX_PREDICT: Grpc = Grpc {
    provider: NAME,
    package: PACKAGE,
    methods: &[Method {
        name: "PredictionService/Predict",
        operation: Operation::Embeddings,
        model_has: Some("embedding"),
        request: &PREDICT_REQUEST,
        response: &PREDICT_RESPONSE,
    }],
    path_ends: &[],
    read_request: |_, json, call| predict::request(json, call).map(|_| ()),
    read_response: |json, call| predict::response(json, call).map(|_| ()),
};

static GENERATE_REQUEST: Schema = Schema {
    fields: &[
        many(2, "contents", Kind::Message(&CONTENT)),
        one(4, "generationConfig", Kind::Message(&GENERATION_CONFIG)),
        one(5, "model", Kind::Text),
        many(6, "tools", Kind::Message(&TOOL)),
        one(8, "systemInstruction", Kind::Message(&CONTENT)),
    ],
};

static GENERATION_CONFIG: Schema = Schema {
    fields: &[
        one(1, "temperature", Kind::Float),
        one(2, "topP", Kind::Float),
        one(3, "topK", Kind::Float),
        one(4, "candidateCount", Kind::Integer),
        one(5, "maxOutputTokens", Kind::Integer),
        many(6, "stopSequences", Kind::Text),
        one(8, "presencePenalty", Kind::Float),
        one(9, "frequencyPenalty", Kind::Float),
        one(12, "seed", Kind::Integer),
        one(13, "responseMimeType", Kind::Text),
        many(21, "responseModalities", Kind::Integer),
        one(25, "thinkingConfig", Kind::Message(&THINKING)),
    ],
};

static THINKING: Schema =
    Schema { fields: &[one(4, "thinkingLevel", Kind::Enum(&[(1, "LOW"), (2, "MEDIUM"), (3, "HIGH"), (4, "MINIMAL")]))] };

static CONTENT: Schema = Schema { fields: &[one(1, "role", Kind::Text), many(2, "parts", Kind::Message(&PART))] };

static PART: Schema = Schema {
    fields: &[
        one(1, "text", Kind::Text),
        one(2, "inlineData", Kind::Message(&BLOB)),
        one(3, "fileData", Kind::Message(&FILE_DATA)),
        one(5, "functionCall", Kind::Message(&FUNCTION_CALL)),
        one(6, "functionResponse", Kind::Message(&FUNCTION_RESPONSE)),
        one(8, "executableCode", Kind::Message(&EXECUTABLE_CODE)),
        one(9, "codeExecutionResult", Kind::Message(&CODE_EXECUTION_RESULT)),
        one(10, "thought", Kind::Flag),
    ],
};

static FUNCTION_CALL: Schema = Schema {
    fields: &[one(1, "name", Kind::Text), one(2, "args", Kind::Struct), many(4, "partialArgs", Kind::Message(&PARTIAL_ARGUMENT))],
};
static PARTIAL_ARGUMENT: Schema = Schema { fields: &[one(4, "stringValue", Kind::Text)] };
static FUNCTION_RESPONSE: Schema = Schema { fields: &[one(1, "name", Kind::Text), one(2, "response", Kind::Struct)] };

static TOOL: Schema = Schema {
    fields: &[
        many(1, "functionDeclarations", Kind::Message(&FUNCTION_DECLARATION)),
        one(2, "retrieval", Kind::Message(&NOTHING)),
        one(3, "googleSearchRetrieval", Kind::Message(&NOTHING)),
        one(4, "codeExecution", Kind::Message(&NOTHING)),
        one(5, "googleMaps", Kind::Message(&NOTHING)),
        one(6, "enterpriseWebSearch", Kind::Message(&NOTHING)),
        one(7, "googleSearch", Kind::Message(&NOTHING)),
        one(10, "urlContext", Kind::Message(&NOTHING)),
        one(11, "computerUse", Kind::Message(&NOTHING)),
    ],
};

static FUNCTION_DECLARATION: Schema = Schema {
    fields: &[
        one(1, "name", Kind::Text),
        one(2, "description", Kind::Text),
        one(3, "parameters", Kind::Message(&PARAMETERS)),
        one(5, "parametersJsonSchema", Kind::Value),
    ],
};

static PARAMETERS: Schema = Schema {
    fields: &[
        one(1, "type", Kind::Enum(TYPES)),
        one(2, "items", Kind::Message(&PARAMETERS)),
        one(3, "properties", Kind::Map(&PARAMETERS)),
        many(5, "required", Kind::Text),
        one(6, "nullable", Kind::Flag),
        one(7, "format", Kind::Text),
        one(8, "description", Kind::Text),
        many(9, "enum", Kind::Text),
        many(11, "anyOf", Kind::Message(&PARAMETERS)),
        one(24, "title", Kind::Text),
    ],
};

static GENERATE_RESPONSE: Schema = Schema {
    fields: &[
        many(2, "candidates", Kind::Message(&CANDIDATE)),
        one(3, "promptFeedback", Kind::Message(&PROMPT_FEEDBACK)),
        one(4, "usageMetadata", Kind::Message(&USAGE)),
        one(11, "modelVersion", Kind::Text),
        one(13, "responseId", Kind::Text),
    ],
};

static CANDIDATE: Schema = Schema {
    fields: &[
        one(1, "index", Kind::Integer),
        one(2, "content", Kind::Message(&CONTENT)),
        one(
            3,
            "finishReason",
            Kind::Enum(&[
                (1, "STOP"),
                (2, "MAX_TOKENS"),
                (3, "SAFETY"),
                (4, "RECITATION"),
                (5, "OTHER"),
                (6, "BLOCKLIST"),
                (7, "PROHIBITED_CONTENT"),
                (8, "SPII"),
                (9, "MALFORMED_FUNCTION_CALL"),
                (10, "MODEL_ARMOR"),
            ]),
        ),
        one(7, "groundingMetadata", Kind::Message(&GROUNDING)),
    ],
};

static GROUNDING: Schema = Schema { fields: &[many(1, "webSearchQueries", Kind::Text)] };

static PROMPT_FEEDBACK: Schema = Schema {
    fields: &[one(
        1,
        "blockReason",
        Kind::Enum(&[(1, "SAFETY"), (2, "OTHER"), (3, "BLOCKLIST"), (4, "PROHIBITED_CONTENT"), (5, "MODEL_ARMOR"), (6, "JAILBREAK")]),
    )],
};

static USAGE: Schema = Schema {
    fields: &[
        one(1, "promptTokenCount", Kind::Integer),
        one(2, "candidatesTokenCount", Kind::Integer),
        one(5, "cachedContentTokenCount", Kind::Integer),
        one(
            8,
            "trafficType",
            Kind::Enum(&[(1, "ON_DEMAND"), (2, "PROVISIONED_THROUGHPUT"), (3, "ON_DEMAND_PRIORITY"), (4, "ON_DEMAND_FLEX")]),
        ),
        many(9, "promptTokensDetails", Kind::Message(&MODALITY_COUNT)),
        many(10, "cacheTokensDetails", Kind::Message(&MODALITY_COUNT)),
        many(11, "candidatesTokensDetails", Kind::Message(&MODALITY_COUNT)),
        many(12, "toolUsePromptTokensDetails", Kind::Message(&MODALITY_COUNT)),
        one(13, "toolUsePromptTokenCount", Kind::Integer),
        one(14, "thoughtsTokenCount", Kind::Integer),
    ],
};

static EMBED_REQUEST: Schema = Schema {
    fields: &[one(1, "model", Kind::Text), one(2, "content", Kind::Message(&CONTENT)), one(6, "outputDimensionality", Kind::Integer)],
};
static EMBED_RESPONSE: Schema = Schema { fields: &[one(2, "usageMetadata", Kind::Message(&USAGE))] };

static COUNT_REQUEST: Schema = Schema {
    fields: &[
        one(3, "model", Kind::Text),
        many(4, "contents", Kind::Message(&CONTENT)),
        one(5, "systemInstruction", Kind::Message(&CONTENT)),
        many(6, "tools", Kind::Message(&TOOL)),
        one(7, "generationConfig", Kind::Message(&GENERATION_CONFIG)),
    ],
};

static PREDICT_REQUEST: Schema = Schema { fields: &[many(2, "instances", Kind::Value), one(3, "parameters", Kind::Value)] };
static PREDICT_RESPONSE: Schema = Schema { fields: &[many(1, "predictions", Kind::Value)] };
