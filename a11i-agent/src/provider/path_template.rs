//! What of a path can be a metric's label: words that APIs are made of, versions, and places for all else.
//!
//! The words are a fixed list: names of users, of models and of whatever else stands in paths are words too, and would be as many series,
//! each telling what nobody asked for.

/// Segments of a path that its template shows.
const SEGMENTS: usize = 8;
/// Longest version: `v1beta1`, `v20240601`.
const VERSION_BYTES: usize = 10;
/// Stands for a segment that is no word of an API.
const PLACE: &str = "{}";

/// Names of resources, methods and verbs in the public APIs of models, in order. Compared as they are written: paths are.
#[rustfmt::skip]
const WORDS: [&str; 216] = [
    "actions", "agent", "agents", "aigc", "alpha", "analyze", "answer", "anthropic", "api", "apps", "asr", "assistants", "async",
    "async-invoke", "audio", "batch", "batchEmbedContents", "batchEmbedText", "batchGenerateContent", "batches", "beta", "cachedContents",
    "calls", "cancel", "chat", "checkpoints", "chunks", "classifications", "classify", "client_secrets", "clone", "code", "compact",
    "compatibility", "compatible-mode", "complete", "completion", "completions", "computeTokens", "connectors", "containers", "content",
    "contents", "context", "contextualizedembeddings", "conversations", "converse", "converse-stream", "cortex", "count-tokens",
    "countTokens", "count_tokens", "create", "datasets", "deepsearch", "delete", "deployments", "detect", "detokenize", "dialog",
    "document", "documents", "download", "edit", "edits", "embed", "embedContent", "embedText", "embed_all", "embed_sparse", "embedding",
    "embeddings", "endpoints", "engines", "evals", "evaluate", "evaluation", "events", "export", "extract", "fetchPredictOperation",
    "file", "file_batches", "files", "fim", "fine-tunes", "fine-tuning", "fine_tuning", "generate", "generateAnswer", "generateContent",
    "generateImages", "generateMessage", "generateText", "generateVideos", "generate_stream", "generation", "generations", "google",
    "guardrails", "image", "image-generation", "image-synthesis", "image-to-image", "image-to-video", "image2image", "images", "import",
    "inference", "infill", "input_items", "input_tokens", "interactions", "invocations", "invocations-response-stream", "invoke",
    "invoke-async", "invoke-with-response-stream", "items", "jobs", "knowledge", "layout-parsing", "library", "list", "live", "locations",
    "logs", "memories", "memory", "message", "messages", "model", "models", "moderation", "moderations", "multimodal",
    "multimodal-embedding", "multimodal-generation", "multimodalembeddings", "music", "ocr", "openai", "openapi", "operations", "outputs",
    "parse", "parts", "permissions", "pipeline", "plugins", "pooling", "predict", "predictLongRunning", "predictions", "presets",
    "projects", "prompts", "publishers", "query", "queue", "rank", "ranking", "rawPredict", "realtime", "reasoning", "remix", "rerank",
    "reranking", "responses", "result", "results", "retrieval", "retrieve", "run", "runs", "score", "scores", "search", "segment",
    "services", "serving-endpoints", "sessions", "skills", "speech", "speech-to-text", "speech_to_text", "status", "steps", "stream",
    "streamGenerateContent", "streamRawPredict", "submit_tool_outputs", "summarize", "synthesis", "task", "tasks", "text",
    "text-embedding", "text-generation", "text-to-image", "text-to-speech", "text2image", "threads", "tokenize", "tools", "transcription",
    "transcription_sessions", "transcriptions", "translate", "translations", "tts", "tuned_models", "upload", "uploads", "variations",
    "vector_stores",
];

/// The path with a place for whatever is no word of an API.
pub(super) fn of(path: &str) -> String {
    let mut template = String::new();
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    for segment in segments.by_ref().take(SEGMENTS) {
        // Google's verbs stand behind a colon.
        let (name, verb) = segment.split_once(':').map_or((segment, None), |(name, verb)| (name, Some(verb)));
        template.push('/');
        template.push_str(shown(name));
        if let Some(verb) = verb {
            template.push(':');
            template.push_str(shown(verb));
        }
    }
    if segments.next().is_some() {
        template.push_str("/*");
    }
    if template.is_empty() { "/".to_owned() } else { template }
}

fn shown(segment: &str) -> &str {
    if WORDS.binary_search(&segment).is_ok() || is_version(segment) { segment } else { PLACE }
}

/// `v1`, `v1beta1`, `v1alpha`, `v20240601`.
fn is_version(segment: &str) -> bool {
    let Some(rest) = segment.strip_prefix('v').filter(|_| segment.len() <= VERSION_BYTES) else { return false };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let has_number = rest.len().saturating_add(1) < segment.len();
    let stage = ["alpha", "beta"].into_iter().find_map(|stage| rest.strip_prefix(stage)).unwrap_or(rest);
    has_number && stage.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_apis_and_versions_stay_and_nothing_else_does() {
        for (path, want) in [
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/v1/chat/sketches", "/v1/chat/{}"),
            ("/v1/threads/thread_123abc/runs", "/v1/threads/{}/runs"),
            ("/v1beta/models/gemini-9:streamGenerateContent", "/v1beta/models/{}:streamGenerateContent"),
            ("/v1beta1/models/m:dreamContent", "/v1beta1/models/{}:{}"),
            ("/api/users/janedoe/messages", "/api/{}/{}/messages"),
            ("/v1/hunterslongpassword", "/v1/{}"),
            ("/v1/Chat/sk-live-abc", "/v1/{}/{}"),
            ("/vault/v12345678901/vjane1/v1jane", "/{}/{}/{}/{}"),
            ("/x/7f3b9c1e-1111-4222-8333-123456789abc", "/{}/{}"),
            ("/u/JaneDoe@example.com/%20", "/{}/{}/{}"),
            ("/a/b/c/d/e/f/g/h/i/j", "/{}/{}/{}/{}/{}/{}/{}/{}/*"),
            ("/a:b:c", "/{}:{}"),
            ("//", "/"),
            ("", "/"),
        ] {
            assert_eq!(of(path), want, "{path}");
        }
    }

    #[test]
    fn a_template_is_short_whatever_the_path() {
        let longest = WORDS.into_iter().max_by_key(|word| word.len()).unwrap();
        let path = format!("/{longest}:{longest}").repeat(1000);
        assert!(of(&path).len() < 500);
        assert!(of(&"/x:y".repeat(100_000)).len() < 100);
    }

    #[test]
    fn the_words_are_in_order_so_that_they_are_found() {
        assert!(WORDS.is_sorted_by(|one, next| one < next));
    }
}
