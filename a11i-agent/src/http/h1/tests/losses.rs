//! Faults that were found by harming records: each took another call's bytes, or lost its own, without a mark.

use super::*;

/// Every response says which request it answers: an exchange has its own, or is marked.
fn assert_own_or_marked(bench: &Bench) {
    for one in &bench.told {
        let path = &one.request.as_ref().unwrap().path;
        assert!(one.response_end.is_some(), "{path} is open");
        assert!(is_marked(one) || one.response_body == path.as_bytes(), "{path}: {one:?}");
    }
}

fn marked(bench: &Bench) -> Vec<bool> {
    bench.told.iter().map(is_marked).collect()
}

fn chunked(path: &str) -> String {
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned() + &chunk(path) + "0\r\n\r\n"
}

#[test]
fn a_half_close_of_the_server_hides_no_gap_of_the_request() {
    let mut bench = Bench::new();
    bench.write("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n012").read(ok("/")).segment(R, SegmentBody::End);
    bench.lose(W, Some(4)).write("789").close();
    assert_eq!(bench.told[0].request_end, Some((gap(4), FramingEnd::Finished)));
    assert_eq!(bench.told[0].response_end, WHOLE);
}

#[test]
fn late_requests_do_not_take_the_response_to_the_next_one() {
    for late in 1..=3_u64 {
        let mut bench = Bench::new();
        bench.write(get("/0")).read(ok("/0"));
        bench.at(BootTime(200), R, SegmentBody::Bytes((1..=late).map(|n| ok(&format!("/{n}"))).collect::<String>().as_bytes()));
        for n in 1..=late {
            bench.at(BootTime(100 + n), W, SegmentBody::Bytes(get(&format!("/{n}")).as_bytes()));
        }
        bench.at(BootTime(300), W, SegmentBody::Bytes(get("/next").as_bytes()));
        bench.at(BootTime(400), R, SegmentBody::Bytes(ok("/next").as_bytes())).close();
        assert_own_or_marked(&bench);
        assert!(marked(&bench).into_iter().all(|marked| !marked), "{late}");
    }
}

#[test]
fn losses_in_both_directions_do_not_shift_the_responses_by_one() {
    // A response is lost, then a request; or both, in the other order. What comes next answers the lost one.
    for (first, second) in [(R, W), (W, R)] {
        for pipelined in [false, true] {
            let mut bench = Bench::new();
            bench.write(get("/1")).lose(first, Some(44)).lose(second, Some(44));
            if pipelined {
                bench.write(get("/3")).read(ok("/2")).read(ok("/3"));
            } else {
                bench.read(ok("/2")).write(get("/3")).read(ok("/3"));
            }
            bench.write(get("/4")).write(get("/5")).read(ok("/4")).read(ok("/5")).close();
            assert_own_or_marked(&bench);
            // How many requests are missing, nobody knows.
            assert!(marked(&bench).into_iter().all(|marked| marked));
        }
    }
}

#[test]
fn a_request_lost_before_its_gap_is_known_is_not_answered_in_the_name_of_another() {
    // The gap of the requests shows with the next of them only: until then the responses seem to answer what was seen.
    let mut bench = Bench::new();
    bench.write(get("/1")).read("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n/").lose(R, Some(60));
    bench.read(ok("/3")).write(get("/2")).read(ok("/4")).lose(W, Some(80)).write(get("/5")).read(ok("/5")).close();
    assert_own_or_marked(&bench);
    assert_eq!(marked(&bench), [true; 3]);
}

#[test]
fn chunks_of_the_next_message_are_not_a_part_of_the_lost_one_without_a_mark() {
    let mut bench = Bench::new();
    bench.write(get("/1")).read("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n/").write(get("/2"));
    // The end of one and the head of the next are lost.
    bench.lose(R, Some(80)).read(chunk("/2")).read("0\r\n\r\n").write(get("/3")).read(chunked("/3")).close();
    assert_own_or_marked(&bench);
    assert_eq!(marked(&bench), [true; 3]);
}

