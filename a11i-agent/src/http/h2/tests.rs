use std::sync::Arc;

use super::{frame::tests::frame, hpack::tests::Encoder, *};
use crate::{
    flow::{Gap, Segment, SegmentBody},
    http::{BodyEnd, Connection, HttpEvent, HttpEventKind, HttpSettings, Interest, content_coding::tests::zstd_of_runs},
};

const CLIENT: Direction = Direction::Write;
const SERVER: Direction = Direction::Read;
const WHOLE: BodyEnd = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Finished };

/// What was told of one exchange.
#[derive(Clone, PartialEq, Debug, Default)]
struct Told {
    path: String,
    host: Option<String>,
    unseen: bool,
    shows_credential: bool,
    request: String,
    request_end: Option<BodyEnd>,
    status: Option<u16>,
    response: String,
    trailers: Option<String>,
    response_end: Option<BodyEnd>,
}

struct Bench {
    connection: Connection,
    told: Vec<Told>,
    requests: Encoder,
    responses: Encoder,
}

impl Bench {
    fn new() -> Self {
        let settings = Arc::new(HttpSettings::new(&[1; 32]));
        let encoder = Encoder::with_huffman_code;
        Self { connection: Connection::new(settings), told: Vec::new(), requests: encoder(), responses: encoder() }
    }

    fn push(&mut self, direction: Direction, body: SegmentBody<'_>) {
        let told = &mut self.told;
        self.connection.push(Segment { direction, time: BootTime(1), body }, &mut |event| note(told, event));
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8]) {
        self.push(direction, SegmentBody::Bytes(bytes));
    }

    fn gap(&mut self, direction: Direction, lost: Option<u64>) {
        self.push(direction, SegmentBody::Gap(Gap { lost, causes: LossCauses(1) }));
    }

    fn close(&mut self) {
        let told = &mut self.told;
        self.connection.close(BootTime(2), &mut |event| note(told, event));
    }

    /// A call's request, as a client of ours would write it.
    fn request(&mut self, stream: u32, body: &str) -> Vec<u8> {
        let length = body.len().to_string();
        let block = self.requests.block(&[
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "api.openai.com"),
            (":path", "/v1/chat/completions"),
            ("authorization", "Bearer sk-secret"),
            ("content-length", &length),
        ]);
        [headers(0, stream, &block), frame(kind::DATA, flag::END_STREAM, stream, body.as_bytes())].concat()
    }

    fn response(&mut self, stream: u32, pieces: &[&str]) -> Vec<u8> {
        let block =
            self.responses.block(&[(":status", "200"), ("content-type", "text/event-stream"), ("x-request-id", &stream.to_string())]);
        let mut out = headers(0, stream, &block);
        for piece in pieces {
            out.extend(frame(kind::DATA, 0, stream, piece.as_bytes()));
        }
        out.extend(frame(kind::DATA, flag::END_STREAM, stream, b""));
        out
    }
}

fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags | flag::END_HEADERS, stream, block)
}

fn client_start() -> Vec<u8> {
    [PREFACE.to_vec(), frame(4, 0, 0, &[0, 2, 0, 0, 0, 0]), frame(8, 0, 0, &[0, 1, 0, 0])].concat()
}

fn server_start() -> Vec<u8> {
    frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])
}

fn note(told: &mut Vec<Told>, event: HttpEvent<'_>) {
    let nth = usize::try_from(event.exchange.0).unwrap();
    if told.len() <= nth {
        told.resize(nth + 1, Told::default());
    }
    let it = &mut told[nth];
    assert_eq!(it.response_end, None, "nothing comes behind the end: {event:?}");
    match event.kind {
        HttpEventKind::Request(head) => {
            it.shows_credential = format!("{head:?}").contains("sk-secret");
            (it.path, it.host, it.unseen) = (head.path.clone(), head.host.clone(), head.headers.has_unseen());
        }
        HttpEventKind::RequestBody(bytes) => it.request.push_str(&String::from_utf8_lossy(bytes)),
        HttpEventKind::RequestEnd(end) => assert_eq!(it.request_end.replace(end), None),
        HttpEventKind::Response(head) => assert_eq!(it.status.replace(head.status), None),
        HttpEventKind::ResponseBody(bytes) => it.response.push_str(&String::from_utf8_lossy(bytes)),
        HttpEventKind::ResponseTrailers(trailers) => it.trailers = Some(trailers.text("grpc-status").unwrap_or_default().to_owned()),
        HttpEventKind::Message(_) | HttpEventKind::MessagesMissing { .. } => panic!("no WebSocket: {:?}", event.kind),
        HttpEventKind::ResponseEnd(end) => it.response_end = Some(end),
    }
}

