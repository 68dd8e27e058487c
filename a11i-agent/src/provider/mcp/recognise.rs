//! Which HTTP exchanges may carry MCP, told by their head; whether they do, their messages tell.

use crate::http::RequestHead;

/// How sure a request's head is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Likelihood {
    /// Fields that only MCP has.
    Certain,
    /// The messages decide.
    Possible,
}

/// Paths of servers' SDKs and of the old transport's endpoint.
const PATH_ENDS: [&str; 4] = ["/mcp", "/sse", "/messages", "/message"];

/// Names by which servers of the old transport (HTTP+SSE, 2024-11-05) tell their sessions apart in the endpoint's query.
const SESSION_PARAMETERS: [&str; 2] = ["sessionid", "session_id"];

pub(super) fn likelihood(head: &RequestHead) -> Option<Likelihood> {
    let has = |name: &str| head.headers.text(name).is_some();
    if ["mcp-session-id", "mcp-protocol-version", "mcp-method"].into_iter().any(has) {
        return Some(Likelihood::Certain);
    }
    let accept = head.headers.text("accept").unwrap_or_default().to_ascii_lowercase();
    let events = accept.contains("text/event-stream");
    let path = head.path.trim_end_matches('/');
    let usual = PATH_ENDS.iter().any(|end| path.ends_with(end));
    let possible = match head.method.as_str() {
        // Clients of the streamable transport have to accept both (2025-03-26).
        "POST" => usual || events && accept.contains("application/json") || session_parameter(head).is_some(),
        "GET" => events && usual,
        _ => false,
    };
    possible.then_some(Likelihood::Possible)
}

/// Whether a request goes to a server of MCP, by its fields or by its path.
pub(in crate::provider) fn is_endpoint(head: &RequestHead) -> bool {
    likelihood(head) == Some(Likelihood::Certain) || head.path.split('/').any(|segment| segment == "mcp")
}

/// The session that a request of the old transport names in its query.
pub(super) fn session_parameter(head: &RequestHead) -> Option<&str> {
    session_in_query(head.query.as_deref()?)
}

/// The session that an `endpoint` event names: a URL, absolute or not.
pub(super) fn session_of_endpoint(url: &str) -> Option<&str> {
    session_in_query(url.split_once('?')?.1)
}

fn session_in_query(query: &str) -> Option<&str> {
    let named =
        |pair: &&str| pair.split_once('=').is_some_and(|(name, _)| SESSION_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()));
    query.split('&').find(named).and_then(|pair| pair.split_once('=')).map(|(_, value)| value).filter(|value| !value.is_empty())
}

/// Methods of all revisions (the conventions' `mcp.method.name`): JSON-RPC is spoken by others too.
const METHODS: [&str; 33] = [
    "initialize",
    "ping",
    "server/discover",
    "subscriptions/listen",
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "sampling/createMessage",
    "roots/list",
    "elicitation/create",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/cancel",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/message",
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/roots/list_changed",
    "notifications/elicitation/complete",
    "notifications/tasks/status",
];

pub(super) fn is_method(method: &str) -> bool {
    METHODS.contains(&method)
}
