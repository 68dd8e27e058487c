//! Hand-made HTTP events → messages.

use std::sync::Arc;

use a11i_common::identity::BootTime;

use super::{
    pending::{Place, RequestKey},
    *,
};
use crate::{
    call::{CaptureFacts, LossCauses, McpSession, Role},
    fixture::{fields as headers_of, request as head},
    http::{BodyEnd, FramingEnd, HttpVersion, ResponseHead},
    owner::Owner,
};

const FINISHED: BodyEnd = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Finished };
const CUT: BodyEnd = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Cut };
const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"add","arguments":{"a":1},"_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"2"}],"isError":false}}"#;

const INITIALIZE: &[u8] = br#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
const AGREED: &str = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{}}}"#;

struct Peer {
    exchanges: McpExchanges,
    pending: PendingRequests,
    context: ConnectionContext,
    time: u64,
    out: Vec<McpMessage>,
    told: Vec<McpTold>,
}

impl Peer {
    fn new() -> Self {
        let context =
            ConnectionContext { owner: Arc::new(Owner::default()), capture: CaptureFacts::default(), server_name: None, socket: None };
        let (exchanges, pending) = (McpExchanges::new(true, 1), PendingRequests::default());
        Self { exchanges, pending, context, time: 0, out: Vec::new(), told: Vec::new() }
    }

    fn tell(&mut self, id: u64, kind: HttpEventKind<'_>) {
        self.time = self.time.saturating_add(10);
        let event = HttpEvent { exchange: ExchangeId(id), time: BootTime(self.time), kind };
        let out = &mut self.out;
        let told = self.exchanges.handle(&event, &self.context, &mut self.pending, &mut |message| out.push(message));
        if told != McpTold::Nothing {
            self.told.push(told);
        }
    }

    fn request(&mut self, id: u64, method: &str, path: &str, fields: &[(&str, &str)], body: &[&[u8]]) {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        let mut head = head(method, "tools.local", path, fields);
        (head.query, head.port, head.first_byte) = (query, Some(8000), BootTime(self.time));
        self.tell(id, HttpEventKind::Request(Box::new(head)));
        for piece in body {
            self.tell(id, HttpEventKind::RequestBody(piece));
        }
        self.tell(id, HttpEventKind::RequestEnd(FINISHED));
    }

    fn response(&mut self, id: u64, status: u16, fields: &[(&str, &str)], body: &[&[u8]]) {
        let headers = headers_of(fields);
        let head = ResponseHead { version: HttpVersion::Http11, status, headers, first_byte: BootTime(self.time) };
        self.tell(id, HttpEventKind::Response(Box::new(head)));
        for piece in body {
            self.tell(id, HttpEventKind::ResponseBody(piece));
        }
    }

    fn end(&mut self, id: u64, end: BodyEnd) {
        self.tell(id, HttpEventKind::ResponseEnd(end));
    }

    fn sessions(&mut self) -> Vec<McpSession> {
        self.pending.take_sessions()
    }

    /// A session is opened by `initialize`, agreed and answered.
    fn initialize(&mut self, id: u64, path: &str, session: &str) {
        self.request(id, "POST", path, &BOTH, &[INITIALIZE]);
        self.response(id, 200, &[("content-type", "application/json"), ("mcp-session-id", session)], &[AGREED.as_bytes()]);
        self.end(id, FINISHED);
    }

    /// The exchange that ends it.
    fn delete(&mut self, id: u64, session: &str, status: u16) {
        self.request(id, "DELETE", "/mcp", &[("mcp-session-id", session)], &[]);
        self.response(id, status, &[], &[]);
        self.end(id, FINISHED);
    }

    fn out(&mut self) -> Vec<McpMessage> {
        std::mem::take(&mut self.out)
    }
}

const BOTH: [(&str, &str); 1] = [("accept", "application/json, text/event-stream")];
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const EVENTS: [(&str, &str); 1] = [("content-type", "text/event-stream")];

