//! What files offer: opened and analysed under a time limit and within their container's budget, remembered by version.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    path::PathBuf,
    sync::Arc,
};

use a11i_common::identity::{BootTime, Pid};

use super::{
    budget::Budgets,
    deadline::{DeadlineWorker, GivenUp, Metered, Stuck},
    elf::ElfError,
    file::{ByteSource as _, Device, FileId, OpenError, OpenedFile, id_of},
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

/// Something did not answer within its time; it is asked again when it has come back.
#[derive(Debug, thiserror::Error)]
#[error("it does not answer: {0}")]
pub struct Unanswered(String);

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
        let id = file.id();
        if let Some(known) = self.analyses.entries.get(&id) {
            return Ok(Analysed { file, analysis: Ok(Arc::clone(known)), is_stable: true, depth: Depth::Whole });
        }
        if let Some(known) = self.named.entries.get(&id).filter(|_| depth == Depth::Names) {
            return Ok(Analysed { file, analysis: Ok(Arc::clone(known)), is_stable: true, depth });
        }
        self.analysed = self.analysed.saturating_add(1);
        let place = Place::Device(Device::of(id.dev));
        self.refuse_stuck(place)?;
        let job = move |progress: &_| {
            let limit = file.len().saturating_mul(TIMES_READ).saturating_add(READ_AT_LEAST).min(READ_AT_MOST);
            let source = Metered::new(&file, progress, limit);
            let analysis = match analyse_to(&source, id, depth) {
                // It was not the disk: the next time it would be the same.
                Err(ElfError::Read(_)) if source.is_exhausted() => Err(ElfError::TooMany { what: "bytes to read", count: limit, limit }),
                // Not ours to read, today and tomorrow: remembered as empty.
                Err(ElfError::NotElf | ElfError::OtherType(_)) if !script::is_script(&file) => Ok(Analysis::default()),
                analysis => analysis,
            };
            let is_stable = file.is_unchanged();
            (file, analysis, is_stable)
        };
        let ((file, analysis, is_stable), bytes) = self.worker.run(namespace, job).map_err(|given_up| self.given_up(place, &given_up))?;
        self.budgets.read(namespace, bytes);
        let analysis = analysis.map(Arc::new);
        if let (true, Ok(analysis)) = (is_stable, &analysis) {
            let cache = if depth == Depth::Whole { &mut self.analyses } else { &mut self.named };
            cache.insert(id, Arc::clone(analysis));
        }
        Ok(Analysed { file, analysis, is_stable, depth })
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
            return Err(Unanswered(format!("{place} has not answered an earlier look")));
        }
        Ok(())
    }

    fn given_up(&mut self, place: Place, given_up: &GivenUp) -> Unanswered {
        if let GivenUp::Stuck(stuck) = given_up {
            self.stuck.push((place, stuck.clone()));
        }
        Unanswered(given_up.to_string())
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

/// Bounded; the oldest entry goes first.
#[derive(Default)]
struct AnalysisCache {
    entries: HashMap<FileId, Arc<Analysis>>,
    order: VecDeque<FileId>,
}

impl AnalysisCache {
    fn insert(&mut self, id: FileId, analysis: Arc<Analysis>) {
        if self.entries.insert(id, analysis).is_none() {
            self.order.push_back(id);
        }
        while self.entries.len() > MAX_ANALYSES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
    }
}

/// Distinct files that are mapped executable on one node: some ten thousand with many images.
const MAX_ANALYSES: usize = 16_384;
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
