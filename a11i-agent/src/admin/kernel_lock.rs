//! One `run` per kernel, whatever folders an agent sees: an agent with a mount namespace of its own may have another `/run`.
//!
//! A namespace has one inode in the whole kernel (nsfs), and the agent works in the initial pid namespace only: that inode is what is locked.
//! Anybody may open it, so a lock on it counts only when a process of root has it.

use std::{fs::File, io, os::unix::fs::MetadataExt as _};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::LockError;

/// Held for as long as this lives; the kernel gives it back however the process ends.
#[derive(Debug)]
pub struct KernelLock {
    _namespace: File,
}

const PID_NAMESPACE: &str = "/proc/self/ns/pid";

/// Every file lock that processes of this pid namespace and below hold (proc_locks(5)).
const LOCKS: &str = "/proc/locks";

impl KernelLock {
    /// Takes it, or says at once which process of root has it.
    ///
    /// # Errors
    /// [`LockError::Elsewhere`], or why it cannot be taken: then the lock file is all there is.
    pub fn take() -> Result<Self, LockError> {
        Self::of(File::open(PID_NAMESPACE).map_err(LockError::File)?)
    }

    fn of(namespace: File) -> Result<Self, LockError> {
        match flock(&namespace, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _namespace: namespace }),
            Err(Errno::WOULDBLOCK) => {
                let inode = namespace.metadata().map_err(LockError::File)?.ino();
                let holder = std::fs::read_to_string(LOCKS).ok().and_then(|locks| holder(&locks, inode));
                match holder {
                    Some(pid) if is_of_root(pid) => Err(LockError::Elsewhere { pid }),
                    Some(pid) => {
                        Err(LockError::File(io::Error::other(format!("process {pid}, which is not root's, keeps {PID_NAMESPACE} locked"))))
                    }
                    None => {
                        Err(LockError::File(io::Error::other(format!("a process that {LOCKS} does not name keeps {PID_NAMESPACE} locked"))))
                    }
                }
            }
            Err(error) => Err(LockError::File(error.into())),
        }
    }
}

/// Who has the whole file locked: `1: FLOCK  ADVISORY  WRITE 4242 00:04:4026531836 0 EOF`.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let kind = words.nth(1)?;
        let pid = words.nth(2)?;
        let file = words.next()?;
        (kind == "FLOCK" && file.rsplit(':').next()?.parse() == Ok(inode)).then(|| pid.parse().ok())?
    })
}

/// Its effective user.
fn is_of_root(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    users.split_ascii_whitespace().nth(1) == Some("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_the_one_of_this_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 1 00:04:4026531836 0 EOF\n2: FLOCK  ADVISORY  WRITE 7 08:01:5 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 8 00:04:4026531836 0 EOF\n3: FLOCK  ADVISORY  WRITE 4242 00:04:4026531836 0 EOF\n";
        assert_eq!((holder(locks, 4_026_531_836), holder(locks, 5), holder(locks, 6)), (Some(4242), Some(7), None));
        assert_eq!(holder("", 5), None);
    }

    /// Of the user namespace's inode, which no agent locks.
    #[test]
    fn a_second_opening_anywhere_is_told_who_holds_it() {
        let open = || File::open("/proc/self/ns/user").unwrap();
        let lock = KernelLock::of(open()).unwrap();
        match KernelLock::of(open()) {
            Err(LockError::Elsewhere { pid }) => assert_eq!(pid, std::process::id()),
            Err(LockError::File(_)) => assert!(!is_of_root(std::process::id()), "root's is taken seriously"),
            other => panic!("{other:?}"),
        }
        drop(lock);
        assert!(KernelLock::of(open()).is_ok());
    }
}