#[test]
fn a_tool_call_is_told_with_its_answer_however_the_bytes_are_cut() {
    let events = format!("event: message\ndata: {ANSWER}\n\n");
    for (fields, body) in [(JSON, ANSWER.as_bytes()), (EVENTS, events.as_bytes())] {
        for at in 1..body.len() {
            let mut peer = Peer::new();
            let (head, tail) = CALL.split_at(at.min(CALL.len() - 1));
            peer.request(1, "POST", "/mcp", &BOTH, &[head, tail]);
            let (head, tail) = body.split_at(at);
            peer.response(1, 200, &fields, &[head, tail]);
            peer.end(1, FINISHED);
            let [message] = &peer.out()[..] else { panic!("cut at {at}") };
            assert_eq!((message.method.as_str(), message.target(), message.role), ("tools/call", Some("add"), Role::Client));
            assert_eq!((message.request_id.as_deref(), message.http_status), (Some("7"), Some(200)));
            assert_eq!((message.server.address.as_deref(), message.server.port), (Some("tools.local"), Some(8000)));
            assert!(message.outcome.error_type.is_none() && message.completeness.is_whole() && message.timing.end > message.timing.start);
            assert!(message.correlation.parent.is_some() && message.arguments.is_some() && message.result.is_some());
            assert_eq!(peer.told, [McpTold::Undecided, McpTold::Mcp]);
            assert!(peer.exchanges.is_empty());
        }
    }
}

