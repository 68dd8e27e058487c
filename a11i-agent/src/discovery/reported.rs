//! Which version of which file was reported. Probes sit at offsets of one version; when the bytes of the same inode are replaced they
//! must go, since every process that maps the file would run into them.

use std::{collections::HashMap, sync::Arc};

use super::file::{Device, FileId};
use crate::attach::{Analysis, Probe};

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

    /// The version to compare with, once per host scan.
    pub(super) fn due(&mut self, key: (Device, u64), generation: u64) -> Option<FileId> {
        let version = self.versions.get_mut(&key).filter(|version| version.checked != generation)?;
        version.checked = generation;
        Some(version.same)
    }

    /// Whether `now` has the bytes of `before`, as far as what is in the file tells; remembered when it has.
    pub(super) fn is_same(&mut self, before: &FileId, now: FileId, analysis: &Analysis) -> bool {
        let Some(version) = self.versions.get_mut(&key_of(before)) else { return true };
        // It may have been reported by its names, and not yet by its code.
        let has = |probes: &[Probe]| analysis.plans.iter().any(|planned| planned.plan.probes == probes);
        let same = version.analysis.build_id == analysis.build_id && version.analysis.plans.iter().all(|was| has(&was.plan.probes));
        if same {
            version.same = now;
        }
        same
    }

    /// The bytes are others now. The version that was reported.
    pub(super) fn withdraw(&mut self, before: &FileId) -> Option<FileId> {
        self.versions.remove(&key_of(before)).map(|version| version.id)
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

    fn version(mtime: i64, ctime: i64) -> FileId {
        FileId { dev: 1, ino: 2, size: 3, mtime, ctime }
    }

    fn analysis(build_id: &str) -> Arc<Analysis> {
        Arc::new(Analysis { build_id: Some(build_id.to_owned()), ..Analysis::default() })
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
