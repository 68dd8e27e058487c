//! Files of other processes, opened so that they cannot hurt us.
//!
//! A file is looked at through an `O_PATH` descriptor first (no side effect on devices and pipes), must be regular
//! and not on FUSE (whose server may stall every read), and is only then opened for reading, without blocking. It is
//! read with `pread` in bounded windows and never mapped: a truncation would kill the agent with SIGBUS.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags},
    io::Errno,
};
use serde::Serialize;

/// One version of one file: two equal ids mean that an analysis still holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize)]
pub struct FileId {
    /// `st_dev`.
    pub dev: u64,
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// `st_mtim`, nanoseconds since the Unix epoch.
    pub mtime: i64,
    /// `st_ctim`, nanoseconds since the Unix epoch: betrays a change whose mtime was set back.
    pub ctime: i64,
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} lies in another root, which only openat2 opens safely, and this kernel (or a sandbox) does not have it")]
    NoOpenat2 { path: PathBuf },
    #[error("{path} is not a regular file")]
    NotRegular { path: PathBuf },
    #[error("{path} is on FUSE, whose server could stall every read")]
    Fuse { path: PathBuf },
    #[error("{path} has {size} bytes, more than {MAX_FILE_BYTES}")]
    TooLarge { path: PathBuf, size: u64 },
    #[error("{path} is another file than the one that is mapped")]
    OtherFile { path: PathBuf },
}

impl OpenError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Fuse { .. } => "put the program and its libraries on a file system that the kernel serves by itself",
            Self::NoOpenat2 { .. } => "use Linux 5.6 or newer, and no sandbox that forbids openat2",
            Self::OtherFile { .. } => "give the agent CAP_CHECKPOINT_RESTORE: the file was replaced while it runs",
            Self::NotRegular { .. } | Self::TooLarge { .. } => "none is known: please report the program",
            Self::Io { source, .. } => match Errno::from_io_error(source) {
                Some(Errno::ACCESS | Errno::PERM) => "run as root, or with CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and CAP_CHECKPOINT_RESTORE",
                Some(Errno::MFILE | Errno::NFILE) => "raise the agent's limit of open files (LimitNOFILE=)",
                _ if self.may_pass() => "see to the disk or the server that it lies on; it is looked at again",
                _ => "none is needed: it was gone when it was looked at",
            },
        }
    }

    /// What was short (descriptors, memory, a disk or a server) may be there the next time.
    pub(super) fn may_pass(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        !Errno::from_io_error(source).is_some_and(|error| SETTLED.contains(&error))
    }
}

/// Bytes at offsets: a file, or a slice in tests and fuzzing.
pub trait ByteSource {
    /// Length in bytes when it was opened.
    fn len(&self) -> u64;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `into` from `offset`; fails when the source ends before that.
    fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Nobody waits for what is found in it any more: whoever computes between two reads stops.
    fn is_given_up(&self) -> bool {
        false
    }
}

impl ByteSource for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(into.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(bytes);
        Ok(())
    }
}

impl ByteSource for Vec<u8> {
    fn len(&self) -> u64 {
        ByteSource::len(self.as_slice())
    }

    fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_exact_at(offset, into)
    }
}

/// A regular file, open for reading. Links made through [`Self::attach_path`] outlive it, but it must live while they are made.
#[derive(Debug)]
pub struct OpenedFile {
    file: File,
    id: FileId,
    is_on_overlay: bool,
}

