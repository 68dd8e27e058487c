//! When to look at which process. A state machine: events and time in, scan requests out.
//!
//! The kernel tells of exec, fork and exit, and, where it lets us listen, of every mapping of code: then libraries that are loaded late
//! are looked at as they come. Where it does not, a young process is looked at several times, with growing pauses; after that the slow
//! host scan sees what it maps. The host scan also finds processes whose events were lost. Of a tree of processes only its own are looked at:
//! the slow scan is one of each of them.

use std::collections::{BTreeSet, HashMap, VecDeque};

use a11i_common::identity::{BootTime, Pid, ProcessId};

use super::{
    empty_files::EmptyFiles,
    late_mappings::{LateMappings, MappedFile},
    scanner::ScanRequest,
};

/// See the module.
#[derive(Debug)]
pub struct Watcher {
    /// Set when the kernel tells of mappings.
    mappings: Option<LateMappings>,
    /// Of a tree: its living processes. None: everyone is looked at.
    members: Option<HashMap<Pid, ProcessId>>,
    young: HashMap<ProcessId, Young>,
    due: BTreeSet<(BootTime, ProcessId)>,
    next_host_scan: BootTime,
    host_scan_running: bool,
    /// Mappings were lost while a host scan ran, which may have passed over whoever made them: the next one is due by then.
    after_loss: Option<BootTime>,
    requests: VecDeque<ScanRequest>,
    counts: WatcherCounts,
}

/// Losses, each made up for by the host scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WatcherCounts {
    /// Young processes, and processes of a tree, that were not followed because too many were.
    pub young_full: u64,
    /// Mappings that the kernel told nobody.
    pub mappings_lost: u64,
    /// Processes that mapped code and were not looked at for it because too many did.
    pub mappings_not_followed: u64,
    /// Requests dropped because nobody polled them.
    pub requests_dropped: u64,
}

#[derive(Debug)]
struct Young {
    due: BootTime,
    /// Index into [`LOOKS_NANOS`] of the look that is due.
    look: usize,
}

impl Watcher {
    /// The first host scan is due at once.
    pub fn new(now: BootTime) -> Self {
        Self {
            mappings: None,
            members: None,
            young: HashMap::new(),
            due: BTreeSet::new(),
            next_host_scan: now,
            host_scan_running: false,
            after_loss: None,
            requests: VecDeque::new(),
            counts: WatcherCounts::default(),
        }
    }

    /// As [`Self::new`], for the processes alone whose exec or fork is told.
    pub fn of_tree(now: BootTime) -> Self {
        Self { members: Some(HashMap::new()), ..Self::new(now) }
    }

    /// From now on mappings are told: [`Self::handle_mapped`]. `empty` is what the scanner knows to hold nothing.
    pub fn listen_to_mappings(&mut self, empty: EmptyFiles) {
        self.mappings = Some(LateMappings::new(empty));
    }

    /// Somebody mapped a file executable.
    pub fn handle_mapped(&mut self, pid: Pid, file: MappedFile, now: BootTime) {
        if self.members.as_ref().is_some_and(|members| !members.contains_key(&pid)) {
            return;
        }
        if let Some(mappings) = &mut self.mappings
            && mappings.handle(pid, file, now)
        {
            self.request(ScanRequest::Mapped(pid));
        }
    }

    /// So many mappings were told to nobody: everyone is looked at soon.
    pub fn handle_mappings_lost(&mut self, lost: u64, now: BootTime) {
        self.counts.mappings_lost = self.counts.mappings_lost.saturating_add(lost);
        self.scan_soon(now);
    }

    /// Mappings are told no more: young processes are looked at again and again, and everyone soon.
    pub fn stop_listening(&mut self, now: BootTime) {
        if let Some(mappings) = self.mappings.take() {
            self.counts.mappings_not_followed = self.counts.mappings_not_followed.saturating_add(mappings.not_followed());
        }
        self.scan_soon(now);
    }

    /// The process runs a new program: looked at now, and again while it loads.
    pub fn handle_exec(&mut self, process: ProcessId, now: BootTime) {
        self.join(process);
        self.request(ScanRequest::Exec(process));
        self.follow(process, now, self.first_look());
    }

    /// The child maps what its parent maps, which is known: looked at a little later, for what it loads itself.
    pub fn handle_fork(&mut self, child: ProcessId, now: BootTime) {
        self.join(child);
        if !self.young.contains_key(&child) {
            self.follow(child, now, self.first_look());
        }
    }

    pub fn handle_exit(&mut self, process: ProcessId, _now: BootTime) {
        self.unfollow(process);
        if let Some(members) = &mut self.members {
            members.remove(&process.pid);
        }
        if let Some(mappings) = &mut self.mappings {
            mappings.forget(process.pid);
        }
        self.request(ScanRequest::Forget(process));
    }

