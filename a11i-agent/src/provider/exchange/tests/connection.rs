//! What a connection and its heads say, and the calls side by side on it.

use super::*;

#[test]
fn the_server_is_the_host_or_the_name_of_the_handshake_and_the_port_the_schemes() {
    let mut peer = Peer::new();
    peer.context.server_name = Some("api.groq.com".into());
    peer.request(1, None, "/openai/v1/chat/completions", &[REQUEST]);
    let call = peer.respond(1, 200, "application/json", &[ANSWER], FINISHED).unwrap();
    assert_eq!((call.provider.as_str(), call.server.address.as_deref(), call.server.port), ("groq", Some("api.groq.com"), Some(443)));
    peer.context.capture = CaptureFacts { library: Some(CaptureLibrary::Plaintext), method: Some(CaptureMethod::Socket) };
    peer.request(2, Some("vllm"), "/v1/chat/completions", &[REQUEST]);
    let call = peer.respond(2, 200, "application/json", &[ANSWER], FINISHED).unwrap();
    assert_eq!((call.server.port, call.operation), (Some(80), Operation::Chat));
}

#[test]
fn what_a_gateway_has_charged_stands_in_its_head() {
    let cost = |status: u16, stated: &str| {
        let mut peer = Peer::new();
        peer.request(1, Some("litellm.internal"), "/v1/chat/completions", &[REQUEST]);
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        let headers = fields(&[("x-litellm-response-cost", stated)]);
        let head = ResponseHead { version: HttpVersion::Http11, status, headers, first_byte: BootTime(peer.time) };
        peer.tell(1, HttpEventKind::Response(Box::new(head)));
        peer.tell(1, HttpEventKind::ResponseBody(ANSWER));
        peer.tell(1, HttpEventKind::ResponseEnd(FINISHED)).unwrap().response.stated_cost
    };
    assert_eq!(cost(200, "2.3e-05"), Some(NanoUsd(23_000)));
    // Not known yet, or no price; no number; nothing was answered.
    for (status, stated) in [(200, "0.0"), (200, "None"), (200, ""), (200, "-1"), (200, "1e300"), (429, "0.1")] {
        assert_eq!(cost(status, stated), None, "{stated:?} with {status}");
    }
}

#[test]
fn exchanges_on_one_connection_do_not_mix_and_are_bounded() {
    let mut peer = Peer::new();
    for id in 1..=5 {
        peer.request(id, Some("api.openai.com"), "/v1/chat/completions", &[REQUEST]);
        peer.tell(id, HttpEventKind::RequestEnd(FINISHED));
    }
    assert_eq!((peer.exchanges.len(), peer.exchanges.counters().too_many), (3, 2));
    peer.request(9, Some("api.openai.com"), "/health", &[b"x"]);
    for id in [2, 3, 1] {
        let answer = String::from_utf8(ANSWER.to_vec()).unwrap().replace("\"id\":\"1\"", &format!("\"id\":\"{id}\""));
        let call = peer.respond(id, 200, "application/json", &[answer.as_bytes()], FINISHED).unwrap();
        assert_eq!(call.response.id, Some(id.to_string()));
    }
    assert!(peer.respond(4, 200, "application/json", &[ANSWER], FINISHED).is_none());
}

#[test]
fn a_body_that_does_not_decode_is_counted_and_what_is_nobodys_is_not_wanted() {
    let end = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Malformed(MalformedReason::ContentTooLarge) };
    let mut peer = Peer::new();
    peer.request(1, Some("api.openai.com"), "/v1/chat/completions", &[REQUEST]);
    peer.request(2, Some("example.com"), "/", &[]);
    assert!(peer.exchanges.wants(ExchangeId(1)) && !peer.exchanges.wants(ExchangeId(2)));
    peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
    let call = peer.respond(1, 200, "", &[ANSWER], end).unwrap();
    assert!(!call.completeness.is_whole());
    assert_eq!(peer.exchanges.counters().undecoded, 1);
    assert!(!peer.exchanges.wants(ExchangeId(1)));
}
