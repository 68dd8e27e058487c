//! WebSockets on streams (RFC 8441).

use super::*;

/// Frames of RFC 6455 by who sends them; a client masks, here with nothing.
fn message(is_client: bool, text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    let head: &[u8] = if is_client { &[0x81, 0x80 | length, 0, 0, 0, 0] } else { &[0x81, length] };
    [head, text.as_bytes()].concat()
}

/// A connection on which one stream asked for a WebSocket, and another for something else.
fn socket_asked(bench: &mut Bench, told: &mut Vec<String>) {
    let block = bench.requests.block(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "api.openai.com"),
        (":path", "/v1/realtime"),
    ]);
    let other = bench.request(3, "q");
    listen(bench, told, CLIENT, SegmentBody::Bytes(&[client_start(), headers(0, 1, &block), other].concat()));
    listen(bench, told, SERVER, SegmentBody::Bytes(&server_start()));
}

#[test]
fn a_websocket_on_a_stream_tells_the_messages_of_both_sides_wherever_they_are_cut() {
    let (asked, said) = ([message(true, "one"), message(true, "two")].concat(), [message(false, "a"), message(false, "b")].concat());
    for cut in 0..=asked.len().max(said.len()) {
        let (mut bench, mut told) = (Bench::new(), Vec::new());
        socket_asked(&mut bench, &mut told);
        let accepted = headers(0, 1, &bench.responses.block(&[(":status", "200")]));
        // Where one thread reads while another writes, the answer may be seen late.
        let (before, after) = asked.split_at(cut.min(asked.len()));
        listen(&mut bench, &mut told, CLIENT, SegmentBody::Bytes(&frame(kind::DATA, 0, 1, before)));
        listen(&mut bench, &mut told, SERVER, SegmentBody::Bytes(&accepted));
        listen(&mut bench, &mut told, CLIENT, SegmentBody::Bytes(&frame(kind::DATA, flag::END_STREAM, 1, after)));
        let (before, after) = said.split_at(cut.min(said.len()));
        for part in [frame(kind::DATA, 0, 1, before), frame(kind::DATA, flag::END_STREAM, 1, after)] {
            listen(&mut bench, &mut told, SERVER, SegmentBody::Bytes(&part));
        }
        let want =
            ["request /v1/realtime", "response 200", "request end", "Client one", "Client two", "Server a", "Server b", "end Finished"];
        let mut sorted = told.clone();
        sorted.retain(|one| !one.ends_with("end"));
        assert_eq!(sorted, want.map(str::to_owned).into_iter().filter(|one| !one.ends_with("end")).collect::<Vec<_>>(), "cut at {cut}");
        assert_eq!(told.len(), want.len(), "{told:?}");
        bench.close();
        assert_eq!(bench.told.len(), 2, "the connection went on with its other stream");
    }
}

#[test]
fn a_websocket_that_is_refused_is_answered_with_a_body_and_losses_of_an_accepted_one_are_told() {
    let (mut bench, mut told) = (Bench::new(), Vec::new());
    socket_asked(&mut bench, &mut told);
    let refused = headers(0, 1, &bench.responses.block(&[(":status", "403")]));
    let body = [refused, frame(kind::DATA, flag::END_STREAM, 1, b"no")].concat();
    listen(&mut bench, &mut told, SERVER, SegmentBody::Bytes(&body));
    listen(&mut bench, &mut told, CLIENT, SegmentBody::Bytes(&frame(kind::DATA, flag::END_STREAM, 1, b"")));
    assert_eq!(told, ["request /v1/realtime", "response 403", "ResponseBody([110, 111])", "request end", "end Finished"]);

    let (mut bench, mut told) = (Bench::new(), Vec::new());
    socket_asked(&mut bench, &mut told);
    let accepted = headers(0, 1, &bench.responses.block(&[(":status", "200")]));
    listen(&mut bench, &mut told, SERVER, SegmentBody::Bytes(&accepted));
    listen(&mut bench, &mut told, SERVER, SegmentBody::Gap(Gap { lost: None, causes: LossCauses(1) }));
    for _ in 0..3 {
        listen(&mut bench, &mut told, SERVER, SegmentBody::Bytes(b"nothing that looks like a frame"));
    }
    listen(&mut bench, &mut told, CLIENT, SegmentBody::Bytes(&frame(kind::RST_STREAM, 0, 1, &8_u32.to_be_bytes())));
    assert_eq!(told, ["request /v1/realtime", "response 200", "request end", "Server missing", "end Cut"]);
}
