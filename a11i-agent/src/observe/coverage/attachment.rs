//! From what is wanted to links: new files, moves, merges, ends.

use std::{collections::hash_map::Entry, sync::Arc};

use super::{
    Coverage, DetachReason, MAX_USED_FILES, Note,
    users::{Need, Refusal, Used, wanted},
};
use crate::{
    attach::{AttachError, links::MAX_FILES, scope::Reach},
    clock::Clock,
    discovery::{file::FileId, scanner::Candidate},
    observe::command::NotCoveredReport,
};

impl Coverage {
    /// A file with plans, and who needs its probes.
    pub(super) fn attach(&mut self, candidate: Candidate, need: Need) {
        let Candidate { file: opened, path, analysis } = candidate;
        let file = self.aliases.resolve(opened.id());
        if self.files.len() >= MAX_USED_FILES && !self.files.contains_key(&file) {
            return self.tell_full(&path.display().to_string());
        }
        if self.links.len() >= MAX_FILES && !self.links.knows(&file) {
            self.detach_idle(0);
        }
        let used = match self.files.entry(file) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Used::of(path, &analysis)),
        };
        used.add(need);
        let was_cautious = self.hazards.is_cautious();
        if let Need::Process(process) = need {
            let hazard = self.hazards.look(process);
            if let Some(user) = used.processes.get_mut(&process) {
                user.hazard = hazard;
            }
            if let Some(hazard) = hazard {
                let report = NotCoveredReport { reason: hazard.reason().to_owned(), remedy: Some(hazard.remedy().to_owned()) };
                self.say_not_covered(process, report);
            }
        }
        let is_refused = self.files.get(&file).is_some_and(|used| used.refusal.is_some());
        if !is_refused && !self.links.knows(&file) {
            let plans = analysis.plans.iter().map(|planned| Arc::clone(&planned.plan)).collect();
            if let Err(error) = self.links.add(opened, plans) {
                self.refuse(&file, error);
            }
        }
        if self.hazards.is_cautious() == was_cautious {
            return self.reconcile(&file);
        }
        // The first endangered process of this host: nobody is probed unseen any more.
        for file in self.files.keys().copied().collect::<Vec<_>>() {
            self.reconcile(&file);
        }
    }

    /// Makes the links what they should be. Whoever has a right to probes keeps those that it has meanwhile.
    pub(super) fn reconcile(&mut self, file: &FileId) {
        let Some(used) = self.files.get(file) else { return };
        if !self.links.knows(file) {
            return;
        }
        let limited = self.guard.is_limited(file);
        let rank = |process: a11i_common::identity::ProcessId| {
            let talks = self.talking.get(&process.pid) == Some(&process);
            (!self.guard.excludes(file, process.pid)).then_some(u8::from(!talks))
        };
        let reach = if self.is_off { Reach::Nobody } else { wanted(used, limited, self.hazards.is_cautious(), rank) };
        let before = self.links.reach(file);
        if before == reach {
            return self.note_reach(file, &reach);
        }
        match self.links.set_reach(file, &reach) {
            Ok(failed) => {
                for (process, error) in failed.into_iter().filter(|(_, error)| !error.is_ended_process()) {
                    let report = NotCoveredReport { reason: error.to_string(), remedy: Some(error.remedy().to_owned()) };
                    self.say_not_covered(process, report);
                }
            }
            Err(error) if before == Reach::Nobody => self.refuse(file, error),
            Err(error) => tracing::warn!(%error, "a file keeps its probes for single processes: it cannot be attached for everyone"),
        }
        let reach = self.links.reach(file);
        self.note_reach(file, &reach);
        self.publish_scope();
    }

    fn note_reach(&mut self, file: &FileId, reach: &Reach) {
        let Some(used) = self.files.get_mut(file) else { return };
        used.handle_reach(reach, Clock::boot_now());
        let is_attached = *reach != Reach::Nobody;
        if std::mem::replace(&mut used.is_attached, is_attached) == is_attached {
            return;
        }
        let (path, library, probes) = (used.path.display().to_string(), used.library, used.probes);
        let files = self.attached_files();
        self.tell(if is_attached {
            Note::Attached { path, library, probes, files }
        } else {
            Note::Detached { path, why: DetachReason::Nobody, probes, files }
        });
    }

    /// Two names of one inode: the first keeps its probes and takes over the users of the other.
    pub(super) fn merge(&mut self, kept: FileId, gone: FileId) {
        let Some(mut other) = self.files.remove(&gone) else { return };
        let (path, probes, was_attached) = (other.path.display().to_string(), other.probes, other.is_attached);
        other.is_attached = false;
        let Some(used) = self.files.get_mut(&kept) else {
            self.files.insert(gone, other);
            return;
        };
        used.absorb(other);
        self.aliases.merge(gone, kept);
        self.guard.forget(&gone);
        self.reconcile(&kept);
        self.links.remove(&gone);
        if was_attached {
            let files = self.attached_files();
            self.tell(Note::Detached { path, why: DetachReason::SameInode, probes, files });
        }
    }

    /// The file and everything known of it; the next process that maps it begins anew.
    pub(super) fn drop_file(&mut self, file: &FileId, why: DetachReason) {
        let Some(used) = self.files.remove(file) else { return };
        self.links.remove(file);
        self.aliases.forget(file);
        self.guard.forget(file);
        self.said_full = false;
        if used.is_attached {
            let files = self.attached_files();
            self.tell(Note::Detached { path: used.path.display().to_string(), why, probes: used.probes, files });
        }
        self.publish_scope();
    }

    fn refuse(&mut self, file: &FileId, error: AttachError) {
        self.links.remove(file);
        let Some(used) = self.files.get_mut(file) else { return };
        let path = used.path.display().to_string();
        if matches!(error, AttachError::TooManyFiles) {
            // There may be room later, when the next process with this file is found.
            return self.tell_full(&path);
        }
        used.refusal = Some(Refusal { reason: error.to_string(), remedy: error.remedy() });
        self.tell(Note::AttachFailed { path, error });
    }

    fn tell_full(&mut self, path: &str) {
        if !std::mem::replace(&mut self.said_full, true) {
            self.tell(Note::AttachFailed { path: path.to_owned(), error: AttachError::TooManyFiles });
        }
    }

    fn attached_files(&self) -> usize {
        self.files.values().filter(|used| used.is_attached).count()
    }
}
