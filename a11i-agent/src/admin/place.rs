//! Where the lock and the socket are: one folder for the whole host.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use thiserror::Error;

/// Tried in this order. A container with the host's pids sees the host's `/run` through process 1; where that is not allowed, its own.
const FOLDERS: [&str; 2] = ["/proc/1/root/run/a11i", "/run/a11i"];

/// Nobody but the agent's user looks in.
const FOLDER_MODE: u32 = 0o700;

/// The folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place(PathBuf);

/// Why there is none, of every folder that was tried.
#[derive(Debug, Error)]
#[error("{}", .0.iter().map(|(path, error)| format!("{}: {error}", path.display())).collect::<Vec<_>>().join("; "))]
pub struct PlaceError(Vec<(PathBuf, io::Error)>);

impl Place {
    /// Makes the folder, in the first place where that is possible. `configured` is tried alone.
    ///
    /// # Errors
    /// Why none can be had: no `/run`, a read-only one, a full disk, not root.
    pub fn make(configured: Option<&Path>) -> Result<Self, PlaceError> {
        first(configured, |folder| {
            match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
            check(folder)
        })
    }

    /// The folder in which an agent may be found.
    ///
    /// # Errors
    /// Why each place has none.
    pub fn find(configured: Option<&Path>) -> Result<Self, PlaceError> {
        first(configured, |folder| std::fs::metadata(folder.join(SOCKET)).map(drop))
    }

    pub fn lock(&self) -> PathBuf {
        self.0.join(LOCK)
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join(SOCKET)
    }

    /// Removes the folder if nothing is in it: another agent may have begun meanwhile.
    pub fn remove(&self) {
        if let Err(error) = std::fs::remove_dir(&self.0) {
            tracing::debug!(folder = %self.0.display(), %error, "the folder of lock and socket stays");
        }
    }
}

const LOCK: &str = "lock";
const SOCKET: &str = "admin.sock";

fn first(configured: Option<&Path>, usable: impl Fn(&Path) -> io::Result<()>) -> Result<Place, PlaceError> {
    let folders = configured.map_or_else(|| FOLDERS.map(PathBuf::from).to_vec(), |folder| vec![folder.to_owned()]);
    let mut refused = Vec::new();
    for folder in folders {
        match usable(&folder) {
            Ok(()) => return Ok(Place(folder)),
            Err(error) => refused.push((folder, error)),
        }
    }
    Err(PlaceError(refused))
}

/// A folder that others may write to, or that is a link of theirs, is no place for a lock or a socket.
fn check(folder: &Path) -> io::Result<()> {
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
    let found = File::options().read(true).custom_flags(flags).open(folder)?.metadata()?;
    let owner = rustix::process::geteuid().as_raw();
    if (found.uid() != owner && found.uid() != 0) || found.mode() & 0o022 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others may write to this folder"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_of_others_or_a_link_is_refused() {
        let base = std::env::temp_dir().join(format!("a11i-place-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        let own = base.join("own");
        let place = Place::make(Some(&own)).unwrap();
        assert_eq!((place.lock(), place.socket()), (own.join("lock"), own.join("admin.sock")));
        assert_eq!(std::fs::metadata(&own).unwrap().mode() & 0o777, FOLDER_MODE);
        std::os::unix::fs::symlink(&own, base.join("link")).unwrap();
        assert!(Place::make(Some(&base.join("link"))).is_err());
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Place::make(Some(&own)).unwrap_err().to_string().contains("others may write"));
        let missing = Place::make(Some(&base.join("no/such/folder"))).unwrap_err().to_string();
        assert!(missing.contains("no/such/folder") && missing.contains("No such file"), "{missing}");
        std::fs::remove_dir_all(base).unwrap();
    }
}
