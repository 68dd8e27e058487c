//! Sessions that are replaced, joined late, evicted, or hit by a missed run.

use a11i_common::event::SocketEnds;

use super::*;
use crate::call::{CaptureFacts, CaptureLibrary, CaptureMethod, SocketPeer};

#[test]
fn a_call_open_when_its_session_is_replaced_says_that_its_end_is_missing() {
    let mut kernel = Kernel::new();
    kernel.transfer(Direction::Write, REQUEST);
    kernel.transfer(Direction::Read, ANSWER.split_at(ANSWER.len() - 7).0);
    kernel.stopped = true;
    kernel.transfer(Direction::Write, REQUEST);
    let calls = kernel.bench.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].completeness, Completeness::Gap { lost: None, causes: LossCauses::END_UNSEEN });
    assert_eq!(calls[0].usage.output_tokens, None);
}

#[test]
fn what_comes_late_of_an_earlier_session_is_counted_and_makes_no_call() {
    let mut kernel = Kernel::new();
    kernel.transfer(Direction::Write, REQUEST);
    kernel.transfer(Direction::Read, ANSWER);
    kernel.end();
    // A ring that tells everything twice.
    kernel.time = 1_000;
    kernel.offsets = [0; 2];
    kernel.transfer(Direction::Write, REQUEST);
    kernel.transfer(Direction::Read, ANSWER);
    kernel.end();
    assert_eq!(kernel.bench.calls().len(), 1);
    let counters = kernel.bench.pipeline.counters();
    assert_eq!((counters.discarded_bytes, counters.unseen_sessions), ((REQUEST.len() + ANSWER.len()) as u64, 0));
    assert_eq!(kernel.bench.pipeline.flows(), 0);
}

#[test]
fn a_session_of_which_only_the_end_is_told_is_counted_unless_nobody_wanted_it() {
    for (causes, want) in [(0, 1), (cause::RING_FULL, 1), (cause::NOT_LLM, 0)] {
        let mut kernel = Kernel::new();
        let session = kernel.session;
        for _ in 0..2 {
            kernel.time = 1_000;
            kernel.body(EventBody::SessionEnd {
                session,
                attachment: AttachmentId(0),
                write_offset: 9,
                read_offset: 0,
                causes: [causes, 0],
            });
        }
        assert_eq!(kernel.bench.pipeline.counters().unseen_sessions, want, "{causes}");
    }
}

#[test]
fn a_connection_joined_in_the_middle_is_counted_when_it_shows_that_it_is_http() {
    // The rest of an answer, then the next exchange, which the kernel half makes a new generation.
    let mut kernel = Kernel::new();
    kernel.transfer(Direction::Read, &[b'x'; 64]);
    kernel.stopped = true;
    kernel.transfer(Direction::Write, REQUEST);
    kernel.transfer(Direction::Read, ANSWER);
    assert_eq!(kernel.bench.pipeline.counters().late_attachments, 1);
    assert!(kernel.bench.calls()[0].completeness.is_whole());
    // An answer whose request was before our time.
    let mut kernel = Kernel::new();
    kernel.transfer(Direction::Read, ANSWER);
    assert_eq!(kernel.bench.pipeline.counters().late_attachments, 1);
    // Whose handshake we saw was not joined late.
    let mut kernel = Kernel::new();
    kernel.name("gateway.example");
    kernel.transfer(Direction::Read, ANSWER);
    assert_eq!(kernel.bench.pipeline.counters().late_attachments, 0);
    // Another protocol.
    let mut kernel = Kernel::new();
    kernel.transfer(Direction::Write, &[1; 64]);
    kernel.transfer(Direction::Read, &[2; 64]);
    kernel.end();
    assert_eq!(kernel.bench.pipeline.counters().late_attachments, 0);
}

#[test]
fn a_missed_program_run_marks_every_open_call_and_disturbs_none() {
    let mut bench = Bench::new(ContentPolicy::None);
    bench.owner(named("python3"));
    bench.exchange();
    bench.event(data(Direction::Write, REQUEST.len() as u64, REQUEST));
    bench.pipeline.mark_calls(LossCauses::PROGRAM_MISSED, |_| true, &mut []);
    bench.event(data(Direction::Read, ANSWER.len() as u64, ANSWER));
    let calls = bench.calls();
    assert_eq!((calls.len(), bench.pipeline.counters().calls_marked), (2, 1));
    assert!(calls[0].completeness.is_whole());
    assert_eq!(calls[1].completeness, Completeness::Gap { lost: None, causes: LossCauses::PROGRAM_MISSED });
    assert_eq!(calls[1].usage, calls[0].usage);
}

#[test]
fn a_call_whose_flow_is_evicted_or_expires_did_not_end_and_says_so() {
    for expires in [true, false] {
        let mut kernel = Kernel::new();
        kernel.transfer(Direction::Write, REQUEST);
        kernel.verdicts();
        // The kernel knows how far it came, and that nothing is missing.
        kernel.bench.table = Some(FinalOffsets { write: REQUEST.len() as u64, read: 0, causes: [LossCauses(0); 2] });
        if expires {
            kernel.bench.time(kernel.time + crate::flow::IDLE_NANOS);
        } else {
            // As many other calls as there is room for: flows without any would have gone first.
            for session in 10..12 {
                kernel.session = SessionId { session: TlsSession(session), generation: 1 };
                kernel.offsets = [0; 2];
                kernel.time += 1;
                let body = EventBody::Data {
                    session: kernel.session,
                    attachment: AttachmentId(0),
                    direction: Direction::Write,
                    offset: 0,
                    skipped: 0,
                    causes: 0,
                    request: 1,
                    payload: REQUEST,
                };
                let event = Event { time: BootTime(kernel.time), process: PROCESS, tid: Tid(7), body };
                let (table, out) = (kernel.bench.table, &mut kernel.bench.out);
                kernel.bench.pipeline.handle_event(&event, &mut |_| table, &mut |output| out.push(output));
            }
        }
        assert!(kernel.bench.out.iter().any(|output| matches!(output, Output::Forgotten(_))), "{expires}");
        let calls = kernel.bench.calls();
        assert_eq!(calls.len(), 1, "{expires}");
        assert_eq!(calls[0].completeness, Completeness::Gap { lost: None, causes: LossCauses::END_UNSEEN }, "{expires}");
    }
}