impl OpenedFile {
    /// Opens `path` of our own mount namespace, following symbolic links (also the magic ones of `/proc`).
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let located = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|e| io_error(path, e))?;
        Self::from_located(located.as_fd(), path)
    }

    /// Opens `path` as a process with root directory `root` sees it: links cannot lead out of `root`.
    pub fn open_in_root(root: &Path, path: &Path) -> Result<Self, OpenError> {
        Self::from_located(locate_in_root(root, path)?.as_fd(), path)
    }

    fn from_located(located: BorrowedFd<'_>, path: &Path) -> Result<Self, OpenError> {
        let stat = rustix::fs::fstat(located).map_err(|e| io_error(path, e))?;
        let file_system = rustix::fs::fstatfs(located).map_err(|e| io_error(path, e))?;
        refuse(FileType::from_raw_mode(stat.st_mode), file_system.f_type, path)?;
        // A magic link, not a second walk of the path: the same file for certain.
        let link = format!("/proc/self/fd/{}", located.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(link, flags, Mode::empty()).map_err(|e| io_error(path, e))?);
        let metadata = file.metadata().map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        if metadata.len() > MAX_FILE_BYTES {
            return Err(OpenError::TooLarge { path: path.to_owned(), size: metadata.len() });
        }
        Ok(Self { id: FileId::of(&metadata), file, is_on_overlay: file_system.f_type == OVERLAYFS_SUPER_MAGIC })
    }

    pub fn id(&self) -> FileId {
        self.id
    }

    /// It lies on an overlay: its numbers stay when it is copied from a lower layer to the upper one, which is another file to the kernel.
    pub(super) const fn is_on_overlay(&self) -> bool {
        self.is_on_overlay
    }

    /// The same bytes under the id of an earlier look: only names of the file have changed since.
    pub(super) const fn known_as(mut self, id: FileId) -> Self {
        self.id = id;
        self
    }

    /// The path by which the kernel finds this very file, whatever its name has become. Valid in this process while `self` lives.
    pub fn attach_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// The file has not changed since it was opened: what an analysis found still holds.
    pub fn is_unchanged(&self) -> bool {
        self.now() == Some(self.id)
    }

    /// By its size and its time its bytes are others since it was opened. Whoever writes may set the time back, but not that of the inode's
    /// change ([`Self::is_unchanged`]), which moves with names too.
    pub(super) fn is_written(&self) -> bool {
        self.now().is_none_or(|now| (now.size, now.mtime) != (self.id.size, self.id.mtime))
    }

    /// What this kernel knows: no server is asked, which might not answer.
    pub(crate) fn now(&self) -> Option<FileId> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let now = rustix::fs::statx(&self.file, c"", flags, StatxFlags::BASIC_STATS).ok()?;
        let time = |at: rustix::fs::StatxTimestamp| at.tv_sec.saturating_mul(1_000_000_000).saturating_add(at.tv_nsec.into());
        let (mtime, ctime) = (time(now.stx_mtime), time(now.stx_ctime));
        Some(FileId { size: now.stx_size, mtime, ctime, ..self.id })
    }
}

impl OpenedFile {
    /// The same file, held open once more.
    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, id: self.id, is_on_overlay: self.is_on_overlay })
    }
}

impl AsFd for OpenedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<OpenedFile> for OwnedFd {
    fn from(opened: OpenedFile) -> Self {
        opened.file.into()
    }
}

impl ByteSource for OpenedFile {
    fn len(&self) -> u64 {
        self.id.size
    }

    fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}

impl FileId {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The kernel's number of a device, as `/proc/PID/maps` (hexadecimal) and `mountinfo` (decimal) write it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Device {
    pub major: u32,
    pub minor: u32,
}

impl Device {
    pub fn of(dev: u64) -> Self {
        Self { major: rustix::fs::major(dev), minor: rustix::fs::minor(dev) }
    }
}

/// Reads at most `limit` bytes of a file of `/proc` or `/etc`; the rest is not read.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::from(fd), limit), &mut bytes)?;
    Ok(bytes)
}

/// Id of the file at `path`, without opening it.
pub(crate) fn id_of(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| FileId::of(&metadata))
}

/// Version of the file that [`OpenedFile::open_in_root`] would open.
pub(super) fn id_in_root(root: &Path, path: &Path) -> Option<FileId> {
    let located = File::from(locate_in_root(root, path).ok()?);
    located.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| FileId::of(&metadata))
}

fn locate_in_root(root: &Path, path: &Path) -> Result<OwnedFd, OpenError> {
    let root_fd =
        rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|e| io_error(root, e))?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(&root_fd, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
        .map_err(|e| if e == Errno::NOSYS { OpenError::NoOpenat2 { path: path.to_owned() } } else { io_error(path, e) })
}

