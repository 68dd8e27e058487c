//! Which version of which file was reported. Probes sit at offsets of one version; when the bytes of the same inode are replaced they
//! must go, since every process that maps the file would run into them.

use std::{collections::HashMap, sync::Arc};

use super::file::{Device, FileId};
use crate::attach::{Analysis, Planned};

/// See the module. By the device and inode that the opened file states.
#[derive(Default)]
pub(super) struct Reported {
    versions: HashMap<(Device, u64), Version>,
}

struct Version {
    id: FileId,
    /// The newest that was found to have the same bytes.
    same: FileId,
    analysis: Arc<Analysis>,
    /// Host scan in which it was last looked at or reported.
    checked: u64,
}

/// What [`Reported::due`] is asked by. `/proc/PID/maps` shows another device where a file system has several (btrfs, overlay).
pub(super) fn key_of(id: &FileId) -> (Device, u64) {
    (Device::of(id.dev), id.ino)
}

impl Reported {
    /// A file is reported in this version. The version reported before, if another one: its probes must go first.
    pub(super) fn report(&mut self, id: FileId, analysis: Arc<Analysis>, generation: u64) -> Option<FileId> {
        let key = key_of(&id);
        if let Some(known) = self.versions.get_mut(&key).filter(|known| known.id == id) {
            known.checked = generation;
            return None;
        }
        if self.versions.len() >= MAX_REPORTED && !self.versions.contains_key(&key) {
            return None;
        }
        self.versions.insert(key, Version { id, same: id, analysis, checked: generation }).map(|before| before.id)
    }

    /// The version that was reported and its analysis, where only names of the file have changed since: its size, its time and the code at
    /// its probes are the same.
    pub(super) fn renamed(&mut self, now: FileId, analysis: &Analysis, generation: u64) -> Option<(FileId, Arc<Analysis>)> {
        let version = self.versions.get_mut(&key_of(&now))?;
        let before = version.id;
        let is_told = |planned: &Planned| version.analysis.plans.iter().any(|told| told.plan.is_same_code(&planned.plan));
        let is_renamed = before != now
            && (before.size, before.mtime) == (now.size, now.mtime)
            && version.analysis.build_id == analysis.build_id
            && !analysis.plans.is_empty()
            && analysis.plans.iter().all(is_told);
        if !is_renamed {
            return None;
        }
        (version.same, version.checked) = (now, generation);
        Some((before, Arc::clone(&version.analysis)))
    }

    /// What a file is reported as: its own id, or the one from before its names changed.
    pub(super) fn id_of(&self, id: &FileId) -> FileId {
        self.versions.get(&key_of(id)).filter(|version| version.same == *id).map_or(*id, |version| version.id)
    }

    /// The version to compare with, once per host scan.
    pub(super) fn due(&mut self, key: (Device, u64), generation: u64) -> Option<FileId> {
        let version = self.versions.get_mut(&key).filter(|version| version.checked != generation)?;
        version.checked = generation;
        Some(version.same)
    }

    /// Whether `now` has the bytes of `before`, as far as what is in the file tells (the code at its probes does, and probes are refused where
    /// it is another); remembered when it has.
    pub(super) fn is_same(&mut self, before: &FileId, now: FileId, analysis: &Analysis) -> bool {
        let Some(version) = self.versions.get_mut(&key_of(before)) else { return true };
        // It may have been reported by its names, and not yet by its code.
        let mut plans = version.analysis.plans.iter();
        let is_there = plans.all(|was| analysis.plans.iter().any(|planned| planned.plan.is_same_code(&was.plan)));
        let same = version.analysis.build_id == analysis.build_id && is_there;
        if same {
            version.same = now;
        }
        same
    }

    /// The bytes are others now. The version that was reported.
    pub(super) fn withdraw(&mut self, before: &FileId) -> Option<FileId> {
        self.versions.remove(&key_of(before)).map(|version| version.id)
    }

    /// As [`Self::withdraw`], unless another version has been reported since.
    pub(super) fn withdraw_version(&mut self, id: &FileId) {
        if self.versions.get(&key_of(id)).is_some_and(|version| version.id == *id) {
            self.withdraw(id);
        }
    }