#[test]
fn what_has_no_call_under_way_makes_room_first() {
    let mut kernel = Kernel::new();
    kernel.transfer(Direction::Write, REQUEST);
    for session in 10..100 {
        kernel.session = SessionId { session: TlsSession(session), generation: 1 };
        kernel.offsets = [0; 2];
        kernel.transfer(Direction::Write, b"not http");
    }
    assert_eq!(kernel.bench.calls().len(), 0);
    (kernel.session, kernel.offsets) = (SESSION, [REQUEST.len() as u64, 0]);
    kernel.transfer(Direction::Read, ANSWER);
    let calls = kernel.bench.calls();
    assert_eq!(calls.len(), 1);
    assert!(calls[0].completeness.is_whole());
}

#[test]
fn a_missed_run_marks_calls_that_are_finished_and_have_not_left() {
    let mut bench = Bench::new(ContentPolicy::None);
    // One waits for its owner, one has just come out.
    bench.exchange();
    let mut other = Bench::new(ContentPolicy::None);
    other.owner(named("python3"));
    other.exchange();
    let mut left = other.leaving();
    bench.pipeline.mark_calls(LossCauses::PROGRAM_MISSED, |_| true, &mut left);
    bench.owner(named("python3"));
    for call in [bench.calls(), calls_among(left)].concat() {
        assert_eq!(call.completeness, Completeness::Gap { lost: None, causes: LossCauses::PROGRAM_MISSED });
    }
    assert_eq!(bench.pipeline.counters().calls_marked, 2);
}

#[test]
fn a_missed_run_marks_only_what_was_captured_in_a_way_that_it_touches() {
    let of_socket = |capture: CaptureFacts| capture.method == Some(CaptureMethod::Socket);
    // One waits for its owner, one has come out, one is under way.
    let mut bench = Bench::new(ContentPolicy::None);
    bench.exchange();
    bench.event(data(Direction::Write, REQUEST.len() as u64, REQUEST));
    let mut other = Bench::new(ContentPolicy::None);
    other.owner(named("python3"));
    other.exchange();
    let mut left = other.leaving();
    for (touched, marked) in [(true, 0), (false, 3)] {
        bench.pipeline.mark_calls(LossCauses::PROGRAM_MISSED, |capture| of_socket(capture) == touched, &mut left);
        assert_eq!(bench.pipeline.counters().calls_marked, marked, "none is of a socket");
    }
    bench.event(data(Direction::Read, ANSWER.len() as u64, ANSWER));
    bench.owner(named("python3"));
    let calls = [bench.calls(), calls_among(left)].concat();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| !call.completeness.is_whole()));
}

#[test]
fn a_peer_stays_that_of_the_connection_and_goes_with_another_that_takes_its_address() {
    let ends = |port| SocketEnds { family: 2, local_port: 4_000, remote_port: port, local: [1; 16], remote: [2; 16] };
    let peer = |kernel: &mut Kernel, port| {
        let session = kernel.session;
        kernel.body(EventBody::Peer { session, attachment: AttachmentId(0), socket: ends(port), path: b"" });
    };
    let call = |kernel: &mut Kernel| {
        kernel.transfer(Direction::Write, REQUEST);
        kernel.transfer(Direction::Read, ANSWER);
        let calls = kernel.bench.calls();
        assert_eq!(calls.len(), 1);
        calls[0].peer.clone()
    };
    let internet = Some(SocketPeer::Internet("2.2.2.2:443".parse().unwrap()));
    let mut kernel = Kernel::new();
    kernel.name("api.openai.com");
    peer(&mut kernel, 443);
    assert_eq!(call(&mut kernel), internet);
    // A request after what nobody wanted.
    kernel.stopped = true;
    assert_eq!(call(&mut kernel), internet);
    // Another connection, whose predecessor's end was not seen.
    kernel.session.generation += 1;
    kernel.offsets = [0; 2];
    kernel.name("api.openai.com");
    assert_eq!(call(&mut kernel), None);
    peer(&mut kernel, 443);
    assert_eq!(call(&mut kernel), internet);
    // It was contradicted.
    peer(&mut kernel, 0);
    assert_eq!(call(&mut kernel), None);
}

#[test]
fn a_peer_that_comes_before_the_plaintext_does_not_say_which_library_it_came_through() {
    let facts = CaptureFacts { library: Some(CaptureLibrary::OpenSsl), method: Some(CaptureMethod::Symbol) };
    let attachment = facts.to_attachment(1);
    let mut bench = Bench::new(ContentPolicy::None);
    bench.owner(named("python3"));
    let socket = SocketEnds { family: 2, local_port: 4_000, remote_port: 443, local: [1; 16], remote: [2; 16] };
    bench.event(EventBody::Peer { session: SESSION, attachment: AttachmentId(0), socket, path: b"" });
    for (direction, payload) in [(Direction::Write, REQUEST), (Direction::Read, ANSWER)] {
        bench.event(EventBody::Data { session: SESSION, attachment, direction, offset: 0, skipped: 0, causes: 0, request: 0, payload });
    }
    let calls = bench.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].capture, facts);
    assert!(calls[0].peer.is_some());
}
