//! What HTTP carries: model calls of every format, conversations over WebSockets, MCP, and the telemetry of programs themselves.

use std::sync::Arc;

use a11i_agent::{
    call::{CaptureFacts, Completeness, LossCauses, Role},
    http::{
        BodyEnd, ExchangeId, FramingEnd, HeaderValue, Headers, HttpEvent, HttpEventKind, HttpVersion, MessageKind, RequestHead,
        ResponseHead, SocketMessage, SocketPeer,
    },
    owner::Owner,
    provider::{ConnectionContext, ExchangeLimits, Exchanges, McpExchanges, OwnTelemetry, PendingRequests, Routes, TelemetryExports},
};
use a11i_common::identity::BootTime;

const LOST: Completeness = Completeness::Gap { lost: None, causes: LossCauses(1) };
const ID: ExchangeId = ExchangeId(7);

/// Requests whose formats are different: host, path, media type of the request and of the answer.
const PLACES: [(&str, &str, &str, &str); 24] = [
    ("api.openai.com", "/v1/chat/completions", "application/json", "text/event-stream"),
    ("api.openai.com", "/v1/chat/completions", "application/json", "application/json"),
    ("api.openai.com", "/v1/responses", "application/json", "text/event-stream"),
    ("api.openai.com", "/v1/responses", "application/json", "application/json"),
    ("api.openai.com", "/v1/embeddings", "application/json", "application/json"),
    ("api.openai.com", "/v1/audio/transcriptions", "multipart/form-data; boundary=x-7", "application/json"),
    ("api.openai.com", "/v1/images/generations", "application/json", "application/json"),
    ("api.openai.com", "/v1/threads/runs", "application/json", "text/event-stream"),
    ("api.anthropic.com", "/v1/messages", "application/json", "text/event-stream"),
    ("api.anthropic.com", "/v1/messages", "application/json", "application/json"),
    ("generativelanguage.googleapis.com", "/v1beta/models/g:streamGenerateContent", "application/json", "application/json"),
    ("generativelanguage.googleapis.com", "/v1beta/models/g:generateContent", "application/json", "application/json"),
    (
        "generativelanguage.googleapis.com",
        "/google.ai.generativelanguage.v1beta.GenerativeService/StreamGenerateContent",
        "application/grpc",
        "application/grpc",
    ),
    ("aiplatform.googleapis.com", "/google.cloud.aiplatform.v1.PredictionService/Predict", "application/grpc", "application/grpc"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/m/converse-stream", "application/json", "application/vnd.amazon.eventstream"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/anthropic.m/invoke", "application/json", "application/json"),
    ("api.cohere.com", "/v2/chat", "application/json", "text/event-stream"),
    ("api.mistral.ai", "/v1/conversations", "application/json", "text/event-stream"),
    ("localhost", "/api/chat", "application/json", "application/x-ndjson"),
    ("localhost", "/generate_stream", "application/json", "text/event-stream"),
    ("api.replicate.com", "/v1/predictions", "application/json", "application/json"),
    ("us-south.ml.cloud.ibm.com", "/ml/v1/text/chat_stream", "application/json", "text/event-stream"),
    ("api.voyageai.com", "/v1/rerank", "application/json", "application/json"),
    ("unknown.example", "/v1/chat/completions", "application/json", "text/event-stream"),
];

fn context() -> ConnectionContext {
    ConnectionContext { owner: Arc::new(Owner::default()), capture: CaptureFacts::default(), server_name: None, socket: None }
}

fn headers(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in fields {
        headers.push((*name).to_owned(), HeaderValue::Text((*value).to_owned()));
    }
    headers
}

fn request_head(method: &str, host: &str, path: &str, fields: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        role: Role::Client,
        version: HttpVersion::Http2,
        method: method.to_owned(),
        path: path.to_owned(),
        query: None,
        host: Some(host.to_owned()),
        port: None,
        headers: headers(fields),
        first_byte: BootTime(1),
    }
}

fn response_head(status: u16, content_type: &str) -> ResponseHead {
    ResponseHead { version: HttpVersion::Http2, status, headers: headers(&[("content-type", content_type)]), first_byte: BootTime(2) }
}

