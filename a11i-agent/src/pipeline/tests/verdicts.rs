//! What the kernel half is told.

use super::*;
use crate::call::{CaptureFacts, CaptureLibrary};

#[test]
fn a_request_is_decided_by_the_record_that_completes_its_head() {
    for (request, verdict) in [(REQUEST, Verdict::Llm), (OTHER, Verdict::NotLlm)] {
        let end = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        for cut in 1..request.len() {
            let mut kernel = Kernel::new();
            let (first, second) = request.split_at(cut);
            let (one, two) = (kernel.transfer(Direction::Write, first), kernel.transfer(Direction::Write, second));
            let want = if cut < end { (vec![], vec![verdict]) } else { (vec![verdict], vec![]) };
            assert_eq!((one, two), want, "cut at {cut}");
        }
    }
}

#[test]
fn a_new_generation_follows_what_nobody_wanted_and_keeps_the_server_name() {
    let mut kernel = Kernel::new();
    assert_eq!(kernel.name("gateway.example"), []);
    for _ in 0..3 {
        assert_eq!(kernel.transfer(Direction::Write, OTHER), [Verdict::NotLlm]);
        assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n..."), []);
        assert_eq!(kernel.transfer(Direction::Write, REQUEST), [Verdict::Llm]);
        assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
    }
    kernel.end();
    let calls = kernel.bench.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.completeness.is_whole() && call.usage.input_tokens == Some(5)));
    let counters = kernel.bench.pipeline.counters();
    assert_eq!((counters.lost_bytes, counters.unknown_gaps, counters.late_attachments, counters.unseen_sessions), (0, 0, 0, 0));
    assert_eq!((counters.flows_evicted, kernel.bench.pipeline.flows()), (0, 0));
}

#[test]
fn every_call_at_an_llm_host_says_so_again_since_a_verdict_may_be_replaced_before_it_is_taken() {
    let mut kernel = Kernel::new();
    assert_eq!(kernel.name("API.openai.com"), [Verdict::LlmHost]);
    assert_eq!(kernel.name("api.openai.com"), []);
    assert_eq!(kernel.transfer(Direction::Write, b"GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"), [Verdict::NotLlm]);
    assert_eq!(kernel.transfer(Direction::Write, REQUEST), [Verdict::LlmHost]);
    assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
    assert_eq!(kernel.bench.calls()[0].server.address.as_deref(), Some("api.openai.com"));
}

#[test]
fn while_a_call_is_open_nothing_stops_the_copying() {
    let mut kernel = Kernel::new();
    assert_eq!(kernel.transfer(Direction::Write, REQUEST), [Verdict::Llm]);
    // Pipelined. What is told of it keeps the answer to the call coming.
    assert_eq!(kernel.transfer(Direction::Write, OTHER), [Verdict::Llm]);
    assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
    assert_eq!(kernel.bench.calls().len(), 1);
}

#[test]
fn a_head_behind_another_in_one_record_is_waited_for() {
    let mut kernel = Kernel::new();
    let (begun, rest) = REQUEST.split_at(30);
    assert_eq!(kernel.transfer(Direction::Write, &[OTHER, begun].concat()), []);
    assert_eq!(kernel.transfer(Direction::Write, rest), [Verdict::Llm]);
    assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), []);
    assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
    assert_eq!(kernel.bench.calls().len(), 1);
}

#[test]
fn a_request_whose_body_is_no_call_is_none_after_all() {
    let mut kernel = Kernel::new();
    let head = b"POST /v1/responses HTTP/1.1\r\nHost: survey.example\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(kernel.transfer(Direction::Write, head), [Verdict::Llm]);
    assert_eq!(kernel.transfer(Direction::Write, b"{\"age\":9}"), [Verdict::NotLlm]);
    assert_eq!(kernel.bench.pipeline.counters().exchanges.unlike, 1);
}

