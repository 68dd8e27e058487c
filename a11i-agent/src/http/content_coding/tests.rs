use std::io::Write;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

use super::*;

fn limits() -> DecodeLimits {
    DecodeLimits::default()
}

fn decode(codings: &str, pieces: &[&[u8]]) -> Result<Vec<u8>, CodingError> {
    let mut decoder = ContentDecoder::new(codings, limits())?.expect("a coding");
    let mut out = Vec::new();
    for piece in pieces {
        decoder.decode(piece, &mut |bytes| out.extend(bytes))?;
    }
    decoder.finish().map(|()| out)
}

fn at_every_cut(codings: &str, coded: &[u8], expected: &[u8]) {
    assert_eq!(decode(codings, &[coded]).as_deref(), Ok(expected));
    for cut in 0..=coded.len() {
        let (a, b) = coded.split_at(cut);
        assert_eq!(decode(codings, &[a, b]).as_deref(), Ok(expected), "{codings} cut at {cut}");
        if cut > 0 && cut < coded.len() {
            assert_eq!(decode(codings, &[a]), Err(CodingError::Invalid), "{codings} ended at {cut}");
        }
    }
    let single: Vec<&[u8]> = coded.chunks(1).collect();
    assert_eq!(decode(codings, &single).as_deref(), Ok(expected), "{codings} byte by byte");
}

fn text(size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut n = 1_u64;
    while out.len() < size {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        write!(out, "data: {{\"id\":{},\"delta\":\"token {}\"}}\n\n", n >> 50, n >> 58).unwrap();
    }
    out.truncate(size);
    out
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_deflate_and_their_stacks_are_the_same_at_every_cut() {
    let data = text(700);
    at_every_cut("gzip", &gzip(&data), &data);
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&data).unwrap();
    at_every_cut("deflate", &zlib.finish().unwrap(), &data);
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
    bare.write_all(&data).unwrap();
    at_every_cut("deflate", &bare.finish().unwrap(), &data);
    at_every_cut("gzip, x-gzip", &gzip(&gzip(&data)), &data);
}

#[test]
fn further_gzip_members_and_optional_header_fields_are_read() {
    let mut coded = b"\x1f\x8b\x08\x1e\0\0\0\0\0\xff\x03\0abcname\0comment\0\x12\x34".to_vec();
    coded.extend(&gzip(b"one")[10..]);
    coded.extend(gzip(b" two"));
    at_members(&coded);
    coded.extend([0; 40]);
    assert_eq!(decode("gzip", &[&coded]).as_deref(), Ok(&b"one two"[..]));
    let mut wrong = gzip(b"one");
    let last = wrong.len() - 5;
    wrong[last] ^= 1;
    assert_eq!(decode("gzip", &[&wrong]), Err(CodingError::Invalid));
}

fn at_members(coded: &[u8]) {
    for cut in 0..=coded.len() {
        let (a, b) = coded.split_at(cut);
        assert_eq!(decode("gzip", &[a, b]).as_deref(), Ok(&b"one two"[..]), "cut at {cut}");
    }
}

#[test]
fn a_flushed_event_comes_out_at_once() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut decoder = ContentDecoder::new("gzip", limits()).unwrap().unwrap();
    for n in 0..50 {
        let event = format!("data: {{\"n\":{n}}}\n\n");
        encoder.write_all(event.as_bytes()).unwrap();
        encoder.flush().unwrap();
        let coded = std::mem::take(encoder.get_mut());
        let mut out: Vec<u8> = Vec::new();
        decoder.decode(&coded, &mut |bytes| out.extend(bytes)).unwrap();
        assert_eq!(out, event.as_bytes());
    }
}

/// What `text(size)` becomes by the reference implementations.
fn zstd_cases() -> [(Vec<u8>, usize); 4] {
    [
        (include_bytes!("vectors/text-3000-level-1.zst").to_vec(), 3000),
        (include_bytes!("vectors/text-70000-level-3.zst").to_vec(), 70_000),
        (include_bytes!("vectors/text-3000-level-19.zst").to_vec(), 3000),
        (include_bytes!("vectors/text-20-level-3.zst").to_vec(), 20),
    ]
}

