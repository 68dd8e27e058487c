//! `/proc/PID/maps`: which files a process executes from.
//!
//! Names in it are chosen by others: they may contain spaces, end in ` (deleted)` or hold `\012` where the kernel
//! wrote a newline (proc_pid_maps(5)). The fields before the name are the kernel's.

use std::{
    collections::HashSet,
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::file::Device;

/// An executable mapping of a file; the first one of each file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    pub device: Device,
    pub inode: u64,
    /// As the kernel wrote it, without the mark of a deleted file: in the process's mount namespace, escapes undone.
    pub path: PathBuf,
    /// The name no longer leads to the file (or really ends in ` (deleted)`: names cannot tell).
    pub deleted: bool,
}

impl Mapping {
    /// Last component of the path.
    pub fn file_name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// Name of the link in `/proc/PID/map_files`.
    pub fn map_files_name(&self) -> String {
        format!("{:x}-{:x}", self.start, self.end)
    }
}

/// What was read of one `maps` file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mappings {
    pub files: Vec<Mapping>,
    /// There was more than the limits allow.
    pub truncated: bool,
}

/// Reads executable file mappings, one per file. The stream is read in pieces: a process may have a million mappings.
pub fn read(mut maps: impl Read) -> io::Result<Mappings> {
    let mut mappings = Mappings::default();
    let mut seen = HashSet::new();
    let mut buffer = vec![0; PIECE];
    let mut filled = 0_usize;
    let mut total = 0_usize;
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        if room.is_empty() {
            // A line longer than the buffer: longer than any path the kernel prints. What follows cannot be placed.
            mappings.truncated = true;
            return Ok(mappings);
        }
        let count = match maps.read(room) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        filled = filled.saturating_add(count);
        total = total.saturating_add(count);
        let bytes = buffer.get(..filled).unwrap_or_default();
        let complete = memchr::memrchr(b'\n', bytes).map_or(0, |at| at.saturating_add(1));
        for line in bytes.get(..complete).unwrap_or_default().split(|byte| *byte == b'\n') {
            let Some(mapping) = parse_line(line) else { continue };
            if seen.insert((mapping.device, mapping.inode)) {
                if mappings.files.len() >= MAX_FILES {
                    mappings.truncated = true;
                    return Ok(mappings);
                }
                mappings.files.push(mapping);
            }
        }
        buffer.copy_within(complete..filled, 0);
        filled = filled.saturating_sub(complete);
        if count == 0 {
            return Ok(mappings);
        }
        if total > MAX_BYTES {
            mappings.truncated = true;
            return Ok(mappings);
        }
    }
}

/// `None`: not executable, not of a file, or not a line of this format.
fn parse_line(line: &[u8]) -> Option<Mapping> {
    // start-end perms offset major:minor inode   path
    let mut rest = line;
    let range = field(&mut rest)?;
    let permissions = field(&mut rest)?;
    if permissions.get(2) != Some(&b'x') {
        return None;
    }
    let _offset = field(&mut rest)?;
    let device = field(&mut rest)?;
    let inode: u64 = text(field(&mut rest)?)?.parse().ok()?;
    if inode == 0 {
        return None;
    }
    let path = rest.get(rest.iter().position(|byte| *byte != b' ')?..)?;
    if path.first() != Some(&b'/') {
        return None; // [vdso], anon_inode:, a name outside the root of our view
    }
    let (start, end) = text(range)?.split_once('-')?;
    let (major, minor) = text(device)?.split_once(':')?;
    let deleted = path.strip_suffix(DELETED);
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        device: Device { major: u32::from_str_radix(major, 16).ok()?, minor: u32::from_str_radix(minor, 16).ok()? },
        inode,
        path: unescape(deleted.unwrap_or(path)),
        deleted: deleted.is_some(),
    })
}

/// Undoes `\012`, the only escape the kernel writes here. A name that really holds `\012` comes out wrong: whoever
/// opens the path compares inodes.
fn unescape(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = memchr::memmem::find(rest, NEWLINE) {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        bytes.extend_from_slice(before);
        bytes.push(b'\n');
        rest = from.get(NEWLINE.len()..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest);
    Path::new(OsStr::from_bytes(&bytes)).to_owned()
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let at = memchr::memchr(b' ', rest)?;
    let (field, after) = rest.split_at_checked(at)?;
    *rest = after.get(1..)?;
    Some(field)
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

const DELETED: &[u8] = b" (deleted)";
const NEWLINE: &[u8] = b"\\012";
/// Longer than a line with `PATH_MAX` bytes of path, all escaped.
const PIECE: usize = 64 * 1024;
/// 65,530 mappings (the default `vm.max_map_count`) of 300 bytes are 20 MB.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Programs with a thousand libraries exist.
const MAX_FILES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"\
55d0c0000000-55d0c0028000 r--p 00000000 fd:01 1234                       /usr/bin/python3.11
55d0c0028000-55d0c01e0000 r-xp 00028000 fd:01 1234                       /usr/bin/python3.11
55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 r-xp 00000000 00:2a 77                         /tmp/with space/lib\\012x.so (deleted)
7f0000002000-7f0000003000 r-xp 00001000 00:2a 77                         /tmp/with space/lib\\012x.so (deleted)
7f0000004000-7f0000005000 rwxp 00000000 00:00 0
7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0                          [vdso]
7f0000006000-7f0000007000 rwxs 00000000 00:01 9                          memfd:jit (deleted)
7f0000008000-7f0000009000 rwxs 00000000 00:01 10                         /memfd:jit (deleted)
";

    #[test]
    fn executable_files_are_listed_once_with_hostile_names() {
        let mappings = read(MAPS).unwrap();
        let shown: Vec<_> = mappings.files.iter().map(|m| (m.path.to_str().unwrap(), m.inode, m.deleted)).collect();
        assert_eq!(shown, [("/usr/bin/python3.11", 1234, false), ("/tmp/with space/lib\nx.so", 77, true), ("/memfd:jit", 10, true)]);
        assert_eq!(mappings.files[0].device, Device { major: 0xfd, minor: 1 });
        assert_eq!(mappings.files[0].map_files_name(), "55d0c0028000-55d0c01e0000");
        assert_eq!(mappings.files[1].file_name(), "lib\nx.so");
        assert!(!mappings.truncated);
    }

    /// Gives its bytes in two pieces.
    struct Split<'a>(&'a [u8], &'a [u8]);
    impl Read for Split<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let piece = if self.0.is_empty() { &mut self.1 } else { &mut self.0 };
            piece.read(into)
        }
    }

    #[test]
    fn pieces_may_end_anywhere() {
        let whole = read(MAPS).unwrap();
        for at in 0..MAPS.len() {
            let (first, second) = MAPS.split_at(at);
            assert_eq!(read(Split(first, second)).unwrap(), whole, "split at {at}");
        }
    }

    #[test]
    fn truncated_and_foreign_lines_give_nothing_wrong() {
        for at in 0..MAPS.len() {
            for mapping in read(&MAPS[..at]).unwrap().files {
                assert!(mapping.inode != 0 && mapping.start < mapping.end);
            }
        }
        assert_eq!(read(&b"zz r-xp 0 0:0 1 /x\n a b c d e f\n\n\xff\xff r-xp"[..]).unwrap(), Mappings::default());
        let endless = vec![b'/'; PIECE + 1];
        assert!(read(endless.as_slice()).unwrap().truncated);
    }

    #[test]
    fn our_own_mappings_contain_our_program() {
        let mappings = read(std::fs::File::open("/proc/self/maps").unwrap()).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert!(mappings.files.iter().any(|m| m.path == exe && !m.deleted));
    }
}
