//! One `run` per host: two would report every call twice.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Place, PlaceError};
use crate::{clock::Clock, export::timestamp::rfc3339};

/// Who observes this host, as it wrote into the lock file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub since_unix_nanos: u64,
    pub version: String,
}

impl Holder {
    fn this_process() -> Self {
        Self { pid: std::process::id(), since_unix_nanos: Clock::unix_now(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Anybody who is root may have written it: no control characters.
        write!(f, "a11i {} as process {} since {}", self.version.escape_debug(), self.pid, rfc3339(self.since_unix_nanos))
    }
}

#[derive(Debug, Error)]
pub enum LockError {
    /// Another agent has it; what it wrote, where that can be read.
    #[error("this host is observed already, by {}", .0.as_ref().map_or_else(|| "an agent that does not say who it is".to_owned(), Holder::to_string))]
    Held(Option<Holder>),
    /// Another agent sees another folder; what both see is the kernel.
    #[error("this host is observed already, by process {pid}, which has its lock file in a folder that is not seen here")]
    Elsewhere { pid: u32 },
    /// There is no lock to be had.
    #[error("there is no place for the lock file: {0}")]
    Place(#[from] PlaceError),
    #[error("the lock file cannot be used: {0}")]
    File(io::Error),
}

/// Held for as long as this lives; the kernel gives it back however the process ends.
#[derive(Debug)]
pub struct HostLock {
    place: Place,
    file: File,
    /// The file could not be written (a full disk): who comes second is not told who is first.
    pub unwritten: Option<io::Error>,
}

/// Attempts when the file is replaced between opening and locking: whoever removes it does so once.
const ATTEMPTS: usize = 8;

/// More than a holder writes.
const HOLDER_BYTES: u64 = 4096;

impl HostLock {
    /// Takes it, or says at once who has it.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(place: Place) -> Result<Self, LockError> {
        for _ in 0..ATTEMPTS {
            let flags = OFlags::NOFOLLOW.bits().cast_signed();
            let opened =
                File::options().read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(place.lock());
            let file = match opened {
                Ok(file) => file,
                // Whoever had it took the folder away as well (systemd, an agent of an earlier version).
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    place.make_again()?;
                    continue;
                }
                Err(error) => return Err(LockError::File(error)),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(LockError::Held(holder(&file))),
                Err(error) => return Err(LockError::File(error.into())),
            }
            // The one who had it removes the file at its end: this may be that one.
            if is_at(&file, &place) {
                let mut lock = Self { place, file, unwritten: None };
                lock.unwritten = lock.write(&Holder::this_process()).err();
                return Ok(lock);
            }
        }
        Err(LockError::File(io::Error::other("it is replaced again and again")))
    }

    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Looks whether the file is still what others would lock, and takes it again if somebody has removed or replaced it. True: it was.
    ///
    /// # Errors
    /// It was, and it cannot be taken again: another agent may have it.
    pub fn keep(&mut self) -> Result<bool, LockError> {
        if is_at(&self.file, &self.place) {
            return Ok(false);
        }
        *self = Self::take(self.place.clone())?;
        Ok(true)
    }

    fn write(&mut self, holder: &Holder) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&serde_json::to_vec(holder)?)
    }
}

impl Drop for HostLock {
    fn drop(&mut self) {
        // While it is still held, and only if it is ours: nobody else's file is removed. The folder stays: somebody may be about to use it.
        if is_at(&self.file, &self.place)
            && let Err(error) = std::fs::remove_file(self.place.lock())
        {
            tracing::debug!(%error, "the lock file stays; it is nobody's");
        }
    }
}

/// The file is the one that is found there.
fn is_at(file: &File, place: &Place) -> bool {
    std::fs::symlink_metadata(place.lock())
        .is_ok_and(|there| file.metadata().is_ok_and(|here| (there.dev(), there.ino()) == (here.dev(), here.ino())))
}

fn holder(mut file: &File) -> Option<Holder> {
    let mut text = Vec::new();
    file.take(HOLDER_BYTES).read_to_end(&mut text).ok()?;
    file.rewind().ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Place {
        Place::make(Some(&std::env::temp_dir().join(format!("a11i-lock-{name}-{}", std::process::id())))).unwrap()
    }

    fn remove(place: &Place) {
        std::fs::remove_dir(place.folder()).unwrap();
    }

    #[test]
    fn a_second_one_is_told_who_holds_it_and_gets_it_afterwards() {
        let place = place("second");
        let lock = HostLock::take(place.clone()).unwrap();
        assert!(lock.unwritten.is_none());
        let Err(LockError::Held(Some(holder))) = HostLock::take(place.clone()) else { panic!("it is held") };
        assert_eq!((holder.pid, holder.version.as_str()), (std::process::id(), env!("CARGO_PKG_VERSION")));
        assert!(holder.to_string().contains(&format!("process {}", holder.pid)), "{holder}");
        drop(lock);
        assert!(!place.lock().exists() && place.folder().exists());
        assert!(HostLock::take(place.clone()).is_ok());
        remove(&place);
    }

    #[test]
    fn a_folder_that_is_taken_away_is_made_again() {
        let place = place("away");
        std::fs::remove_dir(place.folder()).unwrap();
        let mut lock = HostLock::take(place.clone()).unwrap();
        assert!(!lock.keep().unwrap());
        // Under the holder, as systemd removes a RuntimeDirectory.
        std::fs::remove_dir_all(place.folder()).unwrap();
        assert!(lock.keep().unwrap() && !lock.keep().unwrap());
        assert!(matches!(HostLock::take(place.clone()), Err(LockError::Held(Some(_)))));
        drop(lock);
        remove(&place);
    }

    #[test]
    fn what_another_has_taken_meanwhile_is_left_to_it() {
        let place = place("taken");
        let mut lock = HostLock::take(place.clone()).unwrap();
        std::fs::remove_file(place.lock()).unwrap();
        let other = HostLock::take(place.clone()).unwrap();
        assert!(matches!(lock.keep(), Err(LockError::Held(Some(_)))));
        drop(lock);
        assert!(place.lock().exists(), "it is the other's");
        drop(other);
        remove(&place);
    }

    #[test]
    fn a_file_that_a_killed_agent_left_or_that_holds_rubbish_is_no_obstacle() {
        let place = place("left");
        std::fs::write(place.lock(), "rubbish").unwrap();
        let lock = HostLock::take(place.clone()).unwrap();
        std::fs::write(place.lock(), "rubbish").unwrap();
        assert!(matches!(HostLock::take(place.clone()), Err(LockError::Held(None))));
        drop(lock);
        remove(&place);
    }

    #[test]
    fn a_link_in_place_of_the_file_is_refused() {
        let place = place("link");
        std::os::unix::fs::symlink("/dev/null", place.lock()).unwrap();
        assert!(matches!(HostLock::take(place.clone()), Err(LockError::File(_))));
        std::fs::remove_file(place.lock()).unwrap();
        remove(&place);
    }
}
