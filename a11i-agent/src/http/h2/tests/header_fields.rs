//! Header blocks and their dynamic table: as it changes, and as it is abused.

use super::*;

#[test]
fn a_table_that_changes_its_size_keeps_its_meaning() {
    let mut bench = Bench::begun();
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
