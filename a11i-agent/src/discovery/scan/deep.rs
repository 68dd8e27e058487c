//! What takes long: a file's code is looked at on another thread, after what its names tell.
//!
//! A short program is over within the time that it takes to look through the code of its libraries; most of them have TLS by name or not at
//! all. Which processes wait for a file is remembered by them (`KnownProcess::deep`), by the file's id: what mappings show as its device and
//! inode may be another file's in each container.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use a11i_common::identity::ProcessId;

use super::{
    super::{
        elf::ElfError,
        file::{Device, FileId, OpenedFile},
        files::{Analysed, Analysing, State, Unanswered},
        maps::Mapping,
        scanner::{Candidate, NotCovered, ScanReport},
    },
    Scan,
};
use crate::{attach::Depth, clock::Clock};

/// Files that wait, each held open. More are looked at whole at once.
const MOST_WAITING: usize = 256;

/// See the module.
pub(super) struct Deep {
    waiting: VecDeque<Waiting>,
    /// The one that is being looked at, on another thread.
    under_way: Option<(Facts, Analysing)>,
    /// Those that wait or are looked at.
    known: HashSet<FileId>,
    most: usize,
}

struct Waiting {
    file: OpenedFile,
    is_program: bool,
    facts: Facts,
}

struct Facts {
    id: FileId,
    /// As its first process sees it.
    path: PathBuf,
    /// As mappings show it.
    key: (Device, u64),
    namespace: u64,
    /// Somebody runs it, or it is named like a TLS library: that it cannot be read is worth a word.
    matters: bool,
}

/// Where a file stands that is about to be looked at.
pub(super) enum Turn {
    /// Its code waits already.
    Waits,
    /// Its code may wait: held open for it.
    MayWait(OpenedFile),
    /// Nothing of it can be put off: no room, or no descriptor.
    Now,
}

impl Turn {
    pub(super) const fn depth(&self) -> Depth {
        match self {
            Self::Waits | Self::MayWait(_) => Depth::Names,
            Self::Now => Depth::Whole,
        }
    }
}

impl Default for Deep {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), under_way: None, known: HashSet::new(), most: MOST_WAITING }
    }
}

impl Deep {
    pub(super) fn turn(&self, file: &OpenedFile) -> Turn {
        if self.known.contains(&file.id()) {
            return Turn::Waits;
        }
        let held = if self.waiting.len() < self.most { file.duplicate().ok() } else { None };
        held.map_or(Turn::Now, Turn::MayWait)
    }

    pub(super) fn push(&mut self, file: OpenedFile, mapping: &Mapping, namespace: u64, is_program: bool, matters: bool) {
        let id = file.id();
        self.known.insert(id);
        let facts = Facts { id, path: mapping.path.clone(), key: (mapping.device, mapping.inode), namespace, matters };
        self.waiting.push_back(Waiting { file, is_program, facts });
    }

    /// What somebody waits for goes before what those who mapped it left behind, which is for those that map it next. Programs go before
    /// libraries: it is they that have TLS linked in.
    fn next(&mut self, is_awaited: impl Fn(&FileId) -> bool) -> Option<Waiting> {
        let rank = |waiting: &Waiting| (!is_awaited(&waiting.facts.id), !waiting.is_program);
        let (first, _) = self.waiting.iter().enumerate().min_by_key(|(_, waiting)| rank(waiting))?;
        self.waiting.remove(first)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> Vec<PathBuf> {
        self.waiting.iter().map(|waiting| waiting.facts.path.clone()).collect()
    }

    /// Nothing may wait any more.
    #[cfg(test)]
    pub(super) fn close(&mut self) {
        self.most = 0;
    }
}

impl Scan {
    /// Code is yet to be looked at, or a version to be told.
    pub fn has_deep(&self) -> bool {
        self.has_code() || !self.stated.is_empty()
    }

    /// Code is yet to be looked at.
    pub(super) fn has_code(&self) -> bool {
        self.is_searching() || !self.deep.waiting.is_empty()
    }

    /// Code is being looked at, on another thread.
    pub fn is_searching(&self) -> bool {
        self.deep.under_way.is_some()
    }

    /// Looks whether the code that is looked at is done with, or begins with one more file, or tells the version of one when there is no code
    /// left. Waits for nothing that takes long. `false`: there is nothing.
    pub fn step_deep(&mut self, reports: &mut dyn FnMut(ScanReport)) -> bool {
        let is_version = !self.has_code() && !self.stated.is_empty();
        if is_version {
            self.step_stated(reports);
        }
        is_version || self.step_code(Duration::ZERO, reports)
    }