#[test]
fn json_rpc_of_others_is_refused_at_the_end_of_its_request() {
    for body in
        [&br#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[]}"#[..], br#"{"id":1,"method":"tools/call"}"#, b"{", b"[1,[]]", b""]
    {
        let mut peer = Peer::new();
        peer.request(1, "POST", "/mcp", &BOTH, &[body]);
        assert_eq!(peer.told, [McpTold::Undecided, McpTold::Other]);
        assert!(peer.exchanges.is_empty() && peer.out().is_empty());
    }
}

#[test]
fn failures_have_their_code_and_a_tools_own_failure_its_name() {
    let cases = [
        (200, r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no"}}"#, "-32602", Some(-32602)),
        (200, r#"{"jsonrpc":"2.0","id":7,"result":{"isError":true,"content":[]}}"#, "tool_error", None),
        (404, "not found", "404", None),
        (401, r#"{"error":"denied"}"#, "401", None),
    ];
    for (status, body, error, code) in cases {
        let mut peer = Peer::new();
        peer.request(1, "POST", "/mcp", &BOTH, &[CALL]);
        peer.response(1, status, &JSON, &[body.as_bytes()]);
        peer.end(1, FINISHED);
        let [message] = &peer.out()[..] else { panic!("{body}") };
        assert_eq!((message.outcome.error_type.as_deref(), message.status_code), (Some(error), code));
    }
}

#[test]
fn a_batch_is_as_many_messages_and_a_notification_ends_with_its_status() {
    let batch = br#"[{"jsonrpc":"2.0","id":"a","method":"ping"},{"jsonrpc":"2.0","method":"notifications/initialized"},{"jsonrpc":"2.0","id":"b","method":"tools/list"}]"#;
    let answers = br#"[{"jsonrpc":"2.0","id":"b","result":{"tools":[]}},{"jsonrpc":"2.0","id":"a","result":{}}]"#;
    let mut peer = Peer::new();
    peer.request(1, "POST", "/mcp", &BOTH, &[batch]);
    peer.response(1, 200, &JSON, &[answers]);
    peer.end(1, FINISHED);
    let methods: Vec<_> = peer.out().into_iter().map(|message| (message.method, message.request_id)).collect();
    let want = [("tools/list", Some("b")), ("ping", Some("a")), ("notifications/initialized", None)];
    assert_eq!(methods, want.map(|(method, id)| (method.to_owned(), id.map(str::to_owned))));
}

#[test]
fn the_old_transport_answers_on_its_stream() {
    let mut peer = Peer::new();
    peer.request(1, "GET", "/sse", &[("accept", "text/event-stream")], &[]);
    peer.response(1, 200, &EVENTS, &[b"event: endpoint\ndata: /messages/?session_id=5f\n\n"]);
    peer.request(2, "POST", "/messages/?session_id=5f", &[], &[CALL]);
    peer.response(2, 202, &[], &[b"Accepted"]);
    peer.end(2, FINISHED);
    assert!(peer.out().is_empty());
    peer.tell(1, HttpEventKind::ResponseBody(format!("event: message\r\ndata: {ANSWER}\r\n\r\n").as_bytes()));
    let [message] = &peer.out()[..] else { panic!("not answered") };
    assert_eq!((message.target(), message.session_id.as_deref()), (Some("add"), Some("5f")));
    assert!(message.timing.end > message.timing.start && message.completeness.is_whole());
}

#[test]
fn a_server_asks_on_the_stream_of_a_call_and_is_answered_by_another_request() {
    let mut peer = Peer::new();
    let session = [("accept", "application/json, text/event-stream"), ("mcp-session-id", "s1"), ("mcp-protocol-version", "2025-06-18")];
    peer.request(1, "POST", "/mcp", &session, &[CALL]);
    peer.response(
        1,
        200,
        &EVENTS,
        &[b"data: {\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"elicitation/create\"}\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n"],
    );
    peer.request(2, "POST", "/mcp", &session, &[br#"{"jsonrpc":"2.0","id":0,"result":{"action":"accept"}}"#]);
    peer.response(2, 202, &[], &[]);
    peer.end(2, FINISHED);
    peer.tell(1, HttpEventKind::ResponseBody(format!("data: {ANSWER}\n\n").as_bytes()));
    peer.end(1, FINISHED);
    let out = peer.out();
    let told: Vec<_> = out.iter().map(|message| (message.method.as_str(), message.role)).collect();
    assert_eq!(told, [("notifications/progress", Role::Server), ("elicitation/create", Role::Server), ("tools/call", Role::Client)]);
    assert!(out.iter().all(|message| message.session_id.as_deref() == Some("s1") && message.completeness.is_whole()));
    assert_eq!(out[2].protocol_version.as_deref(), Some("2025-06-18"));
}

#[test]
fn an_exchange_that_ends_without_an_answer_says_how() {
    let ended = |answered: bool, end: BodyEnd| {
        let mut peer = Peer::new();
        peer.request(1, "POST", "/mcp", &BOTH, &[CALL]);
        if answered {
            peer.response(1, 200, &EVENTS, &[b": ping\n\n"]);
        }
        peer.end(1, end);
        let [message] = &peer.out()[..] else { panic!("one message") };
        (message.outcome.error_type.clone(), message.completeness.is_whole())
    };
    let lost = BodyEnd { completeness: Completeness::Gap { lost: None, causes: LossCauses::END_UNSEEN }, framing: FramingEnd::Cut };
    assert_eq!(ended(true, CUT), (Some("cancelled".to_owned()), true));
    assert_eq!(ended(false, CUT), (Some("connection_closed".to_owned()), true));
    assert_eq!(ended(true, lost), (None, false));
    assert_eq!(ended(true, FINISHED), (None, false), "its answer may come on a stream that is resumed");
}

#[test]
fn a_lost_answer_never_becomes_another_requests() {
    let mut peer = Peer::new();
    peer.request(1, "POST", "/mcp", &BOTH, &[CALL]);
    peer.response(
        1,
        200,
        &EVENTS,
        &[b"data: {\"jsonrpc\":\"2.0\",\"id\":7,", b"", b"\"result\":{}}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":8,\"result\":{}}\n\n"],
    );
    peer.end(
        1,
        BodyEnd { completeness: Completeness::Gap { lost: Some(3), causes: LossCauses::default() }, framing: FramingEnd::Finished },
    );
    let [message] = &peer.out()[..] else { panic!("one message") };
    assert!(!message.completeness.is_whole() && message.outcome.error_type.is_none() && message.result.is_none());
}

#[test]
fn what_nobody_answers_is_told_when_its_process_ends_or_its_time_is_over() {
    let ask = |peer: &mut Peer, id: u64| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        peer.request(id, "POST", "/messages?sessionId=9", &[], &[body.as_bytes()]);
        peer.response(id, 202, &[], &[]);
        peer.end(id, FINISHED);
    };
    let mut peer = Peer::new();
    ask(&mut peer, 1);
    let mut out = Vec::new();
    let process = peer.context.owner.process;
    peer.pending.end_process(process, BootTime(1_000), &mut |message| out.push(message));
    assert_eq!((out.len(), out[0].outcome.error_type.as_deref()), (1, Some("cancelled")));
    ask(&mut peer, 2);
    peer.pending.handle_timeout(BootTime(u64::MAX), &mut |message| out.push(message));
    assert!(out.len() == 2 && !out[1].completeness.is_whole() && out[1].outcome.error_type.is_none());
    assert_eq!(peer.pending.unanswered(), 2);
    for id in 0..10_000 {
        ask(&mut peer, id);
    }
    assert!(peer.out().len() >= 5_000, "bounded: the oldest gave way");
}

impl Peer {
    /// What follows is seen on another connection of the process.
    fn connect(&mut self, number: u64) -> McpExchanges {
        std::mem::replace(&mut self.exchanges, McpExchanges::new(true, number))
    }

    /// A stream on which the server asks.
    fn asked(&mut self, id: u64, question: &str) {
        self.request(id, "POST", "/mcp", &BOTH, &[CALL]);
        self.response(id, 200, &EVENTS, &[format!("data: {{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"{question}\"}}\n\n").as_bytes()]);
    }
}

const REPLY: &[u8] = br#"{"jsonrpc":"2.0","id":0,"result":{"action":"accept"}}"#;

#[test]
fn the_same_id_on_two_connections_is_two_requests() {
    let mut peer = Peer::new();
    peer.asked(1, "roots/list");
    let first = peer.connect(2);
    peer.asked(1, "elicitation/create");
    peer.request(2, "POST", "/mcp", &BOTH, &[REPLY]);
    let methods = |out: Vec<McpMessage>| out.into_iter().map(|message| message.method).collect::<Vec<_>>();
    assert_eq!(methods(peer.out()), ["elicitation/create"]);
    peer.exchanges = first;
    peer.request(2, "POST", "/mcp", &BOTH, &[REPLY]);
    assert_eq!(methods(peer.out()), ["roots/list"]);
}

#[test]
fn an_answer_from_elsewhere_is_taken_where_one_request_waits_and_not_where_two_do() {
    let mut peer = Peer::new();
    peer.asked(1, "roots/list");
    drop(peer.connect(2));
    peer.request(1, "POST", "/mcp", &BOTH, &[REPLY]);
    assert_eq!(peer.out().len(), 1, "the only one that waits");
    for number in [3, 4] {
        drop(peer.connect(number));
        peer.asked(1, "roots/list");
    }
    drop(peer.connect(5));
    peer.request(1, "POST", "/mcp", &BOTH, &[REPLY]);
    assert_eq!(peer.out(), []);
    let mut out = Vec::new();
    peer.pending.handle_timeout(BootTime(u64::MAX), &mut |message| out.push(message));
    assert!(out.len() == 2 && out.iter().all(|message| !message.completeness.is_whole() && message.result.is_none()));
}

#[test]
fn a_process_that_is_client_and_server_of_one_session_keeps_its_requests_apart() {
    let mut pending = PendingRequests::default();
    let place = |role, connection| Place {
        key: RequestKey { process: Owner::default().process, role, session: "s".into(), by_client: true, id: "1".into() },
        connection,
    };
    let mut out = Vec::new();
    for (role, connection) in [(Role::Server, 1), (Role::Client, 2)] {
        let message = McpMessage { role, method: "ping".into(), ..McpMessage::default() };
        pending.ask(place(role, connection), message, &mut |message| out.push(message));
    }
    let Some(message::Message::Answer(answer)) = message::read(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#, true).pop() else {
        panic!("no answer")
    };
    pending.answer(place(Role::Client, 3), answer, BootTime(9), &mut |message| out.push(message));
    assert_eq!(out.iter().map(|message| message.role).collect::<Vec<_>>(), [Role::Client]);
}

#[test]
fn what_waits_keeps_no_more_content_than_its_budget() {
    let mut peer = Peer::new();
    // As text a few bytes an element, as a tree many.
    let arguments = "[],".repeat(80_000);
    for id in 0..100u64 {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"n","arguments":{{"a":[{arguments}[]]}}}}}}"#);
        peer.request(id, "POST", "/messages?sessionId=9", &[], &[body.as_bytes()]);
    }
    let dropped = peer.pending.without_content();
    assert!(dropped > 50 && dropped < 100, "{dropped}");
    let mut out = Vec::new();
    peer.pending.end_process(peer.context.owner.process, BootTime(u64::MAX), &mut |message| out.push(message));
    assert_eq!((out.len(), out.iter().filter(|message| message.arguments.is_none()).count()), (100, usize::try_from(dropped).unwrap()));
    peer.request(100, "POST", "/messages?sessionId=9", &[], &[CALL]);
    assert_eq!(peer.pending.without_content(), dropped, "there is room again");
}

#[test]
fn hostile_bodies_are_none_of_mcps_or_cut() {
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}}"#, "[".repeat(100_000));
    let long =
        format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"tools/call","params":{{"name":"{}"}}}}"#, "i".repeat(5_000), "n".repeat(5_000));
    for body in [deep, long, "[".repeat(1_000_000), "\u{0}\u{0}".to_owned()] {
        let mut peer = Peer::new();
        peer.request(1, "POST", "/mcp", &BOTH, &[body.as_bytes()]);
        peer.end(1, CUT);
        for message in peer.out() {
            assert!(message.request_id.unwrap_or_default().len() <= 128 && message.tool.unwrap_or_default().len() <= 128);
        }
    }
}