const BROTLI: &[u8] = include_bytes!("vectors/text-3000.br");

#[test]
fn brotli_and_zstd_are_the_same_at_every_cut() {
    at_every_cut("br", BROTLI, &text(3000));
    for (coded, size) in zstd_cases() {
        if size <= 3000 {
            at_every_cut("zstd", &coded, &text(size));
        } else {
            assert_eq!(decode("zstd", &[&coded]), Ok(text(size)));
            let pieces: Vec<&[u8]> = coded.chunks(7).collect();
            assert_eq!(decode("zstd", &pieces), Ok(text(size)));
        }
    }
}

#[test]
fn zstd_frames_follow_each_other_and_skippable_ones_are_skipped() {
    let [(one, _), _, (two, _), _] = zstd_cases();
    let skippable = [&b"\x5a\x2a\x4d\x18\x05\0\0\0"[..], b"12345"].concat();
    let coded = [&skippable, &one, &skippable, &two].map(Vec::as_slice).concat();
    let expected = [text(3000), text(3000)].concat();
    for cut in 0..=coded.len() {
        let (a, b) = coded.split_at(cut);
        assert_eq!(decode("zstd", &[a, b]).as_ref(), Ok(&expected), "cut at {cut}");
    }
}

#[test]
fn zstd_windows_beyond_the_limit_and_dictionaries_are_refused() {
    assert_eq!(decode("zstd", &[b"\x28\xb5\x2f\xfd\x00\xf8"]), Err(CodingError::TooLarge));
    assert_eq!(decode("zstd", &[b"\x28\xb5\x2f\xfd\x01\x00\x07"]), Err(CodingError::Unknown));
}

#[test]
fn flushed_events_of_brotli_and_zstd_come_out_at_once() {
    for (codings, mut pieces) in
        [("br", &include_bytes!("vectors/events-flushed.br")[..]), ("zstd", &include_bytes!("vectors/events-flushed.zst")[..])]
    {
        let mut decoder = ContentDecoder::new(codings, limits()).unwrap().unwrap();
        for n in 0..20 {
            let (length, rest) = pieces.split_first_chunk::<2>().unwrap();
            let (piece, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)));
            pieces = rest;
            let mut out = Vec::new();
            decoder.decode(piece, &mut |bytes| out.extend(bytes)).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), format!("data: {{\"n\":{n}}}\n\n"), "{codings}");
        }
    }
}

#[test]
fn bombs_stop_at_the_caps() {
    let bomb = gzip(&vec![0; 40_000_000]);
    let mut out = 0_usize;
    let mut decoder = ContentDecoder::new("gzip", limits()).unwrap().unwrap();
    assert_eq!(decoder.decode(&bomb, &mut |bytes| out += bytes.len()), Err(CodingError::TooLarge));
    assert!(out <= 500 * bomb.len() + SCRATCH_BYTES);
    let mut decoder = ContentDecoder::new("gzip", DecodeLimits { bytes: 1000, ratio: 1000, ..limits() }).unwrap().unwrap();
    let mut out = 0_usize;
    assert_eq!(decoder.decode(&gzip(&text(100_000)), &mut |bytes| out += bytes.len()), Err(CodingError::TooLarge));
    assert!(out <= 1000);
    let twice = gzip(&gzip(&vec![0; 400_000_000]));
    assert_eq!(decode("gzip,gzip", &[&twice]), Err(CodingError::TooLarge));
    // Four bytes a block, 128 KiB out.
    assert_eq!(decode("zstd", &[&zstd_of_runs(100_000)]), Err(CodingError::TooLarge));
}

#[test]
fn unknown_codings_and_endless_stacks_are_refused() {
    assert_eq!(ContentDecoder::new("gzip, rot13", limits()).err(), Some(CodingError::Unknown));
    assert_eq!(ContentDecoder::new("gzip,gzip,gzip,gzip,gzip", limits()).err(), Some(CodingError::Unknown));
    assert!(ContentDecoder::new(" identity, ", limits()).unwrap().is_none());
}