#[test]
fn what_cannot_be_read_is_ignored_for_good_and_what_is_malformed_until_the_next_request() {
    let mut kernel = Kernel::new();
    assert_eq!(kernel.transfer(Direction::Write, b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"), [Verdict::NotLlm]);
    // A kernel half that was too late to hear it.
    kernel.stopped = false;
    assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), [Verdict::Ignore]);
    // Never HTTP, though its bytes made the kernel half begin anew.
    let mut kernel = Kernel::new();
    assert_eq!(kernel.transfer(Direction::Write, b"\x00\x01\x02\x03"), []);
    assert_eq!(kernel.transfer(Direction::Read, b"\x00\x01\x02\x03"), [Verdict::NotLlm]);
    let mut kernel = Kernel::new();
    assert_eq!(kernel.transfer(Direction::Write, b"GET / HTTP/1.1\r\n\x01 no field\r\n\r\n"), [Verdict::NotLlm]);
    assert_eq!(kernel.transfer(Direction::Write, REQUEST), [Verdict::Llm]);
    assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
    assert_eq!(kernel.bench.calls().len(), 1);
}

#[test]
fn the_answer_to_a_request_that_was_lost_is_copied_on() {
    for lossy in [false, true] {
        let mut kernel = Kernel::new();
        assert_eq!(kernel.transfer(Direction::Write, REQUEST), [Verdict::Llm]);
        assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
        // The ring was full: nothing came of the second request, which only the third will tell.
        kernel.request += 1;
        kernel.offsets[0] += REQUEST.len() as u64;
        kernel.causes = [cause::RING_FULL, if lossy { cause::RING_FULL } else { 0 }];
        kernel.offsets[1] += if lossy { 20 } else { 0 };
        assert_eq!(kernel.transfer(Direction::Read, &ANSWER[if lossy { 20 } else { 0 }..]), []);
        assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"age\":9}"), []);
        assert!(!kernel.stopped && !kernel.ignored);
        assert_eq!(kernel.transfer(Direction::Write, OTHER), [Verdict::NotLlm], "a request that is seen is decided");
    }
}

#[test]
fn time_that_passes_decides_nothing() {
    let mut bench = Bench::new(ContentPolicy::None);
    // The hole before it is given up by time alone, and the head behind it is no call's.
    bench.event(data(Direction::Write, 100, OTHER));
    bench.time(10_000_000_000);
    assert!(!bench.out.iter().any(|output| matches!(output, Output::Verdict { .. })));
    assert_eq!(bench.pipeline.counters().lost_bytes, 100);
}

/// Notices so far of upgraded connections, by whether they name an LLM host.
fn upgrades(bench: &Bench) -> Vec<bool> {
    let notices = bench.out.iter().filter_map(|output| if let Output::Notice(notice) = output { Some(notice) } else { None });
    notices.filter(|notice| notice.kind == NoticeKind::Upgraded).map(|notice| notice.llm_host).collect()
}

#[test]
fn a_websocket_to_an_llm_host_that_carries_no_calls_is_reported_and_then_ignored() {
    let head = b"GET /v1/notifications?model=gpt-4o HTTP/1.1\r\nHost: api.openai.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for named in [true, false] {
        for cut in 0..SWITCH.len() {
            let mut kernel = Kernel::new();
            if named {
                kernel.name("api.openai.com");
            }
            assert_eq!(kernel.transfer(Direction::Write, head), []);
            let (first, second) = SWITCH.split_at(cut);
            if cut > 0 {
                assert_eq!(kernel.transfer(Direction::Read, first), []);
            }
            assert_eq!(kernel.transfer(Direction::Read, second), [Verdict::Ignore], "cut at {cut}");
            assert_eq!(upgrades(&kernel.bench), [true]);
        }
    }
    // Refused: the connection goes on with HTTP.
    let mut kernel = Kernel::new();
    assert_eq!(kernel.transfer(Direction::Write, head), []);
    assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"), [Verdict::NotLlm]);
    assert_eq!(kernel.transfer(Direction::Write, REQUEST), [Verdict::Llm]);
    assert_eq!(kernel.transfer(Direction::Read, ANSWER), []);
    assert_eq!((upgrades(&kernel.bench).len(), kernel.bench.calls().len()), (0, 1));
}

