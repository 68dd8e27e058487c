//! What takes long: a file's code is looked at when nobody waits, after what its names tell.
//!
//! A short program is over within the time that it takes to look through the code of its libraries; most of them have TLS by name or not at
//! all. Which processes wait for a file is remembered by them (`KnownProcess::deep`), by the file's id: what mappings show as its device and
//! inode may be another file's in each container.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use a11i_common::identity::ProcessId;

use super::{
    super::{
        elf::ElfError,
        file::{Device, FileId, OpenedFile},
        files::Analysed,
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
    known: HashSet<FileId>,
    most: usize,
}

struct Waiting {
    file: OpenedFile,
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
        Self { waiting: VecDeque::new(), known: HashSet::new(), most: MOST_WAITING }
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

    /// Programs go before libraries: it is they that have TLS linked in.
    pub(super) fn push(&mut self, file: OpenedFile, mapping: &Mapping, namespace: u64, is_program: bool, matters: bool) {
        self.known.insert(file.id());
        let waiting = Waiting { file, path: mapping.path.clone(), key: (mapping.device, mapping.inode), namespace, matters };
        if is_program { self.waiting.push_front(waiting) } else { self.waiting.push_back(waiting) }
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
        !self.deep.waiting.is_empty()
    }

    /// Looks at the code of one more file, or for the version of one when there is no code left. `false`: there is nothing.
    pub fn step_deep(&mut self, reports: &mut dyn FnMut(ScanReport)) -> bool {
        let is_version = self.deep.waiting.is_empty() && !self.stated.is_empty();
        if is_version {
            self.step_stated(reports);
        }
        is_version || self.step_code(reports)
    }

    /// Looks at the code of one more file. `false`: there is none.
    pub(super) fn step_code(&mut self, reports: &mut dyn FnMut(ScanReport)) -> bool {
        let Some(Waiting { file, path, key, namespace, matters }) = self.deep.waiting.pop_front() else { return false };
        let id = file.id();
        self.deep.known.remove(&id);
        if !self.files.may_search(namespace, Clock::boot_now()) {
            let said = || NotCovered::OverBudget { path: path.clone() };
            self.look_later(&id, matters.then_some(&said), reports);
            return true;
        }
        let (file, analysis) = match self.files.analyse(file, namespace) {
            Ok(Analysed { file, analysis: Ok(analysis), is_stable: true, .. }) => (file, analysis),
            Ok(Analysed { is_stable: false, .. }) => {
                self.look_later(&id, Some(&|| NotCovered::BeingWritten { path: path.clone() }), reports);
                return true;
            }
            Ok(Analysed { analysis: Err(error), .. }) => {
                let error = Arc::new(error);
                let said = || NotCovered::Unreadable { path: path.clone(), source: Arc::clone(&error) };
                // Names were read, so that what is wrong now is most likely the reading.
                let is_said = matters || !matches!(*error, ElfError::Read(_));
                self.look_later(&id, is_said.then_some(&said), reports);
                return true;
            }
            Err(unanswered) => {
                let unanswered = Arc::new(unanswered);
                let said = || NotCovered::Unanswered { path: path.clone(), source: Arc::clone(&unanswered) };
                self.look_later(&id, Some(&said), reports);
                return true;
            }
        };
        if analysis.is_empty() {
            self.empty.add(key.0, key.1, id);
            self.waiting_for(&id);
            return true;
        }
        let known = self.reported.id_of(&id);
        let told = self.reported.plans(&known).unwrap_or(0);
        if told == 0 && !analysis.plans.is_empty() {
            for (process, key) in self.waiting_for(&id) {
                self.look_again(process, key);
                self.process(process, reports);
            }
            return true;
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
        true
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
