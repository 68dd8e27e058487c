use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
    rc::Rc,
};

use a11i_common::identity::Pid;
use aya::programs::ProgramError;

use super::*;
use crate::{
    attach::{Probe, ProbeKind, ProgramName, groups::Group, plan::code_at},
    call::{CaptureLibrary, CaptureMethod},
    discovery::testing::TempDir,
};

/// The kernel's own "not supported".
const ENOTSUPP: i32 = 524;

/// Links that are there: of which process, and where.
type Live = Rc<RefCell<BTreeMap<u32, (Option<u32>, Vec<u64>)>>>;

/// A kernel that refuses what it is told to.
#[derive(Default)]
struct Fake {
    next: u32,
    live: Live,
    /// Links that were closed, and the last that was made by then.
    closed: Rc<RefCell<Vec<(u32, u32)>>>,
    /// By offset.
    instructions: Rc<RefCell<HashMap<u64, i32>>>,
    /// By process.
    processes: Rc<RefCell<HashMap<u32, AnError>>>,
}

#[derive(Clone, Copy)]
enum AnError {
    Number(i32),
    Unanswered,
}

impl Kernel for Fake {
    type Link = u32;

    fn attach(&mut self, group: &Group, _: &Path, process: Option<NonZeroU32>, _: AttachmentId) -> Result<u32, AttachError> {
        let offsets: Vec<u64> = group.points.iter().map(|(offset, _)| *offset).collect();
        let kernel = |number| AttachError::Kernel {
            program: group.program,
            count: offsets.len(),
            source: ProgramError::IOError(io::Error::from_raw_os_error(number)),
        };
        match process.and_then(|process| self.processes.borrow().get(&process.get()).copied()) {
            Some(AnError::Number(number)) => return Err(kernel(number)),
            Some(AnError::Unanswered) => return Err(AttachError::Unanswered),
            None => {}
        }
        if let Some(number) = offsets.iter().find_map(|offset| self.instructions.borrow().get(offset).copied()) {
            return Err(kernel(number));
        }
        self.next += 1;
        self.live.borrow_mut().insert(self.next, (process.map(NonZeroU32::get), offsets));
        Ok(self.next)
    }

    fn detach(&mut self, _: &'static str, link: u32) -> Result<(), AttachError> {
        self.closed.borrow_mut().push((link, self.next));
        self.live.borrow_mut().remove(&link).map(drop).ok_or(AttachError::Changed)
    }
}

/// Links over a kernel that can be told what to refuse, and a file with plans at these offsets.
struct Scene {
    links: Links<Fake>,
    file: FileId,
    plans: Vec<Arc<ProbePlan>>,
    live: Live,
    closed: Rc<RefCell<Vec<(u32, u32)>>>,
    instructions: Rc<RefCell<HashMap<u64, i32>>>,
    processes: Rc<RefCell<HashMap<u32, AnError>>>,
    _dir: TempDir,
}

impl Scene {
    fn of(offsets: &[u64]) -> Self {
        let dir = TempDir::new("links");
        let path = dir.path().join("library");
        std::fs::write(&path, [7; 1024]).unwrap();
        let opened = OpenedFile::open(&path).unwrap();
        let file = opened.id();
        let plans: Vec<_> = offsets.iter().map(|offset| plan(&opened, *offset)).collect();
        let kernel = Fake::default();
        let (live, closed) = (Rc::clone(&kernel.live), Rc::clone(&kernel.closed));
        let (instructions, processes) = (Rc::clone(&kernel.instructions), Rc::clone(&kernel.processes));
        let mut links = Links::over(kernel, AttachMode::Multi, Some(AttachMode::Multi), true);
        links.add(opened, plans.clone()).unwrap();
        Self { links, file, plans, live, closed, instructions, processes, _dir: dir }
    }

    fn everyone(&mut self) -> Result<Moved, AttachError> {
        self.links.set_reach(&self.file, &goal(Reach::Everyone), None)
    }

