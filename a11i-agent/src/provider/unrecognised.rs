//! Requests to a provider's own hosts that no dialect knows, so that gaps show: a call with what can be said of anything (model, status,
//! failure), and the pattern of its path, by which such requests are counted.

use super::{
    Dialect, Framing, StreamFrame,
    body::is_worth_following,
    error_body::read_refusal,
    lenient::{Flag, Text, Unreadable, lenient_object, parse},
    mcp, path_template,
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

impl Dialect for Unrecognised {
    fn name(&self) -> ProviderName {
        ProviderName::of("unknown")
    }

    fn usual_operation(&self) -> Operation {
        UNRECOGNISED
    }

    /// Of a host that is dedicated to models: who asks, has looked at the host.
    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let known = NO_CALLS.iter().any(|part| head.path.contains(part)) || mcp::is_endpoint(head);
        (head.method == "POST" && !known && is_worth_following(head)).then_some(UNRECOGNISED)
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.path_pattern = Some(path_template::of(&head.path));
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
        if read_refusal(body, call)? {
            return Ok(());
        }
        let named = parse::<Named<'_>>(body)?;
        call.response.id = named.id.name();
        call.response.model = named.model.name();
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
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "stream" => stream: Flag,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{CallFrame, Ending},
        fixture::request,
    };

    #[test]
    fn the_mcp_servers_of_a_provider_are_mcps() {
        let head =
            |path: &str, name: &str| request("POST", "api.githubcopilot.com", path, &[("content-type", "application/json"), (name, "x")]);
        for (path, name, want) in [
            ("/mcp", "accept", None),
            ("/mcp/x/issues", "accept", None),
            ("/tools", "mcp-session-id", None),
            ("/dreams", "accept", Some(UNRECOGNISED)),
        ] {
            assert_eq!(Unrecognised.claims(&head(path, name)), want, "{path}");
        }
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
