use super::{
    trial::{CONTRADICTED_NANOS, CONTRADICTIONS, REPAIRS},
    *,
};
use crate::{
    attach::{Probe, ProbeKind, ProgramName},
    call::CaptureLibrary,
    discovery::file::FileId,
};

fn plan(offset: u64, method: CaptureMethod) -> Arc<ProbePlan> {
    let probe = Probe { program: ProgramName::TlsWrite, kind: ProbeKind::Entry, symbol: String::new(), offset };
    Arc::new(ProbePlan { file: FileId::default(), library: CaptureLibrary::BoringSsl, method, probes: vec![probe], code: vec![[7; 16]] })
}

fn said(fitting: u64, contradicting: u64) -> ProbeEvidence {
    ProbeEvidence { fitting: [fitting, 0], contradicting: [0, contradicting] }
}

const ONE: AttachmentId = AttachmentId(1);
const TWO: AttachmentId = AttachmentId(2);
const LATER: BootTime = BootTime(CONTRADICTED_NANOS);

fn on_trial(plans: &[(AttachmentId, &Arc<ProbePlan>)]) -> Trials {
    let mut trials = Trials::default();
    trials.follow(plans.iter().copied());
    trials
}

#[test]
fn what_is_only_contradicted_for_long_enough_is_wrong_for_good_wherever_its_code_is() {
    let (wrong, other) = (plan(1, CaptureMethod::Anchor), plan(2, CaptureMethod::Anchor));
    let mut trials = on_trial(&[(ONE, &wrong), (TWO, &other)]);
    let read = |n: u64| move |id: AttachmentId| Some(if id == ONE { said(0, n) } else { said(0, 0) });
    assert_eq!(trials.handle_evidence(read(1_000), BootTime(0)), Verdicts::default(), "at once");
    assert_eq!(trials.handle_evidence(read(1_000), LATER).wrong, [Arc::clone(&wrong)]);
    assert_eq!(trials.handle_evidence(read(2_000), LATER.plus_nanos(1)).wrong, [], "once");
    let copy = ProbePlan { file: FileId { ino: 9, ..FileId::default() }, ..(*wrong).clone() };
    assert_eq!((trials.state(&copy), trials.state(&other)), (ProbationState::Disproven, ProbationState::OnProbation));
    assert_eq!(trials.follow(std::iter::empty()).len(), 2);
    assert_eq!(trials.state(&wrong), ProbationState::Disproven);
}

#[test]
fn few_contradictions_are_none() {
    let plan = plan(1, CaptureMethod::Structure);
    let mut trials = on_trial(&[(ONE, &plan)]);
    for second in 0..1_000 {
        let verdicts = trials.handle_evidence(|_| Some(said(0, CONTRADICTIONS - 1)), BootTime(second * 1_000_000_000));
        assert_eq!(verdicts, Verdicts::default());
    }
}

#[test]
fn one_call_that_fits_outweighs_all_that_contradict_and_so_does_http() {
    let plan = plan(1, CaptureMethod::Structure);
    let mut trials = on_trial(&[(ONE, &plan), (TWO, &plan)]);
    let read = |id: AttachmentId| Some(if id == ONE { said(1, 0) } else { said(0, 1_000) });
    for now in [BootTime(0), LATER, LATER.plus_nanos(1)] {
        assert!(trials.handle_evidence(read, now).wrong.is_empty());
    }
    let both = |_| Some(ProbeEvidence { fitting: [1, 1], contradicting: [0, 1_000] });
    let settled = trials.handle_evidence(both, LATER.plus_nanos(2)).settled;
    assert_eq!((trials.state(&plan), settled.len()), (ProbationState::Proven, 2));

    let mut trials = on_trial(&[(ONE, &plan)]);
    trials.handle_http(ONE);
    for now in [BootTime(0), LATER] {
        assert!(trials.handle_evidence(|_| Some(said(0, 1_000)), now).wrong.is_empty());
    }
}

#[test]
fn a_direction_that_is_never_understood_is_said_although_the_other_one_is_until_a_call_fits() {
    for (direction, state) in [ProbationState::WritesNotUnderstood, ProbationState::ReadsNotUnderstood].into_iter().enumerate() {
        let plan = plan(1, CaptureMethod::Structure);
        let mut trials = on_trial(&[(ONE, &plan)]);
        let mut evidence = ProbeEvidence::default();
        (evidence.fitting[1 - direction], evidence.contradicting[direction]) = (9, CONTRADICTIONS);
        assert_eq!(trials.handle_evidence(|_| Some(evidence), BootTime(0)), Verdicts::default());
        assert_eq!(trials.state(&plan), ProbationState::Proven);
        assert_eq!(trials.handle_evidence(|_| Some(evidence), LATER).half, [Arc::clone(&plan)]);
        assert_eq!(trials.handle_evidence(|_| Some(evidence), LATER.plus_nanos(1)), Verdicts::default(), "once");
        assert_eq!(trials.state(&plan), state);
        // Attachments of later are listened to as well.
        let later = trials.follow([(ONE, &plan), (TWO, &plan)].into_iter());
        assert_eq!(later, [Change::Begin(TWO)]);
        evidence.fitting[direction] = 1;
        let verdicts = trials.handle_evidence(|id| (id == ONE).then_some(evidence), LATER.plus_nanos(2));
        assert_eq!((verdicts.settled.len(), trials.state(&plan)), (2, ProbationState::Proven));
        assert_eq!(trials.follow([(ONE, &plan), (TWO, &plan), (AttachmentId(3), &plan)].into_iter()), []);
    }
}

