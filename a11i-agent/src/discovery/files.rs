//! What files offer: opened and analysed under a time limit and within their container's budget, remembered by version.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    hash::Hash,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use a11i_common::identity::{BootTime, Pid};

use super::{
    budget::Budgets,
    deadline::{Awaited, DeadlineWorker, GivenUp, Metered, Pending, Progress, Stuck},
    elf::ElfError,
    evidence::Evidence,
    file::{ByteSource as _, Device, FileId, OpenError, OpenedFile, id_of},
    fingerprint::{Covered, Fingerprint, Hashed},
    script,
};
use crate::attach::{Analysis, Depth, analyse_to};

/// See the module.
#[derive(Default)]
pub(super) struct Files {
    worker: DeadlineWorker,
    budgets: Budgets,
    analyses: AnalysisCache,
    /// Those of [`Depth::Names`].
    named: AnalysisCache,
    /// By what is in the file, wherever it lies.
    by_bytes: AnalysisCache<Fingerprint>,
    /// Files whose code took longer than there is time for.
    too_long: HashSet<FileId>,
    /// What does not answer, for as long as the thread that asked is stuck in it.
    stuck: Vec<(Place, Stuck)>,
    opened: u64,
    analysed: u64,
    postponed: u64,
}

/// What stops answering as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Device(Device),
    /// Paths of a mount namespace that were not yet led to a device.
    Namespace(u64),
    /// The memory map of a process.
    Process(Pid),
}

/// There was no answer in time.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It is asked again when it has come back.
    #[error("it does not answer: {0}")]
    Silent(String),
    /// To look through all of it.
    #[error("it takes too long")]
    TooLong,
}

/// Why a file was not opened this time.
#[derive(Debug)]
pub(super) enum Refused {
    Open(OpenError),
    Unanswered(Unanswered),
    /// Postponed: its container has used up its budget.
    OverBudget,
}

impl From<Unanswered> for Refused {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

/// A file and what is in it.
pub(super) struct Analysed {
    pub(super) file: OpenedFile,
    pub(super) analysis: Result<Arc<Analysis>, ElfError>,
    /// The file did not change while it was read.
    pub(super) is_stable: bool,
    pub(super) depth: Depth,
}

impl Files {
    /// Opens a file by `open`, which may hang, for a process or a library of `namespace`.
    pub(super) fn open(
        &mut self,
        place: Place,
        namespace: u64,
        now: BootTime,
        open: impl FnOnce() -> Result<OpenedFile, OpenError> + Send + 'static,
    ) -> Result<OpenedFile, Refused> {
        self.refuse_stuck(place)?; // costs no budget
        if !self.budgets.open(namespace, now) {
            self.postponed = self.postponed.saturating_add(1);
            return Err(Refused::OverBudget);
        }
        let file = self.within_time(place, namespace, open)?.map_err(Refused::Open)?;
        self.opened = self.opened.saturating_add(1);
        Ok(file)
    }

    pub(super) fn analyse(&mut self, file: OpenedFile, namespace: u64) -> Result<Analysed, Unanswered> {
        self.analyse_to(file, namespace, Depth::Whole)
    }

    /// At least as deep as `depth`: what is known from earlier is given whole.
    pub(super) fn analyse_to(&mut self, file: OpenedFile, namespace: u64, depth: Depth) -> Result<Analysed, Unanswered> {
        let mut analysing = self.begin(file, namespace, depth);
        loop {
            analysing = match analysing.state() {
                State::Done(done) => return done,
                State::UnderWay(analysing) => self.proceed(*analysing, PATIENCE),
            };
        }
    }

    /// Begins to analyse, on a thread of its own: [`Self::proceed`] carries it on, and other files may be looked at in between.
    pub(super) fn begin(&mut self, file: OpenedFile, namespace: u64, depth: Depth) -> Analysing {
        let id = file.id();
        let mut job = Job { id, namespace, depth, depth_now: depth };
        if let Some(known) = self.analyses.entries.get(&id) {
            job.depth = Depth::Whole;
            return job.known(file, known);
        }
        if let Some(known) = self.named.entries.get(&id).filter(|_| depth == Depth::Names) {
            return job.known(file, known);
        }
        if self.too_long.contains(&id) {
            job.depth_now = Depth::Names;
        }
        let stage = if job.depth_now == Depth::Whole {
            self.begin_read(file, namespace, depth, |_, source| Hashed::of(source)).map(Stage::Hashing)
        } else {
            self.begin_look(job, file, None)
        };
        job.at(stage.unwrap_or_else(|unanswered| Stage::Done(Err(self.remember_too_long(id, unanswered)))))
    }

