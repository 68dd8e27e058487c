//! How many streams are followed, and which bodies are decoded.

use super::*;

#[test]
fn a_million_streams_are_bounded() {
    let mut bench = Bench::new();
    bench.bytes(CLIENT, &client_start());
    for nth in 0..5_000_u32 {
        let block = bench.requests.block(&[(":method", "GET"), (":path", "/")]);
        bench.bytes(CLIENT, &headers(0, 2 * nth + 1, &block));
    }
    let open = bench.told.iter().filter(|told| told.response_end.is_none()).count();
    assert_eq!(open, STREAMS);
    assert_eq!(bench.connection.take_notice(), Some(ConnectionNotice::Malformed(MalformedReason::TooManyExchanges)));
}

/// A request that answers are told to, and an answer's head that says how its body is coded.
fn ask_coded(bench: &mut Bench, stream: u32) -> (Vec<u8>, Vec<u8>) {
    let block = bench.responses.block(&[(":status", "200"), ("content-encoding", "zstd")]);
    (bench.request(stream, "q"), headers(0, stream, &block))
}

#[test]
fn a_hundred_hostile_answers_hold_no_more_than_decoders_may() {
    let settings = HttpSettings::new(&[1; 32]);
    let most = settings.decode.memory;
    let mut connection = Connection::new(Arc::new(settings));
    let mut bench = Bench::new();
    let (mut ends, given) = (Vec::new(), std::cell::Cell::new(0));
    let mut push = |connection: &mut Connection, direction, bytes: &[u8]| {
        connection.push(Segment { direction, time: BootTime(1), body: SegmentBody::Bytes(bytes) }, &mut |event| match event.kind {
            HttpEventKind::ResponseBody(bytes) => given.set(given.get() + bytes.len()),
            HttpEventKind::ResponseEnd(end) => ends.push(end.framing),
            HttpEventKind::Request(_)
            | HttpEventKind::RequestBody(_)
            | HttpEventKind::RequestEnd(_)
            | HttpEventKind::Response(_)
            | HttpEventKind::ResponseTrailers(_)
            | HttpEventKind::Message(_)
            | HttpEventKind::MessagesMissing { .. } => {}
        });
        connection.decoders_hold()
    };
    push(&mut connection, CLIENT, &client_start());
    push(&mut connection, SERVER, &server_start());
    let ids: Vec<u32> = (0..100).map(|n| 2 * n + 1).collect();
    let mut peak = 0;
    for id in &ids {
        let (asked, head) = ask_coded(&mut bench, *id);
        push(&mut connection, CLIENT, &asked);
        push(&mut connection, SERVER, &head);
        // 4 MiB each, which no ratio forbids.
        let data = frame(kind::DATA, 0, *id, &zstd_of_runs(31));
        peak = peak.max(push(&mut connection, SERVER, &data));
    }
    assert!(peak <= most && peak > most / 2, "{peak}");
    assert!(given.get() >= most / 2);
    for id in &ids {
        push(&mut connection, SERVER, &frame(kind::DATA, flag::END_STREAM, *id, &[0x01, 0, 0]));
    }
    assert_eq!(connection.decoders_hold(), 0);
    let refused = ends.iter().filter(|end| **end == FramingEnd::Malformed(MalformedReason::ContentTooLarge)).count();
    let finished = ends.iter().filter(|end| **end == FramingEnd::Finished).count();
    assert!(ends.len() == 100 && finished >= 4 && finished + refused == 100, "{finished} and {refused}");
}

#[test]
fn what_nobody_wants_is_not_decoded_and_its_heads_and_ends_are_told() {
    let mut bench = Bench::new();
    let mut connection = Connection::new(Arc::new(HttpSettings::new(&[1; 32])));
    let mut told = Vec::new();
    let mut push = |direction, bytes: &[u8]| {
        connection.push_to(Segment { direction, time: BootTime(1), body: SegmentBody::Bytes(bytes) }, &mut |event| {
            let (name, wanted) = match event.kind {
                HttpEventKind::Request(_) => ("request", event.exchange != ExchangeId(0)),
                // The second is found to be none when its answer begins.
                HttpEventKind::Response(_) => ("response", event.exchange != ExchangeId(1)),
                HttpEventKind::RequestBody(_) | HttpEventKind::ResponseBody(_) => ("body", true),
                HttpEventKind::RequestEnd(_) | HttpEventKind::ResponseEnd(_) => ("end", true),
                HttpEventKind::ResponseTrailers(_) | HttpEventKind::Message(_) | HttpEventKind::MessagesMissing { .. } => ("other", true),
            };
            told.push((event.exchange.0, name));
            if wanted { Interest::Wanted } else { Interest::Declined }
        });
        connection.decoders_hold()
    };
    push(CLIENT, &client_start());
    push(SERVER, &server_start());
    for id in [1, 3, 5] {
        let (asked, head) = ask_coded(&mut bench, id);
        push(CLIENT, &asked);
        push(SERVER, &head);
        let memory = push(SERVER, &frame(kind::DATA, 0, id, &zstd_of_runs(2)));
        assert_eq!(memory > 0, id == 5);
    }
    for id in [1, 3, 5] {
        let trailers = bench.responses.block(&[("grpc-status", "0")]);
        push(SERVER, &frame(kind::DATA, 0, id, &[0x01, 0, 0]));
        push(SERVER, &headers(flag::END_STREAM, id, &trailers));
    }
    let of = |id: u64| told.iter().filter(|(exchange, _)| *exchange == id).map(|(_, name)| *name).collect::<Vec<_>>();
    assert_eq!(of(0), ["request", "end", "response", "end"]);
    assert_eq!(of(1), ["request", "body", "end", "response", "end"]);
    assert_eq!(of(2), ["request", "body", "end", "response", "body", "body", "other", "end"]);
    assert_eq!(connection.decoders_hold(), 0);
}