    /// How many plans were reported of this version.
    pub(super) fn plans(&self, id: &FileId) -> Option<usize> {
        self.versions.get(&key_of(id)).filter(|version| version.id == *id).map(|version| version.analysis.plans.len())
    }

    /// More was found in this version than was reported first.
    pub(super) fn extend(&mut self, id: &FileId, analysis: Arc<Analysis>) {
        if let Some(version) = self.versions.get_mut(&key_of(id)).filter(|version| version.id == *id) {
            version.analysis = analysis;
        }
    }

    /// Files that no process was seen to use for long: when they are mapped again, their version is told by opening them.
    pub(super) fn forget_unused(&mut self, generation: u64) {
        if self.versions.len() >= MAX_REPORTED {
            self.versions.retain(|_, version| generation.saturating_sub(version.checked) < SCANS_UNTIL_FORGOTTEN);
        }
    }
}

/// Twice the files that can have probes.
const MAX_REPORTED: usize = 8_192;
/// Ten minutes and more: as long as probes outlive the last user of a file.
const SCANS_UNTIL_FORGOTTEN: u64 = 150;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attach::{Probe, ProbeKind, ProbePlan, ProgramName},
        call::{CaptureLibrary, CaptureMethod},
    };

    fn version(mtime: i64, ctime: i64) -> FileId {
        FileId { dev: 1, ino: 2, size: 3, mtime, ctime }
    }

    fn analysis(build_id: &str) -> Arc<Analysis> {
        Arc::new(Analysis { build_id: Some(build_id.to_owned()), ..Analysis::default() })
    }

    #[test]
    fn other_code_at_the_same_offsets_is_another_version() {
        let with_code = |byte: u8| {
            let plan = ProbePlan {
                file: version(1, 1),
                library: CaptureLibrary::OpenSsl,
                method: CaptureMethod::Symbol,
                probes: vec![Probe { program: ProgramName::TlsRead, kind: ProbeKind::Entry, symbol: String::new(), offset: 64 }],
                code: vec![[byte; 16]],
            };
            let planned = Planned { plan: Arc::new(plan), version: None, refused: Vec::new() };
            Arc::new(Analysis { plans: vec![planned], ..Analysis::default() })
        };
        let mut reported = Reported::default();
        reported.report(version(1, 1), with_code(1), 1);
        assert!(reported.is_same(&version(1, 1), version(1, 2), &with_code(1)));
        assert!(!reported.is_same(&version(1, 2), version(1, 3), &with_code(2)));
        let renamed = reported.renamed(version(1, 4), &with_code(1), 2).map(|(before, _)| before);
        assert_eq!(renamed, Some(version(1, 1)), "a process that maps it under its new name has the file that was reported");
        assert_eq!(reported.renamed(version(1, 5), &with_code(2), 2), None);
        assert_eq!(reported.renamed(version(2, 5), &with_code(1), 2), None);
    }

    #[test]
    fn another_version_of_an_inode_ends_the_one_before() {
        let mut reported = Reported::default();
        assert_eq!(reported.report(version(1, 1), analysis("a"), 1), None);
        assert_eq!(reported.report(version(1, 1), analysis("a"), 1), None);
        assert_eq!(reported.report(version(2, 2), analysis("b"), 2), Some(version(1, 1)));
    }

    #[test]
    fn a_change_of_name_is_no_change_of_bytes_and_is_looked_at_once() {
        let mut reported = Reported::default();
        let key = (Device::of(1), 2);
        reported.report(version(1, 1), analysis("a"), 1);
        assert_eq!(reported.due(key, 1), None, "just reported");
        assert_eq!(reported.due(key, 2), Some(version(1, 1)));
        assert_eq!(reported.due(key, 2), None, "once per scan");
        assert!(reported.is_same(&version(1, 1), version(1, 5), &analysis("a")));
        assert_eq!(reported.due(key, 3), Some(version(1, 5)));
        assert!(!reported.is_same(&version(1, 5), version(1, 6), &analysis("b")));
        assert_eq!(reported.withdraw(&version(1, 5)), Some(version(1, 1)), "by the id that was reported");
    }
}
