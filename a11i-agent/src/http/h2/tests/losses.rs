//! Bytes that are missing or damaged, and connections joined in their middle.

use super::*;

#[test]
fn a_gap_in_the_data_of_a_stream_is_that_streams_alone() {
    let mut bench = Bench::new();
    let sent: Vec<u8> = [1, 3].into_iter().flat_map(|stream| bench.request(stream, "q")).collect();
    bench.bytes(CLIENT, &[client_start(), sent].concat());
    let answers = [server_start(), bench.response(1, &["0123456789"])].concat();
    let end = answers.len() - 9;
    bench.bytes(SERVER, &answers[..end - 6]);
    bench.gap(SERVER, Some(4));
    bench.bytes(SERVER, &answers[end - 2..]);
    let other = bench.response(3, &["whole"]);
    bench.bytes(SERVER, &other);
    assert_eq!(bench.told[0].response, "012389");
    let missing = Completeness::Gap { lost: Some(4), causes: LossCauses(1) };
    assert_eq!(bench.told[0].response_end, Some(BodyEnd { completeness: missing, ..WHOLE }));
    assert_eq!(bench.told[1], whole("q", "whole"));
}

#[test]
fn behind_a_gap_frames_are_found_again_and_every_open_stream_says_so() {
    let mut bench = Bench::new();
    let sent: Vec<u8> = [1, 3].into_iter().flat_map(|stream| bench.request(stream, "q")).collect();
    bench.bytes(CLIENT, &[client_start(), sent].concat());
    let first = bench.response(1, &["one", "two"]);
    bench.bytes(SERVER, &[server_start(), first[..first.len() - 20].to_vec()].concat());
    bench.gap(SERVER, Some(500));
    let second = bench.response(3, &["whole"]);
    bench.bytes(SERVER, &second);
    bench.close();
    let unknown = Completeness::Gap { lost: None, causes: LossCauses(1) };
    assert!(bench.told.iter().all(|told| told.response_end.is_some_and(|end| end.completeness == unknown)), "{:#?}", bench.told);
    assert_eq!((bench.told[1].status, bench.told[1].response.as_str()), (Some(200), "whole"));
}

#[test]
fn what_is_passed_over_behind_a_gap_is_missing_of_streams_that_began_since() {
    let mut bench = Bench::begun();
    bench.gap(SERVER, None);
    let (sent, answered) = (bench.request(1, "q"), bench.response(1, &["a"]));
    bench.bytes(CLIENT, &sent);
    // Its head comes in pieces that no frame shows itself in.
    let (head, rest) = answered.split_at(4);
    bench.bytes(SERVER, head);
    bench.bytes(SERVER, rest);
    bench.close();
    let unknown = Completeness::Gap { lost: None, causes: LossCauses(1) };
    assert_eq!(bench.told[0].response_end.map(|end| end.completeness), Some(unknown));
}

#[test]
fn what_was_left_out_by_intention_is_no_loss_of_an_answer_that_comes_behind_it() {
    let mut bench = Bench::begun();
    let request = bench.request(1, "one");
    bench.bytes(CLIENT, &request);
    let causes = LossCauses::of_kernel(a11i_common::event::cause::NOT_LLM);
    bench.push(SERVER, SegmentBody::Gap(Gap { lost: Some(5_000), causes }));
    let answer = bench.response(1, &["own"]);
    bench.bytes(SERVER, &answer);
    assert_eq!(bench.told, [whole("one", "own")]);
}

#[test]
fn a_connection_joined_in_the_middle_gives_calls_whose_heads_say_what_they_lack() {
    let mut bench = Bench::new();
    // Before anybody looked.
    let (_, _) = (bench.request(1, "q"), bench.response(1, &["a"]));
    let (sent, answered) = (bench.request(3, "{\"model\":\"m\"}"), bench.response(3, &["late"]));
    bench.bytes(CLIENT, &sent);
    bench.bytes(SERVER, &answered);
    let told = bench.told.first().expect("it is followed");
    assert!(bench.connection.is_joined_late() && told.unseen && !told.shows_credential);
    assert_eq!((told.path.as_str(), told.host.as_deref(), told.request.as_str()), ("", None, "{\"model\":\"m\"}"));
    assert_eq!((told.status, told.response.as_str()), (Some(200), "late"));
    assert_eq!(told.request_end.map(|end| end.completeness), Some(Completeness::JoinedLate));
    assert_eq!(told.response_end.map(|end| end.completeness), Some(Completeness::JoinedLate));
}

