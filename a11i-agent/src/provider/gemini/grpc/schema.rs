//! Fields of `google.ai.generativelanguage.v1beta` (v1 and v1alpha number them alike) that become facts.

use crate::provider::gemini::protobuf::{Field, Kind, Schema, many, one};

pub(in crate::provider) static NOTHING: Schema = Schema { fields: &[] };

pub(super) static GENERATE_REQUEST: Schema = Schema {
    fields: &[
        one(1, "model", Kind::Text),
        many(2, "contents", Kind::Message(&CONTENT)),
        one(4, "generationConfig", Kind::Message(&GENERATION_CONFIG)),
        many(5, "tools", Kind::Message(&TOOL)),
        one(8, "systemInstruction", Kind::Message(&CONTENT)),
    ],
};

static GENERATION_CONFIG: Schema = Schema {
    fields: &[
        one(1, "candidateCount", Kind::Integer),
        many(2, "stopSequences", Kind::Text),
        one(4, "maxOutputTokens", Kind::Integer),
        one(5, "temperature", Kind::Float),
        one(6, "topP", Kind::Float),
        one(7, "topK", Kind::Integer),
        one(8, "seed", Kind::Integer),
        one(13, "responseMimeType", Kind::Text),
        one(15, "presencePenalty", Kind::Float),
        one(16, "frequencyPenalty", Kind::Float),
        many(20, "responseModalities", Kind::Integer),
    ],
};

static CONTENT: Schema = Schema { fields: &[many(1, "parts", Kind::Message(&PART)), one(2, "role", Kind::Text)] };

static PART: Schema = Schema {
    fields: &[
        one(2, "text", Kind::Text),
        one(3, "inlineData", Kind::Message(&BLOB)),
        one(4, "functionCall", Kind::Message(&FUNCTION_CALL)),
        one(5, "functionResponse", Kind::Message(&FUNCTION_RESPONSE)),
        one(6, "fileData", Kind::Message(&FILE_DATA)),
        one(9, "executableCode", Kind::Message(&EXECUTABLE_CODE)),
        one(10, "codeExecutionResult", Kind::Message(&CODE_EXECUTION_RESULT)),
        one(11, "thought", Kind::Flag),
    ],
};

// Both services write these alike.
pub(in crate::provider) static BLOB: Schema = Schema { fields: &[one(1, "mimeType", Kind::Text), one(2, "data", Kind::Bytes)] };
pub(in crate::provider) static FILE_DATA: Schema = Schema { fields: &[one(1, "mimeType", Kind::Text), one(2, "fileUri", Kind::Text)] };
pub(in crate::provider) static EXECUTABLE_CODE: Schema =
    Schema { fields: &[one(1, "language", Kind::Enum(&[(1, "PYTHON")])), one(2, "code", Kind::Text)] };
pub(in crate::provider) static CODE_EXECUTION_RESULT: Schema = Schema {
    fields: &[
        one(1, "outcome", Kind::Enum(&[(1, "OUTCOME_OK"), (2, "OUTCOME_FAILED"), (3, "OUTCOME_DEADLINE_EXCEEDED")])),
        one(2, "output", Kind::Text),
    ],
};
pub(in crate::provider) static MODALITY_COUNT: Schema =
    Schema { fields: &[one(1, "modality", Kind::Integer), one(2, "tokenCount", Kind::Integer)] };

static FUNCTION_CALL: Schema = Schema { fields: &[one(1, "name", Kind::Text), one(2, "args", Kind::Struct), one(3, "id", Kind::Text)] };
static FUNCTION_RESPONSE: Schema =
    Schema { fields: &[one(1, "name", Kind::Text), one(2, "response", Kind::Struct), one(3, "id", Kind::Text)] };

static TOOL: Schema = Schema {
    fields: &[
        many(1, "functionDeclarations", Kind::Message(&FUNCTION_DECLARATION)),
        one(2, "googleSearchRetrieval", Kind::Message(&NOTHING)),
        one(3, "codeExecution", Kind::Message(&NOTHING)),
        one(4, "googleSearch", Kind::Message(&NOTHING)),
        one(6, "computerUse", Kind::Message(&NOTHING)),
        one(8, "urlContext", Kind::Message(&NOTHING)),
        one(9, "fileSearch", Kind::Message(&NOTHING)),
        one(11, "googleMaps", Kind::Message(&NOTHING)),
    ],
};

