use super::*;

static INNER: Schema = Schema { fields: &[one(1, "text", Kind::Text), many(2, "again", Kind::Message(&INNER))] };
static OUTER: Schema = Schema {
    fields: &[
        one(1, "name", Kind::Text),
        one(2, "count", Kind::Integer),
        one(3, "ratio", Kind::Float),
        many(4, "kinds", Kind::Enum(&[(1, "ONE"), (2, "TWO")])),
        one(5, "inner", Kind::Message(&INNER)),
        one(6, "struct", Kind::Struct),
        one(7, "data", Kind::Bytes),
        one(8, "map", Kind::Map(&INNER)),
        one(9, "flag", Kind::Flag),
        one(10, "any", Kind::Value),
    ],
};

fn tagged(number: u64, wire: u64) -> Vec<u8> {
    number_bytes(number << 3 | wire)
}

fn number_bytes(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number > 0x7f {
        out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap());
    out
}

fn bytes(number: u64, value: &[u8]) -> Vec<u8> {
    [tagged(number, 2), number_bytes(value.len() as u64), value.to_vec()].concat()
}

fn varint_field(number: u64, value: u64) -> Vec<u8> {
    [tagged(number, 0), number_bytes(value)].concat()
}

fn sample() -> Vec<u8> {
    let entry = |key: &str, value: &[u8]| bytes(1, &[bytes(1, key.as_bytes()), bytes(2, value)].concat());
    let number = |value: f64| [tagged(2, 1), value.to_le_bytes().to_vec()].concat();
    let list = bytes(6, &[bytes(1, &varint_field(4, 1)), bytes(1, &varint_field(1, 0))].concat());
    [
        bytes(1, b"first"),
        bytes(99, b"unknown"),
        varint_field(2, u64::MAX - 6),
        [tagged(3, 5), 0.7_f32.to_le_bytes().to_vec()].concat(),
        bytes(4, &[1, 2]),
        varint_field(4, 9),
        bytes(5, &[bytes(1, "a\"\u{e9}\n".as_bytes()), bytes(2, &bytes(1, b"x")), bytes(2, &[])].concat()),
        bytes(6, &[entry("n", &number(2.0)), entry("h", &number(0.5)), entry("l", &list), entry("z", &[])].concat()),
        bytes(7, b"hi!?"),
        bytes(8, &[bytes(1, b"k"), bytes(2, &bytes(1, b"v"))].concat()),
        varint_field(9, 1),
        bytes(10, &bytes(3, b"text")),
        bytes(1, b"last"),
    ]
    .concat()
}

#[test]
fn fields_that_are_asked_for_become_json() {
    let json: serde_json::Value = serde_json::from_slice(&to_json(&sample(), &OUTER).unwrap()).unwrap();
    let want = serde_json::json!({
        "name": "last", "count": -7, "ratio": 0.7, "kinds": ["ONE", "TWO", 9],
        "inner": {"text": "a\"\u{e9}\n", "again": [{"text": "x"}, {}]},
        "struct": {"n": 2, "h": 0.5, "l": [true, null], "z": null},
        "data": "aGkhPw==", "map": {"k": {"text": "v"}}, "flag": true, "any": "text",
    });
    assert_eq!(json, want);
}

#[test]
fn a_message_cut_within_a_field_gives_nothing_or_true_fields() {
    let message = sample();
    let whole: serde_json::Value = serde_json::from_slice(&to_json(&message, &OUTER).unwrap()).unwrap();
    for end in 0..message.len() {
        let Some(json) = to_json(message.get(..end).unwrap(), &OUTER) else { continue };
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        for (key, value) in read.as_object().unwrap() {
            let is_true =
                whole.get(key) == Some(value) || matches!((key.as_str(), value.as_str()), ("name", Some("first"))) || key == "kinds";
            assert!(is_true, "cut at {end}: {key} {value}");
        }
    }
}

#[test]
fn any_byte_may_be_wrong_and_the_json_stays_json() {
    let message = sample();
    for at in 0..message.len() {
        for flip in [1_u8, 2, 8, 0x80, 0xff] {
            let mut damaged = message.clone();
            if let Some(byte) = damaged.get_mut(at) {
                *byte ^= flip;
            }
            if let Some(json) = to_json(&damaged, &OUTER) {
                assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok(), "{at} {flip}: {}", String::from_utf8_lossy(&json));
            }
        }
    }
}

#[test]
fn depth_is_bounded() {
    let mut message = bytes(1, b"x");
    let mut value = bytes(3, b"x");
    for _ in 0..500 {
        message = bytes(2, &message);
        value = bytes(6, &bytes(1, &value));
    }
    assert_eq!(to_json(&bytes(5, &message), &OUTER), None);
    assert_eq!(to_json(&bytes(10, &value), &OUTER), None);
}

#[test]
fn what_is_no_message_gives_nothing() {
    for garbage in [&b"{\"a\":1}"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0a\xff", b"\x0b\x0c", b"\x0d\x00"] {
        assert_eq!(to_json(garbage, &OUTER), None, "{garbage:?}");
    }
    assert_eq!(to_json(b"", &OUTER).as_deref(), Some(&b"{}"[..]));
}
