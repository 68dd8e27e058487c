//! Processes as `/proc` shows them.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use a11i_common::identity::{Pid, ProcessId};

use super::{
    file::{Device, FileId, OpenError, OpenedFile, id_in_root, id_of, read_bounded},
    maps::{self, Mapping, Mappings},
    mounts::Mounts,
};

/// A mounted `/proc`; another folder in tests.
#[derive(Clone, Debug)]
pub struct ProcFs {
    root: PathBuf,
}

/// What `/proc/PID/stat` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessStat {
    pub id: ProcessId,
    /// Up to 15 bytes, chosen by the process.
    pub comm: String,
    pub parent: u32,
    /// Field 22, not wrapped: ticks of `USER_HZ` since boot.
    pub start_ticks: u64,
}

/// How a process has confined itself, as far as it matters to probes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Confinement {
    pub seccomp: bool,
    pub shadow_stack: bool,
}

impl Default for ProcFs {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl ProcFs {
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `/proc/PID/NAME`.
    pub fn path(&self, pid: Pid, name: &str) -> PathBuf {
        let mut path = self.root.join(pid.0.to_string());
        path.push(name);
        path
    }

    /// All processes, in the kernel's order.
    pub fn pids(&self) -> io::Result<Vec<Pid>> {
        let mut pids = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            // An entry that vanished while it was listed is a process that ended.
            let Ok(entry) = entry else { continue };
            if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                pids.push(Pid(pid));
            }
        }
        Ok(pids)
    }

    pub fn stat(&self, pid: Pid) -> io::Result<ProcessStat> {
        let bytes = read_bounded(&self.path(pid, "stat"), MAX_STAT)?;
        parse_stat(pid, &bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a stat file"))
    }

    /// The process that has this pid now.
    pub fn identify(&self, pid: Pid) -> io::Result<ProcessId> {
        Ok(self.stat(pid)?.id)
    }

    /// The pid still belongs to `process`: what was read of it in between is its own.
    pub fn is_same(&self, process: ProcessId) -> bool {
        // Start time 0 is unknown (a kernel without the BTF member): then the pid is all there is.
        self.identify(process.pid).is_ok_and(|now| process.start_ticks == 0 || now == process)
    }

    /// Path of the program in the process's mount namespace; the mark of a deleted file is kept off.
    pub fn exe(&self, pid: Pid) -> io::Result<PathBuf> {
        let target = std::fs::read_link(self.path(pid, "exe"))?;
        Ok(match target.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
            Some(path) => PathBuf::from(path),
            None => target,
        })
    }

    /// Size of executable memory in KiB: changes when code is mapped. `None` for kernel threads and zombies.
    pub fn executable_kib(&self, pid: Pid) -> io::Result<Option<u64>> {
        let status = read_bounded(&self.path(pid, "status"), MAX_STATUS)?;
        let value = |name: &str| {
            let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes()))?;
            std::str::from_utf8(line).ok()?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
        };
        Ok(value("VmExe:").zip(value("VmLib:")).map(|(program, libraries)| program.saturating_add(libraries)))
    }

    /// Whether probes could be seen by a filter of the process's or break its shadow stack. Of the first thread: programs that confine
    /// single threads, or some later than others, do so to that one too as a rule.
    pub fn confinement(&self, pid: Pid) -> io::Result<Confinement> {
        let status = read_bounded(&self.path(pid, "status"), MAX_STATUS)?;
        let value = |name: &str| status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes()));
        Ok(Confinement {
            // A kernel without the line has no filters.
            seccomp: value("Seccomp:").is_some_and(|mode| mode.trim_ascii() != b"0"),
            shadow_stack: value("x86_Thread_features:")
                .is_some_and(|features| features.split(u8::is_ascii_whitespace).any(|feature| feature == b"shstk")),
        })
    }

    /// Executable file mappings, one per file.
    pub fn mappings(&self, pid: Pid) -> io::Result<Mappings> {
        maps::read(File::open(self.path(pid, "maps"))?)
    }

    /// Opens the very file that is mapped: by `map_files`, which needs CAP_CHECKPOINT_RESTORE and works for deleted
    /// files too, else by its path in the process's root when that has the same device and inode.
    pub fn open_mapped(&self, pid: Pid, mapping: &Mapping, mounts: &mut Mounts) -> Result<OpenedFile, OpenError> {
        if self.is_on_fuse(pid, mapping.device, mounts) {
            return Err(OpenError::Fuse { path: mapping.path.clone() });
        }
        self.open_located(pid, mapping)
    }

    /// The same without the question whether its file system may be touched.
    pub(super) fn open_located(&self, pid: Pid, mapping: &Mapping) -> Result<OpenedFile, OpenError> {
        let mut link = self.path(pid, "map_files");
        link.push(mapping.map_files_name());
        match OpenedFile::open(&link) {
            Err(OpenError::Io { path, source }) => {
                let error = OpenError::Io { path, source };
                if error.may_pass() { Err(error) } else { self.open_by_name(pid, mapping) }
            }
            done => done,
        }
    }

    /// Version of the file that [`Self::open_located`] would open, without opening it. `None`: it cannot be told.
    pub(super) fn mapped_version(&self, pid: Pid, mapping: &Mapping) -> Option<FileId> {
        let mut link = self.path(pid, "map_files");
        link.push(mapping.map_files_name());
        id_of(&link).or_else(|| id_in_root(&self.path(pid, "root"), &mapping.path))
    }

    fn open_by_name(&self, pid: Pid, mapping: &Mapping) -> Result<OpenedFile, OpenError> {
        let opened = OpenedFile::open_in_root(&self.path(pid, "root"), &mapping.path)?;
        let id = opened.id();
        if id.ino == mapping.inode && Device::of(id.dev) == mapping.device {
            Ok(opened)
        } else {
            Err(OpenError::OtherFile { path: mapping.path.clone() })
        }
    }

    pub(super) fn is_on_fuse(&self, pid: Pid, device: Device, mounts: &mut Mounts) -> bool {
        if mounts.is_fuse(device).is_none()
            && let Ok(mountinfo) = self.mountinfo(pid)
        {
            mounts.add(&mountinfo);
            mounts.note_unlisted(device);
        }
        mounts.is_fuse(device).unwrap_or(false)
    }

    /// Number of the process's mount namespace.
    pub fn mount_namespace(&self, pid: Pid) -> Option<u64> {
        let link = std::fs::read_link(self.path(pid, "ns/mnt")).ok()?;
        link.to_str()?.strip_prefix("mnt:[")?.strip_suffix(']')?.parse().ok()
    }

    pub fn mountinfo(&self, pid: Pid) -> io::Result<Vec<u8>> {
        read_bounded(&self.path(pid, "mountinfo"), MAX_MOUNTINFO)
    }

    /// `/proc/PID/root`, a magic link to the process's root directory.
    pub fn root_of(&self, pid: Pid) -> PathBuf {
        self.path(pid, "root")
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Fields of proc_pid_stat(5). The name in parentheses may itself hold parentheses, spaces and newlines: it ends at the last `)`.
fn parse_stat(pid: Pid, bytes: &[u8]) -> Option<ProcessStat> {
    let open = memchr::memchr(b'(', bytes)?;
    let close = memchr::memrchr(b')', bytes)?;
    let comm = bytes.get(open.checked_add(1)?..close)?;
    let mut fields = std::str::from_utf8(bytes.get(close.checked_add(1)?..)?).ok()?.split_ascii_whitespace();
    // Field 3 (state) comes first: 4 is the parent, 22 the start time.
    let parent = fields.nth(1)?.parse().ok()?;
    let start_ticks: u64 = fields.nth(17)?.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "wraps as ProcessId::from_boot_nanos does")]
    let id = ProcessId { pid, start_ticks: start_ticks as u32 };
    Some(ProcessStat { id, comm: String::from_utf8_lossy(comm).into_owned(), parent, start_ticks })
}

