use super::*;

/// A message with string headers.
pub(crate) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    for (name, value) in headers {
        raw.push(u8::try_from(name.len()).unwrap());
        raw.extend_from_slice(name.as_bytes());
        raw.push(7);
        raw.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        raw.extend_from_slice(value.as_bytes());
    }
    framed(&raw, payload)
}

pub(crate) fn event(name: &str, payload: &str) -> Vec<u8> {
    message(&[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")], payload.as_bytes())
}

fn framed(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let total = u32::try_from(headers.len().saturating_add(payload.len()).saturating_add(FRAME_BYTES)).unwrap();
    let mut out = total.to_be_bytes().to_vec();
    out.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&checksum(&out).to_be_bytes());
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(&checksum(&out).to_be_bytes());
    out
}

/// What comes out of pieces; an empty piece is a gap.
fn read(parser: &mut EventStreamParser, pieces: &[&[u8]]) -> Vec<String> {
    let mut out = Vec::new();
    for piece in pieces {
        if piece.is_empty() {
            parser.reset_after_gap();
        } else {
            parser.push(piece, |message| {
                out.push(format!("{}:{}", message.name.unwrap_or("-"), String::from_utf8_lossy(message.payload)));
            });
        }
    }
    out
}

fn outcome(pieces: &[&[u8]]) -> (Vec<String>, u64, u64) {
    let mut parser = EventStreamParser::default();
    let messages = read(&mut parser, pieces);
    parser.finish();
    (messages, parser.damaged_messages(), parser.dropped_messages())
}

fn three() -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (name, payload) in [("messageStart", "{\"role\":\"assistant\"}"), ("empty", ""), ("messageStop", "{}")] {
        bytes.extend(event(name, payload));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

const THREE: [&str; 3] = ["messageStart:{\"role\":\"assistant\"}", "empty:", "messageStop:{}"];

#[test]
fn the_checksum_is_the_one_of_the_specification() {
    // The check value of CRC-32 (ISO-HDLC), as zlib has it.
    assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
}

#[test]
fn messages_come_out_the_same_wherever_the_bytes_are_cut() {
    let (bytes, _) = three();
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let pieces: Vec<&[u8]> =
                [&bytes[..first], &bytes[first..second], &bytes[second..]].into_iter().filter(|piece| !piece.is_empty()).collect();
            assert_eq!(outcome(&pieces), (THREE.map(String::from).to_vec(), 0, 0), "cut at {first} and {second}");
        }
    }
    assert_eq!(outcome(&bytes.chunks(1).collect::<Vec<_>>()).0, THREE);
}

#[test]
fn after_a_gap_the_next_whole_message_is_found() {
    let (bytes, ends) = three();
    for from in 0..bytes.len() {
        for to in from + 1..bytes.len() {
            let want: Vec<&str> = (0..3)
                .filter(|at| {
                    let begin = if *at == 0 { 0 } else { ends[at - 1] };
                    ends[*at] <= from || begin >= to
                })
                .map(|at| THREE[at])
                .collect();
            let head = &bytes[..from];
            let pieces: Vec<&[u8]> = if head.is_empty() { vec![b"", &bytes[to..]] } else { vec![head, b"", &bytes[to..]] };
            assert_eq!(outcome(&pieces), (want.iter().map(ToString::to_string).collect(), 0, 0), "{from}..{to} missing");
            let mut single: Vec<&[u8]> = pieces.clone();
            let tail: Vec<&[u8]> = single.pop().unwrap_or_default().chunks(1).collect();
            single.extend(tail);
            assert_eq!(outcome(&single).0, want, "{from}..{to} missing, byte by byte");
        }
    }
}

#[test]
fn a_changed_byte_costs_its_message_and_is_counted() {
    let (bytes, ends) = three();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        let hit = ends.iter().position(|end| at < *end).unwrap();
        let want: Vec<&str> = (0..3).filter(|n| *n != hit).map(|n| THREE[n]).collect();
        let whole = outcome(&[&changed]);
        assert_eq!(whole.0, want, "byte {at}");
        assert_eq!((whole.1, whole.2), (1, 0), "byte {at}");
        assert_eq!(outcome(&changed.chunks(7).collect::<Vec<_>>()), whole, "byte {at}, in pieces");
    }
}

