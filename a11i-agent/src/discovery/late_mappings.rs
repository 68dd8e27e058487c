//! When a process that maps code is looked at: at once, and then not too often.
//!
//! A program maps its libraries one after the other. The first mapping that may matter leads to a look; those that follow within a pause
//! lead to one more at its end. The pause grows while mappings go on.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
};

use a11i_common::identity::{BootTime, Pid};

use super::{empty_files::EmptyFiles, file::Device};

/// A file that was mapped executable, as the kernel tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MappedFile {
    pub device: Device,
    pub inode: u64,
    /// Another one under the same inode number is another file.
    pub generation: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LateMappings {
    empty: EmptyFiles,
    /// Generation with which an inode was last seen.
    generations: HashMap<(Device, u64), u64>,
    quiet: HashMap<Pid, Quiet>,
    due: BTreeSet<(BootTime, Pid)>,
    not_followed: u64,
}

/// After a look.
#[derive(Debug)]
struct Quiet {
    until: BootTime,
    pause: u64,
    /// Something was mapped meanwhile.
    again: bool,
}

impl LateMappings {
    pub(super) fn new(empty: EmptyFiles) -> Self {
        Self { empty, ..Self::default() }
    }

    /// Whether the process is to be looked at now.
    pub(super) fn handle(&mut self, pid: Pid, file: MappedFile, now: BootTime) -> bool {
        if !self.is_of_interest(file) {
            return false;
        }
        if let Some(quiet) = self.quiet.get_mut(&pid) {
            quiet.again = true;
            return false;
        }
        if self.quiet.len() >= MAX_FOLLOWED {
            self.not_followed = self.not_followed.saturating_add(1);
            return false;
        }
        self.be_quiet(pid, FIRST_PAUSE_NANOS, now);
        true
    }

    /// Processes whose pause is over and that have mapped more meanwhile.
    pub(super) fn handle_timeout(&mut self, now: BootTime) -> Vec<Pid> {
        let mut looks = Vec::new();
        while let Some(&(until, pid)) = self.due.first().filter(|(until, _)| *until <= now) {
            self.due.remove(&(until, pid));
            let Some(quiet) = self.quiet.remove(&pid) else { continue };
            if quiet.again {
                looks.push(pid);
                self.be_quiet(pid, quiet.pause.saturating_mul(PAUSE_GROWTH).min(LONGEST_PAUSE_NANOS), now);
            }
        }
        looks
    }

    pub(super) fn poll_timeout(&self) -> Option<BootTime> {
        self.due.first().map(|(until, _)| *until)
    }

    /// The pid is free for another process.
    pub(super) fn forget(&mut self, pid: Pid) {
        if let Some(quiet) = self.quiet.remove(&pid) {
            self.due.remove(&(quiet.until, pid));
        }
    }

    /// Looks that did not come about because too many processes map code at once.
    pub(super) const fn not_followed(&self) -> u64 {
        self.not_followed
    }

    fn is_of_interest(&mut self, file: MappedFile) -> bool {
        let key = (file.device, file.inode);
        if self.generations.len() >= MAX_GENERATIONS && !self.generations.contains_key(&key) {
            self.generations.clear();
        }
        let before = self.generations.insert(key, file.generation);
        let is_same = before.is_none_or(|before| before == file.generation);
        !(is_same && self.empty.is_likely(file.device, file.inode))
    }

    fn be_quiet(&mut self, pid: Pid, pause: u64, now: BootTime) {
        let until = now.plus_nanos(pause);
        let before =
            mem::replace(self.quiet.entry(pid).or_insert(Quiet { until, pause, again: false }), Quiet { until, pause, again: false });
        self.due.remove(&(before.until, pid));
        self.due.insert((until, pid));
    }
}

const MILLISECOND: u64 = 1_000_000;
/// The dynamic loader maps a program's libraries within a few milliseconds.
const FIRST_PAUSE_NANOS: u64 = 10 * MILLISECOND;
const PAUSE_GROWTH: u64 = 4;
/// A process that maps code all the time costs one look a second.
const LONGEST_PAUSE_NANOS: u64 = 1_000 * MILLISECOND;
/// Processes that map unknown code within a second.
const MAX_FOLLOWED: usize = 16_384;
/// Files that are mapped executable, with room to spare.
const MAX_GENERATIONS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::file::FileId;

    const PID: Pid = Pid(7);
    const DEVICE: Device = Device { major: 8, minor: 1 };

    fn file(inode: u64) -> MappedFile {
        MappedFile { device: DEVICE, inode, generation: 1 }
    }

    fn at(milliseconds: u64) -> BootTime {
        BootTime(milliseconds * MILLISECOND)
    }

    #[test]
    fn a_burst_of_mappings_leads_to_a_look_at_once_and_one_at_its_end() {
        let mut late = LateMappings::default();
        assert!(late.handle(PID, file(1), at(0)));
        assert!((2..30).all(|inode| !late.handle(PID, file(inode), at(1))));
        assert_eq!(late.poll_timeout(), Some(at(10)));
        assert_eq!(late.handle_timeout(at(10)), [PID]);
        assert!(late.handle_timeout(at(50)).is_empty());
        assert_eq!(late.poll_timeout(), None, "it has calmed down");
        assert!(late.handle(PID, file(99), at(60)));
    }

    #[test]
    fn a_process_that_never_stops_mapping_is_looked_at_once_a_second() {
        let mut late = LateMappings::default();
        let mut looks = 0;
        for now in 0..60_000 {
            looks += usize::from(late.handle(PID, file(now), at(now))) + late.handle_timeout(at(now)).len();
        }
        assert!(looks <= 65, "{looks}");
    }

    #[test]
    fn files_known_to_be_empty_lead_to_nothing_unless_their_inode_is_another_file_now() {
        let empty = EmptyFiles::default();
        let mut late = LateMappings::new(empty.clone());
        assert!(late.handle(PID, file(1), at(0)));
        late.forget(PID);
        empty.add(DEVICE, 1, FileId::default());
        assert!(!late.handle(PID, file(1), at(1)));
        assert!(late.handle(PID, MappedFile { generation: 2, ..file(1) }, at(2)));
    }

    #[test]
    fn a_storm_is_bounded_and_counted() {
        let mut late = LateMappings::default();
        let count = u32::try_from(MAX_FOLLOWED).unwrap() + 5;
        let looks = (0..count).filter(|pid| late.handle(Pid(*pid), file(1), at(0))).count();
        assert_eq!((looks, late.not_followed()), (MAX_FOLLOWED, 5));
        assert_eq!((late.quiet.len(), late.due.len()), (MAX_FOLLOWED, MAX_FOLLOWED));
    }
}
