//! Exchanges seen whole, however they are cut, interleaved and decorated.

use super::*;

#[test]
fn an_exchange_comes_out_the_same_at_every_cut_of_either_direction() {
    let mut bench = Bench::new();
    let sent = [client_start(), bench.request(1, "{\"a\":1}")].concat();
    let answered = [server_start(), bench.response(1, &["one", "two"])].concat();
    for (direction, bytes) in [(CLIENT, &sent), (SERVER, &answered)] {
        for cut in 0..bytes.len() {
            let mut bench = Bench::new();
            let (before, after) = bytes.split_at(cut);
            if direction == SERVER {
                bench.bytes(CLIENT, &sent);
            }
            bench.bytes(direction, before);
            bench.bytes(direction, after);
            if direction == CLIENT {
                bench.bytes(SERVER, &answered);
            }
            assert_eq!(bench.told, [whole("{\"a\":1}", "onetwo")], "{direction:?} cut at {cut}");
            assert!(!bench.connection.is_joined_late() && bench.connection.take_notice().is_none());
        }
    }
}

#[test]
fn a_server_that_speaks_first_and_its_own_side_of_it() {
    for client in [CLIENT, SERVER] {
        let mut bench = Bench::new();
        let (sent, answered) = (bench.request(1, "q"), bench.response(1, &["a"]));
        bench.bytes(client.opposite(), &server_start());
        bench.bytes(client, &[client_start(), sent].concat());
        bench.bytes(client.opposite(), &answered);
        assert_eq!(bench.told, [whole("q", "a")]);
        assert!(!bench.connection.is_joined_late());
    }
}

#[test]
fn a_server_that_speaks_first_is_known_at_every_cut_of_its_settings() {
    let first = server_start();
    for cut in 0..first.len() {
        let mut bench = Bench::new();
        let (sent, answered) = (bench.request(1, "q"), bench.response(1, &["a"]));
        bench.bytes(SERVER, &first[..cut]);
        bench.bytes(SERVER, &first[cut..]);
        bench.bytes(CLIENT, &[client_start(), sent].concat());
        bench.bytes(SERVER, &answered);
        assert_eq!(bench.told, [whole("q", "a")], "cut at {cut}");
        assert!(!bench.connection.is_joined_late());
    }
}

#[test]
fn a_request_that_asks_for_http2_is_answered_there_and_others_follow_it() {
    let asked = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 1\r\n\r\nq";
    let accepted = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    for cut in 0..40 {
        let mut bench = Bench::new();
        let answered = [accepted.to_vec(), server_start(), bench.response(1, &["a"])].concat();
        let (sent, second) = (bench.request(3, "r"), bench.response(3, &["b"]));
        bench.bytes(CLIENT, asked);
        let (one, two) = answered.split_at(accepted.len() + cut);
        let (begun, accepted) = one.split_at(cut);
        bench.bytes(SERVER, begun);
        bench.bytes(SERVER, accepted);
        bench.bytes(CLIENT, &[client_start(), sent].concat());
        bench.bytes(SERVER, two);
        bench.bytes(SERVER, &second);
        assert_eq!(bench.told, [whole("q", "a"), whole("r", "b")], "cut at {cut}");
        assert!(bench.connection.take_notice().is_none());
    }
}

#[test]
fn streams_side_by_side_keep_their_bytes_apart() {
    let mut bench = Bench::new();
    let mut sent = client_start();
    for stream in [1, 3, 5, 7] {
        sent.extend(bench.request(stream, &format!("ask {stream}")));
    }
    bench.bytes(CLIENT, &sent);
    bench.bytes(SERVER, &server_start());
    for stream in [7, 1, 5, 3] {
        let block = bench.responses.block(&[(":status", "200")]);
        bench.bytes(SERVER, &headers(0, stream, &block));
    }
    for round in 0..3 {
        for stream in [3, 7, 1, 5] {
            bench.bytes(SERVER, &frame(kind::DATA, 0, stream, format!("[{stream}.{round}]").as_bytes()));
        }
    }
    for stream in [5, 1, 7, 3] {
        bench.bytes(SERVER, &frame(kind::DATA, flag::END_STREAM, stream, b""));
    }
    let want: Vec<_> = [1, 3, 5, 7].map(|s| whole(&format!("ask {s}"), &format!("[{s}.0][{s}.1][{s}.2]"))).to_vec();
    assert_eq!(bench.told, want);
}

