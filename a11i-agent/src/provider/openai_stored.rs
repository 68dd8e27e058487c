//! What OpenAI's API keeps and does later: batches, files, fine-tuning, vector stores, videos, assistants, threads, conversations,
//! containers, evaluations; and the same at those who follow.
//!
//! Recognised, so that what was asked of a provider can be told, and never billed: no model answers here. What a batch consumed is billed at
//! other prices and is none of the request that asks for it.

use super::{Dialect, StreamFrame, body::is_worth_following, lenient::Unreadable, names};
use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::RequestHead,
};

pub(super) struct OpenAiStored;

/// The kind of a thing by its part of the path, and what is done when one is made or changed.
const KINDS: [(&str, &str); 18] = [
    ("batches", "batch"),
    ("files", "file"),
    ("uploads", "file"),
    ("fine_tuning", "fine_tuning"),
    ("fine_tunes", "fine_tuning"),
    ("fine-tunes", "fine_tuning"),
    ("vector_stores", "vector_store"),
    ("videos", "video_generation"),
    ("assistants", "create_agent"),
    ("threads", "thread"),
    ("conversations", "conversation"),
    ("containers", "container"),
    ("evals", "evaluation"),
    ("skills", "skill"),
    ("chatkit", "chatkit"),
    // Where a session in real time is prepared; what it says goes elsewhere.
    ("client_secrets", "realtime_session"),
    ("sessions", "realtime_session"),
    ("transcription_sessions", "realtime_session"),
];

/// What stands before the kind: the API's root, and what belongs to the kind's own name.
const ROOTS: [&str; 8] = ["v1", "openai", "api", "realtime", "inference", "beta", "compatibility", "compatible-mode"];

impl Dialect for OpenAiStored {
    fn name(&self) -> ProviderName {
        ProviderName::of("openai")
    }

    fn usual_operation(&self) -> Operation {
        Operation::Other("batch")
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let path = head.path.trim_end_matches('/');
        let mut parts = path.split('/').filter(|part| !part.is_empty() && !ROOTS.contains(part));
        let first = parts.next()?;
        let (_, operation) = KINDS.iter().find(|(kind, _)| *kind == first)?;
        match (head.method.as_str(), *operation) {
            ("POST", _) if !is_worth_following(head) => None,
            ("POST", _) if first == "vector_stores" && path.ends_with("/search") => Some(Operation::Other("retrieval")),
            ("POST", operation) => Some(Operation::Other(operation)),
            // Asked for again and again until it is there: what came of it, and no more.
            ("GET", "batch" | "video_generation") if parts.next().is_some() && parts.next().is_none() => Some(Operation::FetchResponse),
            _ => None,
        }
    }

    fn only_at_known_hosts(&self) -> bool {
        true
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        names::request(body, call)
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        names::response(body, call)
    }

    /// None of these is streamed.
    fn chunk(&self, _frame: &StreamFrame<'_>, _call: &mut CallBuilder) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture::request_head, http::HeaderValue};

    fn claim(method: &str, path: &str) -> Option<&'static str> {
        claim_of(method, path, "100")
    }

    fn claim_of(method: &str, path: &str, length: &str) -> Option<&'static str> {
        let mut head = request_head(method, "api.openai.com", path);
        head.headers.push("content-length".into(), HeaderValue::Text(length.into()));
        OpenAiStored.claims(&head).map(Operation::as_str)
    }

    #[test]
    fn what_is_kept_is_told_by_its_part_of_the_path() {
        for (method, path, want) in [
            ("POST", "/v1/batches", Some("batch")),
            ("POST", "/v1/batches/batch_1/cancel", Some("batch")),
            ("GET", "/v1/batches/batch_1", Some("fetch_response")),
            ("GET", "/v1/batches", None),
            ("POST", "/openai/files", Some("file")),
            ("GET", "/v1/files/file-1/content", None),
            ("POST", "/v1/fine_tuning/jobs", Some("fine_tuning")),
            ("POST", "/v1/vector_stores/vs_1/search", Some("retrieval")),
            ("POST", "/v1/videos", Some("video_generation")),
            ("POST", "/v1/threads/thread_1/messages", Some("thread")),
            ("POST", "/v1/realtime/client_secrets", Some("realtime_session")),
            // Of others: Anthropic's batches, chats in a folder.
            ("POST", "/v1/messages/batches", None),
            ("POST", "/v1/chat/completions", None),
            ("DELETE", "/v1/files/file-1", None),
        ] {
            assert_eq!(claim(method, path), want, "{method} {path}");
        }
    }

    #[test]
    fn a_large_upload_is_left_alone() {
        for (length, want) in [("8388608", Some("file")), ("8388609", None), ("-1", None), ("99999999999999999999999", None)] {
            assert_eq!(claim_of("POST", "/v1/files", length), want, "{length}");
        }
    }
}