    /// Waits for so long at most.
    pub(super) fn proceed(&mut self, analysing: Analysing, longest: Duration) -> Analysing {
        let Analysing { job, stage } = analysing;
        let next = match stage {
            Stage::Done(done) => Ok(Stage::Done(done)),
            Stage::Hashing(reading) => match self.wait_for(reading, longest) {
                Waited::Reading(reading) => Ok(Stage::Hashing(reading)),
                Waited::Done(hashed) => hashed.and_then(|(file, hashed)| self.handle_hash(job, file, hashed)),
            },
            Stage::Looking { reading, hashed } => match self.wait_for(reading, longest) {
                Waited::Reading(reading) => Ok(Stage::Looking { reading, hashed }),
                Waited::Done(found) => found.and_then(|(file, look)| self.handle_look(job, file, hashed, look)),
            },
            Stage::Settling { reading, hashed, look } => match self.wait_for(reading, longest) {
                Waited::Reading(reading) => Ok(Stage::Settling { reading, hashed, look }),
                Waited::Done(settled) => settled.map(|(file, is_same)| {
                    let is_stable = is_same && !file.is_written();
                    self.settle(job, file, hashed, look, is_stable)
                }),
            },
        };
        job.at(next.unwrap_or_else(|unanswered| Stage::Done(Err(self.remember_too_long(job.id, unanswered)))))
    }

    fn handle_hash(&mut self, job: Job, file: OpenedFile, hashed: Option<Hashed>) -> Result<Stage, Unanswered> {
        let known = hashed.as_ref().and_then(|hashed| self.by_bytes.entries.get(&hashed.fingerprint));
        if let Some(known) = known.filter(|_| file.is_unchanged()).map(|known| Arc::new(known.at(job.id))) {
            self.analyses.insert(job.id, Arc::clone(&known));
            return Ok(job.known(file, &known).stage);
        }
        self.begin_look(job, file, hashed)
    }

    fn begin_look(&mut self, job: Job, file: OpenedFile, hashed: Option<Hashed>) -> Result<Stage, Unanswered> {
        self.analysed = self.analysed.saturating_add(1);
        let before = hashed.clone();
        let Job { namespace, depth_now, .. } = job;
        let reading = self.begin_read(file, namespace, depth_now, move |file, source| look(file, source, depth_now, before.as_ref()))?;
        Ok(Stage::Looking { reading, hashed })
    }

    /// Whether the file did not change while it was read. The time of the inode's change moves with its names too, as every update does to
    /// the version that it replaces: then its bytes are asked once more.
    fn handle_look(&mut self, job: Job, file: OpenedFile, hashed: Option<Hashed>, look: Look) -> Result<Stage, Unanswered> {
        if file.is_unchanged() || file.is_written() {
            let is_stable = !file.is_written();
            return Ok(self.settle(job, file, hashed, look, is_stable));
        }
        let (before, analysis) = (hashed.clone(), look.analysis.as_ref().ok().cloned());
        let Job { namespace, depth_now, .. } = job;
        let reading = self.begin_read(file, namespace, depth_now, move |file, source| match before {
            Some(_) => Hashed::of(source) == before,
            None => self::look(file, source, depth_now, None).analysis.ok() == analysis,
        })?;
        Ok(Stage::Settling { reading, hashed, look })
    }

    fn settle(&mut self, job: Job, file: OpenedFile, hashed: Option<Hashed>, look: Look, is_stable: bool) -> Stage {
        let Job { id, depth, depth_now, .. } = job;
        let Look { analysis, is_covered } = look;
        let analysis = analysis.map(|mut analysis| {
            if depth_now != depth {
                analysis.evidence.push(Evidence::SearchUnfinished);
            }
            Arc::new(analysis)
        });
        if let (true, Ok(analysis)) = (is_stable, &analysis) {
            let cache = if depth == Depth::Whole { &mut self.analyses } else { &mut self.named };
            cache.insert(id, Arc::clone(analysis));
            if let Some(hashed) = hashed.filter(|_| is_covered) {
                self.by_bytes.insert(hashed.fingerprint, Arc::clone(analysis));
            }
        }
        Stage::Done(Ok(Analysed { file, analysis, is_stable, depth }))
    }