fn whole(request: &str, response: &str) -> Told {
    Told {
        path: "/v1/chat/completions".to_owned(),
        host: Some("api.openai.com".to_owned()),
        unseen: false,
        shows_credential: false,
        request: request.to_owned(),
        request_end: Some(WHOLE),
        status: Some(200),
        response: response.to_owned(),
        trailers: None,
        response_end: Some(WHOLE),
    }
}

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
fn what_is_passed_over_behind_a_gap_is_missing_of_streams_that_began_since() {
    let mut bench = Bench::new();
    bench.bytes(CLIENT, &client_start());
    bench.bytes(SERVER, &server_start());
    bench.gap(SERVER, None);
    let (sent, answered) = (bench.request(1, "q"), bench.response(1, &["a"]));
    bench.bytes(CLIENT, &sent);
    // Its head comes in pieces that no frame shows itself in.
    let (head, rest) = answered.split_at(4);
    bench.bytes(SERVER, head);
    bench.bytes(SERVER, rest);
    bench.close();
    let unknown = Completeness::Gap { lost: None, causes: LossCauses(1) };
    assert_eq!(bench.told[0].response_end.map(|end| end.completeness), Some(unknown));
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

#[test]
fn a_gap_in_the_data_of_a_stream_is_that_streams_alone() {
    let mut bench = Bench::new();
    let sent: Vec<u8> = [1, 3].into_iter().flat_map(|stream| bench.request(stream, "q")).collect();
    bench.bytes(CLIENT, &[client_start(), sent].concat());
    let answers = [server_start(), bench.response(1, &["0123456789"])].concat();
    let end = answers.len() - 9;
    bench.bytes(SERVER, &answers[..end - 6]);
    bench.gap(SERVER, Some(4));
    bench.bytes(SERVER, &answers[end - 2..]);
    let other = bench.response(3, &["whole"]);
    bench.bytes(SERVER, &other);
    assert_eq!(bench.told[0].response, "012389");
    let missing = Completeness::Gap { lost: Some(4), causes: LossCauses(1) };
    assert_eq!(bench.told[0].response_end, Some(BodyEnd { completeness: missing, ..WHOLE }));
    assert_eq!(bench.told[1], whole("q", "whole"));
}

#[test]
fn behind_a_gap_frames_are_found_again_and_every_open_stream_says_so() {
    let mut bench = Bench::new();
    let sent: Vec<u8> = [1, 3].into_iter().flat_map(|stream| bench.request(stream, "q")).collect();
    bench.bytes(CLIENT, &[client_start(), sent].concat());
    let first = bench.response(1, &["one", "two"]);
    bench.bytes(SERVER, &[server_start(), first[..first.len() - 20].to_vec()].concat());
    bench.gap(SERVER, Some(500));
    let second = bench.response(3, &["whole"]);
    bench.bytes(SERVER, &second);
    bench.close();
    let unknown = Completeness::Gap { lost: None, causes: LossCauses(1) };
    assert!(bench.told.iter().all(|told| told.response_end.is_some_and(|end| end.completeness == unknown)), "{:#?}", bench.told);
    assert_eq!((bench.told[1].status, bench.told[1].response.as_str()), (Some(200), "whole"));
}

#[test]
fn an_answer_is_its_streams_whichever_of_the_two_is_seen_first() {
    for whole_first in [true, false] {
        let mut bench = Bench::new();
        bench.bytes(CLIENT, &client_start());
        bench.bytes(SERVER, &server_start());
        let (one, three) = (bench.request(1, "one"), bench.request(3, "three"));
        // In the order they are sent in: fields refer to those before.
        let (third, first) = (bench.response(3, &["c", "d"]), bench.response(1, &["a", "b"]));
        if whole_first {
            bench.bytes(SERVER, &third);
            bench.bytes(SERVER, &first[..first.len() - 12]);
        } else {
            // Cut anywhere: the rest comes behind the requests.
            bench.bytes(SERVER, &third[..third.len() - 5]);
        }
        for request in [&one, &three] {
            bench.bytes(CLIENT, request);
        }
        bench.bytes(SERVER, if whole_first { &first[first.len() - 12..] } else { &third[third.len() - 5..] });
        if !whole_first {
            bench.bytes(SERVER, &first);
        }
        let told: Vec<_> = bench.told.iter().map(|it| (it.request.as_str(), it.response.as_str(), it.response_end)).collect();
        assert_eq!(told, [("one", "ab", Some(WHOLE)), ("three", "cd", Some(WHOLE))]);
    }
}

#[test]
fn an_answer_to_what_was_asked_before_anybody_looked_is_nobodys_and_what_is_held_is_bounded() {
    let mut bench = Bench::new();
    bench.bytes(CLIENT, &client_start());
    bench.bytes(SERVER, &server_start());
    let answers = [bench.response(1, &["lost"]), bench.response(5, &["own"])];
    bench.bytes(SERVER, &answers[0]);
    let request = bench.request(3, "three");
    bench.bytes(CLIENT, &request);
    bench.bytes(SERVER, &answers[1]);
    let request = bench.request(5, "five");
    bench.bytes(CLIENT, &request);
    let told: Vec<_> = bench.told.iter().map(|it| (it.request.as_str(), it.response.as_str())).collect();
    assert_eq!(told, [("three", ""), ("five", "own")]);

    let mut bench = Bench::new();
    bench.bytes(CLIENT, &client_start());
    bench.bytes(SERVER, &server_start());
    for stream in (1..2001).step_by(2) {
        let answer = bench.response(stream, &["x"; 5]);
        bench.bytes(SERVER, &answer);
    }
    let large = "x".repeat(16_000);
    let answer = bench.response(2001, &[large.as_str(); 20]);
    bench.bytes(SERVER, &answer);
    let request = bench.request(2001, "late");
    bench.bytes(CLIENT, &request);
    assert_eq!((bench.told.len(), bench.told[0].response.len()), (1, 0));
}

#[test]
fn a_request_whose_body_stands_in_the_same_segment_is_told_before_its_early_answer() {
    let mut bench = Bench::new();
    bench.bytes(CLIENT, &client_start());
    bench.bytes(SERVER, &server_start());
    let answers: Vec<u8> = [1, 3].into_iter().flat_map(|stream| bench.response(stream, &["a"])).collect();
    let asked: Vec<u8> = [1, 3].into_iter().flat_map(|stream| bench.request(stream, "q")).collect();
    bench.bytes(SERVER, &answers);
    let mut told = Vec::new();
    listen(&mut bench, &mut told, CLIENT, SegmentBody::Bytes(&asked));
    let want = ["request /v1/chat/completions", "RequestBody([113])", "request end", "response 200", "ResponseBody([97])", "end Finished"];
    assert_eq!(told, want);

    // An upload that goes on is answered before it is over, and one that is given up has what came.
    let mut bench = Bench::new();
    bench.bytes(CLIENT, &client_start());
    bench.bytes(SERVER, &server_start());
    let answers: Vec<u8> = [1, 3].into_iter().flat_map(|stream| bench.response(stream, &["a"])).collect();
    let (upload, given_up) = (bench.request(1, ""), bench.request(3, ""));
    bench.bytes(SERVER, &answers);
    bench.bytes(CLIENT, &upload[..upload.len() - 9]);
    bench.bytes(CLIENT, &[&given_up[..given_up.len() - 9], &frame(kind::RST_STREAM, 0, 3, &[0; 4])].concat());
    let told: Vec<_> = bench.told.iter().map(|it| (it.response.as_str(), it.request_end.is_some(), it.response_end)).collect();
    assert_eq!(told, [("a", false, None), ("a", true, Some(WHOLE))]);
}

#[test]
fn heads_that_are_held_count_with_what_they_hold() {
    let mut bench = Bench::new();
    bench.bytes(CLIENT, &client_start());
    bench.bytes(SERVER, &server_start());
    let large = "x".repeat(3000);
    let ask = |bench: &mut Bench, answers: u32| {
        let block = bench.responses.block(&[(":status", "200"), ("x-large", &large)]);
        let from = bench.told.len();
        let first = u32::try_from(from).unwrap() * 200 + 1;
        for stream in (first..).step_by(2).take(usize::try_from(answers).unwrap()) {
            bench.bytes(SERVER, &headers(flag::END_STREAM, stream, &block));
        }
        let request = bench.request(first, "late");
        bench.bytes(CLIENT, &request);
        bench.told[from].status
    };
    assert_eq!(ask(&mut bench, 40), Some(200));
    assert_eq!(ask(&mut bench, 100), None);
}

#[test]
fn what_was_left_out_by_intention_is_no_loss_of_an_answer_that_comes_behind_it() {
    let mut bench = Bench::new();
    bench.bytes(CLIENT, &client_start());
    bench.bytes(SERVER, &server_start());
    let request = bench.request(1, "one");
    bench.bytes(CLIENT, &request);
    let causes = LossCauses::of_kernel(a11i_common::event::cause::NOT_LLM);
    bench.push(SERVER, SegmentBody::Gap(Gap { lost: Some(5_000), causes }));
    let answer = bench.response(1, &["own"]);
    bench.bytes(SERVER, &answer);
    assert_eq!(bench.told, [whole("one", "own")]);
}

#[test]
fn a_connection_joined_in_the_middle_gives_calls_whose_heads_say_what_they_lack() {
    let mut bench = Bench::new();
    // Before anybody looked.
    let (_, _) = (bench.request(1, "q"), bench.response(1, &["a"]));
    let (sent, answered) = (bench.request(3, "{\"model\":\"m\"}"), bench.response(3, &["late"]));
    bench.bytes(CLIENT, &sent);
    bench.bytes(SERVER, &answered);
    let told = bench.told.first().expect("it is followed");
    assert!(bench.connection.is_joined_late() && told.unseen && !told.shows_credential);
    assert_eq!((told.path.as_str(), told.host.as_deref(), told.request.as_str()), ("", None, "{\"model\":\"m\"}"));
    assert_eq!((told.status, told.response.as_str()), (Some(200), "late"));
    assert_eq!(told.request_end.map(|end| end.completeness), Some(Completeness::JoinedLate));
    assert_eq!(told.response_end.map(|end| end.completeness), Some(Completeness::JoinedLate));
}

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
fn a_table_that_changes_its_size_keeps_its_meaning() {
    let mut bench = Bench::new();
    bench.bytes(CLIENT, &client_start());
    bench.bytes(SERVER, &server_start());
    let first = bench.request(1, "q");
    bench.bytes(CLIENT, &first);
    // The server allows nothing, then 4,096 bytes again; the client says both, and begins anew.
    bench.bytes(SERVER, &frame(4, 0, 0, &[0, 1, 0, 0, 0, 0]));
    bench.bytes(SERVER, &frame(4, 0, 0, &[0, 1, 0, 0, 0x10, 0]));
    bench.requests = Encoder::with_huffman_code();
    let mut later = bench.request(3, "r");
    later.splice(9..9, [0x20, 0x3f, 0xe1, 0x1f]);
    later[2] += 4;
    bench.bytes(CLIENT, &later);
    let again = bench.request(5, "s");
    bench.bytes(CLIENT, &again);
    for stream in [1, 3, 5] {
        let answer = bench.response(stream, &["a"]);
        bench.bytes(SERVER, &answer);
    }
    assert_eq!(bench.told, [whole("q", "a"), whole("r", "a"), whole("s", "a")]);
}

#[test]
fn a_header_block_without_end_is_bounded_and_counted() {
    let mut bench = Bench::new();
    bench.bytes(CLIENT, &client_start());
    bench.bytes(CLIENT, &frame(kind::HEADERS, 0, 1, &[0x82]));
    let piece = [0x40_u8, 1, b'a', 1, b'b'].repeat(3_000);
    for _ in 0..1_000 {
        bench.bytes(CLIENT, &frame(kind::CONTINUATION, 0, 1, &piece));
    }
    bench.bytes(CLIENT, &frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[]));
    assert_eq!(bench.connection.take_notice(), Some(ConnectionNotice::Malformed(MalformedReason::HeadTooLarge)));
    // The connection goes on, and what it says next is followed, as far as its references are known.
    let sent = bench.request(3, "q");
    bench.bytes(CLIENT, &sent);
    assert!(bench.told.iter().any(|told| told.request == "q"));
}

