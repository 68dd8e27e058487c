//! An MCP message → its span (GenAI conventions, MCP).

use std::sync::Arc;

use super::{
    attributes::{capture_attributes, peer_attributes},
    resource::ResourceBuilder,
    semconv::{gen_ai, general, mcp},
    span::{ClockOffset, SpanIds, SpanKind, SpanRecord, SpanStatus},
    value::{Attributes, VALUE_BYTES, Value, cut},
};
use crate::{
    call::{McpMessage, Role, ServerAddress},
    redaction::RedactedMcp,
};

impl SpanRecord {
    pub fn of_mcp(redacted: &RedactedMcp, ids: SpanIds, clock: ClockOffset, resources: &ResourceBuilder) -> Self {
        Self::of_mcp_with_resource(redacted, ids, clock, resources.process(&redacted.message().owner))
    }

    /// The same with a resource that was built before.
    pub fn of_mcp_with_resource(redacted: &RedactedMcp, ids: SpanIds, clock: ClockOffset, resource: Arc<Attributes>) -> Self {
        let message = redacted.message();
        let start = clock.unix_nanos(message.timing.start);
        let said = || message.outcome.error_message.as_deref().map(|text| cut(text, VALUE_BYTES).to_owned()).unwrap_or_default();
        Self {
            name: span_name(message),
            kind: match message.role {
                Role::Client => SpanKind::Client,
                Role::Server => SpanKind::Server,
            },
            ids,
            start_unix_nanos: start,
            end_unix_nanos: clock.unix_nanos(message.timing.end).max(start),
            status: message.outcome.error_type.as_ref().map_or(SpanStatus::Unset, |_| SpanStatus::Error(said())),
            attributes: span_attributes(message),
            resource,
        }
    }
}

/// `{method} {tool or prompt}`.
fn span_name(message: &McpMessage) -> String {
    message.target().map_or_else(|| message.method.clone(), |target| format!("{} {target}", message.method))
}

fn span_attributes(message: &McpMessage) -> Attributes {
    let mut out = Attributes::default();
    identity(message, &mut out);
    out.push_some(mcp::SESSION_ID, message.session_id.as_deref().map(Value::foreign));
    out.push_some(mcp::RESOURCE_URI, message.resource_uri.as_deref().map(Value::foreign));
    out.push_some(mcp::JSONRPC_REQUEST_ID, message.request_id.as_deref().map(Value::foreign));
    out.push_some(general::HTTP_RESPONSE_STATUS_CODE, message.http_status.map(i64::from));
    peer_attributes(message.peer.as_ref(), &mut out);
    capture_attributes(message.capture, message.completeness, &mut out);
    let json = |value: &serde_json::Value| serde_json::to_string(value).ok();
    out.push_some(gen_ai::TOOL_CALL_ARGUMENTS, message.arguments.as_ref().and_then(json));
    out.push_some(gen_ai::TOOL_CALL_RESULT, message.result.as_ref().filter(|_| message.tool.is_some()).and_then(json));
    out
}

/// What spans and metrics share.
pub(super) fn identity(message: &McpMessage, out: &mut Attributes) {
    out.push(mcp::METHOD_NAME, Value::foreign(&message.method));
    out.push_some(gen_ai::OPERATION_NAME, message.tool.as_ref().map(|_| "execute_tool"));
    out.push_some(gen_ai::TOOL_NAME, message.tool.as_deref().map(Value::foreign));
    out.push_some(gen_ai::PROMPT_NAME, message.prompt.as_deref().map(Value::foreign));
    out.push_some(mcp::PROTOCOL_VERSION, message.protocol_version.as_deref().map(Value::foreign));
    out.push_some(general::ERROR_TYPE, message.outcome.error_type.as_deref().map(Value::foreign));
    out.push_some(mcp::RPC_RESPONSE_STATUS_CODE, message.status_code.map(|code| code.to_string()));
    network(message.role, &message.server, out);
}

/// What the metric of a session has.
#[cfg(feature = "host")]
pub(super) fn session_identity(session: &crate::call::McpSession, out: &mut Attributes) {
    out.push_some(mcp::PROTOCOL_VERSION, session.protocol_version.as_deref().map(Value::foreign));
    out.push_some(general::ERROR_TYPE, session.error_type.as_deref().map(Value::foreign));
    network(session.role, &session.server, out);
}

fn network(role: Role, server: &ServerAddress, out: &mut Attributes) {
    out.push(mcp::NETWORK_TRANSPORT, "tcp");
    out.push(mcp::NETWORK_PROTOCOL_NAME, "http");
    if let (Role::Client, Some(address)) = (role, &server.address) {
        out.push(general::SERVER_ADDRESS, Value::foreign(address));
        out.push_some(general::SERVER_PORT, server.port.map(i64::from));
    }
}