#[test]
fn padding_priorities_continuations_trailers_and_interim_responses() {
    let mut bench = Bench::new();
    let block = bench.requests.block(&[(":method", "POST"), (":authority", "api.openai.com"), (":path", "/v1/chat/completions")]);
    let (one, rest) = block.split_at(3);
    let (two, three) = rest.split_at(5);
    let padded = [&[4, 0, 0, 0, 0, 15][..], one, &[0; 4]].concat();
    let data = [&[3][..], b"body", &[0; 3]].concat();
    let sent = [
        client_start(),
        frame(kind::HEADERS, flag::PADDED | flag::PRIORITY, 1, &padded),
        frame(kind::CONTINUATION, 0, 1, two),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, three),
        frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, &data),
        frame(0x77, 0, 9, b"unknown"),
    ];
    let interim = bench.responses.block(&[(":status", "103"), ("link", "x")]);
    let promised = [&2_u32.to_be_bytes()[..], &bench.responses.block(&[(":method", "GET"), (":path", "/pushed")])].concat();
    let last = bench.responses.block(&[(":status", "200")]);
    let trailers = bench.responses.block(&[("grpc-status", "0")]);
    let answered = [
        server_start(),
        headers(0, 1, &interim),
        frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &promised),
        headers(0, 1, &last),
        frame(kind::DATA, 0, 2, b"pushed"),
        frame(kind::DATA, 0, 1, b"answer"),
        headers(flag::END_STREAM, 1, &trailers),
    ];
    bench.bytes(CLIENT, &sent.concat());
    bench.bytes(SERVER, &answered.concat());
    assert_eq!(bench.told, [Told { trailers: Some("0".to_owned()), ..whole("body", "answer") }]);
}

#[test]
fn streams_that_a_server_pushes_are_nobodys() {
    let mut bench = Bench::new();
    let sent = bench.request(1, "q");
    bench.bytes(CLIENT, &[client_start(), sent].concat());
    bench.bytes(SERVER, &server_start());
    for stream in (2..40_u32).step_by(2) {
        let promised = bench.responses.block(&[(":method", "GET"), (":path", "/pushed")]);
        bench.bytes(SERVER, &frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[&stream.to_be_bytes()[..], &promised].concat()));
        let pushed = bench.response(stream, &["pushed"]);
        bench.bytes(SERVER, &pushed);
    }
    let answer = bench.response(1, &["a"]);
    bench.bytes(SERVER, &answer);
    assert_eq!(bench.told, [whole("q", "a")]);
}

#[test]
fn a_reset_a_goaway_and_the_end_of_the_connection_cut_what_is_open() {
    let mut bench = Bench::new();
    let sent: Vec<u8> = [1, 3, 5].into_iter().flat_map(|stream| bench.request(stream, "q")).collect();
    bench.bytes(CLIENT, &[client_start(), sent].concat());
    bench.bytes(SERVER, &server_start());
    bench.bytes(CLIENT, &frame(kind::RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    bench.bytes(SERVER, &frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]));
    assert_eq!(bench.told.iter().map(|told| told.response_end.is_some()).collect::<Vec<_>>(), [true, false, true]);
    bench.close();
    let cut = Some(BodyEnd { framing: FramingEnd::Cut, ..WHOLE });
    assert!(bench.told.iter().all(|told| told.response_end == cut && told.request_end == Some(WHOLE)), "{:#?}", bench.told);
}