    /// The same for code alone. Waits for so long at most.
    pub(super) fn step_code(&mut self, longest: Duration, reports: &mut dyn FnMut(ScanReport)) -> bool {
        let (facts, analysing) = match self.deep.under_way.take() {
            Some(under_way) => under_way,
            None => match self.begin_code(reports) {
                None => return self.has_code(),
                Some(begun) => begun,
            },
        };
        match self.files.proceed(analysing, longest).state() {
            State::Done(analysed) => self.handle_code(facts, analysed, reports),
            State::UnderWay(analysing) => self.deep.under_way = Some((facts, *analysing)),
        }
        true
    }

    /// None: there is none, or not now.
    fn begin_code(&mut self, reports: &mut dyn FnMut(ScanReport)) -> Option<(Facts, Analysing)> {
        let awaited: HashSet<FileId> = self.processes.values().flat_map(|known| known.deep.keys().copied()).collect();
        let Waiting { file, facts, .. } = self.deep.next(|id| awaited.contains(id))?;
        if !self.files.may_search(facts.namespace, Clock::boot_now()) {
            self.deep.known.remove(&facts.id);
            let said = || NotCovered::OverBudget { path: facts.path.clone() };
            self.look_later(&facts.id, facts.matters.then_some(&said), reports);
            return None;
        }
        let analysing = self.files.begin(file, facts.namespace, Depth::Whole);
        Some((facts, analysing))
    }

    fn handle_code(&mut self, facts: Facts, analysed: Result<Analysed, Unanswered>, reports: &mut dyn FnMut(ScanReport)) {
        let Facts { id, path, key, matters, .. } = facts;
        self.deep.known.remove(&id);
        let (file, analysis) = match analysed {
            Ok(Analysed { file, analysis: Ok(analysis), is_stable: true, .. }) => (file, analysis),
            Ok(Analysed { is_stable: false, .. }) => {
                self.look_later(&id, Some(&|| NotCovered::BeingWritten { path: path.clone() }), reports);
                return;
            }
            Ok(Analysed { analysis: Err(error), .. }) => {
                let error = Arc::new(error);
                let said = || NotCovered::Unreadable { path: path.clone(), source: Arc::clone(&error) };
                // Names were read, so that what is wrong now is most likely the reading.
                let is_said = matters || !matches!(*error, ElfError::Read(_));
                self.look_later(&id, is_said.then_some(&said), reports);
                return;
            }
            Err(unanswered) => {
                let unanswered = Arc::new(unanswered);
                let said = || NotCovered::Unanswered { path: path.clone(), source: Arc::clone(&unanswered) };
                self.look_later(&id, Some(&said), reports);
                return;
            }
        };
        if analysis.is_empty() {
            self.empty.add(key.0, key.1, id);
            self.waiting_for(&id);
            return;
        }
        let known = self.reported.id_of(&id);
        let told = self.reported.plans(&known).unwrap_or(0);
        if told == 0 && !analysis.plans.is_empty() {
            for (process, key) in self.waiting_for(&id) {
                self.look_again(process, key);
                self.process(process, reports);
            }
            return;
        }
        for (process, _) in self.waiting_for(&id) {
            for evidence in &analysis.evidence {
                reports(ScanReport::NotCovered { process, reason: NotCovered::Unsupported { path: path.clone(), evidence: *evidence } });
            }
        }
        // Whoever maps the file is covered by its named plans, or by none at all.
        if told < analysis.plans.len() {
            let (file, analysis) = if known == id { (file, analysis) } else { (file.known_as(known), Arc::new(analysis.at(known))) };
            self.reported.extend(&known, Arc::clone(&analysis));
            reports(ScanReport::More { candidate: Candidate { file, path, analysis } });
        }
    }

    /// The file is looked at again with the next host scan, which its processes are told once.
    fn look_later(&mut self, id: &FileId, said: Option<&dyn Fn() -> NotCovered>, reports: &mut dyn FnMut(ScanReport)) {
        for (process, key) in self.waiting_for(id) {
            self.look_again(process, key);
            let Some(known) = self.processes.get_mut(&process) else { continue };
            if let Some(reason) = said
                && known.said.insert(key)
            {
                reports(ScanReport::NotCovered { process, reason: reason() });
            }
        }
    }

    /// Processes that waited for the file, each with what its mappings show of it. They wait no longer.
    fn waiting_for(&mut self, id: &FileId) -> Vec<(ProcessId, (Device, u64))> {
        self.processes.iter_mut().filter_map(|(process, known)| Some((*process, known.deep.remove(id)?))).collect()
    }

    /// The process has not been looked at for the file's sake.
    fn look_again(&mut self, process: ProcessId, key: (Device, u64)) {
        if let Some(known) = self.processes.get_mut(&process) {
            known.files.remove(&key);
            known.found.retain(|found| (found.mapping.device, found.mapping.inode) != key);
            known.executable_kib = 0;
        }
    }
}