#[test]
fn bytes_that_vanished_unnoticed_cost_their_message_alone() {
    let (bytes, ends) = three();
    let mut short = bytes.clone();
    short.drain(ends[0] - 6..ends[0] - 3);
    assert_eq!(outcome(&[&short]), (vec![THREE[1].into(), THREE[2].into()], 1, 0));
}

#[test]
fn headers_of_every_type_are_passed_over() {
    let mut raw = Vec::new();
    for (kind, length) in [(0_u8, 0), (1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (8, 8), (9, 16)] {
        raw.extend_from_slice(&[1, b'h', kind]);
        raw.extend(std::iter::repeat_n(0xff_u8, length));
    }
    raw.extend_from_slice(&[1, b'b', 6, 0, 2, 1, 2]);
    raw.extend_from_slice(b"\x0b:event-type\x07\x00\x04last");
    assert_eq!(outcome(&[&framed(&raw, b"x")]), (vec!["last:x".into()], 0, 0));
}

#[test]
fn headers_that_are_none_cost_their_message_and_are_counted() {
    for raw in [&b"\x01h\x0a"[..], b"\xffh", b"\x01h\x07\x00\x09x", b"\x01h\x05\x00", b"\x01"] {
        let bytes = [framed(raw, b"no"), event("yes", "")].concat();
        assert_eq!(outcome(&[&bytes]), (vec!["yes:".into()], 1, 0), "{raw:?}");
    }
}

#[test]
fn kinds_of_messages_are_told_apart() {
    let exception = message(&[(":exception-type", "throttlingException"), (":message-type", "exception"), (":event-type", "no")], b"{}");
    let error = message(&[(":message-type", "error"), (":error-code", "InternalFailure"), (":error-message", "Oh")], b"");
    let mut seen = Vec::new();
    EventStreamParser::default().push(&[exception, error].concat(), |message| {
        seen.push((message.kind, message.name.map(str::to_owned), message.error_message.map(str::to_owned)));
    });
    assert_eq!(
        seen,
        [
            (MessageKind::Exception, Some("throttlingException".into()), None),
            (MessageKind::Error, Some("InternalFailure".into()), Some("Oh".into())),
        ]
    );
}

#[test]
fn a_message_that_is_too_large_is_passed_over_and_counted() {
    let large = event("large", &"x".repeat(EVENT_BYTES));
    let bytes = [large, event("next", "1")].concat();
    assert_eq!(outcome(&[&bytes]), (vec!["next:1".into()], 0, 1));
    assert_eq!(outcome(&bytes.chunks(1 << 20).collect::<Vec<_>>()), (vec!["next:1".into()], 0, 1));
}

#[test]
fn impossible_lengths_are_no_message() {
    for (total, headers) in [(0_u32, 0_u32), (15, 0), (16, 1), (u32::MAX, 0), (1000, 999), (u32::MAX, u32::MAX)] {
        let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        bytes.extend_from_slice(&checksum(&bytes).to_be_bytes());
        bytes.extend_from_slice(&[0; 32]);
        bytes.extend(event("next", ""));
        assert_eq!(outcome(&[&bytes]), (vec!["next:".into()], 1, 0), "{total} {headers}");
    }
}

#[test]
fn planted_beginnings_cost_a_bounded_number_of_second_looks() {
    // Each claims a megabyte that never fits its checksum.
    let mut planted = [(1_u32 << 20).to_be_bytes(), 0_u32.to_be_bytes()].concat();
    planted.extend_from_slice(&checksum(&planted).to_be_bytes());
    let bytes = planted.repeat((3 << 20) / planted.len());
    let mut parser = EventStreamParser::default();
    for piece in bytes.chunks(64 * 1024) {
        parser.push(piece, |_| panic!("no message"));
    }
    assert_eq!((parser.second_looks, parser.damaged_messages()), (0, 1));
    assert!(parser.kept.len() <= 2 << 20);
}

#[test]
fn a_stream_that_ends_within_a_message_says_so() {
    let (bytes, ends) = three();
    assert_eq!(outcome(&[&bytes[..ends[1] + 5]]), (vec![THREE[0].into(), THREE[1].into()], 1, 0));
}
