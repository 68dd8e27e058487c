//! JSON-RPC 2.0 messages as MCP uses them: one object, or an array of them (revision 2025-03-26).

use super::super::{
    lenient::{Flag, Int, Raw, Shape, Text, clip, lenient_object, parse},
    trace_context,
};
use crate::call::{McpMessage, TraceParent};

/// Messages of one body: larger batches are not followed to their end.
const BATCH: usize = 256;
/// Longest method, tool and prompt name, version and id: they name spans, and metrics' series.
const NAME_BYTES: usize = 128;
/// Longest resource URI.
const URI_BYTES: usize = 1024;
/// Arguments and results larger than this are kept as their first bytes.
const CONTENT_BYTES: usize = 256 * 1024;

/// A message, by what it is.
#[derive(Debug)]
pub(super) enum Message {
    /// With an id a request, else a notification.
    Call(Box<Call>),
    Answer(Box<Answer>),
}

#[derive(Debug)]
pub(super) struct Call {
    /// As written: `1` and `"1"` differ.
    pub(super) id: Option<String>,
    pub(super) message: McpMessage,
    pub(super) parent: Option<TraceParent>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) id: String,
    pub(super) error: Option<(Option<i64>, Option<String>)>,
    /// A tool says that it failed.
    pub(super) is_error: bool,
    /// Of the answer to `initialize`.
    pub(super) protocol_version: Option<String>,
    pub(super) result: Option<serde_json::Value>,
}

lenient_object! {
    struct Envelope<'a> {
        "jsonrpc" => jsonrpc: Text<'a>,
        "id" => id: Raw<'a>,
        "method" => method: Text<'a>,
        "params" => params: Raw<'a>,
        "result" => result: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct Params<'a> {
        "name" => name: Text<'a>,
        "uri" => uri: Text<'a>,
        "arguments" => arguments: Raw<'a>,
        "protocolVersion" => protocol_version: Text<'a>,
        "_meta" => meta: Meta<'a>,
    }
}

lenient_object! {
    struct Meta<'a> {
        "traceparent" => traceparent: Text<'a>,
        "io.modelcontextprotocol/protocolVersion" => protocol_version: Text<'a>,
    }
}

lenient_object! {
    struct ResultObject<'a> {
        "isError" => is_error: Flag,
        "protocolVersion" => protocol_version: Text<'a>,
        "content" => content: Raw<'a>,
        "structuredContent" => structured: Raw<'a>,
    }
}

lenient_object! {
    struct ErrorObject<'a> {
        "code" => code: Int,
        "message" => message: Text<'a>,
    }
}

/// The messages of a body or an event; empty where it is no JSON-RPC. `content`: arguments and results are kept.
pub(super) fn read(body: &[u8], content: bool) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut take = |envelope: Envelope<'_>| {
        if messages.len() < BATCH {
            messages.extend(message(&envelope, content));
        }
    };
    match body.trim_ascii_start().first() {
        Some(b'{') => {
            if let Ok(envelope) = parse(body) {
                take(envelope);
            }
        }
        Some(b'[') => {
            if let Ok(batch) = parse::<Raw<'_>>(body) {
                batch.for_each(take);
            }
        }
        _ => {}
    }
    messages
}

fn message(envelope: &Envelope<'_>, content: bool) -> Option<Message> {
    if envelope.jsonrpc.as_str() != Some("2.0") {
        return None;
    }
    let id = envelope.id.json().map(|id| clip(id, NAME_BYTES).to_owned());
    if let Some(method) = envelope.method.filled() {
        return Some(Message::Call(Box::new(call(id, method, envelope.params, content))));
    }
    let answered = envelope.result.0.is_some() || envelope.error.0.is_some();
    id.filter(|_| answered).map(|id| Message::Answer(Box::new(answer(id, envelope, content))))
}

fn call(id: Option<String>, method: &str, params: Raw<'_>, content: bool) -> Call {
    let params = params.read::<Params<'_>>().unwrap_or_default();
    let name = || params.name.filled().map(|name| clip(name, NAME_BYTES).to_owned());
    let version = params.protocol_version.filled().or_else(|| params.meta.protocol_version.filled());
    let message = McpMessage {
        method: clip(method, NAME_BYTES).to_owned(),
        request_id: id.as_deref().map(|id| id.trim_matches('"').to_owned()),
        tool: name().filter(|_| method == "tools/call"),
        prompt: name().filter(|_| method == "prompts/get"),
        resource_uri: params.uri.filled().map(without_secrets),
        protocol_version: version.map(|version| clip(version, NAME_BYTES).to_owned()),
        arguments: params.arguments.value(CONTENT_BYTES).filter(|_| content),
        ..McpMessage::default()
    };
    Call { id, message, parent: params.meta.traceparent.filled().and_then(trace_context::traceparent) }
}

fn answer(id: String, envelope: &Envelope<'_>, content: bool) -> Answer {
    let error = envelope.error.0.map(|_| {
        let error = envelope.error.read::<ErrorObject<'_>>().filter(Shape::is_object).unwrap_or_default();
        (error.code.0, error.message.filled().map(str::to_owned))
    });
    let result = envelope.result.read::<ResultObject<'_>>().unwrap_or_default();
    let said = if result.structured.0.is_some() { result.structured } else { result.content };
    Answer {
        id,
        error,
        is_error: result.is_error.0 == Some(true),
        protocol_version: result.protocol_version.filled().map(|version| clip(version, NAME_BYTES).to_owned()),
        result: said.value(CONTENT_BYTES).filter(|_| content),
    }
}

/// Queries may hold credentials, and so may what stands before a host; what has no hierarchy (`data:`) is content.
fn without_secrets(uri: &str) -> String {
    let uri = uri.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri.split_once(':').map_or(uri, |(scheme, _)| scheme).chars().take(NAME_BYTES).collect();
    };
    let (authority, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len())).unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    clip(&format!("{scheme}://{host}{path}"), URI_BYTES).to_owned()
}

impl Answer {
    /// Whether anything but success was said goes into the message's outcome.
    pub(super) fn conclude(self, message: &mut McpMessage) {
        if let Some((code, text)) = self.error {
            message.status_code = code;
            message.outcome.error_type = Some(code.map_or_else(|| "_OTHER".to_owned(), |code| code.to_string()));
            message.outcome.error_message = text.map(|text| clip(&text, crate::call::ERROR_MESSAGE_CAP).to_owned());
        } else if self.is_error {
            message.outcome.error_type = Some("tool_error".to_owned());
        }
        if self.protocol_version.is_some() {
            message.protocol_version = self.protocol_version;
        }
        message.result = self.result;
    }
}