/// 52 numbers and a name of 15 bytes (64 for kernel threads).
const MAX_STAT: u64 = 4_096;
/// A few kilobytes; lists of CPUs and memory nodes make it longer on large hosts.
const MAX_STATUS: u64 = 16_384;
/// Thousands of mounts of 300 bytes.
const MAX_MOUNTINFO: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::{
        file::ByteSource,
        testing::{TempDir, compile},
    };

    fn own() -> Pid {
        Pid(std::process::id())
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = b"77 (a) R 1 (b c)\n) S 42 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 9 9\n";
        let stat = parse_stat(Pid(77), line).unwrap();
        assert_eq!((stat.parent, stat.start_ticks, stat.comm.as_str()), (42, 987_654, "a) R 1 (b c)\n"));
        for at in 0..line.len() {
            if let Some(cut) = parse_stat(Pid(77), &line[..at]) {
                assert_eq!(cut.parent, 42);
            }
        }
    }

    #[test]
    fn we_are_in_the_list_and_are_ourselves() {
        let proc = ProcFs::default();
        assert!(proc.pids().unwrap().contains(&own()));
        let id = proc.identify(own()).unwrap();
        assert!(id.start_ticks > 0 && proc.is_same(id));
        assert!(!proc.is_same(ProcessId { start_ticks: id.start_ticks - 1, ..id }));
        assert_eq!(proc.exe(own()).unwrap(), std::env::current_exe().unwrap());
        assert!(proc.executable_kib(own()).unwrap().unwrap() > 0);
    }

    #[test]
    fn the_mapped_file_is_opened_also_after_it_was_deleted_and_replaced() {
        let dir = TempDir::new("deleted");
        let path = compile(&dir, "sleeper", "#include <unistd.h>\nint main(void){write(1,\"x\",1);pause();}", &[]);
        let mut child = std::process::Command::new(&path).stdout(std::process::Stdio::piped()).spawn().unwrap();
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let before = OpenedFile::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"another file").unwrap();
        let proc = ProcFs::default();
        let mappings = proc.mappings(Pid(child.id())).unwrap();
        let mapping = mappings.files.iter().find(|m| m.path == path).unwrap();
        let opened = proc.open_mapped(Pid(child.id()), mapping, &mut Mounts::default());
        let by_name = proc.open_by_name(Pid(child.id()), mapping);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(mapping.deleted);
        assert!(matches!(by_name, Err(OpenError::OtherFile { .. })), "{by_name:?}");
        match opened {
            Ok(opened) => {
                assert_eq!((opened.id().ino, opened.len()), (before.id().ino, before.len()));
                let again = std::fs::metadata(opened.attach_path()).unwrap();
                assert_eq!(std::os::unix::fs::MetadataExt::ino(&again), before.id().ino);
            }
            // Without CAP_CHECKPOINT_RESTORE map_files is closed and the name leads elsewhere: refused, not guessed.
            Err(error) => assert!(matches!(error, OpenError::OtherFile { .. }), "{error}"),
        }
    }
}