#[test]
fn a_table_of_references_gives_away_no_more_than_a_head_may_have() {
    let mut bench = Bench::new();
    bench.bytes(CLIENT, &client_start());
    // One entry of 4,000 bytes, and 16,000 references to it: 64 MB of fields.
    let mut block = vec![0x82, 0x40, 1, b'a', 0x7f, 0xa1, 0x1e];
    block.extend([b'x'; 4_000]);
    block.extend([0xbe; 16_000]);
    let (first, rest) = block.split_at(16_000);
    bench.bytes(CLIENT, &frame(kind::HEADERS, 0, 1, first));
    bench.bytes(CLIENT, &frame(kind::CONTINUATION, flag::END_HEADERS, 1, rest));
    assert!(bench.told[0].unseen, "what is left out is said to be");
    assert_eq!(bench.connection.take_notice(), Some(ConnectionNotice::Malformed(MalformedReason::Head)));
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
fn no_bytes_panic_and_none_make_a_second_end() {
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(seed >> 40).unwrap()
    };
    for _ in 0..2_000 {
        let mut bench = Bench::new();
        let mut sent = client_start();
        let mut answered = server_start();
        for stream in [1, 3, 5] {
            sent.extend(bench.request(stream, "a question"));
            answered.extend(bench.response(stream, &["an", "answer"]));
        }
        for bytes in [&mut sent, &mut answered] {
            for _ in 0..random() % 4 {
                let at = usize::try_from(random()).unwrap() % bytes.len();
                bytes[at] = u8::try_from(random() & 0xff).unwrap();
            }
        }
        for (direction, bytes) in [(CLIENT, &sent), (SERVER, &answered)] {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at((usize::try_from(random()).unwrap() % 40 + 1).min(rest.len()));
                rest = tail;
                if random() % 16 == 0 {
                    bench.gap(direction, if random() % 2 == 0 { None } else { Some(piece.len().try_into().unwrap()) });
                } else {
                    bench.bytes(direction, piece);
                }
            }
        }
        bench.close();
        assert!(bench.told.iter().all(|told| told.response_end.is_some() && told.request_end.is_some()));
    }
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

