mod early;
mod losses;

use std::sync::Arc;

use a11i_common::{
    event::cause,
    identity::{BootTime, Direction},
};

use crate::{
    call::{Completeness, LossCauses, Role},
    flow::{Gap, Segment, SegmentBody},
    http::{Connection, ConnectionNotice, FramingEnd, HttpEvent, HttpEventKind, HttpSettings, MalformedReason, RequestHead, ResponseHead},
};

const W: Direction = Direction::Write;
const R: Direction = Direction::Read;

/// One exchange as told.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    request: Option<RequestHead>,
    request_body: Vec<u8>,
    request_end: Option<(Completeness, FramingEnd)>,
    response: Option<ResponseHead>,
    response_body: Vec<u8>,
    response_end: Option<(Completeness, FramingEnd)>,
    gaps: usize,
}

struct Bench {
    connection: Connection,
    told: Vec<Told>,
    time: u64,
}

impl Bench {
    fn new() -> Self {
        Self { connection: Connection::new(Arc::new(HttpSettings::new(&[7; 32]))), told: Vec::new(), time: 1 }
    }

    fn segment(&mut self, direction: Direction, body: SegmentBody<'_>) -> &mut Self {
        self.time += 1;
        let time = BootTime(self.time);
        self.at(time, direction, body)
    }

    fn at(&mut self, time: BootTime, direction: Direction, body: SegmentBody<'_>) -> &mut Self {
        let told = &mut self.told;
        self.connection.push(Segment { direction, time, body }, &mut |event| tell(told, event));
        self
    }

    fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.segment(W, SegmentBody::Bytes(bytes.as_ref()))
    }

    fn read(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.segment(R, SegmentBody::Bytes(bytes.as_ref()))
    }

    fn lose(&mut self, direction: Direction, lost: Option<u64>) -> &mut Self {
        self.segment(direction, SegmentBody::Gap(Gap { lost, causes: LossCauses::of_kernel(cause::RING_FULL) }))
    }

    fn close(&mut self) -> &mut Self {
        let told = &mut self.told;
        self.connection.close(BootTime(1_000_000), &mut |event| tell(told, event));
        self
    }

    fn notices(&mut self) -> Vec<ConnectionNotice> {
        std::iter::from_fn(|| self.connection.take_notice()).collect()
    }
}

/// Also checks the order that is promised for each exchange.
fn tell(told: &mut Vec<Told>, event: HttpEvent<'_>) {
    let n = usize::try_from(event.exchange.0).unwrap();
    if let HttpEventKind::Request(_) = event.kind {
        assert_eq!(n, told.len());
        told.push(Told::default());
    }
    let one = &mut told[n];
    assert!(one.response_end.is_none(), "after the end: {event:?}");
    match event.kind {
        HttpEventKind::Request(head) => one.request = Some(*head),
        HttpEventKind::RequestBody(bytes) => {
            assert!(one.request_end.is_none());
            one.gaps += usize::from(bytes.is_empty());
            one.request_body.extend(bytes);
        }
        HttpEventKind::RequestEnd(end) => {
            assert!(one.request_end.replace((end.completeness, end.framing)).is_none());
        }
        HttpEventKind::Response(head) => assert!(one.response.replace(*head).is_none()),
        HttpEventKind::ResponseBody(bytes) => {
            assert!(one.response.is_some());
            one.gaps += usize::from(bytes.is_empty());
            one.response_body.extend(bytes);
        }
        HttpEventKind::ResponseTrailers(_) | HttpEventKind::Message(_) | HttpEventKind::MessagesMissing { .. } => {
            panic!("no WebSocket, no HTTP/2: {:?}", event.kind)
        }
        HttpEventKind::ResponseEnd(end) => {
            assert!(one.request_end.is_some());
            one.response_end = Some((end.completeness, end.framing));
        }
    }
}

const WHOLE: Option<(Completeness, FramingEnd)> = Some((Completeness::Whole, FramingEnd::Finished));

fn gap(lost: u64) -> Completeness {
    Completeness::Gap { lost: Some(lost), causes: LossCauses::of_kernel(cause::RING_FULL) }
}

