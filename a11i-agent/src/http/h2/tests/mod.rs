mod bounds;
mod early;
mod exchanges;
mod header_fields;
mod losses;
mod websocket;

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

    /// Both ends have said what they say first.
    fn begun() -> Self {
        let mut bench = Self::new();
        bench.bytes(CLIENT, &client_start());
        bench.bytes(SERVER, &server_start());
        bench
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
