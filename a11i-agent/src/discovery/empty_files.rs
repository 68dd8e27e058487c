//! Files that were looked at and hold nothing of interest, by what a mapping shows of them: spares opening them again, and spares the
//! event loop to ask for a look at a process that maps only such files.
//!
//! An inode number is given anew when a file is deleted: what is known by it is forgotten every minute or so.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use super::file::Device;

/// Shared between the scanner, which adds, and the event loop, which asks and never waits.
#[derive(Clone, Debug, Default)]
pub struct EmptyFiles(Arc<RwLock<HashMap<(Device, u64), PathBuf>>>);

impl EmptyFiles {
    pub(super) fn add(&self, device: Device, inode: u64, path: &Path) {
        let mut files = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= MAX_EMPTY {
            files.clear();
        }
        files.insert((device, inode), path.to_owned());
    }

    /// The file that was at `path` when it was looked at.
    pub(super) fn contains(&self, device: Device, inode: u64, path: &Path) -> bool {
        let files = self.0.read().unwrap_or_else(PoisonError::into_inner);
        files.get(&(device, inode)).is_some_and(|known| known == path)
    }

    /// `false` also when the scanner is just adding: a look too many is harmless.
    pub(super) fn is_likely(&self, device: Device, inode: u64) -> bool {
        self.0.try_read().is_ok_and(|files| files.contains_key(&(device, inode)))
    }

    pub(super) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Distinct files that are mapped executable on one node: some ten thousand with many images.
const MAX_EMPTY: usize = 65_536;
