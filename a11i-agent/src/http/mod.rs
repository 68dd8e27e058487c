//! Segments → HTTP messages.
//!
//! Takes both directions of one connection as [`crate::flow::Segment`]s. Gives [`HttpEvent`]s: heads, decoded
//! bodies in pieces, ends, each tied to its exchange (request and response paired). Refuses what is not HTTP,
//! once per connection, with a reason. Credentials do not leave this stage: only keyed fingerprints do.

#![warn(clippy::arithmetic_side_effects)]

mod authority;
pub mod aws_event_stream;
pub(crate) mod base64;
mod connection;
pub mod content_coding;
mod context;
mod credential;
mod detect;
pub mod grpc;
mod h1;
mod h2;
pub mod json_array;
mod message;
pub mod multipart;
pub mod ndjson;
pub mod sse;
mod websocket;

pub use connection::{Connection, EventSink, HttpSettings};
pub use credential::Fingerprinter;
pub use detect::begins_request;

use a11i_common::identity::BootTime;

use crate::call::{Completeness, Role};

/// Appends a string in the Huffman code of RFC 7541 to `out`: for whoever makes header blocks, as `replay` does.
pub(crate) fn huffman_encode(input: &[u8], out: &mut Vec<u8>) {
    h2::huffman_encode(input, out);
}

/// A request and its response, numbered per connection in order of the requests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ExchangeId(pub u64);

#[derive(Clone, PartialEq, Debug)]
pub struct HttpEvent<'a> {
    pub exchange: ExchangeId,
    /// Kernel time of the bytes that completed this event (of the first byte for heads: see [`RequestHead::first_byte`]).
    pub time: BootTime,
    pub kind: HttpEventKind<'a>,
}

/// What the taker of an event says of its exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Whatever comes of it is wanted.
    Wanted,
    /// Its bodies are not, and will not be: where messages come side by side they are neither decoded nor given. Heads and ends are.
    Declined,
}

#[derive(Clone, PartialEq, Debug)]
pub enum HttpEventKind<'a> {
    Request(Box<RequestHead>),
    /// Content-decoded. An empty piece says that bytes are missing here; no other piece is empty.
    RequestBody(&'a [u8]),
    RequestEnd(BodyEnd),
    /// The final response; interim (1xx) ones are not reported.
    Response(Box<ResponseHead>),
    /// Content-decoded. An empty piece says that bytes are missing here; no other piece is empty.
    ResponseBody(&'a [u8]),
    /// Fields behind the response's body, told of HTTP/2 alone.
    ResponseTrailers(Box<Headers>),
    /// Of a WebSocket, behind the response that accepted it: a message of either side.
    Message(SocketMessage<'a>),
    /// Of a WebSocket: bytes are missing here, which may have been any number of messages.
    MessagesMissing {
        from: SocketPeer,
        missing: Completeness,
    },
    /// Ends the exchange. Also comes when the connection ends before a response did, or instead of any response.
    ResponseEnd(BodyEnd),
}

/// One message of a WebSocket: unmasked, decompressed, fragments joined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketMessage<'a> {
    pub from: SocketPeer,
    pub kind: MessageKind,
    /// Kernel time of its first byte.
    pub first_byte: BootTime,
    /// All of it, or its beginning.
    pub data: &'a [u8],
    /// `data` is all of it. Otherwise it was larger than what is kept, or part of it was not seen.
    pub is_whole: bool,
    /// What of it was not seen.
    pub missing: Completeness,
}

/// Who sent a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketPeer {
    Client,
    Server,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    Text,
    Binary,
}

/// How a message ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyEnd {
    /// What of the message was not *seen*.
    pub completeness: Completeness,
    /// Whether the peers finished it.
    pub framing: FramingEnd,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FramingEnd {
    /// By its length, its last chunk, or a close where close is the framing.
    Finished,
    /// The connection ended first: the peers cut it.
    Cut,
    /// The message breaks the protocol or a limit; the rest of it was not parsed.
    Malformed(MalformedReason),
}

/// Why a message or connection was given up. Each is a label of a counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MalformedReason {
    /// Not a request or status line, or a header line that is none.
    Head,
    /// More than the bytes or lines allowed for a head.
    HeadTooLarge,
    /// `content-length` twice with different values, or not a number.
    ContentLength,
    ChunkSize,
    /// The body does not decode by its `content-encoding`.
    ContentCoding,
    /// Decoded to more than the cap, or only with more memory than decoders may hold.
    ContentTooLarge,
    /// A response that no request asked for.
    UnexpectedResponse,
    /// More requests in flight on one connection than are tracked.
    TooManyExchanges,
    /// Not a frame of a WebSocket, or one out of order.
    WebSocketFrame,
}

/// Head of a request, host and credentials taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHead {
    pub role: Role,
    pub version: HttpVersion,
    pub method: String,
    /// Without query.
    pub path: String,
    /// Values of secret parameters (`key=`, `sig=` …) are removed.
    pub query: Option<String>,
    /// `Host` or `:authority`, without port, lower case.
    pub host: Option<String>,
    /// As written after the host; `None` = the scheme's default.
    pub port: Option<u16>,
    pub headers: Headers,
    /// Kernel time of the request's first byte.
    pub first_byte: BootTime,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponseHead {
    pub version: HttpVersion,
    pub status: u16,
    pub headers: Headers,
    pub first_byte: BootTime,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HttpVersion {
    Http10,
    Http11,
    Http2,
}

/// Field lines in order, names in lower case. Credential fields hold fingerprints.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Headers {
    fields: Vec<(String, HeaderValue)>,
    has_unseen: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeaderValue {
    Text(String),
    /// HMAC-SHA-256 of the value under the agent's key, first 8 bytes in hex.
    Fingerprint(String),
}

impl Headers {
    pub fn push(&mut self, name: String, value: HeaderValue) {
        self.fields.push((name, value));
    }

    /// Some of what was sent refers to what was not seen (HTTP/2 joined late, or after a loss): what is absent here need not have been.
    pub const fn has_unseen(&self) -> bool {
        self.has_unseen
    }

    pub(crate) const fn mark_unseen(&mut self) {
        self.has_unseen = true;
    }

    /// First text value of a field. `name` in lower case.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().find_map(|(n, v)| match v {
            HeaderValue::Text(text) if n == name => Some(text.as_str()),
            HeaderValue::Text(_) | HeaderValue::Fingerprint(_) => None,
        })
    }

    /// Fingerprint of the first credential field.
    pub fn credential(&self) -> Option<&str> {
        self.fields.iter().find_map(|(_, v)| match v {
            HeaderValue::Fingerprint(print) => Some(print.as_str()),
            HeaderValue::Text(_) => None,
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &HeaderValue)> {
        self.fields.iter().map(|(n, v)| (n.as_str(), v))
    }
}

/// What became of a connection as a whole, told at most once each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionNotice {
    /// Neither direction begins like HTTP.
    NotHttp,
    /// `Upgrade` or CONNECT was accepted: what follows is another protocol.
    Upgraded,
    /// A WebSocket was accepted: its messages follow.
    WebSocket,
    Malformed(MalformedReason),
}