    /// Data of a process came: it has surely loaded its library.
    pub fn handle_first_data(&mut self, process: ProcessId, _now: BootTime) {
        self.request(ScanRequest::Process(process));
    }

    /// A host scan was answered ([`super::scanner::ScanReport::Done`]): the pause to the next one begins.
    pub fn handle_host_scanned(&mut self, now: BootTime) {
        self.host_scan_running = false;
        let regular = now.plus_nanos(HOST_SCAN_NANOS);
        self.next_host_scan = self.after_loss.take().map_or(regular, |due| due.min(regular));
    }

    /// The scanner rejected a request ([`super::scanner::Scanner::request`] gave `false`).
    pub fn handle_rejected(&mut self, request: ScanRequest, now: BootTime) {
        if request == ScanRequest::Host {
            self.handle_host_scanned(now);
        }
    }

    pub fn handle_timeout(&mut self, now: BootTime) {
        for pid in self.mappings.as_mut().map(|mappings| mappings.handle_timeout(now)).unwrap_or_default() {
            self.request(ScanRequest::Mapped(pid));
        }
        while let Some(&(due, process)) = self.due.first() {
            if due > now {
                break;
            }
            self.due.remove(&(due, process));
            self.request(ScanRequest::Process(process));
            if let Some(young) = self.young.get(&process) {
                let next = young.look.saturating_add(1);
                self.schedule(process, next, now);
            }
        }
        if self.host_scan_running || self.next_host_scan > now {
            return;
        }
        self.host_scan_running = true;
        if let Some(members) = &self.members {
            let members: Vec<ProcessId> = members.values().copied().collect();
            for process in members {
                self.request(ScanRequest::Process(process));
            }
            self.handle_host_scanned(now);
        } else {
            self.request(ScanRequest::Host);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        let young = self.due.first().map(|(due, _)| *due);
        let host = (!self.host_scan_running).then_some(self.next_host_scan);
        let mapped = self.mappings.as_ref().and_then(LateMappings::poll_timeout);
        young.into_iter().chain(host).chain(mapped).min()
    }

    pub fn poll_request(&mut self) -> Option<ScanRequest> {
        self.requests.pop_front()
    }

    pub fn counts(&self) -> WatcherCounts {
        let not_followed = self.mappings.as_ref().map_or(0, LateMappings::not_followed);
        WatcherCounts { mappings_not_followed: self.counts.mappings_not_followed.saturating_add(not_followed), ..self.counts }
    }

    /// Everyone is looked at soon: something was told to nobody.
    pub fn scan_soon(&mut self, now: BootTime) {
        let due = now.plus_nanos(AFTER_LOSS_NANOS);
        if self.host_scan_running {
            self.after_loss.get_or_insert(due);
        } else {
            self.next_host_scan = self.next_host_scan.min(due);
        }
    }

    fn join(&mut self, process: ProcessId) {
        let Some(members) = &mut self.members else { return };
        if members.len() >= MAX_YOUNG && !members.contains_key(&process.pid) {
            self.counts.young_full = self.counts.young_full.saturating_add(1);
            return;
        }
        members.insert(process.pid, process);
    }

    /// The last one only, where mappings are told: what the others are for is seen as it comes. It makes up for what was lost, and finds
    /// children that use their parent's libraries and live longer than most.
    const fn first_look(&self) -> usize {
        if self.mappings.is_some() { LOOKS_NANOS.len().saturating_sub(1) } else { 0 }
    }

    fn follow(&mut self, process: ProcessId, now: BootTime, first_look: usize) {
        self.unfollow(process);
        if self.young.len() >= MAX_YOUNG {
            self.counts.young_full = self.counts.young_full.saturating_add(1);
            return;
        }
        self.schedule(process, first_look, now);
    }

    fn schedule(&mut self, process: ProcessId, look: usize, now: BootTime) {
        match LOOKS_NANOS.get(look) {
            Some(pause) => {
                let due = now.plus_nanos(*pause);
                self.young.insert(process, Young { due, look });
                self.due.insert((due, process));
            }
            None => {
                self.young.remove(&process);
            }
        }
    }

    fn unfollow(&mut self, process: ProcessId) {
        if let Some(young) = self.young.remove(&process) {
            self.due.remove(&(young.due, process));
        }
    }

    fn request(&mut self, request: ScanRequest) {
        if self.requests.len() >= MAX_REQUESTS {
            self.counts.requests_dropped = self.counts.requests_dropped.saturating_add(1);
            if request == ScanRequest::Host {
                self.host_scan_running = false;
            }
            return;
        }
        self.requests.push_back(request);
    }
}

const MILLISECOND: u64 = 1_000_000;
/// Pauses between the looks at a young process: 20, 100, 400 ms, 1.6 s after its start or exec, each after the one before.
/// The dynamic loader is done in a few ms; interpreters import their TLS module within a second or so.
const LOOKS_NANOS: [u64; 4] = [20 * MILLISECOND, 80 * MILLISECOND, 300 * MILLISECOND, 1_200 * MILLISECOND];
/// An unchanged process costs one small read per host scan.
const HOST_SCAN_NANOS: u64 = 5_000 * MILLISECOND;
/// Losses come together: one scan for all of a storm's.
const AFTER_LOSS_NANOS: u64 = 200 * MILLISECOND;
/// Processes begun within 1.6 s: more than a machine can start.
const MAX_YOUNG: usize = 16_384;
const MAX_REQUESTS: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::file::Device;

