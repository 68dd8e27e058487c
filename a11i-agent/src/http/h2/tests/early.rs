//! Answers that are seen before their requests.

use super::*;

#[test]
fn an_answer_is_its_streams_whichever_of_the_two_is_seen_first() {
    for whole_first in [true, false] {
        let mut bench = Bench::begun();
        let (one, three) = (bench.request(1, "one"), bench.request(3, "three"));
        // In the order they are sent in: fields refer to those before.
        let (third, first) = (bench.response(3, &["c", "d"]), bench.response(1, &["a", "b"]));
        if whole_first {
            bench.bytes(SERVER, &third);
            bench.bytes(SERVER, &first[..first.len() - 12]);
        } else {
            // Cut anywhere: the rest comes behind the requests.
            bench.bytes(SERVER, &third[..third.len() - 5]);
        }
        for request in [&one, &three] {
            bench.bytes(CLIENT, request);
        }
        bench.bytes(SERVER, if whole_first { &first[first.len() - 12..] } else { &third[third.len() - 5..] });
        if !whole_first {
            bench.bytes(SERVER, &first);
        }
        let told: Vec<_> = bench.told.iter().map(|it| (it.request.as_str(), it.response.as_str(), it.response_end)).collect();
        assert_eq!(told, [("one", "ab", Some(WHOLE)), ("three", "cd", Some(WHOLE))]);
    }
}

#[test]
fn an_answer_to_what_was_asked_before_anybody_looked_is_nobodys_and_what_is_held_is_bounded() {
    let mut bench = Bench::begun();
    let answers = [bench.response(1, &["lost"]), bench.response(5, &["own"])];
    bench.bytes(SERVER, &answers[0]);
    let request = bench.request(3, "three");
    bench.bytes(CLIENT, &request);
    bench.bytes(SERVER, &answers[1]);
    let request = bench.request(5, "five");
    bench.bytes(CLIENT, &request);
    let told: Vec<_> = bench.told.iter().map(|it| (it.request.as_str(), it.response.as_str())).collect();
    assert_eq!(told, [("three", ""), ("five", "own")]);

    let mut bench = Bench::begun();
    for stream in (1..2001).step_by(2) {
        let answer = bench.response(stream, &["x"; 5]);
        bench.bytes(SERVER, &answer);
    }
    let large = "x".repeat(16_000);
    let answer = bench.response(2001, &[large.as_str(); 20]);
    bench.bytes(SERVER, &answer);
    let request = bench.request(2001, "late");
    bench.bytes(CLIENT, &request);
    assert_eq!((bench.told.len(), bench.told[0].response.len()), (1, 0));
}

#[test]
fn a_request_whose_body_stands_in_the_same_segment_is_told_before_its_early_answer() {
    let mut bench = Bench::begun();
    let answers: Vec<u8> = [1, 3].into_iter().flat_map(|stream| bench.response(stream, &["a"])).collect();
    let asked: Vec<u8> = [1, 3].into_iter().flat_map(|stream| bench.request(stream, "q")).collect();
    bench.bytes(SERVER, &answers);
    let mut told = Vec::new();
    listen(&mut bench, &mut told, CLIENT, SegmentBody::Bytes(&asked));
    let want = ["request /v1/chat/completions", "RequestBody([113])", "request end", "response 200", "ResponseBody([97])", "end Finished"];
    assert_eq!(told, want);

    // An upload that goes on is answered before it is over, and one that is given up has what came.
    let mut bench = Bench::begun();
    let answers: Vec<u8> = [1, 3].into_iter().flat_map(|stream| bench.response(stream, &["a"])).collect();
    let (upload, given_up) = (bench.request(1, ""), bench.request(3, ""));
    bench.bytes(SERVER, &answers);
    bench.bytes(CLIENT, &upload[..upload.len() - 9]);
    bench.bytes(CLIENT, &[&given_up[..given_up.len() - 9], &frame(kind::RST_STREAM, 0, 3, &[0; 4])].concat());
    let told: Vec<_> = bench.told.iter().map(|it| (it.response.as_str(), it.request_end.is_some(), it.response_end)).collect();
    assert_eq!(told, [("a", false, None), ("a", true, Some(WHOLE))]);
}

#[test]
fn heads_that_are_held_count_with_what_they_hold() {
    let mut bench = Bench::begun();
    let large = "x".repeat(3000);
    let ask = |bench: &mut Bench, answers: u32| {
        let block = bench.responses.block(&[(":status", "200"), ("x-large", &large)]);
        let from = bench.told.len();
        let first = u32::try_from(from).unwrap() * 200 + 1;
        for stream in (first..).step_by(2).take(usize::try_from(answers).unwrap()) {
            bench.bytes(SERVER, &headers(flag::END_STREAM, stream, &block));
        }
        let request = bench.request(first, "late");
        bench.bytes(CLIENT, &request);
        bench.told[from].status
    };
    assert_eq!(ask(&mut bench, 40), Some(200));
    assert_eq!(ask(&mut bench, 100), None);
}
