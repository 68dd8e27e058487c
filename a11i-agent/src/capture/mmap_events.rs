//! Code that processes map, told by the kernel as it happens (`PERF_RECORD_MMAP2`): a TLS library that is loaded late is noticed before
//! its first call, without looking again and again.
//!
//! Needs `CAP_PERFMON` to be opened; where `kernel.perf_event_paranoid` is above 2, which the kernels of Debian and Ubuntu add, CAP_SYS_ADMIN. So
//! that is done before capabilities are given up ([`MmapBuffers`]). CPUs that come online later are not listened to; what is mapped there the host
//! scan finds.

use std::{io, os::fd::OwnedFd};

use a11i_common::identity::Pid;
use rustix::event::epoll;
use tokio::io::{Interest, unix::AsyncFd};

use super::perf_buffer::PerfBuffer;

/// A process has mapped a file executable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeMapping {
    /// As our own pid namespace counts.
    pub pid: Pid,
    pub major: u32,
    pub minor: u32,
    pub inode: u64,
    /// Tells files apart that got the same inode number one after the other.
    pub generation: u64,
}

/// One buffer per CPU. They fill from now on: what does not fit before somebody reads is counted by the kernel.
pub struct MmapBuffers(Vec<PerfBuffer>);

/// The buffers, and a descriptor that wakes for any of them.
pub struct MmapEvents {
    wake: AsyncFd<OwnedFd>,
    buffers: Vec<PerfBuffer>,
    scratch: Vec<u8>,
}

/// Why there is nothing to listen to.
#[derive(Debug, thiserror::Error)]
pub enum MmapEventsError {
    #[error("the list of CPUs cannot be read: {0}")]
    Cpus(io::Error),
    #[error("perf events of executable mappings cannot be opened on CPU {cpu}: {source}; {}", remedy(*.paranoid))]
    Open { cpu: u32, source: io::Error, paranoid: Option<i32> },
    #[error("perf events cannot be waited for: {0}")]
    Wait(io::Error),
}

/// `paranoid`: `kernel.perf_event_paranoid`. The kernel itself knows no more than 2; what distributions add asks for CAP_SYS_ADMIN.
fn remedy(paranoid: Option<i32>) -> String {
    match paranoid {
        Some(level @ 3..) => {
            format!(
                "with kernel.perf_event_paranoid {level} CAP_SYS_ADMIN is needed at the start (it is given up afterwards), with 2 CAP_PERFMON"
            )
        }
        Some(_) | None => "CAP_PERFMON is needed".to_owned(),
    }
}

impl MmapBuffers {
    /// Opens them.
    ///
    /// # Errors
    /// A CPU whose mappings cannot be listened to, and what that needs.
    pub fn open() -> Result<Self, MmapEventsError> {
        let list = std::fs::read_to_string(ONLINE_CPUS).map_err(MmapEventsError::Cpus)?;
        let mut buffers = Vec::new();
        for cpu in cpus(&list) {
            match PerfBuffer::executable_mappings(cpu) {
                Ok(buffer) => buffers.push(buffer),
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {} // went offline just now
                Err(source) => {
                    let paranoid = std::fs::read_to_string(PARANOID).ok().and_then(|level| level.trim().parse().ok());
                    return Err(MmapEventsError::Open { cpu, source, paranoid });
                }
            }
        }
        if buffers.is_empty() { Err(MmapEventsError::Cpus(io::ErrorKind::NotFound.into())) } else { Ok(Self(buffers)) }
    }
}

impl MmapEvents {
    /// Waits for what comes into `buffers`.
    ///
    /// # Errors
    /// They cannot be waited for.
    pub fn listen(MmapBuffers(buffers): MmapBuffers) -> Result<Self, MmapEventsError> {
        let wait = |error: rustix::io::Errno| MmapEventsError::Wait(error.into());
        let wake = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(wait)?;
        for buffer in &buffers {
            epoll::add(&wake, buffer, epoll::EventData::new_u64(0), epoll::EventFlags::IN).map_err(wait)?;
        }
        // The kernel's wake-up of any buffer makes the inner epoll readable anew, which is an edge for tokio.
        #[expect(unsafe_code, reason = "tokio cannot check that the descriptor stays the same")]
        // SAFETY: an owned descriptor is the same for as long as it lives, and nothing here replaces it.
        let wake = unsafe { AsyncFd::register_with_interest(wake, Interest::READABLE) };
        let wake = wake.map_err(|error| MmapEventsError::Wait(error.into()))?;
        Ok(Self { wake, buffers, scratch: Vec::new() })
    }

    /// Waits until something was mapped. To be followed by [`Self::drain`].
    pub async fn readable(&self) -> io::Result<()> {
        self.wake.readable().await?.clear_ready();
        Ok(())
    }

    /// Hands every waiting mapping to `sink`. So many found a buffer full since the last time.
    pub fn drain(&mut self, mut sink: impl FnMut(CodeMapping)) -> u64 {
        let Self { buffers, scratch, .. } = self;
        let mut lost = 0_u64;
        for buffer in buffers {
            buffer.drain(scratch, |record| match decode(record) {
                Some(Record::Mapping(mapping)) => sink(mapping),
                Some(Record::Lost(count)) => lost = lost.saturating_add(count),
                None => {}
            });
        }
        lost
    }
}

/// `0-3,8` (Linux `Documentation/admin-guide/cputopology.rst`).
fn cpus(list: &str) -> impl Iterator<Item = u32> {
    list.trim()
        .split(',')
        .filter_map(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            Some(from.parse().ok()?..=to.parse().ok()?)
        })
        .flatten()
        .take(MAX_CPUS)
}

enum Record {
    Mapping(CodeMapping),
    Lost(u64),
}