#[test]
fn damaged_input_is_an_error_or_other_bytes_and_never_a_panic() {
    let data = text(3000);
    for (codings, coded) in
        [("gzip", gzip(&data)), ("br", BROTLI.to_vec()), ("zstd", zstd_cases()[0].0.clone()), ("zstd", zstd_cases()[2].0.clone())]
    {
        for at in 0..coded.len() {
            for bit in [1, 0x10, 0x80, 0xff] {
                let mut damaged = coded.clone();
                damaged[at] ^= bit;
                drop(decode(codings, &[&damaged]));
            }
        }
    }
}

/// Frames of run blocks that announce the largest window, and fill it.
pub(in crate::http) fn zstd_of_runs(blocks: usize) -> Vec<u8> {
    let mut coded = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68];
    for _ in 0..blocks {
        coded.extend([0x02, 0x00, 0x10, b'x']);
    }
    coded
}

#[test]
fn what_a_decoder_holds_is_what_was_decoded_and_not_what_was_announced() {
    // 128 KiB to a block.
    for (codings, coded, least, most) in [
        ("zstd", zstd_of_runs(0), 0, 64 * 1024),
        ("zstd", zstd_of_runs(1), 128 * 1024, 512 * 1024),
        ("zstd", zstd_of_runs(20), 20 * 128 * 1024, 41 * 128 * 1024),
        ("br", BROTLI.to_vec()[..20].to_vec(), 0, 64 * 1024),
        ("gzip", gzip(&text(100_000))[..50].to_vec(), 32 * 1024, 64 * 1024),
        ("gzip", Vec::new(), 0, 0),
        ("br", Vec::new(), 0, 0),
    ] {
        let mut decoder = ContentDecoder::new(codings, limits()).unwrap().unwrap();
        assert_eq!(decoder.held(), 0);
        decoder.decode(&coded, &mut |_| {}).unwrap();
        assert!((least..=most).contains(&decoder.held()), "{codings} of {} bytes: {}", coded.len(), decoder.held());
    }
}

#[test]
fn a_full_window_is_kept_in_little_more_than_its_size() {
    let limits = DecodeLimits { ratio: u64::MAX, ..limits() };
    let mut decoder = ContentDecoder::new("zstd", limits).unwrap().unwrap();
    let coded = zstd_of_runs(400);
    let mut peak = 0;
    for piece in coded.chunks(4) {
        decoder.decode(piece, &mut |_| {}).unwrap();
        peak = peak.max(decoder.held());
    }
    assert!((8 << 20..11 << 20).contains(&peak), "{peak}");
}

#[test]
fn a_decoder_that_would_hold_more_than_it_may_gives_up_before() {
    const KIB: usize = 1024;
    let data = text(3_000_000);
    let mut brotli = Vec::new();
    ::brotli::CompressorWriter::new(&mut brotli, 4096, 5, 22).write_all(&data).unwrap();
    for (codings, coded, too_little, enough) in [
        ("zstd", zstd_of_runs(30), [100 * KIB, 1000 * KIB, 3000 * KIB], 6000 * KIB),
        ("br", brotli, [10 * KIB, 100 * KIB, 3000 * KIB], 12_000 * KIB),
        ("gzip", gzip(&data), [0, 10 * KIB, 43 * KIB], 44 * KIB),
        ("gzip,gzip", gzip(&gzip(&data)), [0, 44 * KIB, 87 * KIB], 88 * KIB),
    ] {
        let run = |memory: usize| {
            let mut decoder = ContentDecoder::new(codings, DecodeLimits { memory, ..limits() }).unwrap().unwrap();
            let (mut peak, mut result) = (0, Ok(()));
            for piece in coded.chunks(5) {
                result = result.and_then(|()| decoder.decode(piece, &mut |_| {}));
                peak = peak.max(decoder.held());
            }
            (result, peak)
        };
        for memory in too_little {
            let (result, peak) = run(memory);
            assert_eq!(result, Err(CodingError::TooLarge), "{codings} in {memory}");
            assert!(peak <= memory, "{codings} in {memory}: {peak}");
        }
        let (result, peak) = run(enough);
        assert_eq!(result, Ok(()), "{codings}");
        assert!(peak <= enough, "{codings}: {peak}");
    }
}
