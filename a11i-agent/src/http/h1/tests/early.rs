//! Answers whose record comes before that of their request.

use super::*;

const POST: &str = "POST /1 HTTP/1.1\r\ncontent-length: 6\r\n\r\nprompt";

#[test]
fn an_answer_is_the_same_whichever_of_the_two_is_seen_first_and_however_it_is_cut() {
    let streamed = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}{}0\r\n\r\n", chunk("to"), chunk("ken"));
    let interim = format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", ok("token"));
    for answer in [ok("token"), streamed, interim] {
        for cut in 0..answer.len() {
            for request_first in [true, false] {
                let (first, second) = answer.split_at(cut);
                let mut bench = Bench::new();
                bench.write(get("/0")).read(ok("zero"));
                if request_first {
                    bench.write(POST).read(first).read(second);
                } else {
                    bench.read(first).read(second).write(POST);
                }
                bench.write(get("/2")).read(ok("two")).close();
                assert_eq!(bodies(&bench), ["zero", "token", "two"], "cut at {cut}");
                assert_eq!(bench.told[1].request_body, b"prompt");
                assert!(bench.told.iter().all(|one| one.request_end == WHOLE && one.response_end == WHOLE), "cut at {cut}");
                assert_eq!(bench.notices(), []);
            }
        }
    }
}

#[test]
fn what_follows_the_request_in_time_is_the_rest_of_the_answer() {
    let answer = ok("token");
    for cut in 1..answer.len() {
        let (first, rest) = answer.split_at(cut);
        let mut bench = Bench::new();
        bench.write(get("/0")).read(ok("zero")).read(first).write(POST).read(rest).close();
        assert_eq!(bodies(&bench), ["zero", "token"]);
        assert_eq!(bench.told[1].response_end, WHOLE, "cut at {cut}");
    }
}

#[test]
fn no_answer_begins_before_its_request() {
    let mut bench = Bench::new();
    bench.write(get("/0")).read(ok("zero"));
    bench.at(BootTime(50), R, SegmentBody::Bytes(ok("one").as_bytes()));
    bench.at(BootTime(60), W, SegmentBody::Bytes(get("/1").as_bytes()));
    assert_eq!(bench.told[1].response.as_ref().map(|head| head.first_byte), Some(BootTime(60)));
}

#[test]
fn of_a_connection_that_is_joined_the_clock_says_whose_answer_it_is() {
    for (asked, own) in [(100, true), (300, false)] {
        let mut bench = Bench::new();
        bench.at(BootTime(200), R, SegmentBody::Bytes(ok("one").as_bytes()));
        bench.at(BootTime(asked), W, SegmentBody::Bytes(get("/1").as_bytes()));
        if !own {
            bench.at(BootTime(400), R, SegmentBody::Bytes(ok("two").as_bytes()));
        }
        assert_eq!(bodies(&bench), [if own { "one" } else { "two" }]);
        assert_eq!(bench.told[0].response_end, WHOLE);
        assert_eq!(bench.notices(), []);
    }
}

#[test]
fn a_head_request_that_comes_late_is_answered_without_a_body() {
    let mut bench = Bench::new();
    bench.write(get("/0")).read(ok("zero")).read("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n");
    bench.write("HEAD /1 HTTP/1.1\r\nHost: h\r\n\r\n").write(get("/2")).read(ok("two")).close();
    assert_eq!(bodies(&bench), ["zero", "", "two"]);
    assert!(bench.told.iter().all(|one| one.response_end == WHOLE));
}

#[test]
fn what_nobody_asks_for_in_time_or_within_bounds_is_told_as_such() {
    let unexpected = [ConnectionNotice::Malformed(MalformedReason::UnexpectedResponse)];
    let begun = |bench: &mut Bench| {
        bench.write(get("/0")).read(ok("zero"));
    };
    // The server gave up waiting; a request that comes much later was not answered by that.
    let mut bench = Bench::new();
    begun(&mut bench);
    bench.at(BootTime(50), R, SegmentBody::Bytes(ok("time is up").as_bytes()));
    bench.at(BootTime(5_000_000_000), W, SegmentBody::Bytes(get("/1").as_bytes())).close();
    assert_eq!(bodies(&bench), ["zero", ""]);
    assert!(is_marked(&bench.told[1]));
    assert_eq!(bench.notices(), unexpected);
    // More than is held.
    let mut bench = Bench::new();
    begun(&mut bench);
    bench.read("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
    for _ in 0..300 {
        bench.read([b'x'; 1024]);
    }
    assert_eq!(bench.notices(), unexpected);
    // A gap, and the end.
    for lost in [true, false] {
        let mut bench = Bench::new();
        begun(&mut bench);
        bench.read("HTTP/1.1 200 OK\r\nCon");
        if lost {
            bench.lose(R, Some(9));
        }
        bench.close();
        assert_eq!(bench.told.len(), 1);
    }
    let mut bench = Bench::new();
    begun(&mut bench);
    bench.read(ok("one")).segment(R, SegmentBody::End);
    assert_eq!(bench.notices(), unexpected);
}

#[test]
fn an_upgrade_that_is_seen_before_it_is_asked_for_goes_on_as_http2() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    // SETTINGS, then the answer on stream 1: `:status: 200`, END_STREAM.
    let frames = b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x05\0\0\0\x01\x88";
    for split in [true, false] {
        let mut bench = Bench::new();
        if split {
            bench.read(switch).read(frames);
        } else {
            bench.read([switch.as_bytes(), frames].concat());
        }
        bench
            .write("GET /1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n");
        assert_eq!(bench.told[0].response.as_ref().map(|head| head.status), Some(200), "{split}");
    }
}