#[test]
fn a_session_lasts_from_its_initialize_to_its_delete() {
    for status in [200, 204, 404, 405] {
        let mut peer = Peer::new();
        peer.initialize(1, "/mcp", "s1");
        peer.request(2, "POST", "/mcp", &[("mcp-session-id", "s1")], &[CALL]);
        peer.response(2, 200, &JSON, &[ANSWER.as_bytes()]);
        peer.end(2, FINISHED);
        peer.delete(3, "s1", 503);
        peer.delete(4, "another", status);
        assert_eq!(peer.sessions(), [], "it goes on");
        let start = peer.out()[0].timing.start;
        peer.delete(5, "s1", status);
        let [session] = &peer.sessions()[..] else { panic!("{status}") };
        assert_eq!((session.start, session.end, session.role), (start, BootTime(peer.time), Role::Client));
        assert_eq!((session.protocol_version.as_deref(), session.error_type.as_deref()), (Some("2025-06-18"), None));
        assert_eq!((session.server.address.as_deref(), session.server.port), (Some("tools.local"), Some(8000)));
        peer.delete(6, "s1", status);
        assert_eq!(peer.sessions(), [], "it is over");
    }
}

#[test]
fn a_session_that_its_server_has_ended_says_so() {
    let mut peer = Peer::new();
    peer.initialize(1, "/mcp", "s1");
    peer.request(2, "POST", "/mcp", &[("mcp-session-id", "s1")], &[CALL]);
    peer.response(2, 404, &JSON, &[b"{}"]);
    peer.end(2, FINISHED);
    let errors: Vec<_> = peer.sessions().into_iter().map(|session| session.error_type).collect();
    assert_eq!(errors, [Some("404".to_owned())]);
}

