use super::*;

fn request(text: &str) -> Result<ParsedRequest, MalformedReason> {
    parse_request(text.as_bytes(), Role::Client, BootTime(1), &Fingerprinter::new(&[1; 32]))
}

#[test]
fn hosts_come_from_every_form_of_target() {
    for (target, host_field, host, port, path, query) in [
        ("GET /v1?a=b HTTP/1.1", "API.Example.com:8080", Some("api.example.com"), Some(8080), "/v1", Some("a=b")),
        ("GET http://User:pw@Example.com/v1/x?y HTTP/1.1", "other", Some("example.com"), None, "/v1/x", Some("y")),
        ("GET http://h:81?key=s HTTP/1.1", "other", Some("h"), Some(81), "/", Some("key=")),
        ("CONNECT api.openai.com:443 HTTP/1.1", "", Some("api.openai.com"), Some(443), "", None),
        ("GET / HTTP/1.1", "[2001:DB8::1]:99", Some("2001:db8::1"), Some(99), "/", None),
        ("GET / HTTP/1.1", "h:notaport", Some("h"), None, "/", None),
        ("OPTIONS * HTTP/1.1", "h.", Some("h"), None, "*", None),
        ("GET /#x HTTP/1.0", "", None, None, "/", None),
    ] {
        let parsed = request(&format!("{target}\r\nHost: {host_field}\r\n\r\n")).unwrap().head;
        assert_eq!((parsed.host.as_deref(), parsed.port), (host, port), "{target} {host_field}");
        assert_eq!((parsed.path.as_str(), parsed.query.as_deref()), (path, query), "{target}");
    }
}

#[test]
fn credentials_leave_as_fingerprints_only() {
    let head = request("GET / HTTP/1.1\r\nAuthorization: Bearer sk-secret\r\nX-Api-Key: sk-secret\r\nCookie: sk-secret\r\nx-ratelimit-tokens: 5\r\n\r\n")
        .unwrap()
        .head;
    assert!(!format!("{head:?}").contains("sk-secret"));
    assert!(head.headers.credential().is_some_and(|print| print.len() == 16));
    assert_eq!(head.headers.text("x-ratelimit-tokens"), Some("5"));
}

#[test]
fn framing_follows_the_rfc() {
    for (fields, framing) in [
        ("", Ok(Framing::None)),
        ("content-length: 5", Ok(Framing::Length(5))),
        ("content-length: 5, 5\r\ncontent-length: 5", Ok(Framing::Length(5))),
        ("content-length: 5\r\ncontent-length: 6", Err(MalformedReason::ContentLength)),
        ("content-length: +5", Err(MalformedReason::ContentLength)),
        ("content-length: ", Err(MalformedReason::ContentLength)),
        ("content-length: 5\r\ntransfer-encoding: Chunked", Ok(Framing::Chunked)),
        ("transfer-encoding: gzip, chunked", Ok(Framing::Chunked)),
        ("transfer-encoding: gzip", Ok(Framing::None)),
    ] {
        assert_eq!(request(&format!("POST / HTTP/1.1\r\n{fields}{}\r\n", if fields.is_empty() { "" } else { "\r\n" })).unwrap().framing, framing);
    }
    let both = request("POST / HTTP/1.1\r\ncontent-encoding: br\r\ntransfer-encoding: gzip, chunked\r\n\r\n").unwrap();
    assert_eq!(both.codings, "br,gzip");
}

#[test]
fn the_end_of_a_head_is_found_at_every_cut_and_line_end() {
    for text in ["GET / HTTP/1.1\r\na: b\r\n\r\nrest", "GET / HTTP/1.1\na: b\n\nrest", "GET / HTTP/1.1\r\na: b\r\n c\r\n\td\r\n\r\nrest"] {
        for cut in 0..text.len() - 4 {
            let (a, b) = text.as_bytes().split_at(cut);
            let mut head = HeadBuffer::default();
            assert_eq!(head.find_end(a), None, "{text:?} {cut}");
            assert!(head.extend(a));
            assert_eq!(head.find_end(b), Some(b.len() - 4), "{text:?} {cut}");
            let whole = head.complete(&b[..b.len() - 4]).unwrap();
            let parsed = parse_request(whole, Role::Client, BootTime(1), &Fingerprinter::new(&[1; 32])).unwrap();
            assert!(parsed.head.headers.text("a").is_some_and(|value| value.starts_with('b')));
        }
    }
}

#[test]
fn foreign_bytes_in_values_are_kept_readable_and_nuls_are_refused() {
    let parsed = parse_request(b"GET / HTTP/1.1\r\na: caf\xe9\r\n\r\n", Role::Client, BootTime(1), &Fingerprinter::new(&[1; 32])).unwrap();
    assert_eq!(parsed.head.headers.text("a"), Some("caf\u{fffd}"));
    assert_eq!(request("GET / HTTP/1.1\r\na: b\0c\r\n\r\n").err(), Some(MalformedReason::Head));
}
