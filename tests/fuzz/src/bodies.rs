//! Framings of bodies: whatever comes, cuts change nothing, before a gap and behind it.

use a11i_agent::http::{grpc::GrpcParser, json_array::JsonArrayParser, multipart::MultipartParser, ndjson::NdjsonParser};

/// What a body came to.
#[derive(PartialEq, Debug, Default)]
struct Came {
    pieces: Vec<Vec<u8>>,
    dropped: u64,
}

/// The first byte says how small the pieces are, the two behind it where a gap is.
fn the_same_at_every_cut(data: &[u8], parse: impl Fn(&[u8], &[u8], usize) -> Came) {
    let Some((&[cut, low, high], bytes)) = data.split_first_chunk() else { return };
    let (before, after) = bytes.split_at(usize::from(u16::from_le_bytes([low, high])).min(bytes.len()));
    let whole = parse(before, after, usize::MAX);
    assert!(whole.pieces.iter().map(Vec::len).sum::<usize>() <= LARGEST_GROWTH * bytes.len().max(1024));
    assert_eq!(whole, parse(before, after, usize::from(cut).max(1)));
}

/// Of what is compressed within.
const LARGEST_GROWTH: usize = 5000;

pub fn grpc(data: &[u8]) {
    the_same_at_every_cut(data, |before, after, size| {
        let (mut parser, mut pieces) = (GrpcParser::default(), Vec::new());
        before.chunks(size).for_each(|piece| parser.push(piece, |message| pieces.push(message.to_vec())));
        if !after.is_empty() {
            parser.reset_after_gap();
            after.chunks(size).for_each(|piece| parser.push(piece, |message| pieces.push(message.to_vec())));
        }
        Came { pieces, dropped: parser.dropped_messages() }
    });
}

pub fn ndjson(data: &[u8]) {
    the_same_at_every_cut(data, |before, after, size| {
        let (mut parser, mut pieces) = (NdjsonParser::default(), Vec::new());
        before.chunks(size).for_each(|piece| parser.push(piece, |line| pieces.push(line.to_vec())));
        if !after.is_empty() {
            parser.reset_after_gap();
            after.chunks(size).for_each(|piece| parser.push(piece, |line| pieces.push(line.to_vec())));
        }
        parser.finish(|line| pieces.push(line.to_vec()));
        assert!(pieces.iter().all(|line| !line.is_empty() && !line.contains(&b'\n')));
        Came { pieces, dropped: parser.dropped_lines() }
    });
}

pub fn json_array(data: &[u8]) {
    the_same_at_every_cut(data, |before, after, size| {
        let (mut parser, mut pieces) = (JsonArrayParser::default(), Vec::new());
        before.chunks(size).for_each(|piece| parser.push(piece, |element| pieces.push(element.to_vec())));
        if !after.is_empty() {
            parser.reset_after_gap();
            after.chunks(size).for_each(|piece| parser.push(piece, |element| pieces.push(element.to_vec())));
        }
        assert!(pieces.iter().all(|element| element.starts_with(b"{")));
        Came { pieces, dropped: parser.dropped_elements() }
    });
}

pub fn multipart(data: &[u8]) {
    the_same_at_every_cut(data, |before, after, size| {
        let Some(mut parser) = MultipartParser::of("multipart/form-data; boundary=x-7") else { panic!("a boundary") };
        before.chunks(size).for_each(|piece| parser.push(piece));
        if !after.is_empty() {
            parser.gap();
            after.chunks(size).for_each(|piece| parser.push(piece));
        }
        let dropped = u64::from(parser.is_truncated());
        let object = parser.finish();
        assert!(serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&object).is_ok());
        Came { pieces: vec![object], dropped }
    });
}
