//! Handshakes, and what becomes of them.

use std::sync::Arc;

use a11i_common::identity::BootTime;

use crate::{
    call::{CaptureFacts, Completeness, LlmCall, LossCauses, Role},
    http::{
        BodyEnd, ExchangeId, FramingEnd, HeaderValue, Headers, HttpEvent, HttpEventKind, HttpVersion, MessageKind, RequestHead,
        ResponseHead, SocketMessage, SocketPeer,
    },
    owner::Owner,
    provider::{ConnectionContext, ExchangeLimits, Exchanges, Routes},
};

/// Something is missing.
pub(in crate::provider) const LOST: Completeness = Completeness::Gap { lost: Some(9), causes: LossCauses(1) };

const CUT: BodyEnd = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Cut };

/// A conversation as the HTTP stage tells it. Each event comes 10 ns after the one before.
pub(in crate::provider) struct Talk {
    pub(in crate::provider) exchanges: Exchanges,
    context: ConnectionContext,
    pub(in crate::provider) time: u64,
    pub(in crate::provider) calls: Vec<LlmCall>,
}

impl Talk {
    pub(in crate::provider) fn asked(host: &str, path: &str, query: Option<&str>) -> Self {
        let context =
            ConnectionContext { owner: Arc::new(Owner::default()), capture: CaptureFacts::default(), server_name: None, socket: None };
        let limits = ExchangeLimits { keep_content: true, ..ExchangeLimits::default() };
        let mut talk = Self { exchanges: Exchanges::new(Arc::new(Routes::default()), limits), context, time: 0, calls: Vec::new() };
        let mut headers = Headers::default();
        for (name, value) in [("upgrade", "websocket"), ("user-agent", "Python/3 websockets/15"), ("openai-organization", "org-1")] {
            headers.push(name.into(), HeaderValue::Text(value.into()));
        }
        talk.tell(HttpEventKind::Request(Box::new(RequestHead {
            role: Role::Client,
            version: HttpVersion::Http11,
            method: "GET".into(),
            path: path.into(),
            query: query.map(str::to_owned),
            host: Some(host.into()),
            port: None,
            headers,
            first_byte: BootTime(0),
        })));
        talk
    }

    /// On a stream of HTTP/2 (RFC 8441).
    pub(in crate::provider) fn connected(host: &str, path: &str) -> Self {
        let mut talk = Self::asked(host, path, None);
        talk.exchanges = Exchanges::new(Arc::new(Routes::default()), ExchangeLimits { keep_content: true, ..ExchangeLimits::default() });
        let mut headers = Headers::default();
        headers.push(":protocol".into(), HeaderValue::Text("websocket".into()));
        talk.tell(HttpEventKind::Request(Box::new(RequestHead {
            role: Role::Client,
            version: HttpVersion::Http2,
            method: "CONNECT".into(),
            path: path.into(),
            query: None,
            host: Some(host.into()),
            port: None,
            headers,
            first_byte: BootTime(0),
        })));
        talk.answer(200);
        talk
    }

    /// With the handshake accepted.
    pub(in crate::provider) fn begun(host: &str, path: &str, query: Option<&str>) -> Self {
        let mut talk = Self::asked(host, path, query);
        talk.answer(101);
        talk
    }

    pub(in crate::provider) fn answer(&mut self, status: u16) {
        let mut headers = Headers::default();
        headers.push("x-request-id".into(), HeaderValue::Text("req_1".into()));
        let head = ResponseHead { version: HttpVersion::Http11, status, headers, first_byte: BootTime(self.time) };
        self.tell(HttpEventKind::Response(Box::new(head)));
    }

    pub(in crate::provider) fn tell(&mut self, kind: HttpEventKind<'_>) {
        self.time += 10;
        let event = HttpEvent { exchange: ExchangeId(0), time: BootTime(self.time), kind };
        self.calls.extend(self.exchanges.handle(event, &self.context));
        while let Some(call) = self.exchanges.take_finished() {
            self.calls.push(call);
        }
    }

    fn message(&mut self, from: SocketPeer, text: &str, is_whole: bool) {
        // Its first byte came 5 ns before its last.
        let first_byte = BootTime(self.time + 5);
        let missing = if is_whole { Completeness::Whole } else { LOST };
        self.tell(HttpEventKind::Message(SocketMessage {
            from,
            kind: MessageKind::Text,
            first_byte,
            data: text.as_bytes(),
            is_whole,
            missing,
        }));
    }

    pub(in crate::provider) fn client(&mut self, text: &str) -> &mut Self {
        self.message(SocketPeer::Client, text, true);
        self
    }

    pub(in crate::provider) fn server(&mut self, text: &str) -> &mut Self {
        self.message(SocketPeer::Server, text, true);
        self
    }