    /// It would be the same the next time: then names are all that is told of it.
    fn remember_too_long(&mut self, id: FileId, unanswered: Unanswered) -> Unanswered {
        if matches!(unanswered, Unanswered::TooLong) {
            if self.too_long.len() >= MAX_TOO_LONG {
                self.too_long.clear();
            }
            self.too_long.insert(id);
        }
        unanswered
    }

    /// Begins to read a file of others by `job`, on their budget.
    fn begin_read<T: Send + 'static>(
        &mut self,
        file: OpenedFile,
        namespace: u64,
        depth: Depth,
        job: impl FnOnce(&OpenedFile, &Metered<'_, OpenedFile>) -> T + Send + 'static,
    ) -> Result<Reading<T>, Unanswered> {
        let place = Place::Device(Device::of(file.id().dev));
        self.refuse_stuck(place)?;
        let job = move |progress: &Progress| {
            let limit = file.len().saturating_mul(TIMES_READ).saturating_add(READ_AT_LEAST).min(READ_AT_MOST);
            let answer = progress.computing(|| job(&file, &Metered::new(&file, progress, limit)));
            (file, answer)
        };
        let pending = self.worker.begin(namespace, job).map_err(|given_up| self.given_up(place, &given_up))?;
        Ok(Reading { place, namespace, depth, pending })
    }

    fn wait_for<T>(&mut self, reading: Reading<T>, longest: Duration) -> Waited<T> {
        let Reading { place, namespace, depth, pending } = reading;
        match self.worker.wait_for(pending, longest) {
            Awaited::Pending(pending) => Waited::Reading(Reading { place, namespace, depth, pending }),
            Awaited::Done(Ok((answer, bytes))) => {
                self.budgets.read(namespace, depth, bytes);
                Waited::Done(Ok(answer))
            }
            Awaited::Done(Err(given_up)) => Waited::Done(Err(self.given_up(place, &given_up))),
        }
    }

    /// There is a budget for code left.
    pub(super) fn may_search(&mut self, namespace: u64, now: BootTime) -> bool {
        let may = self.budgets.may_search(namespace, now);
        self.postponed = self.postponed.saturating_add(u64::from(!may));
        may
    }

    /// Nothing that is known of this version of a file holds.
    pub(super) fn forget(&mut self, file: &FileId) {
        self.analyses.remove(file);
        self.named.remove(file);
        self.too_long.remove(file);
    }

    /// Which version of a file is at `path` now; `None`: none that can be told.
    pub(super) fn version(&mut self, place: Place, namespace: u64, path: PathBuf) -> Option<FileId> {
        self.within_time(place, namespace, move || id_of(&path)).ok().flatten()
    }

    /// Does something that touches what belongs to others, for a process or a library of `namespace`.
    pub(super) fn within_time<T: Send + 'static>(
        &mut self,
        place: Place,
        namespace: u64,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        self.refuse_stuck(place)?;
        self.worker.run(namespace, move |_| job()).map(|(answer, _)| answer).map_err(|given_up| self.given_up(place, &given_up))
    }

    pub(super) const fn opened(&self) -> u64 {
        self.opened
    }

    pub(super) const fn analysed(&self) -> u64 {
        self.analysed
    }

    /// Files put off because their container's budget was used up.
    pub(super) const fn postponed(&self) -> u64 {
        self.postponed
    }

    /// Times that something did not answer in time.
    pub(super) const fn unanswered(&self) -> u64 {
        self.worker.given_up()
    }

    fn refuse_stuck(&mut self, place: Place) -> Result<(), Unanswered> {
        self.stuck.retain(|(_, stuck)| !stuck.is_over());
        if self.stuck.iter().any(|(at, _)| *at == place) {
            return Err(Unanswered::Silent(format!("{place} has not answered an earlier look")));
        }
        Ok(())
    }

    fn given_up(&mut self, place: Place, given_up: &GivenUp) -> Unanswered {
        match given_up {
            GivenUp::Stuck(stuck) => self.stuck.push((place, stuck.clone())),
            GivenUp::TooLong => return Unanswered::TooLong,
            GivenUp::TooManyStuck | GivenUp::TooManyOfOne | GivenUp::TooSlow | GivenUp::NoThread(_) => {}
        }
        Unanswered::Silent(given_up.to_string())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(Device { major, minor }) => write!(f, "the file system on device {major}:{minor}"),
            Self::Namespace(namespace) => write!(f, "a file system of mount namespace {namespace}"),
            Self::Process(pid) => write!(f, "the memory map of process {}", pid.0),
        }
    }
}

