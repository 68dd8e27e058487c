//! Losses and owners of calls on their way out.

use super::*;

#[test]
fn a_loss_at_the_end_of_a_process_that_frees_nothing_is_seen() {
    for (lost, whole) in [(0, true), (7, false)] {
        let mut bench = Bench::new(ContentPolicy::None);
        bench.owner(named("curl"));
        bench.event(data(Direction::Write, 0, REQUEST));
        bench.event(data(Direction::Read, 0, ANSWER.split_at(ANSWER.len() - 7).0));
        let read = (ANSWER.len() - 7) as u64 + lost;
        bench.table =
            Some(FinalOffsets { write: REQUEST.len() as u64, read, causes: [LossCauses(0), LossCauses::of_kernel(cause::RING_FULL)] });
        bench.event(EventBody::Exit);
        assert!(bench.out.iter().any(|output| matches!(output, Output::Forgotten(flow) if flow.session == SESSION)));
        let calls = bench.calls();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].completeness.is_whole(), whole, "{:?}", calls[0].completeness);
        if !whole {
            assert_eq!(calls[0].completeness, Completeness::Gap { lost: Some(7), causes: LossCauses::of_kernel(cause::RING_FULL) });
        }
        assert_eq!(bench.pipeline.counters().lost_bytes, lost);
    }
}

#[test]
fn bytes_left_out_by_intention_are_no_loss_and_unknown_gaps_are_counted_apart() {
    for (causes, lost, unknown) in [(cause::NOT_HTTP, 0, 0), (cause::RING_FULL, 50, 0), (cause::TABLE_FULL, 0, 1)] {
        let mut bench = Bench::new(ContentPolicy::None);
        bench.event(data(Direction::Write, 0, b"hello"));
        bench.table = Some(FinalOffsets { write: 55, read: 0, causes: [LossCauses::of_kernel(causes), LossCauses(0)] });
        bench.event(EventBody::Exec);
        let counters = bench.pipeline.counters();
        assert_eq!((counters.lost_bytes, counters.unknown_gaps), (lost, unknown), "{causes}");
    }
}

#[test]
fn what_arrives_twice_is_counted_while_the_connection_lives() {
    let mut bench = Bench::new(ContentPolicy::None);
    bench.event(data(Direction::Write, 0, REQUEST));
    bench.event(data(Direction::Write, 0, REQUEST));
    assert_eq!(bench.pipeline.counters().discarded_bytes, REQUEST.len() as u64);
}

#[test]
fn a_call_waits_for_its_owner_and_leaves_with_it() {
    let mut bench = Bench::new(ContentPolicy::Full);
    bench.exchange();
    assert_eq!((bench.questions(), bench.pipeline.waiting_calls()), (1, 1));
    assert!(bench.calls().is_empty());
    bench.owner(named("python3"));
    let calls = bench.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].owner.executable_name.as_deref(), Some("python3"));
    assert!(!calls[0].content.output_messages.is_empty(), "the policy of a known owner allows it");
    assert_eq!(bench.pipeline.counters().calls_without_owner, 0);
}

#[test]
fn a_call_whose_owner_stays_unknown_leaves_after_a_while_without_content() {
    let mut bench = Bench::new(ContentPolicy::Full);
    bench.exchange();
    bench.time(5_000_000_000);
    bench.time(5_000_000_000 + OWNER_WAIT_NANOS - 1);
    assert!(bench.calls().is_empty());
    bench.time(5_000_000_000 + OWNER_WAIT_NANOS);
    let calls = bench.calls();
    assert_eq!(calls.len(), 1);
    assert!(calls[0].content.output_messages.is_empty());
    assert_eq!(bench.pipeline.counters().calls_without_owner, 1);
}

#[test]
fn a_flow_that_began_before_the_answer_gets_its_owner_too() {
    let mut bench = Bench::new(ContentPolicy::None);
    bench.event(data(Direction::Write, 0, REQUEST));
    bench.owner(named("python3"));
    bench.event(data(Direction::Read, 0, ANSWER));
    assert_eq!(bench.calls()[0].owner.executable_name.as_deref(), Some("python3"));
}

#[test]
fn an_exec_asks_anew_and_lets_the_old_programs_calls_go() {
    let mut bench = Bench::new(ContentPolicy::None);
    bench.exchange();
    bench.event(EventBody::Exec);
    assert_eq!(bench.questions(), 2);
    let calls = bench.calls();
    assert_eq!((calls.len(), calls[0].owner.executable_name.as_deref()), (1, None));
    bench.owner(named("before"));
    bench.owner(named("after"));
    bench.exchange();
    assert_eq!(bench.calls()[0].owner.executable_name.as_deref(), Some("after"));
}

#[test]
fn calls_that_wait_for_owners_are_bounded() {
    let mut bench = Bench::new(ContentPolicy::None);
    let (mut write, mut read) = (0, 0);
    for _ in 0..CALLS_WAITING + 3 {
        bench.event(data(Direction::Write, write, REQUEST));
        bench.event(data(Direction::Read, read, ANSWER));
        (write, read) = (write + REQUEST.len() as u64, read + ANSWER.len() as u64);
    }
    assert_eq!((bench.pipeline.waiting_calls(), bench.calls().len()), (CALLS_WAITING, 3));
    let out = &mut bench.out;
    bench.pipeline.release_calls(&mut |output| out.push(output));
    assert_eq!((bench.pipeline.waiting_calls(), bench.calls().len()), (0, CALLS_WAITING));
}

#[test]
fn a_call_under_way_when_copying_is_switched_off_says_so_and_an_idle_connection_makes_none() {
    let switched_off = LossCauses::of_kernel(cause::SWITCHED_OFF);
    for (seen_of_answer, calls_after, under_way) in [(ANSWER.len(), 0, false), (ANSWER.len() - 7, 1, true), (0, 1, true)] {
        let mut bench = Bench::new(ContentPolicy::None);
        bench.event(data(Direction::Write, 0, REQUEST));
        bench.event(data(Direction::Read, 0, ANSWER.split_at(seen_of_answer).0));
        bench.owner(named("curl"));
        let before = bench.calls().len();
        let out = &mut bench.out;
        bench.pipeline.interrupt(switched_off, BootTime(2_000), &mut |output| out.push(output));
        assert!(bench.out.iter().any(|output| matches!(output, Output::Forgotten(flow) if flow.session == SESSION)));
        let calls = bench.calls();
        assert_eq!((before, calls.len()), (usize::from(!under_way), calls_after), "{seen_of_answer}");
        for call in calls {
            assert_eq!(call.completeness, Completeness::Gap { lost: None, causes: switched_off });
        }
        assert_eq!((bench.pipeline.flows(), bench.pipeline.counters().unknown_gaps), (0, 0));
    }
}

#[test]
fn a_process_that_loses_its_probes_ends_its_own_flows_and_nobody_elses() {
    let mut bench = Bench::new(ContentPolicy::None);
    bench.event(data(Direction::Write, 0, REQUEST));
    bench.owner(named("curl"));
    let process = PROCESS;
    let other = ProcessId { start_ticks: process.start_ticks.wrapping_add(1), ..process };
    for (gone, calls) in [(other, 0), (process, 1)] {
        let out = &mut bench.out;
        bench.pipeline.interrupt_processes(&[gone].into(), LossCauses::END_UNSEEN, BootTime(2_000), &mut |output| out.push(output));
        assert_eq!(bench.out.iter().any(|output| matches!(output, Output::Forgotten(_))), gone == process);
        assert_eq!(bench.calls().len(), calls);
    }
    assert_eq!(bench.pipeline.flows(), 0);
}