#[test]
fn what_was_not_seen_from_its_beginning_or_opened_nothing_has_no_length() {
    let mut peer = Peer::new();
    peer.delete(1, "s0", 200);
    peer.request(2, "POST", "/mcp", &BOTH, &[INITIALIZE]);
    peer.response(2, 200, &JSON, &[AGREED.as_bytes()]);
    peer.end(2, FINISHED);
    peer.request(3, "POST", "/mcp", &BOTH, &[INITIALIZE]);
    let refused = br#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"no"}}"#;
    peer.response(3, 200, &[("content-type", "application/json"), ("mcp-session-id", "s3")], &[refused]);
    peer.end(3, FINISHED);
    peer.pending.end_process(peer.context.owner.process, BootTime(9_000), &mut |_| {});
    assert_eq!((peer.sessions(), peer.pending.sessions_forgotten()), (Vec::new(), 0));
}

/// A session of the old transport, whose stream is exchange 1.
fn old_session() -> Peer {
    let mut peer = Peer::new();
    peer.request(1, "GET", "/sse", &[("accept", "text/event-stream")], &[]);
    peer.response(1, 200, &EVENTS, &[b"event: endpoint\ndata: /messages/?session_id=5f\n\n"]);
    peer.request(2, "POST", "/messages/?session_id=5f", &[], &[INITIALIZE]);
    peer.response(2, 202, &[], &[b"Accepted"]);
    peer.end(2, FINISHED);
    peer.tell(1, HttpEventKind::ResponseBody(format!("event: message\ndata: {AGREED}\n\n").as_bytes()));
    peer
}