    /// Of the server's message, the end was lost.
    pub(in crate::provider) fn server_cut(&mut self, text: &str) -> &mut Self {
        self.message(SocketPeer::Server, text, false);
        self
    }

    pub(in crate::provider) fn lose(&mut self, from: SocketPeer) -> &mut Self {
        self.tell(HttpEventKind::MessagesMissing { from, missing: LOST });
        self
    }

    pub(in crate::provider) fn close(mut self) -> Vec<LlmCall> {
        self.tell(HttpEventKind::ResponseEnd(CUT));
        assert!(self.exchanges.is_empty());
        self.calls
    }
}

#[test]
fn a_handshake_without_messages_is_no_call() {
    let talk = Talk::begun("api.openai.com", "/v1/realtime", None);
    assert!(talk.exchanges.has_conversation() && !talk.exchanges.is_empty());
    assert!(talk.close().is_empty());
}

#[test]
fn a_handshake_that_is_refused_is_a_call_that_failed() {
    let mut talk = Talk::asked("api.openai.com", "/v1/realtime", Some("model=gpt-realtime"));
    talk.answer(401);
    talk.tell(HttpEventKind::ResponseBody(br#"{"error":{"type":"invalid_request_error","code":"invalid_api_key","message":"no"}}"#));
    let calls = talk.close();
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    assert_eq!((call.outcome.error_type.as_deref(), call.response.status), (Some("invalid_request_error"), Some(401)));
    let unanswered = Talk::asked("api.openai.com", "/v1/realtime", None).close();
    assert_eq!(unanswered[0].outcome.error_type.as_deref(), Some("connection_closed"));
    let mut redirected = Talk::asked("api.openai.com", "/v1/realtime", None);
    redirected.answer(307);
    assert!(redirected.close().is_empty());
}

#[test]
fn at_an_unknown_host_the_first_message_decides() {
    let mut talk = Talk::begun("chat.example", "/realtime", None);
    talk.server(r#"{"op":"hello"}"#);
    assert!(!talk.exchanges.has_conversation());
    assert_eq!(talk.exchanges.counters().unlike, 1);
    let mut talk = Talk::begun("gateway.example", "/realtime", None);
    talk.server(r#"{"type":"session.created","session":{"model":"m"}}"#).server(r#"{"op":"hello"}"#);
    assert!(talk.exchanges.has_conversation());
}

#[test]
fn at_an_unknown_host_messages_that_cannot_be_read_do_not_go_on_for_ever() {
    for text in [r#"{"op":"said","text":"hel"#, ""] {
        let followed = |messages: u32| {
            let mut talk = Talk::begun("chat.example", "/realtime", None);
            for _ in 0..messages {
                talk.server_cut(text);
            }
            talk.exchanges.has_conversation()
        };
        assert!(followed(8) && !followed(64), "{text}");
        let mut talk = Talk::begun("chat.example", "/realtime", None);
        talk.server(r#"{"type":"session.created","session":{"model":"m"}}"#);
        for _ in 0..64 {
            talk.server_cut(text);
        }
        assert!(talk.exchanges.has_conversation(), "{text}");
    }
}

#[test]
fn a_failure_vouches_for_no_format() {
    for path in ["/realtime", "/responses"] {
        let error = r#"{"type":"error","error":{"type":"auth","message":"no"}}"#;
        let mut talk = Talk::begun("chat.example", path, None);
        talk.server(error).server(r#"{"op":"hello"}"#);
        assert!(!talk.exchanges.has_conversation(), "{path}");
        assert_eq!((talk.exchanges.counters().unlike, talk.calls.len()), (1, 0));
        let mut talk = Talk::begun("chat.example", path, None);
        talk.server(error);
        assert!(talk.close().is_empty());
        let mut talk = Talk::begun("gateway.example", path, None);
        talk.server(error).client(r#"{"type":"response.create"}"#);
        let calls = talk.close();
        assert_eq!((calls[0].outcome.error_type.as_deref(), calls.len()), (Some("auth"), 1));
    }
}

#[test]
fn other_paths_and_requests_that_ask_for_no_websocket_are_none() {
    assert!(!Talk::asked("api.openai.com", "/v1/other", None).exchanges.has_conversation());
}

#[test]
fn a_stream_of_http2_carries_calls_as_a_connection_does() {
    let mut talk = Talk::connected("api.openai.com", "/v1/responses");
    talk.client(r#"{"type":"response.create","model":"m","input":[]}"#)
        .server(r#"{"type":"response.created","response":{"id":"r","model":"m"}}"#)
        .server(r#"{"type":"response.completed","response":{"id":"r","status":"completed","output":[],"usage":{"input_tokens":1,"output_tokens":2}}}"#);
    assert_eq!(talk.calls.len(), 1);
    assert_eq!((talk.calls[0].usage.input_tokens, talk.calls[0].usage.output_tokens), (Some(1), Some(2)));
}
