//! How a call ended, and when what of it came.

use super::*;

#[test]
fn a_client_that_hangs_up_after_the_last_event_has_what_it_wanted() {
    let call = Peer::chat(&[REQUEST], 200, "text/event-stream", &[EVENTS], CUT);
    assert_eq!((call.outcome.error_type, call.usage.output_tokens), (None, Some(2)));
}

#[test]
fn an_answer_that_breaks_off_ends_with_error() {
    for (body, label, error) in
        [(EVENTS.split_at(60).0, "text/event-stream", "cancelled"), (ANSWER.split_at(60).0, "application/json", "connection_closed")]
    {
        let call = Peer::chat(&[REQUEST], 200, label, &[body], CUT);
        assert_eq!(call.outcome.error_type.as_deref(), Some(error));
        assert_eq!(call.response.finish_reasons, ["error"]);
        assert!(call.usage.is_absent() && call.completeness.is_whole());
    }
}

#[test]
fn no_response_is_a_closed_connection() {
    let mut peer = Peer::new();
    peer.request(1, Some("api.openai.com"), "/v1/chat/completions", &[REQUEST]);
    let call = peer.tell(1, HttpEventKind::ResponseEnd(CUT)).unwrap();
    assert_eq!(call.outcome.error_type.as_deref(), Some("connection_closed"));
    assert_eq!((call.response.status, call.response.finish_reasons), (None, vec!["error".to_owned()]));
}

#[test]
fn a_grpc_status_behind_the_body_or_instead_of_it_fails_the_call() {
    let told = |status: &str| fields(&[("content-type", "application/grpc"), ("grpc-status", status), ("grpc-message", "too%20late")]);
    let head = |headers| ResponseHead { version: HttpVersion::Http2, status: 200, headers, first_byte: BootTime(1) };
    // `candidates { content { parts { text: "yo" } } }`
    let message: &[u8] = &[0, 0, 0, 0, 10, 0x0a, 8, 0x0a, 6, 0x0a, 4, 0x0a, 2, b'y', b'o'];
    for (in_trailers, status, want) in
        [(true, "4", Some("DEADLINE_EXCEEDED")), (true, "0", None), (false, "14", Some("UNAVAILABLE")), (true, "777", Some("777"))]
    {
        let mut peer = Peer::new();
        let path = "/google.ai.generativelanguage.v1beta.GenerativeService/StreamGenerateContent";
        peer.request(1, Some("generativelanguage.googleapis.com"), path, &[&[0, 0, 0, 0, 0]]);
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        if in_trailers {
            peer.tell(1, HttpEventKind::Response(Box::new(head(Headers::default()))));
            peer.tell(1, HttpEventKind::ResponseBody(message));
            peer.tell(1, HttpEventKind::ResponseTrailers(Box::new(told(status))));
        } else {
            peer.tell(1, HttpEventKind::Response(Box::new(head(told(status)))));
        }
        let call = peer.tell(1, HttpEventKind::ResponseEnd(FINISHED)).unwrap();
        assert_eq!(call.outcome.error_type.as_deref(), want, "{status}");
        assert_eq!(call.outcome.error_message.as_deref(), want.map(|_| "too late"));
        assert_eq!(call.response.finish_reasons.first().map(String::as_str), want.map(|_| "error"));
    }
}

#[test]
fn the_times_are_those_of_the_first_event_and_the_first_content() {
    let role: &[u8] = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let call = Peer::chat(&[REQUEST], 200, "text/event-stream", &[b": keep-alive\n\n", role, EVENTS, b"data: [DONE]\n\n"], FINISHED);
    // Request 10, 20, 30; response head 40, comment 50, role 60, content 70, [DONE] 80, end 90.
    let timing = call.timing;
    assert_eq!(
        (timing.start.0, timing.first_chunk, timing.first_token, timing.last_token, timing.end.0),
        (0, Some(BootTime(60)), Some(BootTime(70)), Some(BootTime(70)), 90)
    );
}

#[test]
fn gaps_between_events_are_those_of_the_stream_and_not_of_our_losses() {
    let content = |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let run = |lossy: bool| {
        let mut peer = Peer::new();
        peer.request(1, Some("api.openai.com"), "/v1/chat/completions", &[REQUEST]);
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        let headers = fields(&[("content-type", "text/event-stream"), ("x-ratelimit-remaining-requests", "7")]);
        let head = ResponseHead { version: HttpVersion::Http11, status: 200, headers, first_byte: BootTime(peer.time) };
        peer.tell(1, HttpEventKind::Response(Box::new(head)));
        peer.tell(1, HttpEventKind::ResponseBody(content("a").as_bytes()));
        peer.time = peer.time.saturating_add(3_000_000_000);
        if lossy {
            peer.tell(1, HttpEventKind::ResponseBody(b""));
            peer.tell(1, HttpEventKind::ResponseBody(b"\n\n"));
        }
        peer.tell(1, HttpEventKind::ResponseBody(content("b").as_bytes()));
        peer.tell(1, HttpEventKind::ResponseBody(content("c").as_bytes()));
        let call = peer.tell(1, HttpEventKind::ResponseEnd(FINISHED)).unwrap();
        assert_eq!(call.response.rate_limit.remaining_requests, Some(7));
        (call.timing.gaps.longest_nanos(), call.timing.gaps.stalls())
    };
    assert_eq!(run(false), (Some(3_000_000_010), Some(1)));
    assert_eq!(run(true), (Some(10), Some(0)));
}
