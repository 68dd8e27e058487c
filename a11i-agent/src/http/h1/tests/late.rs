//! Connections that are joined in their middle, and directions that are told late.

use super::*;

#[test]
fn a_request_that_arrives_after_its_response_gets_it_and_takes_no_other() {
    let mut bench = Bench::new();
    bench.write(get("/0")).read(ok("zero"));
    bench.at(BootTime(200), R, SegmentBody::Bytes(ok("one").as_bytes()));
    bench.at(BootTime(100), W, SegmentBody::Bytes(get("/1").as_bytes()));
    bench.at(BootTime(300), W, SegmentBody::Bytes(get("/2").as_bytes()));
    bench.at(BootTime(400), R, SegmentBody::Bytes(ok("two").as_bytes())).close();
    assert_eq!(bodies(&bench), ["zero", "one", "two"]);
    assert!(bench.told.iter().all(|one| one.request_end == WHOLE && one.response_end == WHOLE));
    assert_eq!(bench.notices(), []);
}

#[test]
fn a_connection_joined_in_a_response_is_followed_from_the_next_request() {
    let mut bench = Bench::new();
    bench
        .read("data: {\"x\":1}\n\n\r\n")
        .read("5\r\ndata:\r\n0\r\n\r\n")
        .write(get("/1"))
        .read(ok("one"))
        .write(get("/2"))
        .read(ok("two"))
        .close();
    assert_eq!(bodies(&bench), ["one", "two"]);
    assert!(bench.told.iter().all(|one| one.request_end == WHOLE && one.response_end == WHOLE));
    assert_eq!(bench.notices(), []);
}

#[test]
fn a_connection_joined_in_a_request_is_followed_from_the_next_request() {
    let mut bench = Bench::new();
    bench.write("...rest of a prompt\"}]}").read(ok("late")).write(get("/1")).read(ok("one")).close();
    assert_eq!(bodies(&bench), ["one"]);
    assert_eq!((bench.told[0].request_end, bench.told[0].response_end), (WHOLE, WHOLE));
    assert_eq!(bench.notices(), []);
}
