use std::{path::Path, sync::mpsc};

use super::*;
use crate::{
    attach::Depth,
    discovery::{
        evidence::Evidence,
        testing::{TempDir, openssl_look_alike},
    },
};

const NOW: BootTime = BootTime(0);
const SOMEWHERE: Place = Place::Namespace(1);

fn open(files: &mut Files, place: Place, path: &Path) -> Result<OpenedFile, Refused> {
    let path = path.to_owned();
    files.open(place, 1, NOW, move || OpenedFile::open(&path))
}

#[test]
fn what_does_not_answer_is_left_alone_until_it_comes_back_and_the_rest_goes_on() {
    let dir = TempDir::new("stuck");
    let library = openssl_look_alike(&dir);
    let mut files = Files::default();
    let (release, gate) = mpsc::sync_channel::<()>(0);
    let dead = Place::Device(Device { major: 0, minor: 99 });
    let first = files.within_time(dead, 1, move || gate.recv().is_ok());
    assert!(matches!(&first, Err(unanswered) if unanswered.to_string().contains("does not answer")), "{first:?}");
    assert!(matches!(open(&mut files, dead, &library), Err(Refused::Unanswered(_))));
    assert_eq!(files.unanswered(), 1, "the second look did not cost a thread");
    let file = open(&mut files, SOMEWHERE, &library).unwrap();
    assert_eq!(files.analyse(file, 1).unwrap_or_else(|error| panic!("{error}")).analysis.unwrap().plans.len(), 1);
    drop(release);
    while files.within_time(dead, 1, || ()).is_err() {
        std::thread::yield_now();
    }
    assert!(open(&mut files, dead, &library).is_ok());
}

fn analyse(files: &mut Files, path: &Path) -> Analysed {
    let file = open(files, SOMEWHERE, path).unwrap();
    files.analyse(file, 1).unwrap()
}

#[test]
fn the_same_program_at_a_second_path_is_not_analysed_again() {
    let dir = TempDir::new("copies");
    let library = openssl_look_alike(&dir);
    let mut files = Files::default();
    let plans = analyse(&mut files, &library).analysis.unwrap().plans.clone();
    let [copy, other] = ["copy", "other"].map(|name| dir.path().join(name));
    std::fs::copy(&library, &copy).unwrap();
    let known = analyse(&mut files, &copy);
    assert_eq!(files.analysed(), 1);
    let known_plans = &known.analysis.as_ref().unwrap().plans;
    assert!(known.is_stable && known_plans.iter().all(|planned| planned.plan.file == known.file.id()));
    assert!(known_plans.iter().zip(&plans).all(|(known, first)| known.plan.is_same_code(&first.plan)) && plans.len() == 1);
    // One byte of its code is another.
    let mut bytes = std::fs::read(&library).unwrap();
    bytes[usize::try_from(plans[0].plan.probes[0].offset).unwrap()] ^= 1;
    std::fs::write(&other, bytes).unwrap();
    assert!(!analyse(&mut files, &other).analysis.unwrap().plans[0].plan.is_same_code(&plans[0].plan));
    assert_eq!(files.analysed(), 2);
}

#[test]
fn a_file_that_gets_another_name_while_it_is_read_is_not_being_written() {
    let dir = TempDir::new("renamed");
    let library = openssl_look_alike(&dir);
    let mut files = Files::default();
    for depth in [Depth::Names, Depth::Whole] {
        let file = open(&mut files, SOMEWHERE, &library).unwrap();
        std::fs::hard_link(&library, dir.path().join(format!("{depth:?}"))).unwrap();
        assert!(!file.is_unchanged());
        assert!(files.analyse_to(file, 1, depth).unwrap().is_stable, "{depth:?}");
    }
    let file = open(&mut files, SOMEWHERE, &library).unwrap();
    std::fs::write(&library, b"another").unwrap();
    assert!(!files.analyse(file, 1).unwrap().is_stable);
}

#[test]
fn a_file_whose_code_takes_too_long_is_told_by_its_names_and_said_not_to_be_searched() {
    let dir = TempDir::new("too-long");
    let library = openssl_look_alike(&dir);
    let mut files = Files::default();
    let file = open(&mut files, SOMEWHERE, &library).unwrap();
    assert!(matches!(files.remember_too_long(file.id(), Unanswered::TooLong), Unanswered::TooLong));
    let told = files.analyse(file, 1).unwrap().analysis.unwrap();
    assert_eq!((told.plans.len(), told.evidence.as_slice()), (1, [Evidence::SearchUnfinished].as_slice()));
    assert!(files.by_bytes.is_empty(), "a copy may be luckier");
}

#[test]
fn a_library_that_is_truncated_and_rewritten_while_it_is_read_gives_an_error_or_its_true_plan() {
    let dir = TempDir::new("truncated");
    let library = openssl_look_alike(&dir);
    let whole = std::fs::read(&library).unwrap();
    let probes = |analysed: &Analysed| analysed.analysis.as_ref().ok().and_then(|a| Some(a.plans.first()?.plan.probes.clone()));
    let mut files = Files::default();
    let file = open(&mut files, SOMEWHERE, &library).unwrap();
    let right = probes(&files.analyse(file, 1).unwrap()).unwrap();
    let (stop, stopped) = mpsc::sync_channel::<()>(0);
    let (path, bytes) = (library.clone(), whole.clone());
    let writer = std::thread::spawn(move || {
        let mut round = 1_usize;
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            std::fs::write(&path, &bytes[..bytes.len() * (round % 7) / 7]).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            round += 1;
        }
    });
    let (mut stable, mut torn) = (0, 0);
    for _ in 0..300 {
        let analysed = files.analyse(OpenedFile::open(&library).unwrap(), 1).unwrap();
        match (analysed.is_stable, probes(&analysed)) {
            (true, Some(found)) => {
                assert_eq!(found, right);
                stable += 1;
            }
            // Torn: whatever was read, it is not remembered and not attached ([`OpenedFile::is_unchanged`]).
            (false, _) | (true, None) => torn += 1,
        }
    }
    drop(stop);
    writer.join().unwrap();
    assert_eq!(stable + torn, 300);
    let file = open(&mut files, SOMEWHERE, &library).unwrap();
    assert_eq!(probes(&files.analyse(file, 1).unwrap()).unwrap(), right);
}