#[test]
fn a_session_of_the_old_transport_ends_with_its_stream() {
    for end in [FINISHED, CUT] {
        let mut peer = old_session();
        assert_eq!(peer.sessions(), []);
        peer.end(1, end);
        let [session] = &peer.sessions()[..] else { panic!("{end:?}") };
        assert_eq!((session.end, session.protocol_version.as_deref()), (BootTime(peer.time), Some("2025-06-18")));
        assert!(session.start < session.end && session.error_type.is_none());
    }
}

#[test]
fn a_stream_that_was_lost_sight_of_ends_with_its_process_or_unseen() {
    let lost = BodyEnd { completeness: Completeness::Gap { lost: None, causes: LossCauses::END_UNSEEN }, framing: FramingEnd::Cut };
    for (later, lengths, forgotten) in [(0, 1, 0), (1, 0, 1)] {
        let mut peer = old_session();
        peer.end(1, lost);
        assert_eq!(peer.sessions(), []);
        let (process, time) = (peer.context.owner.process, BootTime(peer.time + later));
        peer.pending.end_process(process, time, &mut |_| {});
        assert_eq!((peer.sessions().len(), peer.pending.sessions_forgotten()), (lengths, forgotten));
    }
}

#[test]
fn sessions_end_with_their_process_and_are_bounded_in_number() {
    let mut peer = Peer::new();
    for id in 0..5_000 {
        peer.initialize(id, "/mcp", &format!("s{id}"));
    }
    peer.initialize(5_000, "/mcp", "s4999");
    assert_eq!((peer.sessions(), peer.pending.sessions_forgotten()), (Vec::new(), 5_000 - 4_096 + 1));
    let process = peer.context.owner.process;
    peer.pending.end_process(process, BootTime(u64::MAX), &mut |_| {});
    let sessions = peer.sessions();
    assert!(sessions.len() == 4_096 && sessions.iter().all(|session| session.end == BootTime(u64::MAX)));
    peer.pending.end_process(process, BootTime(u64::MAX), &mut |_| {});
    assert_eq!(peer.sessions(), []);
}

#[test]
fn what_is_secret_in_a_resources_address_is_left_out() {
    for (uri, want) in [
        ("postgres://admin:hunter2@db:5432/prod?sslkey=x#y", "postgres://db:5432/prod"),
        ("file:///home/u/a.txt", "file:///home/u/a.txt"),
        ("data:text/plain,the launch code", "data"),
        ("note://x", "note://x"),
        ("https://user@host", "https://host"),
    ] {
        let mut peer = Peer::new();
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{{"uri":"{uri}"}}}}"#);
        peer.request(1, "POST", "/mcp", &BOTH, &[body.as_bytes()]);
        peer.end(1, CUT);
        assert_eq!(peer.out()[0].resource_uri.as_deref(), Some(want));
    }
}
