//! What the fuzz targets do with their input: each function panics when a promise is broken.

use std::sync::Arc;

use a11i_agent::{
    call::LossCauses,
    flow::{DataPiece, Gap, HELD_BYTES, Reassembly, Segment, SegmentBody},
    http::{
        Connection, HttpEventKind, HttpSettings,
        content_coding::{ContentDecoder, DecodeLimits},
        sse::SseParser,
    },
};
use a11i_common::identity::{BootTime, Direction};

/// Any record gives an event or an error.
pub fn record_decode(data: &[u8]) {
    let _ = a11i_common::decode::decode(data).map_err(|error| error.to_string());
}

/// Any pieces: offsets of what is given never overlap or go back, and memory stays under its bound.
pub fn reassembly(data: &[u8]) {
    let mut reassembly = Reassembly::new();
    let mut at = [0_u64; 2];
    let mut take = |segment: Segment<'_>| {
        let at = &mut at[segment.direction as usize];
        *at += match segment.body {
            SegmentBody::Bytes(bytes) => {
                // Every byte of the model stream is its own offset.
                for (n, byte) in bytes.iter().enumerate() {
                    assert_eq!(*byte, (*at + n as u64) as u8);
                }
                bytes.len() as u64
            }
            SegmentBody::Gap(Gap { lost: Some(lost), .. }) => lost,
            SegmentBody::Gap(Gap { lost: None, .. }) | SegmentBody::End => 0,
        };
    };
    for (n, op) in data.chunks_exact(5).enumerate() {
        let [kind, low, high, length, extra] = op.try_into().unwrap_or_default();
        let time = BootTime(n as u64 * 10_000_000);
        let offset = u64::from(u16::from_le_bytes([low, high]));
        let payload: Vec<u8> = (0..u64::from(length)).map(|n| (offset + n) as u8).collect();
        let direction = if kind & 1 == 0 { Direction::Write } else { Direction::Read };
        match kind >> 1 & 7 {
            0 => reassembly.handle_timeout(time, &mut take),
            1 if extra > 250 => reassembly.end(offset, offset, [LossCauses(0); 2], time, &mut take),
            // A known size is lost with these causes; an uncounted loss would leave the model without its place.
            2 => reassembly.push(
                DataPiece { direction, offset, time, skipped: u32::from(extra), causes: LossCauses(extra & 7), payload: &payload },
                &mut take,
            ),
            _ => reassembly.push(DataPiece { direction, offset, time, skipped: 0, causes: LossCauses(0), payload: &payload }, &mut take),
        }
        assert!(reassembly.held_bytes() <= 2 * HELD_BYTES);
    }
}

/// Any segments: every exchange is told in order, and ends once.
pub fn h1(data: &[u8]) {
    let mut connection = Connection::new(Arc::new(HttpSettings::new(&[1; 32])));
    let (mut begun, mut ended) = (0_u64, 0_u64);
    let mut take = |event: a11i_agent::http::HttpEvent<'_>| match event.kind {
        HttpEventKind::Request(_) => {
            assert_eq!(event.exchange.0, begun);
            begun += 1;
        }
        HttpEventKind::ResponseEnd(_) => {
            assert_eq!(event.exchange.0, ended);
            ended += 1;
        }
        HttpEventKind::RequestBody(_)
        | HttpEventKind::RequestEnd(_)
        | HttpEventKind::Response(_)
        | HttpEventKind::ResponseBody(_)
        | HttpEventKind::Message(_)
        | HttpEventKind::MessagesMissing { .. } => {
            assert!(event.exchange.0 >= ended && event.exchange.0 < begun);
        }
    };
    // Segments are divided by 0xff and a byte that says direction and kind.
    for (n, part) in data.split(|byte| *byte == 0xff).enumerate() {
        let Some((kind, bytes)) = part.split_first() else { continue };
        let direction = if kind & 1 == 0 { Direction::Write } else { Direction::Read };
        let body = match kind >> 1 & 15 {
            15 => SegmentBody::End,
            14 => SegmentBody::Gap(Gap { lost: None, causes: LossCauses(8) }),
            13 => SegmentBody::Gap(Gap { lost: Some(bytes.len() as u64 + 1), causes: LossCauses(1) }),
            _ if bytes.is_empty() => continue,
            _ => SegmentBody::Bytes(bytes),
        };
        connection.push(Segment { direction, time: BootTime(n as u64), body }, &mut take);
    }
    connection.close(BootTime(u64::MAX), &mut take);
    while connection.take_notice().is_some() {}
    assert_eq!(begun, ended);
}