    fn processes(&mut self, pids: &[u32], until: Option<BootTime>) -> Moved {
        let reach = Reach::Processes(pids.iter().copied().map(process).collect());
        self.links.set_reach(&self.file, &goal(reach), until).unwrap()
    }

    /// Where there are probes for everyone (`None`) or a process, in order.
    fn probed(&self, process: Option<u32>) -> Vec<u64> {
        let live = self.live.borrow();
        let mut offsets: Vec<u64> = live.values().filter(|(of, _)| *of == process).flat_map(|(_, offsets)| offsets.clone()).collect();
        offsets.sort_unstable();
        offsets
    }
}

fn plan(file: &OpenedFile, offset: u64) -> Arc<ProbePlan> {
    let probe = |program, kind, offset| Probe { program, kind, symbol: String::new(), offset };
    // Two links of two programs.
    let probes =
        vec![probe(ProgramName::TlsWrite, ProbeKind::Entry, offset), probe(ProgramName::SessionFree, ProbeKind::Entry, offset + 8)];
    let code = probes.iter().map(|probe| code_at(file, probe.offset).unwrap()).collect();
    Arc::new(ProbePlan { file: file.id(), library: CaptureLibrary::OpenSsl, method: CaptureMethod::Symbol, probes, code })
}

const fn goal(reach: Reach) -> Goal {
    Goal { reach, is_for_a_moment: false }
}

const fn process(pid: u32) -> ProcessId {
    ProcessId { pid: Pid(pid), start_ticks: 1 }
}

fn pids(failed: &[(ProcessId, AttachError)]) -> Vec<u32> {
    failed.iter().map(|(process, _)| process.pid.0).collect()
}

#[test]
fn a_plan_that_the_kernel_will_not_probe_leaves_the_others_of_its_file() {
    // At the first or at the second of its probes, of whichever plan.
    for (number, refused) in [(0, 0), (100, 1), (200, 2), (108, 1)] {
        let begin = [0, 100, 200][refused];
        for errno in [libc::EINVAL, ENOTSUPP, libc::ENOEXEC, libc::EILSEQ] {
            let mut scene = Scene::of(&[0, 100, 200]);
            scene.instructions.borrow_mut().insert(number, errno);
            assert_eq!(scene.everyone().unwrap().failed.len(), 0);
            let others: Vec<u64> = [0, 8, 100, 108, 200, 208].into_iter().filter(|at| *at != begin && *at != begin + 8).collect();
            assert_eq!((scene.probed(None), scene.links.probes(&scene.file)), (others, 4), "{number}, {errno}");
            assert_eq!(scene.links.reach(&scene.file), Reach::Everyone);
            let told = scene.links.take_refusals(&scene.file);
            assert_eq!(told.iter().map(|(plan, _)| plan).collect::<Vec<_>>(), [&scene.plans[refused]]);
            let [said] = scene.links.refused(&scene.file) else { panic!("not one") };
            assert!(said.plan == scene.plans[refused] && said.reason.contains("refused"), "{said:?}");
            // It is not tried again, and nothing is missing.
            assert!(scene.links.is_at(&scene.file, &goal(Reach::Everyone)) && scene.links.take_refusals(&scene.file).is_empty());
        }
    }
}

#[test]
fn a_file_of_which_no_plan_can_be_probed_has_no_links_and_nothing_is_known_of_single_plans() {
    let mut scene = Scene::of(&[0, 100]);
    scene.instructions.borrow_mut().extend([(0, ENOTSUPP), (100, ENOTSUPP)]);
    assert!(scene.everyone().is_err_and(|error| error.is_final()));
    assert_eq!((scene.probed(None), scene.links.reach(&scene.file)), (vec![], Reach::Nobody));
    assert_eq!(scene.links.refused(&scene.file), []);
    scene.instructions.borrow_mut().clear();
    assert!(scene.everyone().is_ok());
    assert_eq!(scene.probed(None), [0, 8, 100, 108]);
}