    const PROCESS: ProcessId = ProcessId { pid: Pid(7), start_ticks: 9 };

    fn at(milliseconds: u64) -> BootTime {
        BootTime(milliseconds * MILLISECOND)
    }

    fn drain(watcher: &mut Watcher) -> Vec<ScanRequest> {
        std::iter::from_fn(|| watcher.poll_request()).collect()
    }

    /// A watcher whose first host scan is done at time 0.
    fn settled() -> Watcher {
        let mut watcher = Watcher::new(at(0));
        watcher.handle_timeout(at(0));
        assert_eq!(drain(&mut watcher), [ScanRequest::Host]);
        assert_eq!(watcher.poll_timeout(), None);
        watcher.handle_host_scanned(at(0));
        watcher
    }

    /// Runs until `end` and tells when which request came.
    fn run(watcher: &mut Watcher, end: u64) -> Vec<(u64, ScanRequest)> {
        let mut seen = Vec::new();
        while let Some(due) = watcher.poll_timeout().filter(|due| *due <= at(end)) {
            watcher.handle_timeout(due);
            for request in drain(watcher) {
                seen.push((due.0 / MILLISECOND, request));
                if request == ScanRequest::Host {
                    watcher.handle_host_scanned(due);
                }
            }
        }
        seen
    }

    #[test]
    fn of_a_tree_its_processes_are_looked_at_as_long_as_they_live_and_nobody_else() {
        let (child, stranger) = (ProcessId { pid: Pid(8), start_ticks: 10 }, Pid(9));
        let mut watcher = Watcher::of_tree(at(0));
        watcher.handle_timeout(at(0));
        assert_eq!(drain(&mut watcher), []);
        watcher.listen_to_mappings(EmptyFiles::default());
        watcher.handle_exec(PROCESS, at(0));
        assert_eq!(drain(&mut watcher), [ScanRequest::Exec(PROCESS)]);
        watcher.handle_fork(child, at(10));
        let file = MappedFile { device: Device { major: 8, minor: 1 }, inode: 5, generation: 1 };
        watcher.handle_mapped(stranger, file, at(20));
        watcher.handle_mapped(child.pid, file, at(20));
        assert_eq!(drain(&mut watcher), [ScanRequest::Mapped(child.pid)]);
        run(&mut watcher, 4_999);
        let mut looks = run(&mut watcher, 9_999);
        looks.sort_unstable_by_key(|(_, request)| *request == ScanRequest::Process(child));
        assert_eq!(looks, [(5_000, ScanRequest::Process(PROCESS)), (5_000, ScanRequest::Process(child))]);
        watcher.handle_exit(child, at(9_999));
        drain(&mut watcher);
        assert_eq!(run(&mut watcher, 10_000), [(10_000, ScanRequest::Process(PROCESS))]);
    }

    #[test]
    fn a_new_program_is_looked_at_at_once_and_with_growing_pauses() {
        let mut watcher = settled();
        watcher.handle_exec(PROCESS, at(0));
        assert_eq!(drain(&mut watcher), [ScanRequest::Exec(PROCESS)]);
        let looks = [20, 100, 400, 1_600].map(|time| (time, ScanRequest::Process(PROCESS)));
        assert_eq!(run(&mut watcher, 4_999), looks);
        assert!(watcher.young.is_empty() && watcher.due.is_empty());
    }

    #[test]
    fn the_host_is_scanned_every_five_seconds_after_the_last_answer() {
        let mut watcher = settled();
        assert_eq!(run(&mut watcher, 11_000), [(5_000, ScanRequest::Host), (10_000, ScanRequest::Host)]);
    }

    #[test]
    fn a_second_host_scan_waits_for_the_first() {
        let mut watcher = Watcher::new(at(0));
        watcher.handle_timeout(at(0));
        watcher.handle_timeout(at(60_000));
        assert_eq!(drain(&mut watcher), [ScanRequest::Host]);
    }

