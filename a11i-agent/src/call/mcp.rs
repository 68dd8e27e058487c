//! [`McpMessage`]: one request or notification of the Model Context Protocol and what became of it; [`McpSession`]: how long they went on.

use std::sync::Arc;

use a11i_common::identity::BootTime;

use super::{CaptureFacts, Completeness, Correlation, Outcome, Role, ServerAddress, SocketPeer, Timing};
use crate::owner::Owner;

/// A JSON-RPC request with its answer, or a notification (<https://modelcontextprotocol.io/specification>).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct McpMessage {
    pub owner: Arc<Owner>,
    /// Whether the observed process sent it (client) or received it (server): either may begin, whichever of them is the MCP client.
    pub role: Role,
    pub server: ServerAddress,
    pub peer: Option<SocketPeer>,
    /// `mcp.method.name`, cut to 128 bytes.
    pub method: String,
    /// `jsonrpc.request.id`; `None` = a notification.
    pub request_id: Option<String>,
    /// `gen_ai.tool.name`, of `tools/call`.
    pub tool: Option<String>,
    /// `gen_ai.prompt.name`, of `prompts/get`.
    pub prompt: Option<String>,
    /// `mcp.resource.uri`, without query.
    pub resource_uri: Option<String>,
    /// `mcp.protocol.version`, a date.
    pub protocol_version: Option<String>,
    /// `mcp.session.id`.
    pub session_id: Option<String>,
    /// `rpc.response.status_code`: the code of a JSON-RPC error.
    pub status_code: Option<i64>,
    /// HTTP status of the answer; `None` when no response head was seen, and where the request came on a stream.
    pub http_status: Option<u16>,
    pub outcome: Outcome,
    /// `first_chunk` … `last_token` are absent.
    pub timing: Timing,
    /// Content: exported only where policy allows.
    pub arguments: Option<serde_json::Value>,
    /// Content: exported only where policy allows.
    pub result: Option<serde_json::Value>,
    pub completeness: Completeness,
    pub capture: CaptureFacts,
    pub correlation: Correlation,
}

impl McpMessage {
    /// What the method was applied to, where that has few values: the tool or the prompt.
    pub fn target(&self) -> Option<&str> {
        self.tool.as_deref().or(self.prompt.as_deref())
    }
}

/// A session that is over and was seen from its beginning on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct McpSession {
    pub owner: Arc<Owner>,
    pub role: Role,
    pub server: ServerAddress,
    /// As agreed.
    pub protocol_version: Option<String>,
    /// Where it did not end by itself: the status that told so.
    pub error_type: Option<String>,
    /// First byte of the `initialize` that opened it.
    pub start: BootTime,
    pub end: BootTime,
}