/// Layout of perf_event_open(2). `None`: another record, an anonymous mapping, or one that is too short.
fn decode(record: &[u8]) -> Option<Record> {
    let word = |at: usize| record.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let long = |at: usize| record.get(at..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    match word(0)? {
        // header (8), pid, tid, addr, len, pgoff, maj, min, ino, ino_generation, prot, flags, filename
        MMAP2 => {
            let (pid, inode) = (word(8)?, long(48)?);
            // Kernel threads and processes outside of our pid namespace have none that we could look at.
            let usable = pid != 0 && pid != u32::MAX && inode != 0;
            let mapping = CodeMapping { pid: Pid(pid), major: word(40)?, minor: word(44)?, inode, generation: long(56)? };
            usable.then_some(Record::Mapping(mapping))
        }
        // header (8), id, lost
        LOST => Some(Record::Lost(long(16)?)),
        _ => None,
    }
}

/// perf_event_open(2).
const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";
const ONLINE_CPUS: &str = "/sys/devices/system/cpu/online";
/// The largest `CONFIG_NR_CPUS`; at 68 KiB each.
const MAX_CPUS: usize = 8_192;
const LOST: u32 = aya_obj::generated::perf_event_type::PERF_RECORD_LOST as u32;
const MMAP2: u32 = aya_obj::generated::perf_event_type::PERF_RECORD_MMAP2 as u32;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, words: &[u32]) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes
    }

    #[test]
    fn a_mapping_is_read_and_every_truncation_is_refused() {
        let whole = record(MMAP2, &[7, 8, 0, 1, 0, 2, 0, 3, 253, 1, 44, 0, 9, 0, 5, 2]);
        let Some(Record::Mapping(mapping)) = decode(&whole) else { panic!() };
        assert_eq!(mapping, CodeMapping { pid: Pid(7), major: 253, minor: 1, inode: 44, generation: 9 });
        // Up to the generation; what follows is not looked at.
        for at in 0..64 {
            assert!(decode(&whole[..at]).is_none(), "{at}");
        }
    }

    #[test]
    fn anonymous_code_and_foreign_records_are_nothing() {
        assert!(decode(&record(MMAP2, &[7, 8, 0, 1, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 5, 2])).is_none());
        assert!(decode(&record(MMAP2, &[0, 0, 0, 1, 0, 2, 0, 3, 253, 1, 44, 0, 0, 0, 5, 2])).is_none());
        assert!(decode(&record(3, &[7; 16])).is_none());
        assert!(matches!(decode(&record(LOST, &[1, 0, 12, 0])), Some(Record::Lost(12))));
    }

    #[test]
    fn what_is_needed_is_what_this_kernel_asks_for() {
        let said = |paranoid| MmapEventsError::Open { cpu: 0, source: io::ErrorKind::PermissionDenied.into(), paranoid }.to_string();
        for (level, capability) in
            [(None, "CAP_PERFMON is"), (Some(2), "CAP_PERFMON is"), (Some(3), "CAP_SYS_ADMIN"), (Some(4), "CAP_SYS_ADMIN")]
        {
            assert!(said(level).contains(capability), "{level:?}: {}", said(level));
        }
    }

    /// The capabilities that the first needs are given up in between.
    #[tokio::test]
    async fn what_was_mapped_before_anybody_listened_wakes_and_is_told() {
        let buffers = match MmapBuffers::open() {
            Ok(buffers) => buffers,
            Err(error) => return unmet(&error),
        };
        let mut child = std::process::Command::new("/bin/sh").args(["-c", "exit 0"]).spawn().unwrap();
        child.wait().unwrap();
        let mut events = MmapEvents::listen(buffers).unwrap();
        let woken = tokio::time::timeout(std::time::Duration::from_secs(30), events.readable()).await;
        woken.expect("what waits wakes").unwrap();
        let mut seen = Vec::new();
        events.drain(|mapping| seen.push(mapping.pid));
        assert!(seen.contains(&Pid(child.id())), "{seen:?}");
    }

    #[test]
    fn lists_of_cpus_may_be_hostile() {
        assert_eq!(cpus("0-3,8\n").collect::<Vec<_>>(), [0, 1, 2, 3, 8]);
        assert_eq!(cpus("").count() + cpus("x,1-,5-2").count(), 0);
        assert_eq!(cpus("0-4294967295").count(), MAX_CPUS);
    }

    /// Said past the harness's capture, in the words that the test command's table is made of; a failure where everything must be there.
    fn unmet(error: &MmapEventsError) {
        let all_required = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(matches!(error, MmapEventsError::Open { .. }) && !all_required, "{error}");
        let test = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let sentence = format!("requirement not met: {test}: {error}; run as root\n");
        io::Write::write_all(&mut io::stderr(), sentence.as_bytes()).unwrap();
    }

    #[tokio::test]
    async fn a_library_that_a_child_loads_is_told_with_its_inode() {
        let mut events = match MmapBuffers::open().and_then(MmapEvents::listen) {
            Ok(events) => events,
            Err(error) => return unmet(&error),
        };
        let program = std::fs::canonicalize("/bin/sh").unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&program).unwrap());
        let mut child = std::process::Command::new(&program).args(["-c", "exit 0"]).spawn().unwrap();
        let mut seen = Vec::new();
        while !seen.iter().any(|mapping: &CodeMapping| mapping.pid == Pid(child.id()) && mapping.inode == inode) {
            let woken = tokio::time::timeout(std::time::Duration::from_secs(30), events.readable()).await;
            woken.unwrap_or_else(|_| panic!("waited for inode {inode} of {}: {seen:?}", child.id())).unwrap();
            events.drain(|mapping| seen.push(mapping));
        }
        child.wait().unwrap();
    }
}