/// One exchange as its events: the request's body, and the response's, in pieces of `size`, each with a hole where `holes` says.
fn exchange(
    request: RequestHead,
    response: ResponseHead,
    bodies: [&[u8]; 2],
    holes: [Option<u8>; 2],
    size: usize,
    tell: &mut dyn FnMut(HttpEventKind<'_>),
) {
    tell(HttpEventKind::Request(Box::new(request)));
    let mut response = Some(Box::new(response));
    for (body, hole) in bodies.into_iter().zip(holes) {
        let is_request = response.is_some();
        let part = |bytes| if is_request { HttpEventKind::RequestBody(bytes) } else { HttpEventKind::ResponseBody(bytes) };
        let (before, after) = body.split_at(hole.map_or(body.len(), |hole| body.len() * usize::from(hole) / 256));
        before.chunks(size).for_each(|piece| tell(part(piece)));
        if hole.is_some() {
            tell(part(&[]));
        }
        after.chunks(size).for_each(|piece| tell(part(piece)));
        let completeness = if hole.is_some() { LOST } else { Completeness::Whole };
        let end = BodyEnd { completeness, framing: FramingEnd::Finished };
        tell(if is_request { HttpEventKind::RequestEnd(end) } else { HttpEventKind::ResponseEnd(end) });
        if let Some(head) = response.take() {
            tell(HttpEventKind::Response(head));
        }
    }
}

/// Two bodies, divided by a byte that UTF-8 does not have.
fn bodies(data: &[u8]) -> [&[u8]; 2] {
    let at = data.iter().position(|byte| *byte == 0xff).unwrap_or(data.len());
    [&data[..at], data.get(at + 1..).unwrap_or_default()]
}

/// Any request and answer of any format: cuts change nothing of the call, and what is lost is marked. Bodies with holes are read as far as
/// they are whole.
pub fn dialects(data: &[u8]) {
    let Some((&[place, holes, hole], data)) = data.split_first_chunk() else { return };
    let (host, path, asked, answered) = PLACES[usize::from(place) % PLACES.len()];
    let run = |size: usize, holes: [Option<u8>; 2]| {
        let limits = ExchangeLimits { keep_content: true, ..ExchangeLimits::default() };
        let mut exchanges = Exchanges::new(Arc::new(Routes::default()), limits);
        let context = context();
        let mut calls = Vec::new();
        let request = request_head("POST", host, path, &[("content-type", asked)]);
        let status = if holes[0].is_none() && hole == 0 { 500 } else { 200 };
        exchange(request, response_head(status, answered), bodies(data), holes, size, &mut |kind| {
            calls.extend(exchanges.handle(HttpEvent { exchange: ID, time: BootTime(3), kind }, &context));
        });
        assert!(exchanges.is_empty() && calls.len() <= 1);
        calls
    };
    let whole = run(usize::MAX, [None; 2]);
    // Of messages with checksums, one may have been damaged on its way; they are known without their label, too.
    assert!(host.starts_with("bedrock") || whole.iter().all(|call| call.completeness.is_whole()));
    assert_eq!(format!("{whole:?}"), format!("{:?}", run(5, [None; 2])));
    let holes = [(holes & 1 == 1).then_some(hole), (holes & 2 == 2).then_some(hole)];
    if holes != [None; 2] {
        assert!(run(usize::MAX, holes).iter().all(|call| !call.completeness.is_whole()));
    }
}

/// Any messages of both sides behind an accepted handshake, whatever is lost of them: every call ends with the connection.
pub fn conversation(data: &[u8]) {
    let Some((flags, data)) = data.split_first() else { return };
    let path = ["/v1/realtime", "/v1/responses"][usize::from(flags & 1)];
    let host = if flags & 2 == 0 { "api.openai.com" } else { "unknown.example" };
    let mut exchanges = Exchanges::new(Arc::new(Routes::default()), ExchangeLimits { keep_content: true, ..ExchangeLimits::default() });
    let (context, mut time, mut calls, mut messages) = (context(), 1, 0_usize, 0_usize);
    let mut tell = |kind: HttpEventKind<'_>| {
        time += 1;
        calls += usize::from(exchanges.handle(HttpEvent { exchange: ID, time: BootTime(time), kind }, &context).is_some());
        while exchanges.take_finished().is_some() {
            calls += 1;
        }
        exchanges.len()
    };
    tell(HttpEventKind::Request(Box::new(request_head("GET", host, path, &[("upgrade", "websocket")]))));
    tell(HttpEventKind::Response(Box::new(response_head(if flags & 4 == 0 { 101 } else { 403 }, ""))));
    for part in data.split(|byte| *byte == 0xff) {
        let Some((kind, bytes)) = part.split_first() else { continue };
        let from = if kind & 1 == 0 { SocketPeer::Client } else { SocketPeer::Server };
        let is_whole = kind & 0x80 == 0;
        messages += 1;
        let open = tell(if kind & 0x40 != 0 {
            HttpEventKind::MessagesMissing { from, missing: LOST }
        } else {
            let missing = if is_whole { Completeness::Whole } else { LOST };
            HttpEventKind::Message(SocketMessage { from, kind: MessageKind::Text, first_byte: BootTime(1), data: bytes, is_whole, missing })
        });
        assert!(open <= messages);
    }
    let open = tell(HttpEventKind::ResponseEnd(BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Cut }));
    assert_eq!(open, 0);
    // A message begins one call at most; the handshake is one by itself, where it is refused.
    assert!(calls <= messages + 1);
    assert!(exchanges.is_empty());
}

