//! A whole HTTP/2 connection: frames, HPACK, streams side by side, losses.

use std::{collections::BTreeMap, sync::Arc};

use a11i_agent::{
    call::{Completeness, LossCauses},
    flow::{Gap, Segment, SegmentBody},
    http::{BodyEnd, Connection, FramingEnd, HttpEvent, HttpEventKind, HttpSettings, Interest},
};
use a11i_common::identity::{BootTime, Direction};

/// What was told of one exchange.
#[derive(PartialEq, Debug, Default)]
struct Told {
    heads: Vec<String>,
    request: Vec<u8>,
    request_end: Option<BodyEnd>,
    response: Vec<u8>,
    response_end: Option<BodyEnd>,
}

/// Any segments, whatever is lost of them or declined: every exchange is told once, in order, and ends once; decoders stay within their
/// memory and give it back. Of a connection that is seen from its start without losses, cuts change nothing.
///
/// The first byte says how it begins, and what is declined. A segment begins with a byte that says its direction and kind, and two that say
/// how long it is.
pub fn h2(data: &[u8]) {
    let Some((flags, data)) = data.split_first() else { return };
    run(*flags, data, usize::MAX, true);
    if flags & 1 == 1 {
        assert_eq!(run(flags & 1, data, usize::MAX, false), run(flags & 1, data, 3, false));
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// Small enough that few answers fill it.
const MEMORY: usize = 1024 * 1024;

fn run(flags: u8, mut data: &[u8], size: usize, with_losses: bool) -> BTreeMap<u64, Told> {
    let mut settings = HttpSettings::new(&[1; 32]);
    // Less than what a ratio counts from: when a body is given up does not depend on cuts.
    settings.decode.bytes = 1024 * 1024;
    settings.decode.memory = if with_losses { MEMORY } else { usize::MAX };
    let mut connection = Connection::new(Arc::new(settings));
    let mut told: BTreeMap<u64, Told> = BTreeMap::new();
    let mut take = |event: HttpEvent<'_>| {
        let id = event.exchange.0;
        if let HttpEventKind::Request(_) = event.kind {
            assert!(!told.contains_key(&id) && told.keys().next_back().is_none_or(|last| id > *last));
        }
        let it = told.entry(id).or_default();
        assert_eq!(it.response_end, None);
        match event.kind {
            HttpEventKind::Request(head) => it.heads.push(format!("{head:?}")),
            HttpEventKind::Response(head) => it.heads.push(format!("{head:?}")),
            HttpEventKind::ResponseTrailers(fields) => it.heads.push(format!("{fields:?}")),
            HttpEventKind::RequestBody(bytes) => {
                assert_eq!(it.request_end, None);
                it.request.extend(bytes);
            }
            HttpEventKind::ResponseBody(bytes) => it.response.extend(bytes),
            HttpEventKind::RequestEnd(end) => assert_eq!(it.request_end.replace(end), None),
            HttpEventKind::ResponseEnd(end) => it.response_end = Some(end),
            HttpEventKind::Message(_) | HttpEventKind::MessagesMissing { .. } => {}
        }
        if flags >> 1 & 7 != 0 && id % 4 == u64::from(flags >> 1 & 3) { Interest::Declined } else { Interest::Wanted }
    };
    let segment = |direction, body| Segment { direction, time: BootTime(1), body };
    if flags & 1 == 1 {
        connection.push_to(segment(Direction::Write, SegmentBody::Bytes(PREFACE)), &mut take);
        connection.push_to(segment(Direction::Read, SegmentBody::Bytes(SETTINGS)), &mut take);
    }
    while let Some((&[kind, low, high], rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high]));
        let direction = if kind & 1 == 0 { Direction::Write } else { Direction::Read };
        let gap = match kind >> 1 & 7 {
            _ if !with_losses => None,
            7 => Some(SegmentBody::End),
            6 => Some(SegmentBody::Gap(Gap { lost: None, causes: LossCauses(8) })),
            5 => Some(SegmentBody::Gap(Gap { lost: Some(length as u64 + 1), causes: LossCauses(1) })),
            _ => None,
        };
        if let Some(body) = gap {
            data = rest;
            connection.push_to(segment(direction, body), &mut take);
            continue;
        }
        let (bytes, rest) = rest.split_at(length.min(rest.len()));
        data = rest;
        for piece in bytes.chunks(size) {
            connection.push_to(segment(direction, SegmentBody::Bytes(piece)), &mut take);
            // Of what a decoder allocates, its tables are not looked at before.
            assert!(!with_losses || connection.decoders_hold() <= MEMORY + 4 * 1024 * 1024);
        }
    }
    connection.close(BootTime(2), &mut |event| {
        take(event);
    });
    assert_eq!(connection.decoders_hold(), 0);
    while connection.take_notice().is_some() {}
    for it in told.values_mut() {
        let ends = [(&mut it.request, it.request_end), (&mut it.response, it.response_end)];
        for (body, end) in ends {
            let end = end.expect("every exchange ends");
            assert!(with_losses || !matches!(end.completeness, Completeness::Gap { lost: Some(_), .. }));
            // How much is given of what is broken depends on cuts.
            if matches!(end.framing, FramingEnd::Malformed(_)) {
                body.clear();
            }
        }
    }
    told
}