/// A file that is being analysed.
pub(super) struct Analysing {
    job: Job,
    stage: Stage,
}

impl Analysing {
    pub(super) fn state(self) -> State {
        match self.stage {
            Stage::Done(done) => State::Done(done),
            stage @ (Stage::Hashing(_) | Stage::Looking { .. } | Stage::Settling { .. }) => {
                State::UnderWay(Box::new(Self { stage, ..self }))
            }
        }
    }
}

/// How far it is.
pub(super) enum State {
    UnderWay(Box<Analysing>),
    Done(Result<Analysed, Unanswered>),
}

/// What is analysed, for whom, and how deep.
#[derive(Clone, Copy)]
struct Job {
    id: FileId,
    namespace: u64,
    depth: Depth,
    /// Less than that, where it took too long before.
    depth_now: Depth,
}

impl Job {
    const fn at(self, stage: Stage) -> Analysing {
        Analysing { job: self, stage }
    }

    fn known(self, file: OpenedFile, known: &Arc<Analysis>) -> Analysing {
        self.at(Stage::Done(Ok(Analysed { file, analysis: Ok(Arc::clone(known)), is_stable: true, depth: self.depth })))
    }
}

enum Stage {
    /// Has these bytes been analysed before, wherever?
    Hashing(Reading<Option<Hashed>>),
    Looking {
        reading: Reading<Look>,
        hashed: Option<Hashed>,
    },
    /// Its times have changed: are the bytes the same?
    Settling {
        reading: Reading<bool>,
        hashed: Option<Hashed>,
        look: Look,
    },
    Done(Result<Analysed, Unanswered>),
}

/// A file of others that is being read.
struct Reading<T> {
    place: Place,
    namespace: u64,
    depth: Depth,
    pending: Pending<(OpenedFile, T)>,
}

enum Waited<T> {
    Reading(Reading<T>),
    Done(Result<(OpenedFile, T), Unanswered>),
}

/// What one look found.
struct Look {
    analysis: Result<Analysis, ElfError>,
    /// Nothing was read for it that was not hashed.
    is_covered: bool,
}

fn look(file: &OpenedFile, source: &Metered<'_, OpenedFile>, depth: Depth, hashed: Option<&Hashed>) -> Look {
    let covered = Covered::new(source, hashed.map(|hashed| hashed.extents.as_slice()).unwrap_or_default());
    let analysis = match analyse_to(&covered, file.id(), depth) {
        // It was not the disk: the next time it would be the same.
        Err(ElfError::Read(_)) if source.is_exhausted() => {
            let limit = source.limit();
            Err(ElfError::TooMany { what: "bytes to read", count: limit, limit })
        }
        // Not ours to read, today and tomorrow: remembered as empty.
        Err(ElfError::NotElf | ElfError::OtherType(_)) if !script::is_script(file) => Ok(Analysis::default()),
        analysis => analysis,
    };
    Look { analysis, is_covered: covered.is_kept() }
}

/// Bounded; the oldest entry goes first.
struct AnalysisCache<K = FileId> {
    entries: HashMap<K, Arc<Analysis>>,
    order: VecDeque<K>,
}

impl<K> Default for AnalysisCache<K> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash> AnalysisCache<K> {
    fn insert(&mut self, key: K, analysis: Arc<Analysis>) {
        if self.entries.insert(key, analysis).is_none() {
            self.order.push_back(key);
        }
        while self.entries.len() > MAX_ANALYSES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &K) {
        if self.entries.remove(key).is_some() {
            self.order.retain(|known| known != key);
        }
    }
}

/// Distinct files that are mapped executable on one node: some ten thousand with many images.
const MAX_ANALYSES: usize = 16_384;
/// Each has cost a minute.
const MAX_TOO_LONG: usize = 1_024;
/// Who has nothing else to do asks again after it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often an analysis may read a file, the windows of small ones apart. Of 450 programs and libraries the costliest (node, with symbols) is
/// read five times.
const TIMES_READ: u64 = 16;
const READ_AT_LEAST: u64 = 64 * 1024 * 1024;
/// Some seconds from memory. Programs of a gigabyte and more are debug builds, which have symbols.
const READ_AT_MOST: u64 = 8 * 1024 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::mpsc};

    use super::*;
    use crate::discovery::testing::{TempDir, openssl_look_alike};

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
        assert!(files.by_bytes.entries.is_empty(), "a copy may be luckier");
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
}