/// Any bodies of an exchange that may be MCP: cuts change nothing of the messages, and nothing is left but what waits for an answer.
pub fn mcp(data: &[u8]) {
    let Some((&[flags, hole], data)) = data.split_first_chunk() else { return };
    let answered = if flags & 1 == 0 { "application/json" } else { "text/event-stream" };
    let method = if flags & 2 == 0 { "POST" } else { "GET" };
    let mut fields = vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    if flags & 4 != 0 {
        fields.push(("mcp-session-id", "s"));
    }
    let run = |size: usize, holes: [Option<u8>; 2]| {
        let (mut exchanges, mut pending, context) = (McpExchanges::new(true, 1), PendingRequests::default(), context());
        let mut messages = Vec::new();
        exchange(
            request_head(method, "localhost", "/mcp", &fields),
            response_head(200, answered),
            bodies(data),
            holes,
            size,
            &mut |kind| {
                exchanges.handle(&HttpEvent { exchange: ID, time: BootTime(3), kind }, &context, &mut pending, &mut |message| {
                    messages.push(message)
                });
            },
        );
        assert!(exchanges.is_empty());
        pending.end_process(context.owner.process, BootTime(4), &mut |message| messages.push(message));
        assert!(messages.iter().all(|message| message.method.len() <= 128));
        format!("{messages:?}")
    };
    assert_eq!(run(usize::MAX, [None; 2]), run(5, [None; 2]));
    if flags & 8 != 0 {
        run(usize::MAX, [(flags & 16 != 0).then_some(hole), Some(hole)]);
    }
}

/// Any body of an OTLP export: what it says of the process does not depend on cuts, and nothing of it stays open.
pub fn own_telemetry(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let (path, content_type, encoding) = [
        ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", "application/grpc", ""),
        ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", "application/grpc+proto", "gzip"),
        ("/v1/traces", "application/x-protobuf", ""),
        ("/v1/traces", "application/json", ""),
    ][usize::from(kind & 3)];
    let run = |size: usize| {
        let (mut exports, mut own, context) = (TelemetryExports::default(), OwnTelemetry::default(), context());
        own.handle_call(context.owner.process, Role::Client);
        let request = request_head("POST", "localhost", path, &[("content-type", content_type), ("grpc-encoding", encoding)]);
        exchange(request, response_head(200, content_type), [body, &[]], [None; 2], size, &mut |kind| {
            exports.handle(&HttpEvent { exchange: ID, time: BootTime(3), kind }, &context, &mut own);
        });
        assert!(!exports.wants(ID));
        [Role::Client, Role::Server].map(|role| own.reports(context.owner.process, role))
    };
    let (whole, in_pieces) = (run(usize::MAX), run(3));
    // How much is given of compressed bytes that turn out to be broken depends on cuts.
    assert!(encoding == "gzip" || whole == in_pieces, "{whole:?} and {in_pieces:?}");
}
