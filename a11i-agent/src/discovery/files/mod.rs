//! What files offer: opened and analysed under a time limit and within their container's budget, remembered by version.

mod analysing;
mod cache;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt, path::PathBuf};

use a11i_common::identity::{BootTime, Pid};

pub(super) use self::analysing::{Analysed, Analysing, State};
use self::cache::AnalysisCache;
use super::{
    budget::Budgets,
    deadline::{DeadlineWorker, GivenUp, Stuck},
    file::{Device, FileId, OpenError, OpenedFile, id_of},
    fingerprint::Fingerprint,
};

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

/// Each has cost a minute.
const MAX_TOO_LONG: usize = 1_024;
