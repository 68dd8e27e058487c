//! One exchange in every framing, every content coding and any cuts, whole and with holes: the same call, or less of it, and never another.

use std::{collections::BTreeSet, fs, io::Write as _, ops::Range};

use a11i_agent::{
    call::LlmCall,
    replay::{Coding, Framed, Framing, Plan, Record, Seed, frame_as, multiplex},
};
use a11i_common::identity::Direction;
use serde_json::Value;

use super::{
    drive::{self, Hole},
    recorded_corpus,
    scenario::{Scenario, scenarios},
    truth::{differences, lies},
    view::view,
};

const BROTLI: Coding = Coding { name: "br", encode: brotli };
const ZSTD: Coding = Coding { name: "zstd", encode: zstd };
const CODINGS: [Option<Coding>; 5] = [None, Some(Coding::GZIP), Some(Coding::DEFLATE), Some(BROTLI), Some(ZSTD)];

fn brotli(body: &[u8]) -> Option<Vec<u8>> {
    let mut writer = brotli::CompressorWriter::new(Vec::new(), 4096, 4, 20);
    writer.write_all(body).ok()?;
    Some(writer.into_inner())
}

fn zstd(body: &[u8]) -> Option<Vec<u8>> {
    zstd::bulk::compress(body, 3).ok()
}

/// Every way to carry an exchange.
fn plans(is_cut: bool) -> impl Iterator<Item = Plan> {
    // A coded body that breaks off may keep back what was sent: only what is not coded gives the same call then.
    let codings = CODINGS.into_iter().filter(move |coding| !is_cut || coding.is_none());
    codings.flat_map(move |coding| Framing::ALL.into_iter().map(move |framing| Plan { framing, coding, is_cut }))
}

fn one_call(calls: Vec<LlmCall>, place: &str) -> LlmCall {
    <[LlmCall; 1]>::try_from(calls).unwrap_or_else(|calls| panic!("{place}: {} calls", calls.len()))[0].clone()
}

fn calls_of(record: &Record, plan: Plan, number: u64) -> Vec<LlmCall> {
    let mut seed = Seed::new(number);
    let framed = frame_as(record, plan, &mut seed);
    drive::drive(&framed, &mut seed, true, None)
}

#[test]
fn a_call_is_the_same_however_it_is_framed_and_coded() {
    for Scenario { folder, framed, record, is_cut } in scenarios() {
        let place = folder.display().to_string();
        let want = view(&one_call(drive::drive(&framed, &mut Seed::new(1), true, None), &place));
        for plan in plans(is_cut) {
            for number in 0..6 {
                let place = format!("{place} as {plan:?} with seed {number}");
                let have = view(&one_call(calls_of(&record, plan, number), &place));
                assert_eq!(differences(&have, &want), Vec::<String>::new(), "{place}");
            }
        }
    }
}

/// Records of each API that are tried, and holes of each exchange in each framing: soon over, and others with another seed.
const SAMPLE: usize = 4;
const OWN_HOLES: u64 = 16;
const RECORDED_HOLES: u64 = 3;
/// Longer ones add time and nothing else.
const SAMPLE_LINE_BYTES: usize = 60_000;

/// What is tried, of what there is no end.
fn seed_of_the_day() -> u64 {
    std::env::var("A11I_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// Numbers of seeds, others each day.
fn numbers(count: u64) -> Range<u64> {
    let first = seed_of_the_day() * 100_000;
    first..first + count
}

/// A sample of every API of the recorded corpus, another with every seed (`A11I_SEED`).
fn recorded_sample(size: usize) -> Vec<Record> {
    let Some(corpus) = recorded_corpus() else { return Vec::new() };
    let number = seed_of_the_day();
    println!("sample by seed {number} (A11I_SEED)");
    let mut seed = Seed::new(number);
    let mut files: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut out = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "jsonl")) {
        let text = fs::read_to_string(file).unwrap();
        let mut lines: Vec<&str> = text.lines().filter(|line| line.len() < SAMPLE_LINE_BYTES).collect();
        for _ in 0..size.min(lines.len()) {
            out.push(Record::parse(lines.swap_remove(seed.size(lines.len() - 1))).unwrap());
        }
    }
    out
}

const PLAIN: Plan = Plan { framing: Framing::ContentLength, coding: None, is_cut: false };

#[test]
fn a_recorded_call_is_the_same_however_it_is_framed_and_coded() {
    for record in recorded_sample(SAMPLE) {
        let want: Vec<Value> = calls_of(&record, PLAIN, 0).iter().map(view).collect();
        for (number, plan) in (0..).zip(plans(false)) {
            let have: Vec<Value> = calls_of(&record, plan, number).iter().map(view).collect();
            let differences = have.iter().zip(&want).flat_map(|(have, want)| differences(have, want)).collect::<Vec<_>>();
            let place = format!("{} as {plan:?} with seed {number}", record.id);
            assert!(have.len() == want.len() && differences.is_empty(), "{place}: {} of {}, {differences:#?}", have.len(), want.len());
        }
    }
}

