//! What the tests of HTTP/1.1 have in common: a connection on a bench.

mod bounds;
mod early;
mod exchanges;
mod gaps;
mod late;
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
