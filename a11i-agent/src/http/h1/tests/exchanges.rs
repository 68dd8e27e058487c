//! Whole messages: pairing, roles, framings, codings, and what ends HTTP.

use super::*;

#[test]
fn a_kept_alive_connection_gives_the_same_exchanges_however_it_is_cut() {
    let script: [(Direction, &[u8]); 6] = [
        (W, b"GET /health HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"),
        (R, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        (W, b"POST /v1/chat/completions?key=s&x=1 HTTP/1.1\r\nHost: API.OpenAI.com:8443\r\nAuthorization: Bearer sk-1\r\ncontent-length: 7\r\n\r\n{\"a\":1}"),
        (R, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-f: a\r\n  b\r\n\r\n5\r\nhello\r\n6;e=1\r\n world\r\n0\r\nT: v\r\n\r\n"),
        (W, b"HEAD /x HTTP/1.1\r\nhost: h\r\n\r\n"),
        (R, b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"),
    ];
    at_every_cut(&script, |bench, at| {
        assert_eq!(bodies(bench), ["ok", "hello world", ""], "{at}");
        assert!(bench.told.iter().all(|one| one.request_end == WHOLE && one.response_end == WHOLE), "{at}: {:?}", bench.told);
        assert_eq!(bench.told[1].request_body, b"{\"a\":1}");
        let head = bench.told[1].request.as_ref().unwrap();
        assert_eq!((head.path.as_str(), head.query.as_deref()), ("/v1/chat/completions", Some("key=&x=1")));
        assert_eq!((head.host.as_deref(), head.port, head.role), (Some("api.openai.com"), Some(8443), Role::Client));
        assert!(!format!("{head:?}").contains("sk-1"));
        let folded = bench.told[1].response.as_ref().unwrap().headers.text("x-f").unwrap().replace(' ', "");
        assert_eq!(folded, "ab");
    });
}

#[test]
fn pipelined_requests_get_their_own_responses() {
    let mut bench = Bench::new();
    bench.write(get("/1") + &get("/2") + &get("/3")).read(ok("one") + &ok("two")).read(ok("three")).close();
    assert_eq!(bodies(&bench), ["one", "two", "three"]);
    assert!(bench.told.iter().all(|one| one.response_end == WHOLE));
}

#[test]
fn a_process_that_reads_requests_is_a_server() {
    let mut bench = Bench::new();
    bench.read(get("/v1/models")).write(ok("[]")).close();
    assert_eq!(bench.told[0].request.as_ref().unwrap().role, Role::Server);
    assert_eq!(bodies(&bench), ["[]"]);
}

#[test]
fn a_response_without_length_ends_with_the_connection() {
    let mut bench = Bench::new();
    bench.write(get("/")).read("HTTP/1.0 200 OK\r\n\r\nabc").read("def");
    assert_eq!(bench.told[0].response_end, None);
    bench.segment(R, SegmentBody::End);
    assert_eq!((bodies(&bench), bench.told[0].response_end), (vec!["abcdef".to_owned()], WHOLE));
}

#[test]
fn a_connection_that_ends_in_mid_message_cuts_it() {
    for response in ["", "HTTP/1.1 200 OK\r\ncontent-", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"] {
        let mut bench = Bench::new();
        bench.write(get("/"));
        if !response.is_empty() {
            bench.read(response);
        }
        bench.close();
        assert_eq!(bench.told[0].response_end, Some((Completeness::Whole, FramingEnd::Cut)), "{response:?}");
    }
    let mut bench = Bench::new();
    bench.write("POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nab").close();
    assert_eq!(bench.told[0].request_end, Some((Completeness::Whole, FramingEnd::Cut)));
    assert_eq!(bench.told[0].response_end, Some((Completeness::Whole, FramingEnd::Cut)));
}

#[test]
fn an_early_error_waits_for_the_request_it_answers() {
    let mut bench = Bench::new();
    bench.write("POST / HTTP/1.1\r\ncontent-length: 6\r\n\r\nabc").read("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
    assert_eq!(bench.told[0].response_end, None);
    bench.write("def").write(get("/next")).read(ok("yes")).close();
    assert_eq!((bench.told[0].request_end, bench.told[0].response_end), (WHOLE, WHOLE));
    assert_eq!(bodies(&bench), ["no", "yes"]);

    let mut bench = Bench::new();
    bench.write("POST / HTTP/1.1\r\ncontent-length: 6\r\n\r\nabc").read("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").close();
    assert_eq!(bench.told[0].request_end, Some((Completeness::Whole, FramingEnd::Cut)));
    assert_eq!(bench.told[0].response_end, WHOLE);
}

#[test]
fn a_refused_expectation_does_not_swallow_the_next_request() {
    let mut bench = Bench::new();
    bench
        .write("POST /big HTTP/1.1\r\nExpect: 100-continue\r\ncontent-length: 1000\r\n\r\n")
        .read("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
        .write(get("/next"))
        .read(ok("yes"))
        .close();
    assert_eq!(bench.told.len(), 2);
    assert_eq!(bodies(&bench), ["", "yes"]);
}

#[test]
fn upgrades_and_tunnels_end_the_connection_for_http() {
    for (request, response) in [
        ("GET /x HTTP/1.1\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n", "HTTP/1.1 101 Switching\r\nUpgrade: other\r\n\r\n"),
        ("CONNECT api.openai.com:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 Established\r\ncontent-length: 5\r\n\r\n"),
    ] {
        let mut bench = Bench::new();
        bench.write(request).read(response).write("\x16\x03 tls").read("bytes").close();
        assert_eq!(bench.told[0].response_end, WHOLE);
        assert_eq!(bench.notices(), [ConnectionNotice::Upgraded]);
        assert!(bench.told[0].response_body.is_empty());
    }
}

#[test]
fn other_protocols_are_named() {
    let mut bench = Bench::new();
    bench.write("\0\x01binary protocol").read("\0\x02answer").write("more").read("more");
    assert_eq!(bench.notices(), [ConnectionNotice::NotHttp]);
    let mut bench = Bench::new();
    bench.write("EHLO mail.example.org\r\n").read("250 ok\r\n");
    assert_eq!(bench.notices(), [ConnectionNotice::NotHttp]);
}

#[test]
fn coded_bodies_are_decoded_and_a_gap_ends_the_decoding() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"hello hello hello").unwrap();
    let body = gzip.finish().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut bench = Bench::new();
    bench.write(get("/")).read(&head).read(&body).write(get("/")).read(&head).read(&body[..12]).lose(R, Some(2)).read(&body[14..]);
    bench
        .write(get("/"))
        .read(head.replace("gzip", "br"))
        .read(&body)
        .write(get("/"))
        .read(head.replace("gzip", "who"))
        .read(&body)
        .close();
    assert_eq!((bodies(&bench)[0].as_str(), bench.told[0].response_end), ("hello hello hello", WHOLE));
    assert_eq!(bench.told[1].response_end, Some((gap(2), FramingEnd::Finished)));
    for one in &bench.told[2..] {
        assert_eq!(one.response_end, Some((Completeness::Whole, FramingEnd::Malformed(MalformedReason::ContentCoding))));
    }
}

#[test]
fn no_content_and_not_modified_have_no_body() {
    let mut bench = Bench::new();
    bench
        .write(get("/1"))
        .read("HTTP/1.1 204 No Content\r\n\r\n")
        .write(get("/2"))
        .read("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n");
    bench.write(get("/3")).read(ok("three")).close();
    assert_eq!(bodies(&bench), ["", "", "three"]);
    assert!(bench.told.iter().all(|one| one.response_end == WHOLE));
}