#[test]
fn a_lost_connection_says_once_that_bytes_are_missing_until_others_come() {
    let mut bench = Bench::new();
    let asked: Vec<u8> = [1, 3].into_iter().flat_map(|stream| bench.request(stream, "q")).collect();
    let mut gaps = [0, 0];
    let mut push = |bench: &mut Bench, body: SegmentBody<'_>| {
        bench.connection.push(Segment { direction: SERVER, time: BootTime(1), body }, &mut |event| {
            if event.kind == HttpEventKind::ResponseBody(&[]) {
                gaps[usize::try_from(event.exchange.0).unwrap()] += 1;
            }
        });
        gaps
    };
    bench.bytes(CLIENT, &[client_start(), asked].concat());
    push(&mut bench, SegmentBody::Bytes(&server_start()));
    for id in [1, 3] {
        let head = headers(0, id, &bench.responses.block(&[(":status", "200")]));
        push(&mut bench, SegmentBody::Bytes(&head));
    }
    let gap = SegmentBody::Gap(Gap { lost: None, causes: LossCauses(1) });
    push(&mut bench, gap);
    for _ in 0..10 {
        push(&mut bench, SegmentBody::Bytes(b"nothing that looks like a frame"));
    }
    assert_eq!(push(&mut bench, SegmentBody::Bytes(&[])), [1, 1]);
    let found = [frame(kind::DATA, 0, 1, b"a"), frame(kind::DATA, 0, 1, b"b"), frame(kind::DATA, 0, 1, b"c")].concat();
    push(&mut bench, SegmentBody::Bytes(&found));
    assert_eq!(push(&mut bench, gap), [2, 1]);
}

