//! Which devices of a process's mount namespace are FUSE, from `/proc/PID/mountinfo`.
//!
//! Asked before a path is even looked at: `statfs` on FUSE asks the FUSE server, which may never answer.

use std::{collections::HashMap, ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf};

use super::file::Device;

/// Devices of one or more mount namespaces.
#[derive(Debug, Default)]
pub struct Mounts {
    fuse: HashMap<Device, bool>,
}

impl Mounts {
    /// Adds the mounts of a `mountinfo` file (proc_pid_mountinfo(5)). Lines that are not of this format are passed over.
    pub fn add(&mut self, mountinfo: &[u8]) {
        for line in mountinfo.split(|byte| *byte == b'\n') {
            let Some((device, kind)) = parse_line(line) else { continue };
            if self.fuse.len() >= MAX_DEVICES {
                self.fuse.clear();
            }
            self.fuse.insert(device, is_fuse_kind(kind));
        }
    }

    /// `None`: the device is in no mount that was added.
    pub fn is_fuse(&self, device: Device) -> Option<bool> {
        self.fuse.get(&device).copied()
    }

    /// The device was asked for and is in no mount of its process: it is not asked for again until [`Self::clear`].
    pub fn note_unlisted(&mut self, device: Device) {
        if self.fuse.len() < MAX_DEVICES {
            self.fuse.entry(device).or_insert(false);
        }
    }

    /// Device numbers are given anew after an unmount: forget from time to time.
    pub fn clear(&mut self) {
        self.fuse.clear();
    }
}

/// Mount points of FUSE in a `mountinfo` file, as the kernel escapes them.
pub fn fuse_mount_points(mountinfo: &[u8]) -> Vec<PathBuf> {
    let point = |line: &[u8]| {
        let (_, kind) = parse_line(line)?;
        is_fuse_kind(kind).then_some(())?;
        line.split(|byte| *byte == b' ').nth(4).map(|point| PathBuf::from(OsStr::from_bytes(point)))
    };
    mountinfo.split(|byte| *byte == b'\n').filter_map(point).collect()
}

fn is_fuse_kind(kind: &[u8]) -> bool {
    kind == b"fuse" || kind == b"fuseblk" || kind.starts_with(b"fuse.")
}

fn parse_line(line: &[u8]) -> Option<(Device, &[u8])> {
    // id parent major:minor root mountpoint options [tags ...] - type source options; names hold no plain spaces.
    let mut fields = line.split(|byte| *byte == b' ');
    let (major, minor) = std::str::from_utf8(fields.nth(2)?).ok()?.split_once(':')?;
    let device = Device { major: major.parse().ok()?, minor: minor.parse().ok()? };
    fields.find(|field| *field == b"-")?;
    Some((device, fields.next()?))
}

/// A node with thousands of containers has some mounts for each.
const MAX_DEVICES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuse_is_told_by_type_and_unknown_devices_stay_unknown() {
        let mut mounts = Mounts::default();
        mounts.add(
            b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
              40 35 0:45 / /home/a/s3 rw shared:2 - fuse.sshfs x@y:/ rw\n41 35 0:46 / /a\\040b rw - overlay overlay rw\nbroken\n",
        );
        let device = |major, minor| Device { major, minor };
        assert_eq!(mounts.is_fuse(device(98, 0)), Some(false));
        assert_eq!(mounts.is_fuse(device(0, 45)), Some(true));
        assert_eq!(mounts.is_fuse(device(0, 46)), Some(false));
        assert_eq!(mounts.is_fuse(device(0, 99)), None);
    }
}