/// The request or the response says that it is not whole.
fn is_marked(one: &Told) -> bool {
    [one.request_end, one.response_end].iter().any(|end| end.is_none_or(|(completeness, _)| !completeness.is_whole()))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

fn bodies(bench: &Bench) -> Vec<String> {
    bench.told.iter().map(|one| String::from_utf8_lossy(&one.response_body).into_owned()).collect()
}

/// The script in one segment per step, and with every step cut at every byte.
fn at_every_cut(script: &[(Direction, &[u8])], check: impl Fn(&Bench, &str)) {
    let longest = script.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
    for cut in 0..=longest {
        let mut bench = Bench::new();
        for (direction, bytes) in script {
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            for part in [a, b] {
                if !part.is_empty() {
                    bench.segment(*direction, SegmentBody::Bytes(part));
                }
            }
        }
        bench.close();
        check(&bench, &format!("cut at {cut}"));
    }
    let mut bench = Bench::new();
    for (direction, bytes) in script {
        for byte in bytes.chunks(1) {
            bench.segment(*direction, SegmentBody::Bytes(byte));
        }
    }
    bench.close();
    check(&bench, "byte by byte");
}

#[test]
fn a_kept_alive_connection_gives_the_same_exchanges_however_it_is_cut() {
    let script: [(Direction, &[u8]); 6] = [
        (W, b"GET /health HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"),
        (R, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        (W, b"POST /v1/chat/completions?key=s&x=1 HTTP/1.1\r\nHost: API.OpenAI.com:8443\r\nAuthorization: Bearer sk-1\r\ncontent-length: 7\r\n\r\n{\"a\":1}"),
        (R, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-f: a\r\n  b\r\n\r\n5\r\nhello\r\n6;e=1\r\n world\r\n0\r\nT: v\r\n\r\n"),
        (W, b"HEAD /x HTTP/1.1\r\nhost: h\r\n\r\n"),
        (R, b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"),
    ];
    at_every_cut(&script, |bench, at| {
        assert_eq!(bodies(bench), ["ok", "hello world", ""], "{at}");
        assert!(bench.told.iter().all(|one| one.request_end == WHOLE && one.response_end == WHOLE), "{at}: {:?}", bench.told);
        assert_eq!(bench.told[1].request_body, b"{\"a\":1}");
        let head = bench.told[1].request.as_ref().unwrap();
        assert_eq!((head.path.as_str(), head.query.as_deref()), ("/v1/chat/completions", Some("key=&x=1")));
        assert_eq!((head.host.as_deref(), head.port, head.role), (Some("api.openai.com"), Some(8443), Role::Client));
        assert!(!format!("{head:?}").contains("sk-1"));
        let folded = bench.told[1].response.as_ref().unwrap().headers.text("x-f").unwrap().replace(' ', "");
        assert_eq!(folded, "ab");
    });
}

#[test]
fn pipelined_requests_get_their_own_responses() {
    let mut bench = Bench::new();
    bench.write(get("/1") + &get("/2") + &get("/3")).read(ok("one") + &ok("two")).read(ok("three")).close();
    assert_eq!(bodies(&bench), ["one", "two", "three"]);
    assert!(bench.told.iter().all(|one| one.response_end == WHOLE));
}

#[test]
fn a_process_that_reads_requests_is_a_server() {
    let mut bench = Bench::new();
    bench.read(get("/v1/models")).write(ok("[]")).close();
    assert_eq!(bench.told[0].request.as_ref().unwrap().role, Role::Server);
    assert_eq!(bodies(&bench), ["[]"]);
}

#[test]
fn a_response_without_length_ends_with_the_connection() {
    let mut bench = Bench::new();
    bench.write(get("/")).read("HTTP/1.0 200 OK\r\n\r\nabc").read("def");
    assert_eq!(bench.told[0].response_end, None);
    bench.segment(R, SegmentBody::End);
    assert_eq!((bodies(&bench), bench.told[0].response_end), (vec!["abcdef".to_owned()], WHOLE));
}

#[test]
fn a_connection_that_ends_in_mid_message_cuts_it() {
    for response in ["", "HTTP/1.1 200 OK\r\ncontent-", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"] {
        let mut bench = Bench::new();
        bench.write(get("/"));
        if !response.is_empty() {
            bench.read(response);
        }
        bench.close();
        assert_eq!(bench.told[0].response_end, Some((Completeness::Whole, FramingEnd::Cut)), "{response:?}");
    }
    let mut bench = Bench::new();
    bench.write("POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nab").close();
    assert_eq!(bench.told[0].request_end, Some((Completeness::Whole, FramingEnd::Cut)));
    assert_eq!(bench.told[0].response_end, Some((Completeness::Whole, FramingEnd::Cut)));
}

#[test]
fn an_early_error_waits_for_the_request_it_answers() {
    let mut bench = Bench::new();
    bench.write("POST / HTTP/1.1\r\ncontent-length: 6\r\n\r\nabc").read("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
    assert_eq!(bench.told[0].response_end, None);
    bench.write("def").write(get("/next")).read(ok("yes")).close();
    assert_eq!((bench.told[0].request_end, bench.told[0].response_end), (WHOLE, WHOLE));
    assert_eq!(bodies(&bench), ["no", "yes"]);

    let mut bench = Bench::new();
    bench.write("POST / HTTP/1.1\r\ncontent-length: 6\r\n\r\nabc").read("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").close();
    assert_eq!(bench.told[0].request_end, Some((Completeness::Whole, FramingEnd::Cut)));
    assert_eq!(bench.told[0].response_end, WHOLE);
}

#[test]
fn a_refused_expectation_does_not_swallow_the_next_request() {
    let mut bench = Bench::new();
    bench
        .write("POST /big HTTP/1.1\r\nExpect: 100-continue\r\ncontent-length: 1000\r\n\r\n")
        .read("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
        .write(get("/next"))
        .read(ok("yes"))
        .close();
    assert_eq!(bench.told.len(), 2);
    assert_eq!(bodies(&bench), ["", "yes"]);
}

#[test]
fn upgrades_and_tunnels_end_the_connection_for_http() {
    for (request, response) in [
        ("GET /x HTTP/1.1\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n", "HTTP/1.1 101 Switching\r\nUpgrade: other\r\n\r\n"),
        ("CONNECT api.openai.com:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 Established\r\ncontent-length: 5\r\n\r\n"),
    ] {
        let mut bench = Bench::new();
        bench.write(request).read(response).write("\x16\x03 tls").read("bytes").close();
        assert_eq!(bench.told[0].response_end, WHOLE);
        assert_eq!(bench.notices(), [ConnectionNotice::Upgraded]);
        assert!(bench.told[0].response_body.is_empty());
    }
}

#[test]
fn a_gap_inside_a_counted_body_is_skipped_by_count_and_marks_the_call() {
    let mut bench = Bench::new();
    bench
        .write(get("/1"))
        .read("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n012")
        .lose(R, Some(4))
        .read("789")
        .write(get("/2"))
        .read(ok("two"))
        .close();
    assert_eq!(bodies(&bench), ["012789", "two"]);
    assert_eq!(bench.told[0].response_end, Some((gap(4), FramingEnd::Finished)));
    assert_eq!((bench.told[0].gaps, bench.told[1].response_end), (1, WHOLE));

    let mut bench = Bench::new();
    bench.write("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n012").lose(W, Some(7)).read(ok("x")).write(get("/2")).read(ok("two")).close();
    assert_eq!(bench.told[0].request_end, Some((gap(7), FramingEnd::Finished)));
    assert_eq!((bench.told[1].request_end, bench.told[1].response_end), (WHOLE, WHOLE));
}

#[test]
fn a_gap_that_takes_chunk_framing_marks_the_call_and_not_the_next() {
    let mut bench = Bench::new();
    bench.write(get("/1")).read("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned() + &chunk("a") + "9\r\n01");
    bench.lose(R, Some(100)).read("garbage of a chunk\r\n").read(chunk("bc") + &chunk("de")).read("0\r\n\r\n");
    assert_eq!(bench.told[0].response_end, Some((gap(100), FramingEnd::Finished)));
    bench.write(get("/2")).read(ok("two")).close();
    assert_eq!(bodies(&bench), ["a01bcde", "two"]);
    assert_eq!(bench.told[1].response_end, WHOLE);

    // The last chunk is lost too: another response may have been lost with it, until a request shows that none was.
    let mut bench = Bench::new();
    bench
        .write(get("/1"))
        .read("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01")
        .lose(R, Some(50))
        .write(get("/2"))
        .read(ok("two"))
        .write(get("/3"))
        .read(ok("three"))
        .close();
    assert_eq!(bodies(&bench), ["01", "two", "three"]);
    assert_eq!(bench.told[0].response_end, Some((gap(50), FramingEnd::Finished)));
    assert!(is_marked(&bench.told[1]) && bench.told[2].response_end == WHOLE);
}

#[test]
fn a_gap_of_unknown_size_trusts_no_count() {
    let mut bench = Bench::new();
    bench
        .write(get("/1"))
        .read("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n012")
        .lose(R, None)
        .read("345")
        .write(get("/2"))
        .read(ok("two"))
        .close();
    assert_eq!(bodies(&bench), ["012", "two"]);
    let unknown = Completeness::Gap { lost: None, causes: LossCauses::of_kernel(cause::RING_FULL) };
    assert_eq!(bench.told[0].response_end, Some((unknown, FramingEnd::Finished)));
}

#[test]
fn a_lost_response_is_not_taken_from_the_next_request() {
    let mut bench = Bench::new();
    bench.write(get("/1")).write(get("/2")).lose(R, Some(44)).read(ok("two")).close();
    assert_eq!(bodies(&bench), ["", "two"]);
    assert_eq!(bench.told[0].response_end, Some((gap(44), FramingEnd::Finished)));
    assert_eq!(bench.told[1].response_end, Some((gap(44), FramingEnd::Finished)));
}

#[test]
fn a_head_hit_by_a_gap_is_told_as_far_as_it_was_seen() {
    let mut bench = Bench::new();
    bench
        .write("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nconte")
        .lose(W, Some(500))
        .read(ok("x"))
        .write(get("/2"))
        .read(ok("two"))
        .close();
    assert_eq!(bench.told[0].request.as_ref().unwrap().path, "/v1/chat/completions");
    assert_eq!(bench.told[0].request_end, Some((gap(500), FramingEnd::Finished)));
    assert_eq!(bodies(&bench), ["x", "two"]);

    let mut bench = Bench::new();
    bench.write(get("/1")).read("HTTP/1.1 429 Slow\r\nretry-").lose(R, Some(30)).read("rest").write(get("/2")).read(ok("two")).close();
    assert_eq!(bench.told[0].response.as_ref().unwrap().status, 429);
    assert_eq!(bench.told[0].response_end, Some((gap(30), FramingEnd::Finished)));
    assert_eq!(bodies(&bench), ["", "two"]);
}

#[test]
fn a_request_that_arrives_after_its_response_gets_it_and_takes_no_other() {
    let mut bench = Bench::new();
    bench.write(get("/0")).read(ok("zero"));
    bench.at(BootTime(200), R, SegmentBody::Bytes(ok("one").as_bytes()));
    bench.at(BootTime(100), W, SegmentBody::Bytes(get("/1").as_bytes()));
    bench.at(BootTime(300), W, SegmentBody::Bytes(get("/2").as_bytes()));
    bench.at(BootTime(400), R, SegmentBody::Bytes(ok("two").as_bytes())).close();
    assert_eq!(bodies(&bench), ["zero", "one", "two"]);
    assert!(bench.told.iter().all(|one| one.request_end == WHOLE && one.response_end == WHOLE));
    assert_eq!(bench.notices(), []);
}

#[test]
fn a_connection_joined_in_a_response_is_followed_from_the_next_request() {
    let mut bench = Bench::new();
    bench
        .read("data: {\"x\":1}\n\n\r\n")
        .read("5\r\ndata:\r\n0\r\n\r\n")
        .write(get("/1"))
        .read(ok("one"))
        .write(get("/2"))
        .read(ok("two"))
        .close();
    assert_eq!(bodies(&bench), ["one", "two"]);
    assert!(bench.told.iter().all(|one| one.request_end == WHOLE && one.response_end == WHOLE));
    assert_eq!(bench.notices(), []);
}

#[test]
fn a_connection_joined_in_a_request_is_followed_from_the_next_request() {
    let mut bench = Bench::new();
    bench.write("...rest of a prompt\"}]}").read(ok("late")).write(get("/1")).read(ok("one")).close();
    assert_eq!(bodies(&bench), ["one"]);
    assert_eq!((bench.told[0].request_end, bench.told[0].response_end), (WHOLE, WHOLE));
    assert_eq!(bench.notices(), []);
}

#[test]
fn other_protocols_are_named() {
    let mut bench = Bench::new();
    bench.write("\0\x01binary protocol").read("\0\x02answer").write("more").read("more");
    assert_eq!(bench.notices(), [ConnectionNotice::NotHttp]);
    let mut bench = Bench::new();
    bench.write("EHLO mail.example.org\r\n").read("250 ok\r\n");
    assert_eq!(bench.notices(), [ConnectionNotice::NotHttp]);
}

#[test]
fn coded_bodies_are_decoded_and_a_gap_ends_the_decoding() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"hello hello hello").unwrap();
    let body = gzip.finish().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut bench = Bench::new();
    bench.write(get("/")).read(&head).read(&body).write(get("/")).read(&head).read(&body[..12]).lose(R, Some(2)).read(&body[14..]);
    bench
        .write(get("/"))
        .read(head.replace("gzip", "br"))
        .read(&body)
        .write(get("/"))
        .read(head.replace("gzip", "who"))
        .read(&body)
        .close();
    assert_eq!((bodies(&bench)[0].as_str(), bench.told[0].response_end), ("hello hello hello", WHOLE));
    assert_eq!(bench.told[1].response_end, Some((gap(2), FramingEnd::Finished)));
    for one in &bench.told[2..] {
        assert_eq!(one.response_end, Some((Completeness::Whole, FramingEnd::Malformed(MalformedReason::ContentCoding))));
    }
}

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
    for _ in 0..=super::EXCHANGES_IN_FLIGHT {
        bench.write(get("/"));
    }
    bench.read(ok("x")).close();
    assert_eq!(bench.told.len(), super::EXCHANGES_IN_FLIGHT);
    assert!(bench.told.iter().all(|one| matches!(one.response_end, Some((_, FramingEnd::Malformed(MalformedReason::TooManyExchanges))))));
}

#[test]
fn no_content_and_not_modified_have_no_body() {
    let mut bench = Bench::new();
    bench
        .write(get("/1"))
        .read("HTTP/1.1 204 No Content\r\n\r\n")
        .write(get("/2"))
        .read("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n");
    bench.write(get("/3")).read(ok("three")).close();
    assert_eq!(bodies(&bench), ["", "", "three"]);
    assert!(bench.told.iter().all(|one| one.response_end == WHOLE));
}

#[test]
fn whatever_piece_is_lost_no_call_differs_without_a_mark() {
    let script = script();
    let mut whole = Bench::new();
    for (direction, bytes) in &script {
        whole.segment(*direction, SegmentBody::Bytes(bytes.as_bytes()));
    }
    whole.close();
    assert_eq!(whole.told.len(), 5);
    // Every subset of up to three lost segments.
    for mask in 1_u32..1 << script.len() {
        if mask.count_ones() > 3 {
            continue;
        }
        let mut bench = Bench::new();
        for (n, (direction, bytes)) in script.iter().enumerate() {
            if mask & 1 << n == 0 {
                bench.segment(*direction, SegmentBody::Bytes(bytes.as_bytes()));
            } else {
                bench.lose(*direction, Some(u64::try_from(bytes.len()).unwrap()));
            }
        }
        bench.close();
        for one in &bench.told {
            let marked = [one.request_end, one.response_end].iter().any(|end| !end.unwrap().0.is_whole());
            let Some(path) = one.request.as_ref().map(|head| &head.path) else { panic!("no head") };
            let truth = whole.told.iter().find(|told| told.request.as_ref().is_some_and(|head| head.path == *path)).unwrap();
            let same = one.request_body == truth.request_body && one.response_body == truth.response_body;
            assert!(marked || same, "mask {mask:b}: {one:?}\n{truth:?}");
        }
    }
}

fn script() -> Vec<(Direction, String)> {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    vec![
        (W, "POST /0 HTTP/1.1\r\ncontent-length: 6\r\n\r\n".to_owned()),
        (W, "prompt".to_owned()),
        (R, chunked.to_owned()),
        (R, chunk("first ")),
        (R, chunk("second")),
        (R, "0\r\n\r\n".to_owned()),
        (W, get("/1")),
        (R, ok("one")),
        (W, "POST /2 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()),
        (W, chunk("abc") + &chunk("def")),
        (W, "0\r\n\r\n".to_owned()),
        (R, "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n1234".to_owned()),
        (R, "5678".to_owned()),
        (W, get("/3") + &get("/4")),
        (R, ok("three") + chunked),
        (R, chunk("fo") + &chunk("ur") + "0\r\n\r\n"),
    ]
}

#[test]
fn what_the_kernel_half_did_not_copy_before_a_request_is_no_loss_of_its_response() {
    let mut bench = Bench::new();
    bench.write(b"GET /a HTTP/1.1\r\nhost: h\r\n\r\n");
    bench.segment(Direction::Read, SegmentBody::Gap(Gap { lost: Some(9_000), causes: LossCauses::of_kernel(cause::NOT_HTTP) }));
    bench.read(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(bench.told[0].response_end, WHOLE);
}

#[test]
fn bytes_that_were_not_copied_inside_a_body_are_a_gap_whatever_the_cause() {
    let mut bench = Bench::new();
    bench.write(b"GET /a HTTP/1.1\r\nhost: h\r\n\r\n");
    bench.read(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\no");
    bench.segment(Direction::Read, SegmentBody::Gap(Gap { lost: Some(2), causes: LossCauses::of_kernel(cause::NOT_HTTP) }));
    bench.read(b"k");
    let lost = Completeness::Gap { lost: Some(2), causes: LossCauses::of_kernel(cause::NOT_HTTP) };
    assert_eq!(bench.told[0].response_end, Some((lost, FramingEnd::Finished)));
}