#[test]
fn what_may_pass_is_no_refusal_and_what_was_linked_before_it_stays() {
    let mut scene = Scene::of(&[0, 100, 200]);
    scene.instructions.borrow_mut().extend([(0, ENOTSUPP), (200, libc::ENOMEM)]);
    assert!(scene.everyone().is_err_and(|error| !error.is_final()));
    assert_eq!((scene.probed(None), scene.links.reach(&scene.file)), (vec![100, 108], Reach::Everyone));
    assert_eq!(scene.links.refused(&scene.file).len(), 1);
    assert!(!scene.links.is_at(&scene.file, &goal(Reach::Everyone)), "the third is missing");
    scene.instructions.borrow_mut().remove(&200);
    assert!(scene.everyone().is_ok());
    assert_eq!(scene.probed(None), [100, 108, 200, 208]);
    assert!(scene.links.is_at(&scene.file, &goal(Reach::Everyone)));
}

#[test]
fn a_plan_that_is_added_and_refused_leaves_those_that_are_added_with_it() {
    let mut scene = Scene::of(&[0, 100, 200]);
    let first = scene.plans[0].clone();
    let dir = TempDir::new("links-more");
    let path = dir.path().join("library");
    std::fs::write(&path, [7; 1024]).unwrap();
    let opened = OpenedFile::open(&path).unwrap();
    let at = |plan: &Arc<ProbePlan>| Arc::new(ProbePlan { file: opened.id(), ..(**plan).clone() });
    let (file, plans) = (opened.id(), scene.plans.iter().map(at).collect::<Vec<_>>());
    let first = at(&first);
    scene.links.add(opened, vec![first]).unwrap();
    scene.file = file;
    scene.everyone().unwrap();
    scene.instructions.borrow_mut().insert(100, ENOTSUPP);
    assert!(scene.links.extend(&file, &plans).unwrap());
    assert!(scene.everyone().is_ok() && scene.links.is_whole(&file));
    assert_eq!(scene.probed(None), [0, 8, 200, 208]);
    assert!(!scene.links.extend(&file, &plans).unwrap(), "a refused plan is no news");
}

#[test]
fn processes_that_cannot_be_reached_are_told_with_the_reason_and_others_have_links() {
    let mut scene = Scene::of(&[0, 100]);
    scene.processes.borrow_mut().extend([(2, AnError::Number(libc::ESRCH)), (4, AnError::Number(libc::EMFILE))]);
    let moved = scene.processes(&[1, 2, 3, 4, 5], None);
    assert_eq!((pids(&moved.failed), moved.is_unfinished), (vec![2, 4], false));
    assert_eq!(moved.failed.iter().map(|(_, error)| error.is_ended_process()).collect::<Vec<_>>(), [true, false]);
    assert_eq!(scene.links.reach(&scene.file), Reach::Processes([1, 3, 5].map(process).into()));
    assert_eq!((scene.probed(Some(3)), scene.probed(Some(4))), (vec![0, 8, 100, 108], vec![]));
    // Those that have links keep them, the others are tried again.
    let before = scene.live.borrow().clone();
    scene.processes.borrow_mut().remove(&4);
    assert_eq!(pids(&scene.processes(&[1, 2, 3, 4, 5], None).failed), [2]);
    assert_eq!(scene.probed(Some(4)), [0, 8, 100, 108]);
    assert!(before.iter().all(|(link, of)| scene.live.borrow().get(link) == Some(of)));
}

#[test]
fn a_file_that_does_not_answer_for_one_process_is_not_asked_for_the_next() {
    let mut scene = Scene::of(&[0]);
    scene.processes.borrow_mut().insert(2, AnError::Unanswered);
    let moved = scene.processes(&[1, 2, 3, 4], None);
    assert_eq!(pids(&moved.failed), [2, 3, 4]);
    assert!(moved.failed.iter().all(|(_, error)| matches!(error, AttachError::Unanswered)));
    assert_eq!(scene.links.reach(&scene.file), Reach::Processes([process(1)].into()));
}