#[test]
fn code_that_is_attached_is_never_forgotten_and_what_finds_no_room_is_said_once() {
    const MOST: usize = 8;
    let plans: Vec<_> = (0..=MOST as u64).map(|offset| plan(offset, CaptureMethod::Structure)).collect();
    let ids: Vec<_> = (0..=MOST as u64).map(AttachmentId).collect();
    let all = || ids.iter().copied().zip(&plans);
    let mut trials = Trials { most: MOST, ..Trials::default() };
    assert_eq!(trials.follow(all().take(MOST)).len(), MOST);
    trials.handle_http(ONE);
    // All links are made anew, as a move does, with one more in front.
    let last = (ids[MOST], &plans[MOST]);
    let moved = |id: AttachmentId| AttachmentId(id.0 + 1_000_000);
    let all_moved = || std::iter::once(last).chain(all().take(MOST).map(|(id, plan)| (moved(id), plan)));
    let changes = trials.follow(all_moved());
    let is_begun = |change: &Change| matches!(change, Change::Begin(_));
    assert_eq!((changes.last(), changes.iter().filter(|change| is_begun(change)).count()), (Some(&Change::Refused(last.0)), MOST));
    assert_eq!(trials.follow(all_moved()), [], "said once");
    assert_eq!((trials.by_number.len(), trials.state(&plans[1])), (MOST, ProbationState::Proven));
    trials.follow(std::iter::once(last).chain(all().take(MOST)));
    // One of them is attached no more: there is room.
    let changes = trials.follow(std::iter::once(last).chain(all().take(MOST).skip(1)));
    assert_eq!(changes, [Change::Forget(ids[0]), Change::Begin(last.0)]);
    assert_eq!(trials.follow(all().skip(1).map(|(id, plan)| (moved(id), plan))).len(), 2 * MOST);
    assert_eq!((trials.by_number.len(), trials.state(&plans[1])), (MOST, ProbationState::Proven));
}

#[test]
fn silence_is_no_contradiction() {
    let plan = plan(1, CaptureMethod::Anchor);
    let mut trials = on_trial(&[(ONE, &plan)]);
    assert_eq!(trials.handle_evidence(|_| Some(said(0, 0)), BootTime(u64::MAX)), Verdicts::default());
    assert_eq!(trials.state(&plan), ProbationState::OnProbation);
}

#[test]
fn functions_with_names_are_not_on_trial() {
    let plan = plan(1, CaptureMethod::Symbol);
    let mut trials = Trials::default();
    assert_eq!(trials.follow([(ONE, &plan)].into_iter()), []);
    assert_eq!(trials.state(&plan), ProbationState::NotNeeded);
}

/// `Finished` of TLS 1.3 behind a content type in front of the payload.
fn sample() -> RustlsSample {
    let mut sample = RustlsSample { words: [0; 7], behind: [[0; 2]; 7], further: [0; 7], sequence: 0 };
    sample.words = [0x0005_0002, 0, 0x5555_0000_1000, 36, 0, 0, 0];
    sample.behind[2] = [u64::from_le_bytes([20, 0, 0, 32, 1, 2, 3, 4]), 0];
    sample
}

#[test]
fn a_layout_is_found_once_and_told_of_every_attachment_of_the_code_also_of_later_ones() {
    let plan = plan(1, CaptureMethod::Structure);
    let mut trials = on_trial(&[(ONE, &plan), (TWO, &plan)]);
    assert_eq!(trials.repair(), []);
    trials.handle_sample(ONE, sample());
    let mut told = trials.repair();
    told.sort_by_key(|(id, _)| id.0);
    let [(ONE, layout), (TWO, same)] = *told.as_slice() else { panic!("{told:?}") };
    assert_eq!((layout, layout.content_type, layout.slices, layout.slice), (same, 0, 8, 16));
    assert_eq!(trials.repair(), []);
    let later = trials.follow([(AttachmentId(3), &plan)].into_iter());
    assert!(later.contains(&Change::Begin(AttachmentId(3))), "{later:?}");
    assert_eq!((later.len(), trials.untold()), (3, vec![(AttachmentId(3), layout)]));
}

#[test]
fn a_layout_is_told_until_the_kernel_half_knows_it_and_the_last_one_ends_the_sampling() {
    let plan = plan(1, CaptureMethod::Structure);
    let mut trials = on_trial(&[(ONE, &plan), (TWO, &plan)]);
    assert_eq!(trials.untold(), []);
    // Two versions of the library in one program: each connection of the one makes records of the other unreadable.
    let mut other = sample();
    other.words = [0, 0x5555_0000_1000, 36, 0, 0x0005_0002, 0, 0];
    other.behind = [[0; 2]; 7];
    other.behind[1] = sample().behind[2];
    let mut layouts = Vec::new();
    for repair in 1..=REPAIRS {
        trials.handle_sample(ONE, if repair % 2 == 1 { sample() } else { other });
        let told = trials.repair();
        assert_eq!(told.len(), 2, "{repair}");
        let untold = trials.untold();
        assert_eq!(untold.len(), 2, "{repair}");
        let (_, layout) = untold[0];
        assert_eq!(u32::from(layout.is_final), u32::from(repair == REPAIRS), "{repair}");
        // There was room for one of them.
        trials.handle_told(ONE, layout);
        assert_eq!(trials.untold(), [(TWO, layout)]);
        trials.handle_told(TWO, layout);
        assert_eq!(trials.untold(), []);
        layouts.push(layout);
    }
    assert_ne!(layouts[0], layouts[1]);
    trials.handle_sample(ONE, sample());
    assert_eq!((trials.repair(), trials.untold()), (vec![], vec![]));
}
