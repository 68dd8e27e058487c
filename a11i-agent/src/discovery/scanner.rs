//! The scanner's thread, what it is asked and what it answers.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use a11i_common::identity::{BootTime, Pid, ProcessId};

use super::{
    elf::ElfError,
    evidence::Evidence,
    file::{FileId, OpenError, OpenedFile},
    files::Unanswered,
    scan::{Chore, Scan},
};
use crate::{attach::Analysis, clock::Clock};

/// What to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScanRequest {
    /// The process runs another program now: everything known of it is void.
    Exec(ProcessId),
    /// The process may have mapped more.
    Process(ProcessId),
    /// Whoever has this pid has mapped code (PERF_RECORD_MMAP2 names no start time).
    Mapped(Pid),
    /// The process ended.
    Forget(ProcessId),
    /// All processes, and the libraries named in the host's ld.so.cache.
    Host,
}

/// A file with at least one plan, held open so that the very file that was analysed can be attached.
#[derive(Debug)]
pub struct Candidate {
    pub file: OpenedFile,
    /// As seen in the process's mount namespace; for messages.
    pub path: PathBuf,
    pub analysis: Arc<Analysis>,
}

/// Why traffic of a process may be missing.
#[derive(Debug, thiserror::Error)]
pub enum NotCovered {
    #[error("{}: {}", path.display(), evidence.reason())]
    Unsupported { path: PathBuf, evidence: Evidence },
    #[error("file not looked at: {source}")]
    Unopened { path: PathBuf, source: OpenError },
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: Arc<ElfError> },
    #[error("its mappings cannot be read ({0}); CAP_SYS_PTRACE is needed")]
    NoAccess(std::io::Error),
    #[error("{}: not looked at: {source}", path.display())]
    Unanswered { path: PathBuf, source: Arc<Unanswered> },
    #[error("not looked at: {0}")]
    Silent(Unanswered),
    #[error("{}: looked at later, its container has used up its budget of files for now", path.display())]
    OverBudget { path: PathBuf },
    #[error("{}: looked at later, it is being written", path.display())]
    BeingWritten { path: PathBuf },
    #[error("it maps more files than are looked at")]
    TooManyMappings,
}

#[derive(Debug)]
pub enum ScanReport {
    /// The process maps a TLS library.
    Found { process: ProcessId, candidate: Candidate },
    /// A file that was reported holds more than was said of it, found by its code. All of its plans, also those that were reported before.
    More { candidate: Candidate },
    /// A library that programs of this mount namespace will map (named in its ld.so.cache, or beside a program); no process yet.
    Library { candidate: Candidate, namespace: u64 },
    /// A file that was reported states its version, or the library beside it does.
    Version { file: FileId, version: String },
    /// No process is in the mount namespace any more: what [`Self::Library`] offered for it is used by nobody there.
    NamespaceGone { namespace: u64 },
    /// The bytes of this version of a file, reported before, were replaced in place: its probes sit at offsets of code that is gone.
    /// Given before any report of the new version.
    Changed { file: FileId },
    /// Said once per process and file.
    NotCovered { process: ProcessId, reason: NotCovered },
    /// The request is answered: all its reports were given before this one.
    Done { request: ScanRequest, statistics: ScanStatistics },
}

/// Counts since the scan began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScanStatistics {
    /// Processes whose mappings were read.
    pub processes_read: u64,
    /// Processes passed over because nothing changed.
    pub processes_unchanged: u64,
    /// Processes that ended or changed identity while they were looked at.
    pub processes_vanished: u64,
    pub files_opened: u64,
    pub files_analysed: u64,
    /// Files put off to a later scan because their container's budget was used up.
    pub files_postponed: u64,
    /// Looks that were given up because there was no answer in time.
    pub unanswered: u64,
}

/// Who is told what a scan finds, on the scanner's thread. May block: requests then wait, bounded.
pub trait Audience {
    fn handle_report(&mut self, report: ScanReport);

    /// Between two pieces of work (one process at most), and every [`PAUSE`] while there is none: for what else is to be done on this thread.
    fn handle_pause(&mut self);

    /// Files that turned out not to be what was reported of them since this was asked last: they are looked at again.
    fn take_changed(&mut self) -> Vec<FileId> {
        Vec::new()
    }
}

impl<F: FnMut(ScanReport)> Audience for F {
    fn handle_report(&mut self, report: ScanReport) {
        self(report);
    }

    fn handle_pause(&mut self) {}
}