/// Hosts whose plaintext was shown, of a connection seen so.
fn shown(library: CaptureLibrary, name: Option<&str>, request: &[u8]) -> Vec<Option<String>> {
    let attachment = CaptureFacts { library: Some(library), method: None }.to_attachment(1);
    let mut bench = Bench::new(ContentPolicy::None);
    if let Some(name) = name {
        bench.event(EventBody::ServerName { session: SESSION, attachment, name: name.as_bytes() });
    }
    for offset in [0, request.len() as u64] {
        let body = data(Direction::Write, offset, request);
        let EventBody::Data { session, direction, offset, skipped, causes, request, payload, .. } = body else { panic!("data") };
        bench.event(EventBody::Data { session, attachment, direction, offset, skipped, causes, request, payload });
    }
    let said = bench.out.into_iter().filter_map(|output| {
        let Output::PlaintextSeen { process, host } = output else { return None };
        assert_eq!(process, PROCESS);
        Some(host)
    });
    said.collect()
}

#[test]
fn plaintext_of_tls_to_an_llm_host_is_said_once_whoever_names_the_host() {
    const MODELS: &[u8] = b"GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\n\r\n";
    let openai = [Some("api.openai.com".to_owned())];
    assert_eq!(shown(CaptureLibrary::OpenSsl, Some("API.openai.com"), REQUEST), openai);
    assert_eq!(shown(CaptureLibrary::Rustls, None, REQUEST), openai);
    assert_eq!(shown(CaptureLibrary::OpenSsl, None, MODELS), openai, "no call, but seen");
    let nameless = b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 61\r\n\r\n\
        {\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}";
    assert_eq!(shown(CaptureLibrary::OpenSsl, None, nameless), [None]);
    assert!(shown(CaptureLibrary::OpenSsl, None, OTHER).is_empty());
    assert!(shown(CaptureLibrary::Plaintext, None, REQUEST).is_empty(), "no TLS, so it says nothing of any");
}

#[test]
fn what_comes_through_probes_is_recognised_once_as_http_or_as_nothing_known() {
    for (bytes, http) in [(REQUEST, true), (OTHER, true), (b"\x00\x01\x02\x03".as_slice(), false)] {
        let mut bench = Bench::new(ContentPolicy::None);
        for direction in [Direction::Write, Direction::Read] {
            bench.event(data(direction, 0, bytes));
        }
        let said = bench.out.iter().filter_map(|output| {
            let Output::Recognised { attachment, is_http } = output else { return None };
            Some((*attachment, *is_http))
        });
        assert_eq!(said.collect::<Vec<_>>(), [(AttachmentId(0), http)]);
    }
}

/// Answers to the handshake of a WebSocket.
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";

/// A text frame of less than 126 bytes; of a client it is masked, with zeros.
fn frame(is_client: bool, text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    let head: &[u8] = if is_client { &[0x81, 0x80 | length, 0, 0, 0, 0] } else { &[0x81, length] };
    [head, text.as_bytes()].concat()
}