    #[test]
    fn a_process_that_ended_is_not_looked_at_again() {
        let mut watcher = settled();
        watcher.handle_exec(PROCESS, at(0));
        watcher.handle_exit(PROCESS, at(10));
        assert_eq!(drain(&mut watcher), [ScanRequest::Exec(PROCESS), ScanRequest::Forget(PROCESS)]);
        assert_eq!(run(&mut watcher, 4_999), []);
    }

    #[test]
    fn an_exec_begins_the_looks_anew_and_a_fork_does_not() {
        let mut watcher = settled();
        watcher.handle_fork(PROCESS, at(0));
        assert_eq!(drain(&mut watcher), []);
        assert_eq!(run(&mut watcher, 50), [(20, ScanRequest::Process(PROCESS))]);
        watcher.handle_fork(PROCESS, at(50));
        watcher.handle_exec(PROCESS, at(60));
        drain(&mut watcher);
        assert_eq!(run(&mut watcher, 200), [(80, ScanRequest::Process(PROCESS)), (160, ScanRequest::Process(PROCESS))]);
    }

    #[test]
    fn where_mappings_are_told_a_new_program_is_looked_at_at_once_as_it_maps_and_once_more() {
        let mut watcher = settled();
        watcher.listen_to_mappings(EmptyFiles::default());
        watcher.handle_exec(PROCESS, at(0));
        let file = |inode| MappedFile { device: Device::default(), inode, generation: 0 };
        watcher.handle_mapped(PROCESS.pid, file(1), at(2));
        assert_eq!(drain(&mut watcher), [ScanRequest::Exec(PROCESS), ScanRequest::Mapped(PROCESS.pid)]);
        watcher.handle_mapped(PROCESS.pid, file(2), at(3));
        assert_eq!(run(&mut watcher, 4_999), [(12, ScanRequest::Mapped(PROCESS.pid)), (1_200, ScanRequest::Process(PROCESS))]);
    }

    #[test]
    fn lost_mappings_lead_to_one_early_host_scan() {
        let mut watcher = settled();
        for now in 0..10 {
            watcher.handle_mappings_lost(2, at(now));
        }
        assert_eq!(run(&mut watcher, 5_100), [(200, ScanRequest::Host)]);
        assert_eq!(watcher.counts().mappings_lost, 20);
    }

    #[test]
    fn mappings_lost_during_a_host_scan_lead_to_another_one_soon_after_it() {
        let mut watcher = settled();
        watcher.handle_timeout(at(5_000));
        assert_eq!(drain(&mut watcher), [ScanRequest::Host]);
        watcher.handle_mappings_lost(1, at(5_050));
        assert_eq!(watcher.poll_timeout(), None, "one at a time");
        watcher.handle_host_scanned(at(5_100));
        assert_eq!(run(&mut watcher, 10_300), [(5_250, ScanRequest::Host), (10_250, ScanRequest::Host)]);
    }

    #[test]
    fn where_mappings_are_told_no_more_new_programs_are_looked_at_again_and_again() {
        let mut watcher = settled();
        watcher.listen_to_mappings(EmptyFiles::default());
        watcher.handle_mappings_lost(3, at(0));
        watcher.stop_listening(at(10));
        watcher.handle_exec(PROCESS, at(300));
        assert_eq!(drain(&mut watcher), [ScanRequest::Exec(PROCESS)]);
        let looks = [320, 400, 700, 1_900].map(|time| (time, ScanRequest::Process(PROCESS)));
        let seen = run(&mut watcher, 4_999);
        assert_eq!(seen.iter().filter(|(_, request)| *request != ScanRequest::Host).copied().collect::<Vec<_>>(), looks);
        assert!(seen.iter().any(|(_, request)| *request == ScanRequest::Host), "{seen:?}");
        assert_eq!(watcher.counts().mappings_lost, 3, "sums only rise");
    }

    #[test]
    fn a_storm_of_processes_is_bounded_and_counted() {
        let mut watcher = settled();
        for pid in 0..u32::try_from(MAX_YOUNG + MAX_REQUESTS).unwrap() {
            watcher.handle_exec(ProcessId { pid: Pid(pid), start_ticks: 1 }, at(0));
        }
        assert_eq!((watcher.young.len(), watcher.due.len(), watcher.requests.len()), (MAX_YOUNG, MAX_YOUNG, MAX_REQUESTS));
        assert_eq!(
            watcher.counts(),
            WatcherCounts { young_full: MAX_REQUESTS as u64, requests_dropped: MAX_YOUNG as u64, ..WatcherCounts::default() }
        );
    }
}
