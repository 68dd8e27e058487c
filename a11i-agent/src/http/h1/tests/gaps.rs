//! Gaps of known and unknown size: what they hit is marked, and nothing else.

use super::*;

#[test]
fn a_gap_inside_a_counted_body_is_skipped_by_count_and_marks_the_call() {
    let mut bench = Bench::new();
    bench
        .write(get("/1"))
        .read("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n012")
        .lose(R, Some(4))
        .read("789")
        .write(get("/2"))
        .read(ok("two"))
        .close();
    assert_eq!(bodies(&bench), ["012789", "two"]);
    assert_eq!(bench.told[0].response_end, Some((gap(4), FramingEnd::Finished)));
    assert_eq!((bench.told[0].gaps, bench.told[1].response_end), (1, WHOLE));

    let mut bench = Bench::new();
    bench.write("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n012").lose(W, Some(7)).read(ok("x")).write(get("/2")).read(ok("two")).close();
    assert_eq!(bench.told[0].request_end, Some((gap(7), FramingEnd::Finished)));
    assert_eq!((bench.told[1].request_end, bench.told[1].response_end), (WHOLE, WHOLE));
}

#[test]
fn a_gap_that_takes_chunk_framing_marks_the_call_and_not_the_next() {
    let mut bench = Bench::new();
    bench.write(get("/1")).read("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned() + &chunk("a") + "9\r\n01");
    bench.lose(R, Some(100)).read("garbage of a chunk\r\n").read(chunk("bc") + &chunk("de")).read("0\r\n\r\n");
    assert_eq!(bench.told[0].response_end, Some((gap(100), FramingEnd::Finished)));
    bench.write(get("/2")).read(ok("two")).close();
    assert_eq!(bodies(&bench), ["a01bcde", "two"]);
    assert_eq!(bench.told[1].response_end, WHOLE);

    // The last chunk is lost too: another response may have been lost with it, until a request shows that none was.
    let mut bench = Bench::new();
    bench
        .write(get("/1"))
        .read("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01")
        .lose(R, Some(50))
        .write(get("/2"))
        .read(ok("two"))
        .write(get("/3"))
        .read(ok("three"))
        .close();
    assert_eq!(bodies(&bench), ["01", "two", "three"]);
    assert_eq!(bench.told[0].response_end, Some((gap(50), FramingEnd::Finished)));
    assert!(is_marked(&bench.told[1]) && bench.told[2].response_end == WHOLE);
}

#[test]
fn a_gap_of_unknown_size_trusts_no_count() {
    let mut bench = Bench::new();
    bench
        .write(get("/1"))
        .read("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n012")
        .lose(R, None)
        .read("345")
        .write(get("/2"))
        .read(ok("two"))
        .close();
    assert_eq!(bodies(&bench), ["012", "two"]);
    let unknown = Completeness::Gap { lost: None, causes: LossCauses::of_kernel(cause::RING_FULL) };
    assert_eq!(bench.told[0].response_end, Some((unknown, FramingEnd::Finished)));
}

#[test]
fn a_lost_response_is_not_taken_from_the_next_request() {
    let mut bench = Bench::new();
    bench.write(get("/1")).write(get("/2")).lose(R, Some(44)).read(ok("two")).close();
    assert_eq!(bodies(&bench), ["", "two"]);
    assert_eq!(bench.told[0].response_end, Some((gap(44), FramingEnd::Finished)));
    assert_eq!(bench.told[1].response_end, Some((gap(44), FramingEnd::Finished)));
}

#[test]
fn a_head_hit_by_a_gap_is_told_as_far_as_it_was_seen() {
    let mut bench = Bench::new();
    bench
        .write("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nconte")
        .lose(W, Some(500))
        .read(ok("x"))
        .write(get("/2"))
        .read(ok("two"))
        .close();
    assert_eq!(bench.told[0].request.as_ref().unwrap().path, "/v1/chat/completions");
    assert_eq!(bench.told[0].request_end, Some((gap(500), FramingEnd::Finished)));
    assert_eq!(bodies(&bench), ["x", "two"]);

    let mut bench = Bench::new();
    bench.write(get("/1")).read("HTTP/1.1 429 Slow\r\nretry-").lose(R, Some(30)).read("rest").write(get("/2")).read(ok("two")).close();
    assert_eq!(bench.told[0].response.as_ref().unwrap().status, 429);
    assert_eq!(bench.told[0].response_end, Some((gap(30), FramingEnd::Finished)));
    assert_eq!(bodies(&bench), ["", "two"]);
}

#[test]
fn whatever_piece_is_lost_no_call_differs_without_a_mark() {
    let script = script();
    let mut whole = Bench::new();
    for (direction, bytes) in &script {
        whole.segment(*direction, SegmentBody::Bytes(bytes.as_bytes()));
    }
    whole.close();
    assert_eq!(whole.told.len(), 5);
    // Every subset of up to three lost segments.
    for mask in 1_u32..1 << script.len() {
        if mask.count_ones() > 3 {
            continue;
        }
        let mut bench = Bench::new();
        for (n, (direction, bytes)) in script.iter().enumerate() {
            if mask & 1 << n == 0 {
                bench.segment(*direction, SegmentBody::Bytes(bytes.as_bytes()));
            } else {
                bench.lose(*direction, Some(u64::try_from(bytes.len()).unwrap()));
            }
        }
        bench.close();
        for one in &bench.told {
            let marked = [one.request_end, one.response_end].iter().any(|end| !end.unwrap().0.is_whole());
            let Some(path) = one.request.as_ref().map(|head| &head.path) else { panic!("no head") };
            let truth = whole.told.iter().find(|told| told.request.as_ref().is_some_and(|head| head.path == *path)).unwrap();
            let same = one.request_body == truth.request_body && one.response_body == truth.response_body;
            assert!(marked || same, "mask {mask:b}: {one:?}\n{truth:?}");
        }
    }
}

fn script() -> Vec<(Direction, String)> {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    vec![
        (W, "POST /0 HTTP/1.1\r\ncontent-length: 6\r\n\r\n".to_owned()),
        (W, "prompt".to_owned()),
        (R, chunked.to_owned()),
        (R, chunk("first ")),
        (R, chunk("second")),
        (R, "0\r\n\r\n".to_owned()),
        (W, get("/1")),
        (R, ok("one")),
        (W, "POST /2 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()),
        (W, chunk("abc") + &chunk("def")),
        (W, "0\r\n\r\n".to_owned()),
        (R, "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n1234".to_owned()),
        (R, "5678".to_owned()),
        (W, get("/3") + &get("/4")),
        (R, ok("three") + chunked),
        (R, chunk("fo") + &chunk("ur") + "0\r\n\r\n"),
    ]
}

#[test]
fn what_the_kernel_half_did_not_copy_before_a_request_is_no_loss_of_its_response() {
    let mut bench = Bench::new();
    bench.write(b"GET /a HTTP/1.1\r\nhost: h\r\n\r\n");
    bench.segment(Direction::Read, SegmentBody::Gap(Gap { lost: Some(9_000), causes: LossCauses::of_kernel(cause::NOT_HTTP) }));
    bench.read(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(bench.told[0].response_end, WHOLE);
}

#[test]
fn bytes_that_were_not_copied_inside_a_body_are_a_gap_whatever_the_cause() {
    let mut bench = Bench::new();
    bench.write(b"GET /a HTTP/1.1\r\nhost: h\r\n\r\n");
    bench.read(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\no");
    bench.segment(Direction::Read, SegmentBody::Gap(Gap { lost: Some(2), causes: LossCauses::of_kernel(cause::NOT_HTTP) }));
    bench.read(b"k");
    let lost = Completeness::Gap { lost: Some(2), causes: LossCauses::of_kernel(cause::NOT_HTTP) };
    assert_eq!(bench.told[0].response_end, Some((lost, FramingEnd::Finished)));
}