#[test]
fn a_websocket_that_carries_calls_is_copied_for_as_long_as_it_lives() {
    let created = frame(false, r#"{"type":"response.created","response":{"id":"r"}}"#);
    let done = frame(false, r#"{"type":"response.done","response":{"id":"r","usage":{"input_tokens":5,"output_tokens":1}}}"#);
    for (host, named) in [("api.openai.com", true), ("api.openai.com", false), ("gateway.example", false)] {
        let mut kernel = Kernel::new();
        if named {
            assert_eq!(kernel.name(host), [Verdict::LlmHost]);
        }
        let head = format!("GET /v1/realtime HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(kernel.transfer(Direction::Write, head.as_bytes()), [if named { Verdict::LlmHost } else { Verdict::Llm }]);
        // Of the connection as a whole: the end of a frame may look like a request.
        assert_eq!(kernel.transfer(Direction::Read, SWITCH), if named { vec![] } else { vec![Verdict::LlmHost] });
        for _ in 0..2 {
            assert_eq!(kernel.transfer(Direction::Write, &frame(true, r#"{"type":"response.create"}"#)), []);
            assert_eq!(kernel.transfer(Direction::Read, &created), []);
            assert_eq!(kernel.transfer(Direction::Read, &done), []);
        }
        let calls = kernel.bench.calls();
        assert!(calls.len() == 2 && calls.iter().all(|call| call.usage.input_tokens == Some(5) && call.completeness.is_whole()));
        assert!(!kernel.stopped && !kernel.ignored && upgrades(&kernel.bench).is_empty());
        kernel.end();
        assert!(kernel.bench.calls().is_empty());
    }
}

#[test]
fn a_websocket_that_only_has_the_path_of_one_that_carries_calls_is_ignored_at_its_first_message() {
    let mut kernel = Kernel::new();
    let head = b"GET /realtime HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(kernel.transfer(Direction::Write, head), [Verdict::Llm]);
    assert_eq!(kernel.transfer(Direction::Read, SWITCH), [Verdict::LlmHost]);
    assert_eq!(kernel.transfer(Direction::Read, &frame(false, r#"{"op":"hello"}"#)), [Verdict::Ignore]);
    assert_eq!(kernel.bench.pipeline.counters().exchanges.unlike, 1);
}

#[test]
fn a_tunnel_to_an_llm_host_is_ignored_without_a_warning() {
    let mut kernel = Kernel::new();
    let head = b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n";
    assert_eq!(kernel.transfer(Direction::Write, head), []);
    assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 200 Connection established\r\n\r\n"), [Verdict::Ignore]);
    assert_eq!(upgrades(&kernel.bench), [false]);
}

#[test]
fn a_verdict_that_could_not_be_delivered_is_said_again_with_the_next_record_of_its_request() {
    let (head, body) = OTHER.split_at(OTHER.len() - 4);
    let mut kernel = Kernel::new();
    assert_eq!(kernel.transfer(Direction::Write, head), [Verdict::NotLlm]);
    let id = FlowId { process: PROCESS, session: SESSION };
    for piece in body.chunks(1).take(2) {
        kernel.stopped = false;
        kernel.bench.pipeline.verdict_undelivered(&id, kernel.request, Verdict::NotLlm);
        assert_eq!(kernel.transfer(Direction::Write, piece), [Verdict::NotLlm]);
    }
    kernel.stopped = false;
    assert_eq!(kernel.transfer(Direction::Write, &body[2..3]), []);
    // What a newer request or verdict has overtaken is not said again.
    kernel.bench.pipeline.verdict_undelivered(&id, kernel.request, Verdict::NotLlm);
    assert_eq!(kernel.transfer(Direction::Write, &[&body[3..], REQUEST].concat()), [Verdict::Llm]);
    kernel.bench.pipeline.verdict_undelivered(&id, kernel.request, Verdict::NotLlm);
    assert_eq!(kernel.transfer(Direction::Read, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), []);
    let mut kernel = Kernel::new();
    assert_eq!(kernel.name("api.openai.com"), [Verdict::LlmHost]);
    kernel.bench.pipeline.verdict_undelivered(&id, 0, Verdict::LlmHost);
    assert_eq!(kernel.transfer(Direction::Write, &REQUEST[..10]), [Verdict::LlmHost]);
    assert_eq!(kernel.transfer(Direction::Write, &REQUEST[10..20]), []);
}

#[test]
fn json_rpc_is_decided_by_its_messages_and_mcp_leaves_as_such() {
    let request = |body: &str| {
        let head = "POST /tools HTTP/1.1\r\nHost: localhost:9\r\nAccept: application/json, text/event-stream\r\nContent-Length:";
        format!("{head} {}\r\n\r\n{body}", body.len())
    };
    let mut kernel = Kernel::new();
    let (head, body) = request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}"#)
        .split_once('{')
        .map_or_else(|| panic!("it has a body"), |(head, body)| (head.to_owned(), format!("{{{body}")));
    assert_eq!(kernel.transfer(Direction::Write, head.as_bytes()), []);
    assert_eq!(kernel.transfer(Direction::Write, body.as_bytes()), [Verdict::Llm]);
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
    assert_eq!(kernel.transfer(Direction::Read, answer.as_bytes()), []);
    let told = kernel
        .bench
        .out
        .iter()
        .find_map(|output| if let Output::Leaving(Leaving::Mcp(message)) = output { Some(message.message()) } else { None });
    assert_eq!(told.and_then(|message| message.tool.as_deref()), Some("add"));
    let other = request(r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[]}"#);
    assert_eq!(kernel.transfer(Direction::Write, other.as_bytes()), [Verdict::NotLlm]);
}