#[test]
fn the_search_for_frames_looks_at_no_more_of_a_chain_than_it_takes_to_believe_it() {
    // Frames without payload all the way, and at the end what is none: from each of them on, it is a chain that breaks.
    let empty = frame(kind::DATA, 0, 1, b"");
    let mut hostile = empty.repeat(200_000);
    hostile.extend([0xff; 9]);
    let chained = chain(&hostile);
    assert!((4..=64).contains(&chained), "{chained}");
    assert_eq!(chain(&[empty.repeat(20), vec![0xff; 9]].concat()), 0);
}

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

fn listen(bench: &mut Bench, told: &mut Vec<String>, direction: Direction, body: SegmentBody<'_>) {
    bench.connection.push(Segment { direction, time: BootTime(1), body }, &mut |event| {
        if event.exchange == ExchangeId(0) {
            told.push(match event.kind {
                HttpEventKind::Message(message) => format!("{:?} {}", message.from, String::from_utf8_lossy(message.data)),
                HttpEventKind::MessagesMissing { from, .. } => format!("{from:?} missing"),
                HttpEventKind::Request(head) => format!("request {}", head.path),
                HttpEventKind::RequestEnd(_) => "request end".to_owned(),
                HttpEventKind::Response(head) => format!("response {}", head.status),
                HttpEventKind::ResponseEnd(end) => format!("end {:?}", end.framing),
                kind @ (HttpEventKind::RequestBody(_) | HttpEventKind::ResponseBody(_) | HttpEventKind::ResponseTrailers(_)) => {
                    format!("{kind:?}")
                }
            });
        }
    });
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