/// Eight of them side by side, all of them calls: each is found once, and nothing of one is in another.
fn side_by_side(records: &[&Record], number: u64) {
    let mut seed = Seed::new(number);
    let coding = CODINGS[seed.size(CODINGS.len() - 1)];
    let framed = multiplex(records, 8, coding, &mut seed);
    let mut have: Vec<Value> = drive::drive(&framed, &mut seed, true, None).iter().map(view).collect();
    for record in records {
        for want in calls_of(record, PLAIN, 0).iter().map(view) {
            let at = have.iter().position(|call| *call == want);
            let closest = || have.iter().map(|call| differences(call, &want)).min_by_key(Vec::len);
            let at = at.unwrap_or_else(|| panic!("{} with seed {number}, {coding:?}: {:#?}", record.id, closest()));
            have.swap_remove(at);
        }
    }
    assert!(have.is_empty(), "with seed {number}, nobody sent {have:#?}");
}

#[test]
fn calls_side_by_side_on_one_connection_keep_apart() {
    let whole: Vec<Record> = scenarios().into_iter().filter(|it| !it.is_cut).map(|it| it.record).collect();
    let recorded = recorded_sample(SAMPLE);
    for (count, all) in [(40, &whole), (80, &recorded)] {
        for number in numbers(count) {
            let mut seed = Seed::new(number);
            if let Some(most) = all.len().checked_sub(1) {
                let eight: Vec<&Record> = (0..8).map(|_| &all[seed.size(most)]).collect();
                side_by_side(&eight, number);
            }
        }
    }
}

/// A hole in `framed`, of 1 byte to many.
fn hole(framed: &Framed, seed: &mut Seed) -> Hole {
    let direction = if seed.below(2) == 0 { Direction::Write } else { Direction::Read };
    let length = if direction == Direction::Write { framed.request.len() } else { framed.response.len() };
    let largest = [0, 8, 60, 800, 20_000][seed.size(4)];
    let size = 1 + seed.size(largest);
    let start = seed.size(length - 1);
    Hole { direction, bytes: start..(start + size).min(length) }
}

/// What can be said of holes in it: nothing wrong. How many of the calls were found.
fn with_holes(record: &Record, is_cut: bool, holes: Range<u64>) -> (usize, usize) {
    let (mut tried, mut found) = (0, 0);
    for plan in plans(is_cut) {
        let truth = drive::truth(record, Plan { framing: Framing::ContentLength, coding: None, is_cut });
        for number in holes.clone() {
            let mut seed = Seed::new(number);
            let framed = frame_as(record, plan, &mut seed);
            let hole = hole(&framed, &mut seed);
            let calls = drive::drive(&framed, &mut seed, false, Some(&hole));
            let place = format!("{} as {plan:?} with seed {number} and {hole:?}", record.id);
            tried += usize::from(truth.is_some());
            found += calls.len();
            match (calls.as_slice(), &truth) {
                ([], _) => {}
                ([call], Some(truth)) => {
                    let lies = lies(call, truth);
                    assert!(lies.is_empty(), "{place}: {lies:?}, {:#?}", differences(&view(call), truth));
                }
                // Its path is none that is known; its body is one of a call all the same.
                ([call], None) => assert!(!call.completeness.is_whole(), "{place}"),
                (calls, _) => panic!("{} calls: {place}", calls.len()),
            }
        }
    }
    (tried, found)
}

#[test]
fn a_gap_anywhere_in_any_framing_marks_the_call_and_never_makes_a_number_wrong() {
    let (mut tried, mut found) = (0, 0);
    for Scenario { record, is_cut, .. } in scenarios() {
        let (t, f) = with_holes(&record, is_cut, numbers(OWN_HOLES));
        (tried, found) = (tried + t, found + f);
    }
    println!("{found} of {tried} calls with a hole were recognised");
    // What hits the head of the request hides what it was, in HTTP/1; half of the holes are in requests that are mostly heads.
    assert!(found * 100 >= tried * 80, "{found} of {tried}");
}

#[test]
fn a_gap_anywhere_in_a_recorded_exchange_never_makes_a_number_wrong() {
    let (mut tried, mut found) = (0, 0);
    for record in recorded_sample(SAMPLE) {
        let (t, f) = with_holes(&record, false, numbers(RECORDED_HOLES));
        (tried, found) = (tried + t, found + f);
    }
    println!("{found} of {tried} recorded calls with a hole were recognised");
}