#[test]
fn a_request_that_the_next_response_overtook_is_whole_or_marked() {
    let post = "POST /1 HTTP/1.1\r\ncontent-length: 6\r\n\r\nabc";
    let mut bench = Bench::new();
    bench.write(post).read(ok("/1")).read(ok("/2")).write("def").write(get("/2")).write(get("/3")).read(ok("/3")).close();
    assert_own_or_marked(&bench);
    assert_eq!(marked(&bench), [false; 3]);

    let mut bench = Bench::new();
    bench.write(post).read(ok("/1")).read(ok("/2")).lose(W, Some(3)).write(get("/2")).write(get("/3")).read(ok("/3")).close();
    assert_own_or_marked(&bench);
    assert_eq!(marked(&bench), [true, false, false]);
}

#[test]
fn calls_that_are_open_at_an_upgrade_end_with_a_mark() {
    let mut bench = Bench::new();
    bench.write(get("/1")).write(get("/2")).write(get("/3")).read(ok("/1")).read("HTTP/1.1 101 Switching Protocols\r\n\r\n").close();
    assert_eq!(marked(&bench), [false, false, true]);
    assert!(bench.told.iter().all(|one| one.response_end.is_some()));
    assert_eq!(bench.notices(), [ConnectionNotice::Upgraded]);
}

#[test]
fn a_connection_that_lost_a_response_is_trusted_again_when_a_request_proves_the_count() {
    for lost in [ok("/2"), chunked("/2")] {
        for kept in 0..lost.len() {
            let (seen, missing) = lost.split_at(kept);
            let mut bench = Bench::new();
            bench.write(get("/1")).read(ok("/1")).write(get("/2"));
            if kept > 0 {
                bench.read(seen);
            }
            bench.lose(R, Some(u64::try_from(missing.len()).unwrap()));
            for n in 3..=5 {
                bench.write(get(&format!("/{n}"))).read(ok(&format!("/{n}")));
            }
            bench.close();
            assert_own_or_marked(&bench);
            let marked = marked(&bench);
            assert_eq!((marked[0], marked[1], marked[3], marked[4]), (false, true, false, false), "{kept} kept of {lost:?}");
        }
    }
}

#[test]
fn whatever_is_lost_or_late_of_pipelined_requests_no_response_is_anothers() {
    let script: Vec<(Direction, String)> = vec![
        (W, get("/1")),
        (R, chunked("/1")),
        (W, get("/2") + &get("/3")),
        (R, ok("/2")),
        (W, get("/4")),
        (R, ok("/3")),
        (R, chunked("/4")),
        (W, get("/5")),
        (W, get("/6")),
        (R, ok("/5") + &ok("/6")),
        (W, get("/7")),
        (R, ok("/7")),
    ];
    let lost = |segment: &str| Gap { lost: u64::try_from(segment.len()).ok(), causes: LossCauses::of_kernel(cause::RING_FULL) };
    for mask in 0_u32..1 << script.len() {
        // Pieces of one direction stay in order; those of the other may come later by some.
        for late in 0..3 {
            for slow in [W, R] {
                let mut order: Vec<_> = (0..script.len()).collect();
                order.sort_by_key(|n| 2 * n + if script[*n].0 == slow { 2 * late + 1 } else { 0 });
                let mut bench = Bench::new();
                for n in order {
                    let (direction, bytes) = &script[n];
                    let time = BootTime(10 + u64::try_from(n).unwrap());
                    let body = if mask & 1 << n == 0 { SegmentBody::Bytes(bytes.as_bytes()) } else { SegmentBody::Gap(lost(bytes)) };
                    bench.at(time, *direction, body);
                }
                bench.close();
                assert_own_or_marked(&bench);
                assert!(mask != 0 || late > 0 || marked(&bench).iter().all(|marked| !marked), "{:?}", bench.told);
            }
        }
    }
}
