//! What the fuzz targets do with their input: each function panics when a promise is broken.

mod bodies;
mod calls;
mod http2;

pub use bodies::{grpc, json_array, multipart, ndjson};
pub use calls::{conversation, dialects, mcp, own_telemetry};
pub use http2::h2;

use std::{collections::BTreeSet, sync::Arc};

use a11i_agent::{
    attach::{Binary, GoCryptoTls, LIBRARIES, ProbeKind, TlsLibrary},
    call::LossCauses,
    discovery::{
        client_hello::ClientHello,
        elf::{Elf, Machine},
        file::FileId,
    },
    flow::{DataPiece, Gap, HELD_BYTES, Reassembly, Segment, SegmentBody},
    http::{
        Connection, HttpEventKind, HttpSettings,
        aws_event_stream::EventStreamParser,
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
                DataPiece {
                    direction,
                    offset,
                    time,
                    skipped: u32::from(extra),
                    causes: LossCauses(u16::from(extra & 7)),
                    payload: &payload,
                },
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
    let (mut begun, mut open) = (0_u64, BTreeSet::new());
    // HTTP/2 ends in any order, and a request behind one that asked for an upgrade ends when that is granted.
    let mut take = |event: a11i_agent::http::HttpEvent<'_>| match event.kind {
        HttpEventKind::Request(_) => {
            assert_eq!(event.exchange.0, begun);
            begun += 1;
            open.insert(event.exchange.0);
        }
        HttpEventKind::ResponseEnd(_) => assert!(open.remove(&event.exchange.0)),
        HttpEventKind::RequestBody(_)
        | HttpEventKind::RequestEnd(_)
        | HttpEventKind::Response(_)
        | HttpEventKind::ResponseBody(_)
        | HttpEventKind::ResponseTrailers(_)
        | HttpEventKind::Message(_)
        | HttpEventKind::MessagesMissing { .. } => assert!(open.contains(&event.exchange.0)),
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
    assert_eq!(open, BTreeSet::new());
}

/// Any bytes behind an accepted handshake, whatever is lost of them: what is told ends once. Without losses, cuts change nothing.
pub fn websocket(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let extensions = ["", "permessage-deflate", "permessage-deflate; client_no_context_takeover; server_no_context_takeover", "strange"];
    let handshake =
        format!("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: {}\r\n\r\n", extensions[usize::from(kind & 3)]);
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

/// Any bytes, cut anywhere, give the messages of the bytes in one piece, and the same counts; after a gap, too.
pub fn aws_event_stream(data: &[u8]) {
    let Some(([cut, gap], bytes)) = data.split_first_chunk::<2>() else { return };
    let (before, after) = bytes.split_at(usize::from(*gap).min(bytes.len()));
    let parse = |size: usize| {
        let (mut parser, mut messages) = (EventStreamParser::default(), Vec::new());
        for (part, ends) in [(before, false), (after, true)] {
            for piece in part.chunks(size.max(1)) {
                parser.push(piece, |m| messages.push((m.name.map(str::to_owned), m.payload.to_vec(), m.after_loss)));
            }
            if ends { parser.finish() } else { parser.reset_after_gap() }
        }
        (messages, parser.damaged_messages(), parser.dropped_messages())
    };
    assert_eq!(parse(bytes.len()), parse(usize::from(*cut)));
}

/// Any bytes in any coding stay under the cap, and cuts change nothing.
pub fn content_coding(data: &[u8]) {
    let Some((kind, coded)) = data.split_first() else { return };
    let codings = ["gzip", "deflate", "br", "zstd", "gzip,zstd", "br,deflate"][usize::from(*kind & 0x7f) % 6];
    // Whatever the memory, what does not fit is refused.
    let memory = if kind & 0x80 == 0 { 32 << 20 } else { 512 << 10 };
    let limits = DecodeLimits { bytes: 1024 * 1024, ratio: 1000, memory };
    let decode = |size: usize| {
        let mut out = Vec::new();
        let mut decoder = ContentDecoder::new(codings, limits).ok().flatten()?;
        for piece in coded.chunks(size.max(1)) {
            decoder.decode(piece, &mut |bytes| out.extend_from_slice(bytes)).ok()?;
        }
        assert!(out.len() as u64 <= limits.bytes);
        Some((out, decoder.finish().is_ok()))
    };
    let (whole, in_pieces) = (decode(coded.len()), decode(3));
    // What waits for the rest of its unit takes memory, too.
    assert!(kind & 0x80 != 0 || whole == in_pieces);
}

/// Any file: what is read of its headers lies in it, and so do the functions that it names.
pub fn elf(data: &[u8]) {
    let file = data.to_vec();
    let Ok(elf) = Elf::parse(&file) else { return };
    let total: u64 = elf.segments().iter().map(|segment| segment.file_size).sum();
    assert!(total <= 2 * file.len() as u64);
    assert!(elf.soname().is_none_or(|name| name.len() <= 3 * 4_096) && elf.build_id().is_none_or(|id| id.len() <= 128));
    let Ok(functions) = elf.functions(&["SSL_read", "SSL_write", "gnutls_record_send"]) else { return };
    for function in &functions.found {
        assert_eq!(elf.code_offset(function.vaddr, 1), Ok(function.offset));
        assert!(function.offset < file.len() as u64);
    }
}

/// Any file, for either machine: whatever is found in it, probes go to code that is there, and returns are returns.
pub fn finders(data: &[u8]) {
    probes_found(data);
}

/// How many probes there are for what is found in a file.
pub fn probes_found(data: &[u8]) -> usize {
    let file = data.to_vec();
    let Ok(elf) = Elf::parse(&file) else { return 0 };
    let names: Vec<_> = LIBRARIES.iter().flat_map(|library| library.symbols()).copied().collect();
    let Ok(functions) = elf.functions(&names) else { return 0 };
    let binary = Binary::new(FileId::default(), &elf, functions);
    LIBRARIES.iter().map(|library| look(*library, &binary, &file)).sum()
}

/// Any function table of Go with any code: the first byte says for which machine and whether it is relocated, the next two how long the code
/// is; what follows it is data.
pub fn pclntab(data: &[u8]) {
    let Some(([flags, low, high], rest)) = data.split_first_chunk() else { return };
    let (code, data) = rest.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(rest.len()));
    let file = program(if flags & 1 == 0 { 62 } else { 183 }, if flags & 2 == 0 { 2 } else { 3 }, code, data);
    let Ok(elf) = Elf::parse(&file) else { return };
    let functions = elf.functions(GoCryptoTls.symbols()).unwrap_or_default();
    look(&GoCryptoTls, &Binary::new(FileId::default(), &elf, functions), &file);
}

fn look(library: &dyn TlsLibrary, binary: &Binary<'_>, file: &[u8]) -> usize {
    let mut probes = 0;
    for planned in library.find(binary).plans {
        assert_eq!(planned.plan.code.len(), planned.plan.probes.len());
        probes += planned.plan.probes.len();
        for probe in &planned.plan.probes {
            let in_segment = |offset: u64, size: u64| probe.offset.checked_sub(offset).is_some_and(|into| into < size);
            let mut code = binary.elf.segments().iter().filter(|segment| segment.executable);
            assert!(code.any(|segment| in_segment(segment.offset, segment.file_size)), "{probe:?} is not in code");
            let at = file.get(probe.offset as usize..).unwrap_or_default();
            let is_return = match binary.elf.machine() {
                // Also behind prefixes, or with bytes to take from the stack.
                Machine::X86_64 => {
                    let is_prefix = |byte: &&u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf2 | 0xf3);
                    at.iter().take(15).find(|byte| !is_prefix(byte)).is_some_and(|byte| matches!(byte, 0xc2 | 0xc3))
                }
                Machine::Aarch64 => at.get(..4).is_some_and(|word| word[3] == 0xd6),
            };
            assert!(probe.kind != ProbeKind::Exit || is_return, "{probe:?} is no return");
        }
    }
    probes
}