#[test]
fn a_gap_among_calls_side_by_side_never_mixes_them() {
    let own: Vec<Record> = scenarios().into_iter().filter(|it| !it.is_cut).map(|it| it.record).collect();
    let recorded = recorded_sample(SAMPLE);
    for (count, all) in [(100, &own), (100, &recorded)] {
        let truths: Vec<Option<Value>> = all.iter().map(|record| drive::truth(record, PLAIN)).collect();
        for number in numbers(count) {
            let mut seed = Seed::new(number);
            let Some(most) = all.len().checked_sub(1) else { continue };
            let chosen: Vec<usize> = (0..8).map(|_| seed.size(most)).collect();
            let records: Vec<&Record> = chosen.iter().map(|at| &all[*at]).collect();
            let coding = CODINGS[seed.size(CODINGS.len() - 1)];
            let framed = multiplex(&records, 8, coding, &mut seed);
            let hole = hole(&framed, &mut seed);
            let calls = drive::drive(&framed, &mut seed, false, Some(&hole));
            assert!(calls.len() <= 8);
            for call in &calls {
                // Who it was is not told where its head is lost: it has to be one of them, as a whole.
                let closest = chosen.iter().filter_map(|at| truths[*at].as_ref()).map(|truth| lies(call, truth)).min_by_key(Vec::len);
                let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
                assert_eq!(closest, Some(Vec::new()), "seed {number}, {hole:?}, {coding:?}: {:#} of {ids:?}", view(call));
            }
        }
    }
}

/// A connection whose beginning nobody saw, and with it the entries of its header tables: calls made afterwards are recognised by what
/// they say anew, and say what they lack.
#[test]
fn calls_on_a_connection_that_was_joined_late_are_recognised_and_true() {
    let whole: Vec<Record> =
        scenarios().into_iter().filter(|it| !it.is_cut && it.record.request.method == "POST").map(|it| it.record).collect();
    let (mut tried, mut found, mut marked) = (0, 0, 0);
    for record in &whole {
        let truth = drive::truth(record, PLAIN).unwrap();
        for number in numbers(10) {
            let mut seed = Seed::new(number);
            // The same call again and again, as programs make them; the first ones before anybody looked.
            let framed = multiplex(&[record; 4], 1, None, &mut seed);
            let late = JoinedLate::new(&framed, &mut seed);
            let calls = drive::in_segments(&late.segments);
            let place = format!("{} with seed {number}", record.id);
            assert!(calls.len() <= late.requests, "{place}: {} of {}", calls.len(), late.requests);
            (tried, found) = (tried + late.requests, found + calls.len());
            for call in &calls {
                let lies = lies(call, &truth);
                assert!(lies.is_empty(), "{place}: {lies:?}, {:#?}", differences(&view(call), &truth));
                marked += usize::from(!call.completeness.is_whole());
            }
        }
    }
    println!("{found} of {tried} calls on connections joined late were recognised, {marked} of them marked");
    // Some frames that come first do not show what the connection is, and some bodies do not show what they are.
    assert!(found * 10 >= tried * 8 && marked > 0, "{found} of {tried}, {marked} marked");
}

/// The rest of a connection, in pieces that libraries write: whole frames.
struct JoinedLate<'a> {
    segments: Vec<(Direction, &'a [u8])>,
    /// Requests that begin in it.
    requests: usize,
}

impl<'a> JoinedLate<'a> {
    fn new(framed: &'a Framed, seed: &mut Seed) -> Self {
        let joined = 1 + seed.size(framed.turns.len() / 2);
        let (mut sides, mut known, mut out) = ([framed.request.as_slice(), &framed.response], BTreeSet::new(), Vec::new());
        let mut requests = BTreeSet::new();
        for (nth, turn) in framed.turns.iter().enumerate() {
            let side = &mut sides[usize::from(turn.direction == Direction::Read)];
            let (mut said, rest) = side.split_at(turn.length);
            *side = rest;
            if nth == 0 || said.starts_with(b"PRI * ") {
                said = said.strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap_or(said);
            }
            while !said.is_empty() {
                let mut length = 0;
                for _ in 0..=seed.below(3) {
                    let Some(&[l2, l1, l0, kind, _, s3, s2, s1, s0]) = said[length..].first_chunk::<9>() else { break };
                    let stream = u32::from_be_bytes([s3, s2, s1, s0]);
                    if kind == 1 && turn.direction == Direction::Write && known.insert(stream) && nth >= joined {
                        requests.insert(stream);
                    }
                    length += 9 + usize::try_from(u32::from_be_bytes([0, l2, l1, l0])).unwrap();
                }
                let (segment, rest) = said.split_at(length);
                said = rest;
                if nth >= joined {
                    out.push((turn.direction, segment));
                }
            }
        }
        Self { segments: out, requests: requests.len() }
    }
}