/// A scan on its own thread. Dropping it ends the thread after the request it is at.
pub struct Scanner {
    requests: mpsc::SyncSender<ScanRequest>,
    rejected: AtomicU64,
    progress: Arc<AtomicU64>,
}

impl Scanner {
    pub fn spawn(mut scan: Scan, mut audience: impl Audience + Send + 'static) -> std::io::Result<Self> {
        let (requests, inbox) = mpsc::sync_channel(REQUESTS);
        let progress = Arc::new(AtomicU64::new(0));
        let steps = Arc::clone(&progress);
        thread::Builder::new().name("a11i-scanner".to_owned()).spawn(move || {
            // Between the steps of a host scan, requests go first: a program that just began waits for one process at most.
            let (mut turn, mut before) = (Turn::default(), 0);
            loop {
                let mut report = |report| audience.handle_report(report);
                let background = match scan.background() {
                    None => None,
                    Some(Chore::HostScan) => Some(Background::HostScan),
                    Some(Chore::Deep) => Some(Background::Deep { before, is_searching: scan.is_searching() }),
                };
                match next_work(&inbox, background, &mut turn) {
                    Work::Request(ScanRequest::Host) => scan.begin_host(&mut report),
                    Work::Request(request) => scan.begin(request, &mut report),
                    Work::HostScan => drop(scan.step_host(&mut report)),
                    Work::Deep => {
                        let begun = Clock::boot_now();
                        scan.step_deep(&mut report);
                        before = Clock::boot_now().nanos_since(begun);
                    }
                    Work::Nothing => {}
                    Work::End => break,
                }
                audience.handle_pause();
                for file in audience.take_changed() {
                    scan.handle_changed(&file);
                }
                steps.fetch_add(1, Ordering::Relaxed);
            }
        })?;
        Ok(Self { requests, rejected: AtomicU64::new(0), progress })
    }

    /// Never blocks. `false`: the queue is full or the thread has ended; counted, and the next host scan makes up for it.
    pub fn request(&self, request: ScanRequest) -> bool {
        let accepted = self.requests.try_send(request).is_ok();
        if !accepted {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        }
        accepted
    }

    /// Rises with every piece of work. Requests that are accepted while it stands still mean that a file of someone stalls the thread.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Requests that found the queue full.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }
}

enum Work {
    Request(ScanRequest),
    HostScan,
    /// The code of a file that another thread looks at, or the version of one.
    Deep,
    Nothing,
    /// Nobody will ask any more.
    End,
}

/// What is done when nobody waits, and how long requests may keep it from going on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Background {
    HostScan,
    /// The look before took so many nanoseconds: those who begin meanwhile wait that long, so that it has a small share of the time only.
    Deep {
        before: u64,
        /// Code is looked at on another thread, which is asked whether it is done.
        is_searching: bool,
    },
}

impl Background {
    const fn work(self) -> Work {
        match self {
            Self::HostScan => Work::HostScan,
            Self::Deep { .. } => Work::Deep,
        }
    }

    /// Requests that may go first, and for how long.
    const fn patience(self) -> (u32, u64) {
        match self {
            Self::HostScan => (REQUESTS_PER_STEP, NANOS_PER_STEP),
            Self::Deep { before, .. } => {
                let turns = before.saturating_mul(DEEP_TURNS);
                (u32::MAX, if turns > NANOS_PER_STEP { turns } else { NANOS_PER_STEP })
            }
        }
    }
}

/// Requests that went before the background since its last step.
#[derive(Default)]
struct Turn {
    requests: u32,
    /// When the first of them was begun.
    since: BootTime,
}

impl Turn {
    /// Requests have gone first for long enough: without a limit a storm of them would keep the rest from ever being done.
    fn is_over(&self, background: Background, now: BootTime) -> bool {
        let (requests, nanos) = background.patience();
        self.requests >= requests || self.requests > 0 && now.nanos_since(self.since) >= nanos
    }

    fn count(&mut self, now: BootTime) {
        if self.requests == 0 {
            self.since = now;
        }
        self.requests = self.requests.saturating_add(1);
    }
}

