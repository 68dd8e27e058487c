use a11i_common::event::cause;
use proptest::prelude::*;

use super::*;
use crate::flow::{Gap, SegmentBody};

const SECOND: u64 = 1_000_000_000;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Bytes(Vec<u8>),
    Gap(Option<u64>, u8),
    End,
}

/// Joins neighbouring bytes, so that only order and gaps are compared.
fn record(seen: &mut Vec<Seen>, segment: Segment<'_>) {
    match segment.body {
        SegmentBody::Bytes(bytes) => {
            assert!(!bytes.is_empty());
            if let Some(Seen::Bytes(last)) = seen.last_mut() {
                last.extend(bytes);
            } else {
                seen.push(Seen::Bytes(bytes.to_vec()));
            }
        }
        SegmentBody::Gap(Gap { lost, causes }) => seen.push(Seen::Gap(lost, u8::try_from(causes.0).unwrap())),
        SegmentBody::End => seen.push(Seen::End),
    }
}

fn piece(offset: u64, payload: &[u8]) -> DataPiece<'_> {
    DataPiece { direction: Direction::Read, offset, time: BootTime(SECOND), skipped: 0, causes: LossCauses(0), payload }
}

fn run(pieces: &[DataPiece<'_>]) -> (Reassembly, Vec<Seen>) {
    let mut reassembly = Reassembly::new();
    let mut seen = Vec::new();
    for piece in pieces {
        reassembly.push(*piece, &mut |s| record(&mut seen, s));
    }
    (reassembly, seen)
}

fn bytes(text: &str) -> Seen {
    Seen::Bytes(text.as_bytes().to_vec())
}

#[test]
fn what_comes_in_order_is_given_on_without_a_copy() {
    let payload = b"hello".to_vec();
    let mut reassembly = Reassembly::new();
    let mut same = false;
    reassembly.push(piece(0, &payload), &mut |s| same = matches!(s.body, SegmentBody::Bytes(b) if b.as_ptr() == payload.as_ptr()));
    assert!(same);
    assert_eq!(reassembly.held_bytes(), 0);
}

#[test]
fn early_pieces_wait_and_each_byte_is_given_once() {
    let (reassembly, seen) = run(&[piece(3, b"lo w"), piece(0, b"hel"), piece(5, b" world"), piece(0, b"hello")]);
    assert_eq!(seen, [bytes("hello world")]);
    assert_eq!(reassembly.discarded_bytes(), 2 + 5);
    assert_eq!(reassembly.next_timeout(), None);
}

#[test]
fn a_hole_becomes_a_gap_when_it_was_waited_for() {
    let (mut reassembly, mut seen) = run(&[piece(0, b"ab"), piece(5, b"fg")]);
    let at = reassembly.next_timeout().unwrap();
    assert_eq!(at, BootTime(SECOND + GAP_WAIT_NANOS));
    reassembly.handle_timeout(BootTime(at.0 - 1), &mut |s| record(&mut seen, s));
    assert_eq!(seen, [bytes("ab")]);
    reassembly.handle_timeout(at, &mut |s| record(&mut seen, s));
    assert_eq!(seen, [bytes("ab"), Seen::Gap(Some(3), 0), bytes("fg")]);
    // The lost piece comes after all: too late, counted.
    reassembly.push(piece(2, b"cde"), &mut |s| record(&mut seen, s));
    assert_eq!(seen.len(), 3);
    assert_eq!(reassembly.discarded_bytes(), 3);
}

#[test]
fn a_first_piece_behind_offset_zero_is_behind_a_gap() {
    let (mut reassembly, mut seen) = run(&[piece(7, b"x")]);
    reassembly.end(0, 8, [LossCauses(0); 2], BootTime(SECOND), &mut |s| record(&mut seen, s));
    assert_eq!(seen, [Seen::End, Seen::Gap(Some(7), 0), bytes("x"), Seen::End]);
}

#[test]
fn skipped_bytes_are_a_gap_at_once_and_behind_the_payload() {
    let skipping = DataPiece { skipped: 10, causes: LossCauses::of_kernel(cause::CALL_LIMIT), ..piece(0, b"ab") };
    let (_, seen) = run(&[skipping, skipping, piece(12, b"cd")]);
    assert_eq!(seen, [bytes("ab"), Seen::Gap(Some(10), cause::CALL_LIMIT), bytes("cd")]);
}

#[test]
fn a_hole_that_the_kernel_explains_is_not_waited_for() {
    let after_loss = DataPiece { causes: LossCauses::of_kernel(cause::RING_FULL), ..piece(6, b"gh") };
    let (_, seen) = run(&[piece(0, b"ab"), piece(4, b"ef"), after_loss]);
    assert_eq!(seen, [bytes("ab"), Seen::Gap(Some(2), 0), bytes("efgh")]);
    let (_, seen) = run(&[piece(0, b"ab"), after_loss]);
    assert_eq!(seen, [bytes("ab"), Seen::Gap(Some(4), cause::RING_FULL), bytes("gh")]);
}

#[test]
fn an_uncounted_loss_is_a_gap_of_unknown_size_where_the_offsets_show_none() {
    let (mut reassembly, mut seen) =
        run(&[piece(0, b"ab"), DataPiece { causes: LossCauses::of_kernel(cause::TABLE_FULL), ..piece(2, b"cd") }]);
    assert_eq!(seen, [bytes("ab"), Seen::Gap(None, cause::TABLE_FULL), bytes("cd")]);
    reassembly.end(0, 4, [LossCauses(0), LossCauses::of_kernel(cause::TABLE_FULL)], BootTime(0), &mut |s| record(&mut seen, s));
    assert_eq!(seen.get(3..).unwrap(), [Seen::End, Seen::Gap(None, cause::TABLE_FULL), Seen::End]);
}

#[test]
fn final_offsets_show_a_loss_at_the_end_and_nothing_follows_it() {
    let (mut reassembly, mut seen) = run(&[piece(0, b"ab")]);
    reassembly.end(5, 9, [LossCauses::of_kernel(cause::RING_FULL), LossCauses(0)], BootTime(0), &mut |s| record(&mut seen, s));
    reassembly.push(piece(9, b"late"), &mut |s| record(&mut seen, s));
    reassembly.end(50, 90, [LossCauses(0); 2], BootTime(0), &mut |s| record(&mut seen, s));
    assert_eq!(seen, [bytes("ab"), Seen::Gap(Some(5), cause::RING_FULL), Seen::End, Seen::Gap(Some(7), 0), Seen::End]);
    assert_eq!(reassembly.discarded_bytes(), 4);
}

#[test]
fn shutdown_ends_the_write_half_and_reading_goes_on() {
    let (mut reassembly, mut seen) = run(&[]);
    reassembly.write_shutdown(0, LossCauses::default(), BootTime(0), &mut |s| record(&mut seen, s));
    reassembly.push(piece(0, b"answer"), &mut |s| record(&mut seen, s));
    assert_eq!(seen, [Seen::End, bytes("answer")]);
}

#[test]
fn offsets_at_the_end_of_numbers_are_refused_and_counted() {
    let (reassembly, seen) = run(&[piece(u64::MAX, b"ab"), DataPiece { skipped: 9, ..piece(u64::MAX - 5, b"") }]);
    assert_eq!((seen.len(), reassembly.discarded_bytes()), (0, 2));
}

#[test]
fn waiting_bytes_stay_under_their_bound() {
    let block = vec![7_u8; 60_000];
    let mut reassembly = Reassembly::new();
    let mut given = 0;
    for n in 0..200_u64 {
        reassembly.push(piece(1 + n * 60_001, &block), &mut |s| {
            if let SegmentBody::Bytes(b) = s.body {
                given += b.len();
            }
        });
        assert!(reassembly.held_bytes() <= HELD_BYTES);
    }
    assert_eq!(given + reassembly.held_bytes(), 200 * 60_000);
    let mut small = Reassembly::new();
    let mut given = 0;
    for n in 0..1000_u64 {
        small.push(piece(1 + n * 2, b"x"), &mut |s| given += usize::from(matches!(s.body, SegmentBody::Bytes(_))));
        assert!(small.held_bytes() <= HELD_PIECES);
    }
    assert!(given >= 1000 - HELD_PIECES);
}

/// A stream cut into pieces at the given points.
fn cut(len: usize, cuts: &[usize]) -> Vec<(usize, usize)> {
    let mut points: Vec<usize> = cuts.iter().map(|c| c % len).chain([0, len]).collect();
    points.sort_unstable();
    points.dedup();
    points.windows(2).map(|w| (w[0], w[1])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_duplication_and_cut_gives_the_same_bytes(
        len in 1_usize..400,
        cuts in prop::collection::vec(0_usize..400, 0..20),
        extra in prop::collection::vec((0_usize..400, 0_usize..400), 0..20),
        order in prop::collection::vec(any::<u64>(), 45),
    ) {
        let stream: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut spans = cut(len, &cuts);
        spans.extend(extra.iter().map(|&(a, b)| (a % len, b % len + 1)).filter(|(a, b)| a < b));
        let mut keyed: Vec<_> = spans.into_iter().zip(order).collect();
        keyed.sort_by_key(|(_, key)| *key);
        let pieces: Vec<_> = keyed.iter().map(|((a, b), _)| piece(u64::try_from(*a).unwrap(), &stream[*a..*b])).collect();
        let (reassembly, seen) = run(&pieces);
        prop_assert_eq!(seen, vec![Seen::Bytes(stream)]);
        prop_assert_eq!(reassembly.held_bytes(), 0);
    }

    #[test]
    fn any_lost_pieces_are_gaps_exactly_where_they_were(
        len in 1_usize..400,
        cuts in prop::collection::vec(0_usize..400, 0..30),
        fate in prop::collection::vec((any::<u64>(), 0_u8..4), 32),
    ) {
        let stream: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut kept = Vec::new();
        let mut expected: Vec<Seen> = Vec::new();
        for ((a, b), (key, dice)) in cut(len, &cuts).into_iter().zip(fate) {
            if dice == 0 {
                let lost = u64::try_from(b - a).unwrap();
                if let Some(Seen::Gap(Some(sum), _)) = expected.last_mut() {
                    *sum += lost;
                } else {
                    expected.push(Seen::Gap(Some(lost), 0));
                }
            } else {
                kept.push((a, b, key));
                let bytes = &stream[a..b];
                if let Some(Seen::Bytes(last)) = expected.last_mut() {
                    last.extend(bytes);
                } else {
                    expected.push(Seen::Bytes(bytes.to_vec()));
                }
            }
        }
        expected.push(Seen::End);
        kept.sort_by_key(|(_, _, key)| *key);
        let pieces: Vec<_> = kept.iter().map(|(a, b, _)| piece(u64::try_from(*a).unwrap(), &stream[*a..*b])).collect();
        let (mut reassembly, mut seen) = run(&pieces);
        reassembly.end(0, u64::try_from(len).unwrap(), [LossCauses(0); 2], BootTime(0), &mut |s| {
            if s.direction == Direction::Read { record(&mut seen, s); }
        });
        prop_assert_eq!(seen, expected);
    }
}
