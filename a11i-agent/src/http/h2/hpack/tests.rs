use super::*;

/// An encoder that indexes what it can, for tests of what comes after.
#[derive(Default)]
pub(in crate::http::h2) struct Encoder {
    /// Newest first.
    entries: Vec<(String, String)>,
    huffman: bool,
}

impl Encoder {
    pub(in crate::http::h2) fn with_huffman_code() -> Self {
        Self { huffman: true, ..Self::default() }
    }

    pub(in crate::http::h2) fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in fields {
            let index = |wanted: &dyn Fn(&str, &str) -> bool| {
                let fixed = ENTRIES.iter().position(|(n, v)| wanted(n, v)).map(|nth| nth + 1);
                fixed.or_else(|| self.entries.iter().position(|(n, v)| wanted(n, v)).map(|nth| nth + 62))
            };
            if let Some(both) = index(&|n, v| n == *name && v == *value) {
                integer(&mut out, 0x80, 7, both);
                continue;
            }
            let named = index(&|n, _| n == *name).unwrap_or(0);
            // As libraries do: what never comes twice is not kept.
            let is_kept = *name != "content-length";
            integer(&mut out, if is_kept { 0x40 } else { 0 }, if is_kept { 6 } else { 4 }, named);
            if named == 0 {
                self.string(&mut out, name);
            }
            self.string(&mut out, value);
            if is_kept {
                self.entries.insert(0, ((*name).to_owned(), (*value).to_owned()));
            }
        }
        out
    }

    fn string(&self, out: &mut Vec<u8>, text: &str) {
        let mut coded = Vec::new();
        if self.huffman {
            huffman::encode(text.as_bytes(), &mut coded);
        } else {
            coded.extend(text.as_bytes());
        }
        integer(out, if self.huffman { 0x80 } else { 0 }, 7, coded.len());
        out.extend(coded);
    }
}

fn integer(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        out.push(flags | u8::try_from(value).unwrap());
        return;
    }
    out.push(flags | u8::try_from(most).unwrap());
    let mut rest = value - most;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

fn text(part: Option<&[u8]>) -> String {
    part.map_or_else(|| "?".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, HpackError> {
    let mut fields = Vec::new();
    decoder.decode(block, &mut |field| fields.push(format!("{}: {}", text(field.name), text(field.value)))).map(|()| fields)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn the_requests_of_the_rfc_with_and_without_huffman_code() {
    // RFC 7541 appendices C.3 and C.4.
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let coded = ["828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf", "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"];
    for requests in [plain, coded] {
        let mut decoder = Decoder::new(true);
        let seen: Vec<_> = requests.iter().map(|request| decoded(&mut decoder, &bytes(request)).unwrap()).collect();
        assert_eq!(seen[0], [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"]);
        assert_eq!(seen[1][3..], [":authority: www.example.com", "cache-control: no-cache"]);
        assert_eq!(seen[2][1..], [":scheme: https", ":path: /index.html", ":authority: www.example.com", "custom-key: custom-value"]);
    }
}

#[test]
fn the_responses_of_the_rfc_evict_from_a_small_table() {
    // RFC 7541 appendix C.5, whose table has 256 bytes.
    let mut decoder = Decoder::new(true);
    decoder.table.resize(256);
    let first = bytes(
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
    );
    assert_eq!(decoded(&mut decoder, &first).unwrap()[0], ":status: 302");
    let second = decoded(&mut decoder, &bytes("4803333037c1c0bf")).unwrap();
    assert_eq!(
        second,
        [":status: 307", "cache-control: private", "date: Mon, 21 Oct 2013 20:13:21 GMT", "location: https://www.example.com"]
    );
    let third = bytes(
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    );
    let third = decoded(&mut decoder, &third).unwrap();
    assert_eq!(third[..3], [":status: 200", "cache-control: private", "date: Mon, 21 Oct 2013 20:13:22 GMT"]);
    assert_eq!(third[5], "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
}

#[test]
fn what_was_inserted_unseen_is_unknown_and_what_came_since_is_certain() {
    let mut encoder = Encoder::default();
    let old = [(":path", "/v1/chat/completions"), ("x-old", "1")];
    encoder.block(&old);
    // Joined here.
    let mut decoder = Decoder::new(false);
    let block = encoder.block(&[(":method", "POST"), ("x-old", "1"), (":path", "/v1/chat/completions"), ("x-new", "2"), ("x-old", "3")]);
    assert_eq!(decoded(&mut decoder, &block).unwrap(), [":method: POST", "?: ?", "?: ?", "x-new: 2", "?: 3"]);
    let block = encoder.block(&[("x-new", "2"), ("x-old", "3"), ("x-old", "1"), (":path", "/v1/chat/completions")]);
    assert_eq!(decoded(&mut decoder, &block).unwrap(), ["x-new: 2", "?: 3", "?: ?", "?: ?"]);
    // A block is lost.
    let mut seen = Decoder::new(true);
    let mut encoder = Encoder::default();
    assert_eq!(decoded(&mut seen, &encoder.block(&[("a", "1")])).unwrap(), ["a: 1"]);
    encoder.block(&[("b", "2")]);
    seen.poison();
    assert_eq!(
        decoded(&mut seen, &encoder.block(&[("a", "1"), ("b", "2"), ("c", "3"), ("a", "1")])).unwrap(),
        ["?: ?", "?: ?", "c: 3", "?: ?"]
    );
}

#[test]
fn references_to_nothing_break_the_block_and_poison_the_table() {
    let mut decoder = Decoder::new(true);
    let mut encoder = Encoder::default();
    decoded(&mut decoder, &encoder.block(&[("a", "1")])).unwrap();
    assert_eq!(decoded(&mut decoder, &[0xbf]), Err(HpackError::Invalid), "a second entry");
    assert_eq!(decoded(&mut decoder, &[0xbe]).unwrap(), ["?: ?"]);
    assert_eq!(decoded(&mut decoder, &[0x80]), Err(HpackError::Invalid), "index 0");
    assert_eq!(decoded(&mut decoder, &[0x40, 0x05, b'a']), Err(HpackError::Truncated));
}

#[test]
fn an_update_to_nothing_makes_the_table_known_again() {
    let mut decoder = Decoder::new(false);
    assert_eq!(decoded(&mut decoder, &[0xbe]).unwrap(), ["?: ?"]);
    assert_eq!(decoded(&mut decoder, &[0x20, 0x3f, 0xe1, 0x1f, 0x40, 1, b'a', 1, b'b', 0xbe]).unwrap(), ["a: b", "a: b"]);
    assert_eq!(decoded(&mut decoder, &[0xbf]), Err(HpackError::Invalid));
}

#[test]
fn a_bomb_gives_a_bounded_list() {
    let mut decoder = Decoder::new(true);
    let mut block = vec![0x40, 1, b'a', 0x7f, 0x80 | (3000_u32 - 127).to_le_bytes()[0] & 0x7f, u8::try_from((3000 - 127) >> 7).unwrap()];
    block.extend(std::iter::repeat_n(b'x', 3000));
    block.extend(std::iter::repeat_n(0xbe, 100_000));
    let mut given = 0;
    let result = decoder.decode(&block, &mut |field| given += field.value.unwrap().len());
    assert_eq!(result, Err(HpackError::TooLarge));
    assert!(given <= LIST_BYTES, "{given}");
}

#[test]
fn no_input_panics() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        let mut block = Vec::new();
        for _ in 0..(seed % 24) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            block.push(seed.to_le_bytes()[5]);
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut decoder = Decoder::new(seed & 1 == 0);
        drop(decoded(&mut decoder, &block));
    }
}
