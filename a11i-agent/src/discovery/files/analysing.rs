//! From an open file to what it offers: hashed, looked through, and looked at once more where it may have changed meanwhile. Each step is read on
//! another thread, so that other files may be looked at in between.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        deadline::{Awaited, Metered, Pending, Progress},
        elf::ElfError,
        evidence::Evidence,
        file::{ByteSource as _, Device, FileId, OpenedFile},
        fingerprint::{Covered, Hashed},
        script,
    },
    Files, Place, Unanswered,
};
use crate::attach::{Analysis, Depth, analyse_to};

/// A file and what is in it.
pub(in crate::discovery) struct Analysed {
    pub(in crate::discovery) file: OpenedFile,
    pub(in crate::discovery) analysis: Result<Arc<Analysis>, ElfError>,
    /// The file did not change while it was read.
    pub(in crate::discovery) is_stable: bool,
    pub(in crate::discovery) depth: Depth,
}

impl Files {
    pub(in crate::discovery) fn analyse(&mut self, file: OpenedFile, namespace: u64) -> Result<Analysed, Unanswered> {
        self.analyse_to(file, namespace, Depth::Whole)
    }

    /// At least as deep as `depth`: what is known from earlier is given whole.
    pub(in crate::discovery) fn analyse_to(&mut self, file: OpenedFile, namespace: u64, depth: Depth) -> Result<Analysed, Unanswered> {
        let mut analysing = self.begin(file, namespace, depth);
        loop {
            analysing = match analysing.state() {
                State::Done(done) => return done,
                State::UnderWay(analysing) => self.proceed(*analysing, PATIENCE),
            };
        }
    }

    /// Begins to analyse, on a thread of its own: [`Self::proceed`] carries it on, and other files may be looked at in between.
    pub(in crate::discovery) fn begin(&mut self, file: OpenedFile, namespace: u64, depth: Depth) -> Analysing {
        let id = file.id();
        let mut job = Job { id, namespace, depth, depth_now: depth };
        if let Some(known) = self.analyses.get(&id) {
            job.depth = Depth::Whole;
            return job.known(file, known);
        }
        if let Some(known) = self.named.get(&id).filter(|_| depth == Depth::Names) {
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
    pub(in crate::discovery) fn proceed(&mut self, analysing: Analysing, longest: Duration) -> Analysing {
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
        let known = hashed.as_ref().and_then(|hashed| self.by_bytes.get(&hashed.fingerprint));
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
}

/// A file that is being analysed.
pub(in crate::discovery) struct Analysing {
    job: Job,
    stage: Stage,
}

impl Analysing {
    pub(in crate::discovery) fn state(self) -> State {
        match self.stage {
            Stage::Done(done) => State::Done(done),
            stage @ (Stage::Hashing(_) | Stage::Looking { .. } | Stage::Settling { .. }) => {
                State::UnderWay(Box::new(Self { stage, ..self }))
            }
        }
    }
}

/// How far it is.
pub(in crate::discovery) enum State {
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

/// Who has nothing else to do asks again after it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often an analysis may read a file, the windows of small ones apart. Of 450 programs and libraries the costliest (node, with symbols) is
/// read five times.
const TIMES_READ: u64 = 16;
const READ_AT_LEAST: u64 = 64 * 1024 * 1024;
/// Some seconds from memory. Programs of a gigabyte and more are debug builds, which have symbols.
const READ_AT_MOST: u64 = 8 * 1024 * 1024 * 1024;
