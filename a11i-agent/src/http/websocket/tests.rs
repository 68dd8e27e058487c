//! Frames as peers write them, cut anywhere, with losses anywhere.

use std::sync::Arc;

use a11i_common::event::cause;
use flate2::{Compress, Compression, FlushCompress};

use super::*;
use crate::http::{Connection, HttpEvent, HttpSettings, MessageKind};

const W: Direction = Direction::Write;
const R: Direction = Direction::Read;
const HANDSHAKE: &[u8] = b"GET /v1/realtime HTTP/1.1\r\nHost: api.openai.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn answer(extensions: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: {extensions}\r\n\r\n"
    )
    .into()
}

/// One frame; `first`: FIN, RSV1 and opcode.
fn frame(first: u8, is_client: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mask = if is_client { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..126 => out.push(mask | u8::try_from(length).unwrap()),
        length @ 126..65_536 => {
            out.push(mask | 0x7e);
            out.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            out.push(mask | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if is_client {
        out.extend_from_slice(&KEY);
    }
    out.extend(payload.iter().enumerate().map(|(n, byte)| if is_client { byte ^ KEY[n % 4] } else { *byte }));
    out
}

fn text(is_client: bool, payload: &str) -> Vec<u8> {
    frame(0x81, is_client, payload.as_bytes())
}

/// What deflates the messages of one direction.
struct Deflater {
    stream: Compress,
    alone: bool,
}

impl Deflater {
    fn new(alone: bool) -> Self {
        Self { stream: Compress::new(Compression::default(), false), alone }
    }

    fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + 1024);
        self.stream.compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
        out.truncate(out.len() - 4);
        if self.alone {
            self.stream.reset();
        }
        out
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Told {
    /// From the client; text; data; whole.
    Message(bool, bool, Vec<u8>, bool),
    Missing(bool),
    End(FramingEnd),
}

struct Bench {
    connection: Connection,
    told: Vec<Told>,
    time: u64,
}

impl Bench {
    fn new(extensions: &str) -> Self {
        Self::with_rest(extensions, b"")
    }

    /// `rest` comes in the same bytes as the answer.
    fn with_rest(extensions: &str, rest: &[u8]) -> Self {
        let mut bench = Self { connection: Connection::new(Arc::new(HttpSettings::new(&[7; 32]))), told: Vec::new(), time: 1 };
        bench.bytes(W, HANDSHAKE);
        bench.bytes(R, &[&answer(extensions), rest].concat());
        assert_eq!(bench.connection.take_notice(), Some(ConnectionNotice::WebSocket));
        assert!(bench.connection.is_websocket());
        bench
    }

    fn segment(&mut self, direction: Direction, body: SegmentBody<'_>) {
        self.time += 1;
        let time = BootTime(self.time);
        let told = &mut self.told;
        self.connection.push(Segment { direction, time, body }, &mut |event| tell(told, event));
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8]) {
        self.segment(direction, SegmentBody::Bytes(bytes));
    }

    fn lose(&mut self, direction: Direction, lost: Option<u64>) {
        self.segment(direction, SegmentBody::Gap(Gap { lost, causes: LossCauses::of_kernel(cause::RING_FULL) }));
    }

    fn close(mut self) -> Vec<Told> {
        let told = &mut self.told;
        self.connection.close(BootTime(1_000_000), &mut |event| tell(told, event));
        self.told
    }
}

fn tell(told: &mut Vec<Told>, event: HttpEvent<'_>) {
    assert_eq!(event.exchange, ExchangeId(0));
    assert!(!matches!(told.last(), Some(Told::End(_))), "after the end: {event:?}");
    match event.kind {
        HttpEventKind::Message(message) => {
            assert!(message.first_byte <= event.time);
            assert!(!message.is_whole || message.missing.is_whole());
            let (client, text) = (message.from == SocketPeer::Client, message.kind == MessageKind::Text);
            told.push(Told::Message(client, text, message.data.to_vec(), message.is_whole));
        }
        HttpEventKind::MessagesMissing { from, .. } => told.push(Told::Missing(from == SocketPeer::Client)),
        HttpEventKind::ResponseEnd(end) => told.push(Told::End(end.framing)),
        HttpEventKind::Request(_)
        | HttpEventKind::RequestBody(_)
        | HttpEventKind::RequestEnd(_)
        | HttpEventKind::Response(_)
        | HttpEventKind::ResponseBody(_)
        | HttpEventKind::ResponseTrailers(_) => {}
    }
}

fn said(client: bool, data: &str) -> Told {
    Told::Message(client, true, data.as_bytes().to_vec(), true)
}

#[test]
fn messages_of_both_sides_are_told_wherever_their_bytes_are_cut() {
    let long = "x".repeat(300);
    let client = [text(true, "{\"a\":1}"), frame(0x89, true, b"ping"), frame(0x01, true, b"{\"fr"), frame(0x8a, true, b"pong")].concat();
    let client = [client, frame(0x00, true, b"ag"), frame(0x80, true, b"\":2}"), text(true, &long), text(true, "")].concat();
    let server = [text(false, "one"), frame(0x82, false, &[0, 159, 146]), text(false, &"y".repeat(66_000))].concat();
    let want_client = ["{\"a\":1}", "{\"frag\":2}", &long, ""].map(|data| said(true, data));
    for cut in 0..=client.len() {
        let mut bench = Bench::new("");
        let (first, second) = client.split_at(cut);
        bench.bytes(W, first);
        bench.bytes(W, second);
        assert_eq!(bench.told, want_client, "cut at {cut}");
    }
    for size in [1, 2, 3, 7, 1000, 70_000] {
        let mut bench = Bench::new("");
        server.chunks(size).for_each(|piece| bench.bytes(R, piece));
        let want = [said(false, "one"), Told::Message(false, false, vec![0, 159, 146], true), said(false, &"y".repeat(66_000))];
        assert_eq!(bench.told, want, "in pieces of {size}");
    }
}

#[test]
fn what_follows_the_answer_in_the_same_bytes_is_its_first_message() {
    let bench = Bench::with_rest("", &text(false, "hello"));
    assert_eq!(bench.told, [said(false, "hello")]);
}

#[test]
fn deflated_messages_are_read_with_and_without_what_came_before() {
    for (extensions, alone) in [
        ("permessage-deflate", false),
        ("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12", false),
        ("permessage-deflate; client_no_context_takeover; server_no_context_takeover", true),
    ] {
        let texts: Vec<String> = (0..5).map(|n| format!("{{\"type\":\"response.output_text.delta\",\"delta\":\"word {n}\"}}")).collect();
        for is_client in [true, false] {
            let mut deflater = Deflater::new(alone);
            let mut bytes = Vec::new();
            for (n, text) in texts.iter().enumerate() {
                let coded = deflater.deflate(text.as_bytes());
                // The extension leaves fragments, control frames between them, and messages that are not compressed.
                let (one, two) = coded.split_at(coded.len() / 2);
                bytes.extend([frame(0x41, is_client, one), frame(0x89, is_client, b""), frame(0x80, is_client, two)].concat());
                bytes.extend(frame(0x81, is_client, format!("plain {n}").as_bytes()));
            }
            let mut want = Vec::new();
            for (n, text) in texts.iter().enumerate() {
                want.extend([said(is_client, text), said(is_client, &format!("plain {n}"))]);
            }
            for size in [1, 5, bytes.len()] {
                let mut bench = Bench::new(extensions);
                bytes.chunks(size).for_each(|piece| bench.bytes(if is_client { W } else { R }, piece));
                assert_eq!(bench.told, want, "{extensions}, pieces of {size}");
            }
        }
    }
}

#[test]
fn a_loss_within_a_frame_costs_its_message_and_no_other() {
    for is_client in [true, false] {
        let direction = if is_client { W } else { R };
        let bytes = [text(is_client, "{\"first\":1}"), text(is_client, "0123456789"), text(is_client, "{\"last\":3}")].concat();
        let header = if is_client { 6 } else { 2 };
        let payload = header + 11 + header;
        for from in payload..payload + 10 {
            for to in from + 1..=payload + 10 {
                let mut bench = Bench::new("");
                bench.bytes(direction, &bytes[..from]);
                bench.lose(direction, Some((to - from) as u64));
                bench.bytes(direction, &bytes[to..]);
                let seen = bytes[payload..from].iter().enumerate().map(|(n, _)| b'0' + u8::try_from(n).unwrap()).collect();
                let want = [said(is_client, "{\"first\":1}"), Told::Message(is_client, true, seen, false), said(is_client, "{\"last\":3}")];
                assert_eq!(bench.told, want, "lost {from} to {to}");
            }
        }
    }
}

#[test]
fn behind_a_loss_of_frames_only_what_proves_itself_is_a_frame() {
    let mut bench = Bench::new("");
    bench.bytes(R, &text(false, "{\"n\":1}"));
    bench.lose(R, Some(100));
    // The middle of something that looks like a frame, a frame that is no object, one that does not fit, and at last one that is.
    bench.bytes(R, b"\x81\x05abcde");
    bench.bytes(R, b"\x81\x7e\x00\x02{}");
    bench.bytes(R, &text(false, "{\"n\":3}")[..5]);
    bench.bytes(R, &[text(false, "{\"n\":4}"), text(false, "5")].concat());
    bench.lose(W, None);
    bench.bytes(W, &text(true, "{\"m\":1}"));
    let want = [said(false, "{\"n\":1}"), Told::Missing(false), said(false, "{\"n\":4}"), said(false, "5"), Told::Missing(true)];
    assert_eq!(bench.told, [&want[..], &[said(true, "{\"m\":1}")]].concat());
    assert_eq!(bench.close().last(), Some(&Told::End(FramingEnd::Cut)));
}

#[test]
fn no_gap_anywhere_gives_a_message_that_was_not_sent() {
    let texts: Vec<String> = (0..4).map(|n| format!("{{\"type\":\"delta\",\"text\":\"piece {n}\"}}")).collect();
    for (extensions, compressed, alone) in
        [("", false, false), ("permessage-deflate", true, false), ("permessage-deflate; client_no_context_takeover", true, true)]
    {
        let mut deflater = Deflater::new(alone);
        let frames: Vec<_> = texts
            .iter()
            .map(|text| if compressed { frame(0xc1, true, &deflater.deflate(text.as_bytes())) } else { frame(0x81, true, text.as_bytes()) })
            .collect();
        let bytes = frames.concat();
        for from in 0..bytes.len() {
            for lost in [1, 3, 20, 60] {
                for known in [true, false] {
                    let mut bench = Bench::new(extensions);
                    bench.bytes(W, &bytes[..from]);
                    bench.lose(W, known.then_some(lost));
                    bench.bytes(W, bytes.get(from + usize::try_from(lost).unwrap()..).unwrap_or_default());
                    for told in bench.close() {
                        if let Told::Message(_, _, data, true) = told {
                            assert!(texts.iter().any(|text| text.as_bytes() == data), "lost {lost} at {from}: {data:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn what_refers_to_lost_bytes_is_missing_and_what_stands_alone_is_not() {
    for (extensions, alone) in [("permessage-deflate", false), ("permessage-deflate; server_no_context_takeover", true)] {
        let mut deflater = Deflater::new(alone);
        let frames: Vec<_> = (0..3).map(|n| frame(0xc1, false, &deflater.deflate(format!("{{\"number\":{n}}}").as_bytes()))).collect();
        let mut bench = Bench::new(extensions);
        bench.bytes(R, &frames[0]);
        bench.lose(R, Some(frames[1].len() as u64));
        bench.bytes(R, &frames[2]);
        let told = bench.close();
        let found = told.contains(&said(false, "{\"number\":2}"));
        assert_eq!((told[0].clone(), told[1].clone(), found), (said(false, "{\"number\":0}"), Told::Missing(false), alone));
    }
}

#[test]
fn goodbyes_of_both_sides_end_it_and_what_follows_is_not_read() {
    let mut bench = Bench::new("");
    bench.bytes(W, &[frame(0x88, true, &1000_u16.to_be_bytes()), text(true, "late")].concat());
    assert_eq!(bench.told, []);
    bench.bytes(R, &[text(false, "still"), frame(0x88, false, b"")].concat());
    bench.bytes(R, &text(false, "late"));
    assert_eq!(bench.close(), [said(false, "still"), Told::End(FramingEnd::Finished)]);
}

#[test]
fn frames_that_no_endpoint_takes_end_a_direction_with_a_reason() {
    let frames: [&[u8]; 9] = [
        &[0x83, 0x00],                           // reserved opcode
        &[0xc1, 0x00],                           // compressed, though nothing was agreed on
        &[0xa1, 0x00],                           // reserved bit
        &[0x81, 0x80, 0, 0, 0, 0],               // masked by a server
        &[0x09, 0x00],                           // a ping in fragments
        &[0x89, 126, 0, 200],                    // a long ping
        &[0x80, 0x00],                           // a fragment of nothing
        &[0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0], // a length of 2^63 and more
        &[0x01, 0x01, b'a', 0x81, 0x01, b'b'],   // a message within a message
    ];
    for bytes in frames {
        let mut bench = Bench::new("");
        bytes.chunks(1).for_each(|byte| bench.bytes(R, byte));
        assert_eq!(bench.told, [Told::Missing(false)], "{bytes:x?}");
        assert_eq!(bench.connection.take_notice(), Some(ConnectionNotice::Malformed(MalformedReason::WebSocketFrame)));
        bench.bytes(R, &text(false, "{}"));
        bench.bytes(W, &text(true, "the other side goes on"));
        assert_eq!(bench.told.last(), Some(&said(true, "the other side goes on")));
    }
}

#[test]
fn a_bomb_is_given_up_and_a_large_message_is_cut() {
    let mut bench = Bench::new("permessage-deflate");
    let mut deflater = Compress::new(Compression::best(), false);
    let mut bomb = Vec::with_capacity(1024 * 1024);
    deflater.compress_vec(&vec![0; 64 * 1024 * 1024], &mut bomb, FlushCompress::Sync).unwrap();
    bench.bytes(R, &frame(0xc1, false, &bomb));
    assert_eq!(bench.told, [Told::Missing(false)]);
    assert_eq!(bench.connection.take_notice(), Some(ConnectionNotice::Malformed(MalformedReason::ContentTooLarge)));

    let mut bench = Bench::new("");
    let large = "z".repeat(9 * 1024 * 1024);
    bench.bytes(W, &[text(true, &large), text(true, "next")].concat());
    let lengths: Vec<_> =
        bench.told.iter().map(|told| if let Told::Message(_, _, data, whole) = told { (data.len(), *whole) } else { (0, false) }).collect();
    assert_eq!(lengths, [(8 * 1024 * 1024, false), (4, true)]);
}

#[test]
fn an_extension_that_nobody_here_can_read_is_not_guessed() {
    for extensions in ["x-webkit-deflate-frame", "permessage-deflate; strange=1", "permessage-deflate, permessage-bzip2"] {
        let mut bench = Bench::new(extensions);
        bench.bytes(R, &text(false, "{}"));
        assert_eq!(bench.told, [Told::End(FramingEnd::Finished)], "{extensions}");
    }
}

#[test]
fn an_answer_that_is_seen_before_the_handshake_waits_for_it() {
    let rest = [text(false, "one"), text(false, "two")].concat();
    for cut in 0..=rest.len() {
        let mut bench = Bench { connection: Connection::new(Arc::new(HttpSettings::new(&[7; 32]))), told: Vec::new(), time: 1 };
        bench.bytes(R, &[&answer(""), &rest[..cut]].concat());
        if cut < rest.len() {
            bench.bytes(R, &rest[cut..]);
        }
        bench.bytes(W, HANDSHAKE);
        bench.bytes(W, &text(true, "three"));
        assert_eq!(bench.told, [said(false, "one"), said(false, "two"), said(true, "three")], "cut at {cut}");
    }
}