/// The kinds of events, in order; parts of bodies in a row count once.
fn order(segments: &[(Direction, &str)]) -> Vec<&'static str> {
    let mut connection = Connection::new(Arc::new(HttpSettings::new(&[7; 32])));
    let mut order = Vec::new();
    for (time, (direction, text)) in (1..).zip(segments) {
        let segment = Segment { direction: *direction, time: BootTime(time), body: SegmentBody::Bytes(text.as_bytes()) };
        connection.push(segment, &mut |event| {
            order.push(match event.kind {
                HttpEventKind::Request(_) => "request",
                HttpEventKind::RequestBody(_) => "request body",
                HttpEventKind::RequestEnd(_) => "request end",
                HttpEventKind::Response(_) => "response",
                HttpEventKind::ResponseBody(_) => "response body",
                HttpEventKind::ResponseEnd(_) => "response end",
                HttpEventKind::ResponseTrailers(_) | HttpEventKind::Message(_) | HttpEventKind::MessagesMissing { .. } => "another",
            });
        });
    }
    order.dedup();
    order
}

#[test]
fn a_request_whose_body_stands_in_the_same_segment_is_told_before_its_early_answer() {
    let (begun, answered) = (["request", "request end", "response", "response body", "response end"], ok("token"));
    let whole = ["request", "request body", "request end", "response", "response body", "response end"];
    assert_eq!(order(&[(W, &get("/0")), (R, &ok("zero")), (R, &answered), (W, POST)]), [&begun[..], &whole].concat());
    // Two requests in one segment: each has its own.
    let (two, both) = (format!("{POST}{POST}"), ok("one") + &ok("two"));
    assert_eq!(order(&[(W, &get("/0")), (R, &ok("zero")), (R, &both), (W, &two)]), [&begun[..], &whole, &whole].concat());
    // What is uploaded in many segments may be answered before it is over.
    let (first, rest) = POST.split_at(POST.len() - 3);
    let early = ["request", "request body", "response", "response body", "request body", "request end", "response end"];
    assert_eq!(order(&[(W, &get("/0")), (R, &ok("zero")), (R, &answered), (W, first), (W, rest)]), [&begun[..], &early].concat());
}

#[test]
fn what_is_left_of_early_answers_does_not_become_younger_with_each_request() {
    let mut bench = Bench::new();
    bench.write(get("/0")).read(ok("zero"));
    bench.at(BootTime(50), R, SegmentBody::Bytes((ok("one") + &ok("time is up")).as_bytes()));
    bench.at(BootTime(900_000_000), W, SegmentBody::Bytes(get("/1").as_bytes()));
    bench.at(BootTime(1_800_000_000), W, SegmentBody::Bytes(get("/2").as_bytes())).close();
    assert_eq!(bodies(&bench), ["zero", "one", ""]);
    assert!(is_marked(&bench.told[2]));
}

#[test]
fn bytes_that_begin_no_response_cost_the_next_call_nothing() {
    let empty = "HTTP/1.1 204 No Content\r\n\r\n";
    // Behind an answer without a body or beyond its length; and what begins like an answer and is none, in one piece or in two.
    for (answer, garbage) in [(empty, vec!["{}"]), (&ok("zero"), vec!["zero"]), (empty, vec!["HTTPS"]), (empty, vec!["HT", "ML"])] {
        for joined in [true, false] {
            let mut bench = Bench::new();
            bench.write(get("/0"));
            if joined {
                bench.read(answer.to_owned() + garbage[0]);
            } else {
                bench.read(answer).read(garbage[0]);
            }
            for more in &garbage[1..] {
                bench.read(more);
            }
            bench.write(get("/1")).read(ok("one")).write(get("/2")).read(ok("two")).close();
            assert_eq!(bodies(&bench)[1..], ["one", "two"], "{garbage:?}");
            assert!(bench.told.iter().all(|one| one.response_end == WHOLE), "{garbage:?}");
            assert_eq!(bench.notices(), [ConnectionNotice::Malformed(MalformedReason::Head)], "{garbage:?}");
        }
    }
}

#[test]
fn bytes_that_begin_no_response_behind_an_early_answer_cost_the_next_call_nothing_wherever_they_are_cut() {
    let garbage = "HTML, no answer";
    for cut in 0..garbage.len() {
        let mut bench = Bench::new();
        let (first, rest) = garbage.split_at(cut);
        bench.write(get("/0")).read(ok("zero"));
        bench.read(ok("one")).read(first).read(rest);
        bench.write(get("/1")).write(get("/2")).read(ok("two")).close();
        assert_eq!(bodies(&bench), ["zero", "one", "two"], "cut at {cut}");
        assert!(bench.told.iter().all(|one| one.response_end == WHOLE), "cut at {cut}");
        assert_eq!(bench.notices(), [ConnectionNotice::Malformed(MalformedReason::Head)], "cut at {cut}");
    }
}
