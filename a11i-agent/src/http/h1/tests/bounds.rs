//! Malformed, endless and too many messages.

use super::{super::EXCHANGES_IN_FLIGHT, *};

#[test]
fn malformed_messages_end_with_their_reason_and_the_connection_goes_on() {
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", MalformedReason::ContentLength),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello", MalformedReason::ContentLength),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhello", MalformedReason::ContentLength),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello", MalformedReason::ChunkSize),
        ("HTTP/1.1 200 OK\r\nbad\0name: x\r\n\r\nhello", MalformedReason::Head),
        ("\x15\x03\x01 alert", MalformedReason::Head),
    ];
    for (response, reason) in cases {
        let mut bench = Bench::new();
        bench.write(get("/1")).read(response).write(get("/2")).read(ok("two")).close();
        assert_eq!(bench.told[0].response_end, Some((Completeness::Whole, FramingEnd::Malformed(reason))), "{response:?}");
        assert_eq!(bench.told[1].response_end, WHOLE, "{response:?}");
        assert_eq!(bench.told[1].response_body, b"two");
    }
}

#[test]
fn endless_heads_are_refused_within_their_limit() {
    let mut bench = Bench::new();
    bench.write(get("/1")).read("HTTP/1.1 200 OK\r\n");
    for _ in 0..200 {
        bench.read("x-filler: ".to_owned() + &"y".repeat(1000) + "\r\n");
    }
    bench.write(get("/2")).read("HTTP/1.1 200 OK\r\n".to_owned() + &"a: b\r\n".repeat(200) + "\r\n").close();
    for one in &bench.told {
        assert_eq!(one.response_end, Some((Completeness::Whole, FramingEnd::Malformed(MalformedReason::HeadTooLarge))));
    }
    let mut bench = Bench::new();
    bench.write("POST /").write(vec![b'a'; 100_000]).close();
    assert_eq!((bench.told.len(), bench.notices()), (0, vec![ConnectionNotice::Malformed(MalformedReason::HeadTooLarge)]));
}

#[test]
fn too_many_requests_in_flight_end_them_all_with_the_reason() {
    let mut bench = Bench::new();
    for _ in 0..=EXCHANGES_IN_FLIGHT {
        bench.write(get("/"));
    }
    bench.read(ok("x")).close();
    assert_eq!(bench.told.len(), EXCHANGES_IN_FLIGHT);
    assert!(bench.told.iter().all(|one| matches!(one.response_end, Some((_, FramingEnd::Malformed(MalformedReason::TooManyExchanges))))));
}