fn next_work(inbox: &mpsc::Receiver<ScanRequest>, background: Option<Background>, turn: &mut Turn) -> Work {
    let Some(background) = background else {
        return match inbox.recv_timeout(PAUSE) {
            Ok(request) => Work::Request(request),
            Err(mpsc::RecvTimeoutError::Timeout) => Work::Nothing,
            Err(mpsc::RecvTimeoutError::Disconnected) => Work::End,
        };
    };
    let now = Clock::boot_now();
    if turn.is_over(background, now) {
        *turn = Turn::default();
        return background.work();
    }
    let wait = if matches!(background, Background::Deep { is_searching: true, .. }) { SEARCH_PAUSE } else { Duration::ZERO };
    match inbox.recv_timeout(wait) {
        Ok(request) => {
            turn.count(now);
            Work::Request(request)
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            *turn = Turn::default();
            background.work()
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => Work::End,
    }
}

/// An exec storm of a build machine for about a second; what does not fit, the host scan finds.
const REQUESTS: usize = 1_024;

/// A host of a few hundred processes is scanned within some thousand requests.
const REQUESTS_PER_STEP: u32 = 8;
/// A few new programs with their libraries; a scan of a thousand processes ends within ten seconds however many begin.
const NANOS_PER_STEP: u64 = 10_000_000;
/// While programs begin without end, a fifth of the time goes into what they wait for.
const DEEP_TURNS: u64 = 4;

/// How often it is asked whether code was looked at: less than a program needs to shake hands, and a few hundred wake-ups for a look.
const SEARCH_PAUSE: Duration = Duration::from_millis(5);

/// How long an idle thread lets what else it has to do wait: a person at a terminal does not notice it, and ten wake-ups a second cost nothing.
pub const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use a11i_common::identity::Pid;

    use super::*;
    use crate::discovery::process::ProcFs;

    #[test]
    fn a_full_queue_rejects_and_counts() {
        let (gate, wait) = mpsc::sync_channel::<()>(0);
        let scanner = Scanner::spawn(Scan::new(ProcFs::default()), move |_: ScanReport| {
            wait.recv().ok();
        })
        .unwrap();
        let nobody = ProcessId { pid: Pid(u32::MAX), start_ticks: 1 };
        let accepted = (0..REQUESTS * 2).filter(|_| scanner.request(ScanRequest::Forget(nobody))).count();
        assert!((REQUESTS..=REQUESTS + 1).contains(&accepted));
        assert_eq!(scanner.rejected(), (REQUESTS * 2 - accepted) as u64);
        drop(gate);
    }

    #[test]
    fn a_storm_of_requests_does_not_keep_the_host_scan_from_going_on() {
        let (requests, inbox) = mpsc::sync_channel(REQUESTS);
        let nobody = ScanRequest::Mapped(Pid(u32::MAX));
        let mut turn = Turn::default();
        let mut steps = 0;
        for _ in 0..100 * (REQUESTS_PER_STEP + 1) {
            requests.try_send(nobody).ok();
            steps += u32::from(matches!(next_work(&inbox, Some(Background::HostScan), &mut turn), Work::HostScan));
        }
        assert!(steps >= 100, "{steps}");
        drop(requests);
    }

    #[test]
    fn a_storm_of_requests_does_not_keep_code_from_being_looked_at() {
        let (requests, inbox) = mpsc::sync_channel(REQUESTS);
        let nobody = ScanRequest::Mapped(Pid(u32::MAX));
        let mut turn = Turn::default();
        requests.try_send(nobody).unwrap();
        let deep = Some(Background::Deep { before: 0, is_searching: false });
        // Until the time is over that requests have: however long that takes on a busy machine.
        while !matches!(next_work(&inbox, deep, &mut turn), Work::Deep) {
            requests.try_send(nobody).ok();
        }
        drop(requests);
    }

    #[test]
    fn a_look_at_code_that_took_long_is_followed_by_a_long_turn_of_requests() {
        let turn = Turn { requests: 1_000, since: BootTime(0) };
        let slow = Background::Deep { before: NANOS_PER_STEP, is_searching: false };
        assert!(!turn.is_over(slow, BootTime(DEEP_TURNS * NANOS_PER_STEP - 1)));
        assert!(turn.is_over(slow, BootTime(DEEP_TURNS * NANOS_PER_STEP)));
        assert!(turn.is_over(Background::Deep { before: 0, is_searching: false }, BootTime(NANOS_PER_STEP)));
    }

    #[test]
    fn slow_requests_let_the_host_scan_go_on_sooner() {
        let mut turn = Turn::default();
        let scan = Background::HostScan;
        assert!(!turn.is_over(scan, BootTime(0)));
        turn.count(BootTime(0));
        assert!(!turn.is_over(scan, BootTime(NANOS_PER_STEP - 1)));
        assert!(turn.is_over(scan, BootTime(NANOS_PER_STEP)));
    }
}
