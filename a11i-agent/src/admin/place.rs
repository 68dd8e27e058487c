//! Where the lock and the socket are: one folder for the whole host.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::OFlags;
use thiserror::Error;

/// Tried in this order. A container with the host's pids sees the host's `/run` through process 1; where that is not allowed, its own.
const FOLDERS: [&str; 2] = ["/proc/1/root/run/a11i", "/run/a11i"];

/// Nobody but the agent's user looks in.
const FOLDER_MODE: u32 = 0o700;

/// Attempts when somebody removes the folder just after it was made: whoever does so does it once.
const ATTEMPTS: usize = 8;

/// The folder, and why not the first of [`FOLDERS`].
#[derive(Clone, Debug)]
pub struct Place(PathBuf, Option<Arc<io::Error>>);

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
            let mut made = Ok(());
            for _ in 0..ATTEMPTS {
                match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    Ok(()) | Err(_) => {}
                }
                made = check(folder);
                // Removed in between, by systemd or an agent of an earlier version.
                if !made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                    break;
                }
            }
            made
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

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Why it is not the folder that every agent of the host would use: another agent may not find what is here.
    pub fn doubt(&self) -> Option<&io::Error> {
        self.1.as_deref()
    }

    /// The folder, after somebody removed it.
    ///
    /// # Errors
    /// See [`Self::make`].
    pub fn make_again(&self) -> Result<(), PlaceError> {
        Self::make(Some(&self.0)).map(drop)
    }
}

const LOCK: &str = "lock";
const SOCKET: &str = "admin.sock";

fn first(configured: Option<&Path>, usable: impl Fn(&Path) -> io::Result<()>) -> Result<Place, PlaceError> {
    let folders = configured.map_or_else(|| FOLDERS.map(PathBuf::from).to_vec(), |folder| vec![folder.to_owned()]);
    let mut refused = Vec::new();
    for folder in folders {
        match usable(&folder) {
            Ok(()) => return Ok(Place(folder, refused.pop().map(|(_, error)| Arc::new(error)))),
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