static FUNCTION_DECLARATION: Schema = Schema {
    fields: &[
        one(1, "name", Kind::Text),
        one(2, "description", Kind::Text),
        one(3, "parameters", Kind::Message(&PARAMETERS)),
        one(6, "parametersJsonSchema", Kind::Value),
    ],
};

/// `Type` of a schema of parameters.
pub(in crate::provider) const TYPES: &[(u64, &str)] =
    &[(1, "STRING"), (2, "NUMBER"), (3, "INTEGER"), (4, "BOOLEAN"), (5, "ARRAY"), (6, "OBJECT"), (7, "NULL")];

static PARAMETERS: Schema = Schema {
    fields: &[
        one(1, "type", Kind::Enum(TYPES)),
        one(2, "format", Kind::Text),
        one(3, "description", Kind::Text),
        one(4, "nullable", Kind::Flag),
        many(5, "enum", Kind::Text),
        one(6, "items", Kind::Message(&PARAMETERS)),
        one(7, "properties", Kind::Map(&PARAMETERS)),
        many(8, "required", Kind::Text),
        many(18, "anyOf", Kind::Message(&PARAMETERS)),
        one(24, "title", Kind::Text),
    ],
};

pub(super) static GENERATE_RESPONSE: Schema = Schema {
    fields: &[
        many(1, "candidates", Kind::Message(&CANDIDATE)),
        one(2, "promptFeedback", Kind::Message(&PROMPT_FEEDBACK)),
        one(3, "usageMetadata", Kind::Message(&USAGE)),
        one(4, "modelVersion", Kind::Text),
        one(5, "responseId", Kind::Text),
    ],
};

static CANDIDATE: Schema = Schema {
    fields: &[
        one(1, "content", Kind::Message(&CONTENT)),
        FINISH_REASON,
        one(3, "index", Kind::Integer),
        one(9, "groundingMetadata", Kind::Message(&GROUNDING)),
    ],
};

const FINISH_REASON: Field = one(
    2,
    "finishReason",
    Kind::Enum(&[
        (1, "STOP"),
        (2, "MAX_TOKENS"),
        (3, "SAFETY"),
        (4, "RECITATION"),
        (5, "OTHER"),
        (6, "LANGUAGE"),
        (7, "BLOCKLIST"),
        (8, "PROHIBITED_CONTENT"),
        (9, "SPII"),
        (10, "MALFORMED_FUNCTION_CALL"),
        (11, "IMAGE_SAFETY"),
        (12, "UNEXPECTED_TOOL_CALL"),
        (13, "TOO_MANY_TOOL_CALLS"),
        (14, "IMAGE_PROHIBITED_CONTENT"),
        (15, "IMAGE_OTHER"),
        (16, "NO_IMAGE"),
        (17, "IMAGE_RECITATION"),
    ]),
);

static GROUNDING: Schema = Schema { fields: &[many(5, "webSearchQueries", Kind::Text)] };

static PROMPT_FEEDBACK: Schema = Schema {
    fields: &[one(
        1,
        "blockReason",
        Kind::Enum(&[(1, "SAFETY"), (2, "OTHER"), (3, "BLOCKLIST"), (4, "PROHIBITED_CONTENT"), (5, "IMAGE_SAFETY")]),
    )],
};

static USAGE: Schema = Schema {
    fields: &[
        one(1, "promptTokenCount", Kind::Integer),
        one(2, "candidatesTokenCount", Kind::Integer),
        one(4, "cachedContentTokenCount", Kind::Integer),
        many(5, "promptTokensDetails", Kind::Message(&MODALITY_COUNT)),
        many(6, "cacheTokensDetails", Kind::Message(&MODALITY_COUNT)),
        many(7, "candidatesTokensDetails", Kind::Message(&MODALITY_COUNT)),
        one(8, "toolUsePromptTokenCount", Kind::Integer),
        many(9, "toolUsePromptTokensDetails", Kind::Message(&MODALITY_COUNT)),
        one(10, "thoughtsTokenCount", Kind::Integer),
    ],
};

/// Of one content and of many alike: the model. Which of both a message is its method tells, and that is not known where it is read.
pub(super) static EMBED_REQUEST: Schema = Schema { fields: &[one(1, "model", Kind::Text)] };

pub(super) static COUNT_REQUEST: Schema = Schema {
    fields: &[
        one(1, "model", Kind::Text),
        many(2, "contents", Kind::Message(&CONTENT)),
        one(3, "generateContentRequest", Kind::Message(&GENERATE_REQUEST)),
    ],
};
