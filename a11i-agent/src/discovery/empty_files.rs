//! Files that were looked at and hold nothing of interest, by what a mapping shows of them: spares opening them again, and spares the
//! event loop to ask for a look at a process that maps only such files.
//!
//! An inode number is given anew when a file is deleted (a program that is built again often gets the one it had): the scanner compares
//! versions, and what the event loop goes by is forgotten every minute or so.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::file::{Device, FileId};

/// Shared between the scanner, which adds, and the event loop, which asks and never waits.
#[derive(Clone, Debug, Default)]
pub struct EmptyFiles(Arc<RwLock<HashMap<(Device, u64), FileId>>>);

impl EmptyFiles {
    /// `version`: of the file that was looked at.
    pub(super) fn add(&self, device: Device, inode: u64, version: FileId) {
        let mut files = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= MAX_EMPTY {
            files.clear();
        }
        files.insert((device, inode), version);
    }

    /// The version that was looked at; whether that is the one that is mapped now, the caller finds out.
    pub(super) fn version(&self, device: Device, inode: u64) -> Option<FileId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&(device, inode)).copied()
    }

    /// Another file has its place.
    pub(super) fn remove(&self, device: Device, inode: u64) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&(device, inode));
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
