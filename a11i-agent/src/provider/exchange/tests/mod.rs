//! Hand-made HTTP events → calls. What the tests have in common: a peer that tells them, a request and its answer.

mod bodies;
mod connection;
mod endings;
mod recognition;

use a11i_common::identity::BootTime;

use super::*;
use crate::{
    call::{CaptureLibrary, CaptureMethod, LossCauses, Message, NanoUsd, Part},
    fixture::{fields, request},
    http::{Headers, HttpVersion, ResponseHead},
    provider::RouteSettings,
};

const FINISHED: BodyEnd = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Finished };
const CUT: BodyEnd = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Cut };

struct Peer {
    exchanges: Exchanges,
    context: ConnectionContext,
    time: u64,
}

impl Peer {
    fn new() -> Self {
        Self {
            exchanges: Exchanges::new(Arc::new(Routes::default()), ExchangeLimits { keep_content: true, exchanges: 3 }),
            context: ConnectionContext {
                owner: Arc::new(Owner::default()),
                capture: CaptureFacts::default(),
                server_name: None,
                socket: None,
            },
            time: 0,
        }
    }

    fn tell(&mut self, id: u64, kind: HttpEventKind<'_>) -> Option<LlmCall> {
        self.time = self.time.saturating_add(10);
        self.exchanges.handle(HttpEvent { exchange: ExchangeId(id), time: BootTime(self.time), kind }, &self.context)
    }

    fn request(&mut self, id: u64, host: Option<&str>, path: &str, body: &[&[u8]]) {
        let mut head = request("POST", host.unwrap_or_default(), path, &[]);
        head.host = host.map(str::to_owned);
        head.first_byte = BootTime(self.time);
        self.tell(id, HttpEventKind::Request(Box::new(head)));
        for piece in body {
            self.tell(id, HttpEventKind::RequestBody(piece));
        }
    }

    /// A request without its body.
    fn begin(&mut self, host: &str, path: &str, content_type: &str) {
        let mut head = request("POST", host, path, &[("content-type", content_type)]);
        head.first_byte = BootTime(self.time);
        self.tell(1, HttpEventKind::Request(Box::new(head)));
    }

    fn respond(&mut self, id: u64, status: u16, content_type: &str, body: &[&[u8]], end: BodyEnd) -> Option<LlmCall> {
        let headers = if content_type.is_empty() { Headers::default() } else { fields(&[("content-type", content_type)]) };
        let head = ResponseHead { version: HttpVersion::Http11, status, headers, first_byte: BootTime(self.time) };
        self.tell(id, HttpEventKind::Response(Box::new(head)));
        for piece in body {
            self.tell(id, HttpEventKind::ResponseBody(piece));
        }
        self.tell(id, HttpEventKind::ResponseEnd(end))
    }

    /// One chat call to OpenAI.
    fn chat(request: &[&[u8]], status: u16, content_type: &str, response: &[&[u8]], end: BodyEnd) -> LlmCall {
        let mut peer = Self::new();
        peer.request(1, Some("api.openai.com"), "/v1/chat/completions", request);
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        let call = peer.respond(1, status, content_type, response, end).unwrap();
        assert!(peer.exchanges.is_empty());
        call
    }
}

const REQUEST: &[u8] = br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
const ANSWER: &[u8] = br#"{"id":"1","model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"yo"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
const EVENTS: &[u8] = b"data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"yo\"},\"finish_reason\":null}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n";
