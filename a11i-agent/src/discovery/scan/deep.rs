//! What takes long: a file's code is looked at when nobody waits, after what its names tell.
//!
//! A short program is over within the time that it takes to look through the code of its libraries; most of them have TLS by name or not at
//! all.

use std::collections::{HashSet, VecDeque};

use a11i_common::identity::ProcessId;

use super::{
    super::{
        file::{Device, FileId, OpenedFile},
        files::Analysed,
        maps::Mapping,
        scanner::ScanReport,
    },
    Scan,
};

/// Files that wait, each held open. More are looked at whole at once.
const MOST_WAITING: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Deep {
    waiting: VecDeque<Waiting>,
    known: HashSet<FileId>,
}

struct Waiting {
    file: OpenedFile,
    /// As mappings show it.
    key: (Device, u64),
    namespace: u64,
}

impl Deep {
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < MOST_WAITING
    }

    /// Programs go before libraries: it is they that have TLS linked in. A file that cannot be held open is looked at with its next process.
    pub(super) fn push(&mut self, file: &OpenedFile, mapping: &Mapping, namespace: u64, is_program: bool) {
        if self.known.contains(&file.id()) {
            return;
        }
        let Ok(file) = file.duplicate() else { return };
        self.known.insert(file.id());
        let waiting = Waiting { file, key: (mapping.device, mapping.inode), namespace };
        if is_program { self.waiting.push_front(waiting) } else { self.waiting.push_back(waiting) }
    }
}

impl Scan {
    /// Code is yet to be looked at.
    pub fn has_deep(&self) -> bool {
        !self.deep.waiting.is_empty()
    }

    /// Looks at the code of one more file. `false`: there is none.
    pub fn step_deep(&mut self, reports: &mut dyn FnMut(ScanReport)) -> bool {
        let Some(Waiting { file, key, namespace }) = self.deep.waiting.pop_front() else { return false };
        let id = file.id();
        self.deep.known.remove(&id);
        let analysed = self.files.analyse(file, namespace);
        let Ok(Analysed { analysis: Ok(analysis), is_stable: true, .. }) = analysed else {
            // It did not answer, or is being written: its processes are looked at again.
            self.look_again(key);
            return true;
        };
        if analysis.is_empty() {
            self.empty.add(key.0, key.1, id);
            return true;
        }
        let told = self.reported.plans(&id).unwrap_or(0);
        if told == analysis.plans.len() && analysis.evidence.is_empty() {
            return true;
        }
        if told > 0
            && told < analysis.plans.len()
            && let Some(file) = self.reported.withdraw(&id)
        {
            reports(ScanReport::Changed { file });
        }
        for process in self.look_again(key) {
            self.process(process, reports);
        }
        true
    }

    /// Processes that map the file have not been looked at for its sake.
    fn look_again(&mut self, key: (Device, u64)) -> Vec<ProcessId> {
        let mut processes = Vec::new();
        for (process, known) in &mut self.processes {
            if known.files.remove(&key) {
                known.found.retain(|found| (found.mapping.device, found.mapping.inode) != key);
                known.executable_kib = 0;
                processes.push(*process);
            }
        }
        processes
    }
}
