use super::{raw::FEW, *};

lenient_object! {
    struct Sample<'a> {
        "name" => name: Text<'a>,
        "count" | "number" => count: Count,
        "int" => int: Int,
        "float" => float: Float,
        "flag" => flag: Flag,
        "raw" => raw: Raw<'a>,
        "few" => few: Few<Text<'a>>,
    }
}

fn sample(json: &str) -> Sample<'_> {
    parse(json.as_bytes()).unwrap()
}

#[test]
fn a_field_of_a_wrong_type_is_absent_and_its_neighbours_stay() {
    for wrong in ["null", "true", "[1,[2]]", r#"{"a":{"b":1}}"#, "-1.5", r#""x""#] {
        for field in ["name", "count", "int", "float", "flag", "raw", "few"] {
            let json = format!(r#"{{"before":{wrong},"{field}":{wrong},"name":"n","count":7}}"#);
            let read = sample(&json);
            assert_eq!((read.name.as_str(), read.count.0), (Some("n"), Some(7)), "{json}");
        }
    }
}

#[test]
fn counts_are_whole_and_in_range_or_absent() {
    for (json, want) in [
        ("12", Some(12)),
        ("12.0", Some(12)),
        ("1.2e1", Some(12)),
        ("\"12\"", Some(12)),
        ("0", Some(0)),
        ("-1", None),
        ("1.5", None),
        ("18446744073709551615", None),
        ("1e300", None),
        ("\"-3\"", None),
        ("\"many\"", None),
        ("null", None),
    ] {
        assert_eq!(sample(&format!(r#"{{"count":{json}}}"#)).count.0, want, "{json}");
    }
}

#[test]
fn of_doubled_keys_the_last_counts() {
    assert_eq!(sample(r#"{"count":1,"count":2}"#).count.0, Some(2));
}

#[test]
fn a_field_may_have_two_spellings() {
    assert_eq!(sample(r#"{"number":3}"#).count.0, Some(3));
    assert_eq!(sample(r#"{"number":3,"count":4}"#).count.0, Some(4));
}

#[test]
fn keys_with_escapes_are_recognised() {
    assert_eq!(sample(r#"{"\u0063ount":3}"#).count.0, Some(3));
}

#[test]
fn a_document_that_is_no_object_is_not_present() {
    for json in ["[]", "1", "\"x\"", "null", "true"] {
        assert!(!sample(json).is_object(), "{json}");
    }
    assert_eq!(parse::<Sample<'_>>(b"{\"count\":1").err(), Some(Unreadable));
}

#[test]
fn depth_is_bounded_and_unasked_depth_is_skipped() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(sample(&format!(r#"{{"other":{deep},"raw":{deep},"count":1}}"#)).count.0, Some(1));
    assert!(parse::<Sample<'_>>(deep.as_bytes()).is_ok() || parse::<Sample<'_>>(deep.as_bytes()).is_err());
}

#[test]
fn only_a_few_elements_are_kept() {
    let json = format!(r#"{{"few":[{}"z"],"count":1}}"#, "\"y\",".repeat(1000));
    let read = sample(&json);
    assert_eq!((read.few.0.len(), read.count.0), (FEW, Some(1)));
}

#[test]
fn a_mark_before_the_document_is_no_part_of_it() {
    let count: Count = parse(b"\xef\xbb\xbf 7").unwrap();
    assert_eq!(count.0, Some(7));
    assert!(parse::<Count>(b"\xef\xbb7").is_err());
}