/// A program without sections: code at 0x401000, data at 0x600000.
fn program(machine: u16, kind: u16, code: &[u8], data: &[u8]) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([kind, machine].into_iter().flat_map(u16::to_le_bytes));
    file.extend(1_u32.to_le_bytes());
    file.extend([0_u64, 64, 0].into_iter().flat_map(u64::to_le_bytes));
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 2, 64, 0, 0].into_iter().flat_map(u16::to_le_bytes));
    let data_at = 0x1000 + (code.len() as u64).next_multiple_of(0x1000);
    for (flags, offset, vaddr, size) in [(5_u32, 0x1000, 0x40_1000, code.len()), (6, data_at, 0x60_0000, data.len())] {
        file.extend([1, flags].into_iter().flat_map(u32::to_le_bytes));
        file.extend([offset, vaddr, vaddr, size as u64, size as u64, 0x1000].into_iter().flat_map(u64::to_le_bytes));
    }
    file.resize(0x1000, 0);
    file.extend(code);
    file.resize(data_at as usize, 0);
    file.extend(data);
    file
}

/// Any bytes: names are names, and what is cut off is missing and never something else.
pub fn client_hello(data: &[u8]) {
    let Some(whole) = ClientHello::parse(data) else { return };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    assert!(whole.server_name.as_ref().is_none_or(|name| (1..=255).contains(&name.len()) && name.bytes().all(plain)));
    assert!(whole.protocols.len() <= 8 && whole.protocols.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_graphic())));
    for cut in (0..data.len()).step_by(data.len() / 64 + 1) {
        let Some(part) = ClientHello::parse(&data[..cut]) else { continue };
        assert!(part.server_name.is_none() || part.server_name == whole.server_name);
    }
}