#[test]
fn a_move_that_takes_long_remembers_whom_it_could_not_reach_and_keeps_everyones_links_until_its_end() {
    let mut scene = Scene::of(&[0]);
    scene.everyone().unwrap();
    scene.processes.borrow_mut().insert(1, AnError::Number(libc::EMFILE));
    // One process in each turn.
    for turn in 1..=2 {
        let moved = scene.processes(&[1, 2, 3], Some(BootTime(0)));
        assert!(moved.is_unfinished && moved.failed.is_empty(), "{turn}: {moved:?}");
        assert_eq!(scene.probed(None), [0, 8], "{turn}");
    }
    let moved = scene.processes(&[1, 2, 3], Some(BootTime(0)));
    assert_eq!((pids(&moved.failed), moved.is_unfinished), (vec![1], false));
    assert_eq!((scene.probed(None), scene.probed(Some(2)), scene.probed(Some(3))), (vec![], vec![0, 8], vec![0, 8]));
}

#[test]
fn what_is_withdrawn_leaves_nothing_that_passes_for_links() {
    for for_everyone in [true, false] {
        let mut scene = Scene::of(&[0]);
        if for_everyone {
            scene.everyone().unwrap();
        } else {
            scene.processes(&[1, 2], None);
        }
        let plan = Arc::clone(&scene.plans[0]);
        scene.links.withdraw(&scene.file, &plan);
        assert_eq!((scene.links.reach(&scene.file), scene.links.probes(&scene.file)), (Reach::Nobody, 0));
        assert!(scene.live.borrow().is_empty() && scene.links.attachments().next().is_none());
        assert_eq!(scene.links.scoped, 0);
    }
}

#[test]
fn a_process_that_ended_leaves_no_links() {
    let mut scene = Scene::of(&[0, 100]);
    scene.processes(&[1, 2], None);
    scene.links.remove_process(process(1));
    assert_eq!((scene.probed(Some(1)), scene.probed(Some(2)).len(), scene.links.scoped), (vec![], 4, 1));
    scene.links.remove(&scene.file);
    assert!(scene.live.borrow().is_empty() && scene.links.scoped == 0);
}

#[test]
fn a_process_that_runs_another_program_is_never_without_links_while_they_are_made_anew() {
    let mut scene = Scene::of(&[0, 100]);
    scene.processes(&[1, 2], None);
    let before: Vec<u32> = scene.live.borrow().keys().copied().collect();
    scene.links.begin_turn();
    assert_eq!(scene.links.renew_process(process(1)), [scene.file]);
    assert_eq!((scene.probed(Some(1)), scene.probed(Some(2)), scene.links.scoped), (vec![0, 8, 100, 108], vec![0, 8, 100, 108], 2));
    assert_eq!(scene.live.borrow().keys().filter(|link| before.contains(link)).count(), before.len() / 2, "the other process's");
    let (first_new, last_old) = (before.iter().max().unwrap() + 1, scene.closed.borrow().clone());
    assert!(last_old.iter().all(|(_, made_by_then)| *made_by_then >= first_new + 3), "{last_old:?}");
    // What fails now is told by the next move.
    scene.links.begin_turn();
    scene.processes.borrow_mut().insert(1, AnError::Number(libc::EMFILE));
    assert_eq!(scene.links.renew_process(process(1)), [scene.file]);
    assert_eq!((scene.probed(Some(1)), scene.links.scoped), (vec![], 1));
    assert_eq!(pids(&scene.processes(&[1, 2], None).failed), [1]);
}

#[test]
fn a_process_whose_links_are_of_the_program_that_it_runs_keeps_them() {
    let mut scene = Scene::of(&[0, 100]);
    scene.processes(&[1], None);
    scene.links.begin_turn();
    scene.processes(&[1, 2], None);
    let before = scene.live.borrow().clone();
    assert_eq!(scene.links.renew_process(process(2)), []);
    assert_eq!((&*scene.live.borrow(), scene.links.scoped), (&before, 2));
    assert_eq!(scene.links.renew_process(process(1)), [scene.file]);
    assert_eq!(scene.probed(Some(1)), [0, 8, 100, 108]);
}
