//! Requests to a provider's own hosts that no dialect knows, so that gaps show: a call with what can be said of anything (model, status,
//! failure), and the pattern of its path, by which such requests are counted.

use super::{
    Dialect, Framing, StreamFrame,
    body::is_worth_following,
    error_body::read_failure,
    lenient::{Flag, Text, Unreadable, lenient_object, parse},
};
use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::RequestHead,
};

pub(super) struct Unrecognised;

pub(super) const UNRECOGNISED: Operation = Operation::Other("unrecognised");

/// Known to be no calls: what SDKs and command-line tools tell a provider of themselves, and signing in.
const NO_CALLS: [&str; 9] =
    ["/traces/ingest", "/telemetry", "/event_logging", "/oauth", "/organization", "/dashboard", "/claude_cli", "/metrics", "/statsig"];

/// Segments of a path that a pattern shows.
const SEGMENTS: usize = 8;
/// Longest word of a path: `supervised_fine_tuning_job_checkpoints` is none yet.
const WORD_BYTES: usize = 32;
/// Longest word with capitals: longer ones are ids.
const CAMEL_WORD_BYTES: usize = 20;
/// Longest version: `v1beta1`, `v20240601`.
const VERSION_BYTES: usize = 10;

impl Dialect for Unrecognised {
    fn name(&self) -> ProviderName {
        ProviderName::of("unknown")
    }

    fn usual_operation(&self) -> Operation {
        UNRECOGNISED
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[]
    }

    /// Of a host that is dedicated to models: who asks, has looked at the host.
    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let known = NO_CALLS.iter().any(|part| head.path.contains(part));
        (head.method == "POST" && !known && is_worth_following(head)).then_some(UNRECOGNISED)
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.path_pattern = Some(path_pattern(&head.path));
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Named<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.model = request.model.name().or_else(|| facts.model.take());
        facts.stream = request.stream.0.unwrap_or(false);
        Ok(())
    }

    /// Whatever there is, it is not read.
    fn stream_framing(&self) -> Framing {
        Framing::Sse
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if call.response.status.is_some_and(|status| status >= 400) {
            read_failure(body, call);
            return Ok(());
        }
        call.response.model = parse::<Named<'_>>(body)?.model.name();
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        if call.response.model.is_none()
            && let Ok(chunk) = parse::<Named<'_>>(frame.data)
        {
            call.response.model = chunk.model.name();
        }
    }
}

lenient_object! {
    struct Named<'a> {
        "model" => model: Text<'a>,
        "stream" => stream: Flag,
    }
}

/// A path whose ids are `{id}`: words and versions stay. So bounded that it can be a label.
fn path_pattern(path: &str) -> String {
    let mut pattern = String::new();
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    for segment in segments.by_ref().take(SEGMENTS) {
        // Google's verbs stand behind a colon.
        let (name, verb) = segment.split_once(':').map_or((segment, None), |(name, verb)| (name, Some(verb)));
        pattern.push('/');
        pattern.push_str(if is_word(name) { name } else { "{id}" });
        if let Some(verb) = verb {
            pattern.push(':');
            pattern.push_str(if is_word(verb) { verb } else { "{id}" });
        }
    }
    if segments.next().is_some() {
        pattern.push_str("/*");
    }
    if pattern.is_empty() { "/".to_owned() } else { pattern }
}

fn is_word(segment: &str) -> bool {
    let letters = segment.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'));
    let limit = if segment.bytes().any(|byte| byte.is_ascii_uppercase()) { CAMEL_WORD_BYTES } else { WORD_BYTES };
    let is_version = segment.strip_prefix('v').is_some_and(|rest| {
        rest.starts_with(|first: char| first.is_ascii_digit())
            && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    });
    !segment.is_empty() && (letters && segment.len() <= limit || is_version && segment.len() <= VERSION_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{CallFrame, Ending};

    #[test]
    fn ids_in_a_path_make_no_pattern_of_their_own() {
        for (path, want) in [
            ("/v1/chat/sketches", "/v1/chat/sketches"),
            ("/v1/sketches/sk_123abc/render", "/v1/sketches/{id}/render"),
            ("/v1beta/models/gemini-9:dreamContent", "/v1beta/models/{id}:dreamContent"),
            ("/x/7f3b9c1e-1111-4222-8333-123456789abc", "/x/{id}"),
            ("/u/JaneDoe@example.com/%20", "/u/{id}/{id}"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/*"),
            ("/wWqzKfBpLrTnVxYcMdGhJsKl", "/{id}"),
            ("//", "/"),
        ] {
            assert_eq!(path_pattern(path), want, "{path}");
        }
        let longest = path_pattern(&format!("/{}", "abcdefgh/".repeat(1000)));
        assert!(longest.len() < 300);
    }

    #[test]
    fn what_is_known_of_anything_is_told() {
        let mut call = CallBuilder::new(ProviderName::of("openai"), UNRECOGNISED, true);
        Unrecognised.request(UNRECOGNISED, br#"{"model":"m","question":"why"}"#, &mut call).unwrap();
        call.response.status = Some(422);
        Unrecognised.response(br#"{"error":{"type":"unprocessable","message":"no"},"usage":{"input_tokens":3}}"#, &mut call).unwrap();
        let call = call.build(CallFrame::default(), Ending::Seen);
        assert_eq!((call.request.model.as_deref(), call.outcome.error_type.as_deref()), (Some("m"), Some("unprocessable")));
        assert!(call.usage.is_absent());
        assert_eq!(
            Unrecognised.request(UNRECOGNISED, b"\xff\x00", &mut CallBuilder::new(call.provider, UNRECOGNISED, true)),
            Err(Unreadable)
        );
    }
}