/// What is not opened for reading: opening a device acts on it, and each read of a FUSE file waits for whoever serves it.
fn refuse(kind: FileType, file_system: i64, path: &Path) -> Result<(), OpenError> {
    match (kind, file_system) {
        (FileType::RegularFile, FUSE_SUPER_MAGIC) => Err(OpenError::Fuse { path: path.to_owned() }),
        (FileType::RegularFile, _) => Ok(()),
        _ => Err(OpenError::NotRegular { path: path.to_owned() }),
    }
}

fn io_error(path: &Path, source: Errno) -> OpenError {
    OpenError::Io { path: path.to_owned(), source: source.into() }
}

/// Programs of gigabytes exist (bundled models, debug builds); the reads are bounded apart, this only rejects the absurd.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// Errors that say what is so: no such file or process, or not for us.
const SETTLED: [Errno; 7] = [Errno::NOENT, Errno::SRCH, Errno::NOTDIR, Errno::ACCESS, Errno::PERM, Errno::LOOP, Errno::NAMETOOLONG];

/// `FUSE_SUPER_MAGIC` of linux/magic.h.
const FUSE_SUPER_MAGIC: i64 = 0x6573_5546;
const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_or_directory_is_refused_without_being_opened() {
        assert!(matches!(OpenedFile::open(Path::new("/dev/null")), Err(OpenError::NotRegular { .. })));
        assert!(matches!(OpenedFile::open(Path::new("/")), Err(OpenError::NotRegular { .. })));
        assert!(matches!(OpenedFile::open(Path::new("/no/such/file")), Err(OpenError::Io { .. })));
    }

    #[test]
    fn a_regular_file_on_fuse_is_refused_before_it_is_opened() {
        let path = Path::new("/mnt/remote/lib/libssl.so.3");
        assert!(matches!(refuse(FileType::RegularFile, FUSE_SUPER_MAGIC, path), Err(OpenError::Fuse { path: named }) if named == path));
        assert!(refuse(FileType::RegularFile, 0xef53, path).is_ok(), "ext4");
        for kind in [FileType::Fifo, FileType::CharacterDevice, FileType::Socket, FileType::Directory] {
            assert!(matches!(refuse(kind, 0xef53, path), Err(OpenError::NotRegular { .. })), "{kind:?}");
            assert!(refuse(kind, FUSE_SUPER_MAGIC, path).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn a_link_cannot_lead_out_of_the_root() {
        let dir = super::super::testing::TempDir::new("root");
        std::fs::write(dir.path().join("inside"), b"inside").unwrap();
        std::os::unix::fs::symlink("/inside", dir.path().join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../etc/passwd", dir.path().join("out")).unwrap();
        let opened = OpenedFile::open_in_root(dir.path(), Path::new("/absolute")).unwrap();
        assert_eq!(opened.len(), 6);
        assert!(OpenedFile::open_in_root(dir.path(), Path::new("/out")).is_err());
    }

    #[test]
    fn a_shortage_may_pass_and_a_missing_file_may_not() {
        let error = |errno| io_error(Path::new("/x"), errno);
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO, Errno::STALE, Errno::TIMEDOUT] {
            assert!(error(errno).may_pass(), "{errno}");
        }
        for errno in [Errno::NOENT, Errno::SRCH, Errno::ACCESS] {
            assert!(!error(errno).may_pass(), "{errno}");
        }
        assert!(!OpenError::NotRegular { path: PathBuf::new() }.may_pass());
        for (errno, advice) in
            [(Errno::ACCESS, "CAP_SYS_PTRACE"), (Errno::MFILE, "LimitNOFILE"), (Errno::STALE, "server"), (Errno::NOENT, "gone")]
        {
            assert!(error(errno).remedy().contains(advice), "{errno}");
        }
    }

    #[test]
    fn a_rewritten_file_is_no_longer_the_one_that_was_opened() {
        let dir = super::super::testing::TempDir::new("rewrite");
        let path = dir.path().join("f");
        std::fs::write(&path, b"one").unwrap();
        let opened = OpenedFile::open(&path).unwrap();
        assert!(opened.is_unchanged());
        std::fs::write(&path, b"longer").unwrap();
        assert!(!opened.is_unchanged());
    }
}