#[test]
fn a_lost_connection_says_once_that_bytes_are_missing_until_others_come() {
    let mut bench = Bench::new();
    let asked: Vec<u8> = [1, 3].into_iter().flat_map(|stream| bench.request(stream, "q")).collect();
    let mut gaps = [0, 0];
    let mut push = |bench: &mut Bench, body: SegmentBody<'_>| {
        bench.connection.push(Segment { direction: SERVER, time: BootTime(1), body }, &mut |event| {
            if event.kind == HttpEventKind::ResponseBody(&[]) {
                gaps[usize::try_from(event.exchange.0).unwrap()] += 1;
            }
        });
        gaps
    };
    bench.bytes(CLIENT, &[client_start(), asked].concat());
    push(&mut bench, SegmentBody::Bytes(&server_start()));
    for id in [1, 3] {
        let head = headers(0, id, &bench.responses.block(&[(":status", "200")]));
        push(&mut bench, SegmentBody::Bytes(&head));
    }
    let gap = SegmentBody::Gap(Gap { lost: None, causes: LossCauses(1) });
    push(&mut bench, gap);
    for _ in 0..10 {
        push(&mut bench, SegmentBody::Bytes(b"nothing that looks like a frame"));
    }
    assert_eq!(push(&mut bench, SegmentBody::Bytes(&[])), [1, 1]);
    let found = [frame(kind::DATA, 0, 1, b"a"), frame(kind::DATA, 0, 1, b"b"), frame(kind::DATA, 0, 1, b"c")].concat();
    push(&mut bench, SegmentBody::Bytes(&found));
    assert_eq!(push(&mut bench, gap), [2, 1]);
}

#[test]
fn the_search_for_frames_looks_at_no_more_of_a_chain_than_it_takes_to_believe_it() {
    // Frames without payload all the way, and at the end what is none: from each of them on, it is a chain that breaks.
    let empty = frame(kind::DATA, 0, 1, b"");
    let mut hostile = empty.repeat(200_000);
    hostile.extend([0xff; 9]);
    let chained = chain(&hostile);
    assert!((4..=64).contains(&chained), "{chained}");
    assert_eq!(chain(&[empty.repeat(20), vec![0xff; 9]].concat()), 0);
}

#[test]
fn no_bytes_panic_and_none_make_a_second_end() {
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(seed >> 40).unwrap()
    };
    for _ in 0..2_000 {
        let mut bench = Bench::new();
        let mut sent = client_start();
        let mut answered = server_start();
        for stream in [1, 3, 5] {
            sent.extend(bench.request(stream, "a question"));
            answered.extend(bench.response(stream, &["an", "answer"]));
        }
        for bytes in [&mut sent, &mut answered] {
            for _ in 0..random() % 4 {
                let at = usize::try_from(random()).unwrap() % bytes.len();
                bytes[at] = u8::try_from(random() & 0xff).unwrap();
            }
        }
        for (direction, bytes) in [(CLIENT, &sent), (SERVER, &answered)] {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at((usize::try_from(random()).unwrap() % 40 + 1).min(rest.len()));
                rest = tail;
                if random() % 16 == 0 {
                    bench.gap(direction, if random() % 2 == 0 { None } else { Some(piece.len().try_into().unwrap()) });
                } else {
                    bench.bytes(direction, piece);
                }
            }
        }
        bench.close();
        assert!(bench.told.iter().all(|told| told.response_end.is_some() && told.request_end.is_some()));
    }
}