/// Any bytes behind an accepted handshake, whatever is lost of them: what is told ends once. Without losses, cuts change nothing.
pub fn websocket(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let extensions = ["", "permessage-deflate", "permessage-deflate; client_no_context_takeover; server_no_context_takeover", "strange"];
    let handshake = format!(
        "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: {}\r\n\r\n",
        extensions[usize::from(kind & 3)]
    );
    // Segments are divided by a byte that is rare in frames; the one behind it says direction and kind.
    let run = |size: usize, with_losses: bool| {
        let mut connection = Connection::new(Arc::new(HttpSettings::new(&[1; 32])));
        let (mut told, mut ended) = (Vec::new(), 0);
        let mut take = |event: a11i_agent::http::HttpEvent<'_>| match event.kind {
            HttpEventKind::Message(message) => {
                assert!(ended == 0 && (!message.is_whole || message.missing.is_whole()));
                told.push((message.from, message.data.to_vec(), message.is_whole));
            }
            HttpEventKind::MessagesMissing { .. } => assert_eq!(ended, 0),
            HttpEventKind::ResponseEnd(_) => ended += 1,
            _ => {}
        };
        let segment = |direction, body| Segment { direction, time: BootTime(1), body };
        let request = b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n";
        connection.push(segment(Direction::Write, SegmentBody::Bytes(request)), &mut take);
        connection.push(segment(Direction::Read, SegmentBody::Bytes(handshake.as_bytes())), &mut take);
        for part in data.split(|byte| *byte == 0xfe) {
            let Some((kind, bytes)) = part.split_first() else { continue };
            let direction = if kind & 1 == 0 { Direction::Write } else { Direction::Read };
            let gap = match kind >> 1 & 15 {
                _ if !with_losses => None,
                15 => Some(None),
                14 => Some(Some(bytes.len() as u64 + 1)),
                _ => None,
            };
            if let Some(lost) = gap {
                connection.push(segment(direction, SegmentBody::Gap(Gap { lost, causes: LossCauses(1) })), &mut take);
                continue;
            }
            for piece in bytes.chunks(size.max(1)) {
                connection.push(segment(direction, SegmentBody::Bytes(piece)), &mut take);
            }
        }
        connection.close(BootTime(u64::MAX), &mut take);
        while connection.take_notice().is_some() {}
        assert_eq!(ended, 1);
        told
    };
    run(usize::MAX, true);
    // The order between the directions depends on the cuts of neither.
    assert_eq!(run(usize::MAX, false), run(3, false));
}

/// Any text, cut anywhere, gives the events of the text in one piece.
pub fn sse(data: &[u8]) {
    let Some((cut, text)) = data.split_first() else { return };
    let parse = |size: usize| {
        let (mut parser, mut events) = (SseParser::new(), Vec::new());
        for piece in text.chunks(size.max(1)) {
            parser.push(piece, |e| events.push((e.event.map(str::to_owned), e.data.to_vec())));
        }
        parser.finish(|e| events.push((e.event.map(str::to_owned), e.data.to_vec())));
        events
    };
    assert_eq!(parse(text.len()), parse(usize::from(*cut)));
}

/// Any bytes in any coding stay under the cap, and cuts change nothing.
pub fn content_coding(data: &[u8]) {
    let Some((kind, coded)) = data.split_first() else { return };
    let codings = ["gzip", "deflate", "br", "zstd", "gzip,zstd", "br,deflate"][usize::from(*kind) % 6];
    let limits = DecodeLimits { bytes: 1024 * 1024, ratio: 1000 };
    let decode = |size: usize| {
        let mut out = Vec::new();
        let mut decoder = ContentDecoder::new(codings, limits).ok().flatten()?;
        for piece in coded.chunks(size.max(1)) {
            decoder.decode(piece, &mut |bytes| out.extend_from_slice(bytes)).ok()?;
        }
        assert!(out.len() as u64 <= limits.bytes);
        Some((out, decoder.finish().is_ok()))
    };
    assert_eq!(decode(coded.len()), decode(3));
}
