//! Runs what may never come back (a file on a dead server, the memory map of a stuck process) on a thread that can be given up.
//!
//! A thread in uninterruptible sleep cannot be ended. It is left alone, its answer is thrown away, and another one takes its place;
//! when its file system answers again it ends by itself, and [`Stuck`] tells so. One that was given up while it computes
//! ([`Progress::computing`]: no file system is to blame for that) is told with its next read, or sooner where it asks. The number of such
//! threads is bounded, in all and for each mount namespace, and so is the time that one namespace makes the others wait: a container with
//! many dead files keeps nobody's from us.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use a11i_common::identity::BootTime;

use super::file::ByteSource;
use crate::clock::Clock;

/// Threads at work, mostly one, some given up.
#[derive(Default)]
pub(crate) struct DeadlineWorker {
    /// Without work; one more than one only where several jobs were under way.
    idle: Vec<Hand>,
    /// By the mount namespace of whom it was for.
    stuck: Vec<(u64, Stuck)>,
    waits: HashMap<u64, Waits>,
    given_up: u64,
}

/// How long a mount namespace has kept the others waiting.
struct Waits {
    since: BootTime,
    total: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GivenUp {
    #[error("no answer within {} s", STILL.as_secs())]
    Stuck(Stuck),
    /// It computes: nothing that it reads is to blame.
    #[error("not done within {} s", TOTAL.as_secs())]
    TooLong,
    #[error("too many file systems do not answer")]
    TooManyStuck,
    #[error("too much of its mount namespace does not answer")]
    TooManyOfOne,
    #[error("its mount namespace has kept the others waiting for too long")]
    TooSlow,
    #[error("no thread: {0}")]
    NoThread(std::io::Error),
}

/// A thread that was given up.
#[derive(Clone, Debug)]
pub(crate) struct Stuck(Weak<()>);

impl Stuck {
    /// It came back after all: what it waited for answers again.
    pub(crate) fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// Bytes that a job has read. A job whose count rises is slow, not stuck.
#[derive(Default)]
pub(crate) struct Progress {
    bytes: AtomicU64,
    /// Nobody waits for the answer any more.
    is_given_up: AtomicBool,
    /// Busy, not waiting for anything outside.
    is_computing: AtomicBool,
}

impl Progress {
    pub(super) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// For work whose only waits are reads of a [`Metered`] source: between them it computes, and silence says nothing of the file.
    pub(super) fn computing<T>(&self, work: impl FnOnce() -> T) -> T {
        self.is_computing.store(true, Ordering::Relaxed);
        let done = work();
        self.is_computing.store(false, Ordering::Relaxed);
        done
    }

    /// Does what may wait for others.
    fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        let computes = self.is_computing.swap(false, Ordering::Relaxed);
        let done = wait();
        self.is_computing.store(computes, Ordering::Relaxed);
        done
    }

    fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Relaxed)
    }
}

/// A source whose reads are counted. They fail once the job was given up, so that it ends, and beyond a number of bytes.
pub(super) struct Metered<'a, S: ByteSource> {
    source: &'a S,
    progress: &'a Progress,
    limit: u64,
    left: Cell<u64>,
    is_exhausted: Cell<bool>,
}

impl<'a, S: ByteSource> Metered<'a, S> {
    pub(super) fn new(source: &'a S, progress: &'a Progress, bytes: u64) -> Self {
        Self { source, progress, limit: bytes, left: Cell::new(bytes), is_exhausted: Cell::new(false) }
    }

    /// Bytes that may be read.
    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    /// More was asked for than may be read.
    pub(super) fn is_exhausted(&self) -> bool {
        self.is_exhausted.get()
    }
}

impl<S: ByteSource> ByteSource for Metered<'_, S> {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        if self.progress.is_given_up() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        // A read costs something even of a few bytes.
        let Some(left) = self.left.get().checked_sub((into.len() as u64).max(LEAST_READ)) else {
            self.is_exhausted.set(true);
            return Err(std::io::ErrorKind::QuotaExceeded.into());
        };
        self.left.set(left);
        let read = self.progress.waiting(|| self.source.read_exact_at(offset, into));
        self.progress.add(into.len() as u64);
        read
    }

    fn is_given_up(&self) -> bool {
        self.progress.is_given_up()
    }
}

type Job = Box<dyn FnOnce(&Progress) + Send>;

struct Hand {
    jobs: mpsc::SyncSender<Job>,
    progress: Arc<Progress>,
    /// Lives as long as the thread.
    alive: Weak<()>,
}

impl DeadlineWorker {
    /// The answer and how many bytes were read for it. `namespace`: the mount namespace of whom it is for.
    pub(crate) fn run<T: Send + 'static>(
        &mut self,
        namespace: u64,
        job: impl FnOnce(&Progress) -> T + Send + 'static,
    ) -> Result<(T, u64), GivenUp> {
        let mut pending = self.begin(namespace, job)?;
        loop {
            pending = match self.wait_for(pending, LOOK) {
                Awaited::Pending(pending) => pending,
                Awaited::Done(done) => return done,
            };
        }
    }

    /// Begins a job, and others may be begun and run while [`Self::wait_for`] has no answer.
    pub(crate) fn begin<T: Send + 'static>(
        &mut self,
        namespace: u64,
        job: impl FnOnce(&Progress) -> T + Send + 'static,
    ) -> Result<Pending<T>, GivenUp> {
        if let Err(refused) = self.admit(namespace, Clock::boot_now()) {
            self.given_up = self.given_up.saturating_add(1);
            return Err(refused);
        }
        let hand = match self.idle.pop() {
            Some(hand) => hand,
            None => hire()?,
        };
        let watch = Watch::begin(&hand.progress, Clock::boot_now());
        let (answer, answered) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |progress| drop(answer.send(job(progress))));
        // Fails when the thread has ended, and then the answer is that there is none.
        drop(hand.jobs.send(job));
        Ok(Pending { namespace, hand, answered, watch })
    }

    /// Waits for so long at most. A job that has had its time is given up.
    pub(crate) fn wait_for<T>(&mut self, mut pending: Pending<T>, longest: Duration) -> Awaited<T> {
        let given = match pending.answered.recv_timeout(longest) {
            Err(mpsc::RecvTimeoutError::Timeout) if !pending.watch.is_over(&pending.hand.progress, Clock::boot_now()) => {
                return Awaited::Pending(pending);
            }
            given => given,
        };
        let Pending { namespace, hand, watch, .. } = pending;
        self.count_wait(namespace, watch.lost, Clock::boot_now());
        Awaited::Done(match given {
            Ok(given) => {
                let bytes = hand.progress.bytes().saturating_sub(watch.before);
                if self.idle.len() < MAX_IDLE {
                    self.idle.push(hand);
                }
                Ok((given, bytes))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(GivenUp::NoThread(std::io::ErrorKind::BrokenPipe.into())),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let computes = hand.progress.is_computing.load(Ordering::Relaxed);
                hand.progress.give_up();
                let stuck = Stuck(hand.alive);
                self.given_up = self.given_up.saturating_add(1);
                self.stuck.push((namespace, stuck.clone()));
                Err(if computes { GivenUp::TooLong } else { GivenUp::Stuck(stuck) })
            }
        })
    }

    /// Jobs given up, or refused for those that were, since the beginning.
    pub(crate) const fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Before a thread is risked for this namespace.
    fn admit(&mut self, namespace: u64, now: BootTime) -> Result<(), GivenUp> {
        self.stuck.retain(|(_, stuck)| !stuck.is_over());
        let of_it = self.stuck.iter().filter(|(whose, _)| *whose == namespace).count();
        if of_it >= MAX_STUCK_OF_ONE {
            return Err(GivenUp::TooManyOfOne);
        }
        // The last ones are for those who have done nothing wrong.
        if self.stuck.len() >= if of_it == 0 { MAX_STUCK } else { MAX_STUCK - RESERVED } {
            return Err(GivenUp::TooManyStuck);
        }
        self.waits.retain(|_, waits| now.nanos_since(waits.since) < WINDOW_NANOS);
        if self.waits.get(&namespace).is_some_and(|waits| waits.total >= MAX_WAIT_OF_ONE) {
            return Err(GivenUp::TooSlow);
        }
        Ok(())
    }

    fn count_wait(&mut self, namespace: u64, lost: Duration, now: BootTime) {
        if lost.is_zero() {
            return;
        }
        // Bounded by time: each entry has cost `LOOK` within the window.
        let waits = self.waits.entry(namespace).or_insert(Waits { since: now, total: Duration::ZERO });
        waits.total = waits.total.saturating_add(lost);
    }
}

fn hire() -> Result<Hand, GivenUp> {
    let (jobs, inbox) = mpsc::sync_channel::<Job>(1);
    let progress = Arc::new(Progress::default());
    let life = Arc::new(());
    let alive = Arc::downgrade(&life);
    let counted = Arc::clone(&progress);
    let body = move || {
        // Whoever gave this thread up has dropped the other end.
        while let Ok(job) = inbox.recv() {
            job(&counted);
        }
        drop(life);
    };
    thread::Builder::new().name("a11i-file-reader".to_owned()).spawn(body).map_err(GivenUp::NoThread)?;
    Ok(Hand { jobs, progress, alive })
}

/// A job that was begun.
pub(crate) struct Pending<T> {
    namespace: u64,
    hand: Hand,
    answered: mpsc::Receiver<T>,
    watch: Watch,
}

/// What became of a job so far.
pub(crate) enum Awaited<T> {
    Pending(Pending<T>),
    /// As [`DeadlineWorker::run`] gives it.
    Done(Result<(T, u64), GivenUp>),
}

/// How a job gets on.
struct Watch {
    /// Bytes before the job.
    before: u64,
    /// At the last look, and when that was.
    seen: u64,
    looked: BootTime,
    /// Without a read that ended; since the beginning; with almost nothing read.
    still: Duration,
    total: Duration,
    lost: Duration,
}

impl Watch {
    fn begin(progress: &Progress, now: BootTime) -> Self {
        let bytes = progress.bytes();
        Self { before: bytes, seen: bytes, looked: now, still: Duration::ZERO, total: Duration::ZERO, lost: Duration::ZERO }
    }

    /// It has had its time. Looks at most every [`LOOK`]; a wait that was longer counts as one: the machine slept, or this thread did.
    fn is_over(&mut self, progress: &Progress, now: BootTime) -> bool {
        if Duration::from_nanos(now.nanos_since(self.looked)) < LOOK {
            return false;
        }
        self.looked = now;
        self.total = self.total.saturating_add(LOOK);
        self.still = self.still.saturating_add(LOOK);
        let bytes = progress.bytes();
        if bytes.saturating_sub(self.seen) < TRICKLE_BYTES {
            self.lost = self.lost.saturating_add(LOOK);
        }
        if bytes != self.seen || progress.is_computing.load(Ordering::Relaxed) {
            (self.seen, self.still) = (bytes, Duration::ZERO);
        }
        self.still >= STILL || self.total >= TOTAL
    }
}

/// Threads that wait for work: one job beside one that takes long.
const MAX_IDLE: usize = 2;
const LOOK: Duration = Duration::from_millis(250);
/// Without one read that ends: local disks take milliseconds for a window, network file systems on a bad day a second.
const STILL: Duration = Duration::from_secs(2);
/// In all, however steadily bytes trickle: the largest programs take a second, under emulation forty.
const TOTAL: Duration = Duration::from_mins(1);
/// Each is one file system (or process) that does not answer, with one megabyte of stack that is never touched.
const MAX_STUCK: usize = 32;
/// Of one mount namespace: several dead mounts of one host are usual after a network failure.
const MAX_STUCK_OF_ONE: usize = 8;
/// For namespaces of which nothing is stuck yet.
const RESERVED: usize = 16;
/// Of a window: a third of the time at least is for others. Dead mounts are noticed within [`STILL`], and then no longer waited for; the
/// slowest analyses under emulation fit once.
const MAX_WAIT_OF_ONE: Duration = Duration::from_secs(40);
const WINDOW_NANOS: u64 = 60 * 1_000_000_000;
/// In [`LOOK`]: less than any disk reads of a file that is looked at.
const TRICKLE_BYTES: u64 = 4_096;
/// Bytes that a read counts as at least: as many are copied in the time that the system call takes.
const LEAST_READ: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_does_not_answer_is_given_up_and_the_next_one_runs() {
        let mut worker = DeadlineWorker::default();
        let (release, gate) = mpsc::sync_channel::<()>(0);
        let Err(GivenUp::Stuck(stuck)) = worker.run(1, move |_| gate.recv().is_ok()) else { panic!("it cannot answer") };
        assert!(!stuck.is_over());
        assert_eq!(worker.run(1, |progress| (progress.add(7), 42).1).unwrap(), (42, 7));
        assert_eq!(worker.given_up(), 1);
        drop(release);
        while !stuck.is_over() {
            thread::yield_now();
        }
    }

    #[test]
    fn the_number_of_threads_that_are_given_up_is_bounded() {
        let mut worker = DeadlineWorker::default();
        let life = Arc::new(());
        worker.stuck = (1..).take(MAX_STUCK).map(|namespace| (namespace, Stuck(Arc::downgrade(&life)))).collect();
        assert!(matches!(worker.run(u64::MAX, |_| ()), Err(GivenUp::TooManyStuck)));
        drop(life);
        assert!(worker.run(u64::MAX, |_| ()).is_ok(), "they came back");
    }

    #[test]
    fn a_namespace_full_of_dead_files_keeps_nobody_elses_from_us() {
        let mut worker = DeadlineWorker::default();
        let life = Arc::new(());
        worker.stuck = vec![(1, Stuck(Arc::downgrade(&life))); MAX_STUCK_OF_ONE];
        assert!(matches!(worker.run(1, |_| ()), Err(GivenUp::TooManyOfOne)));
        assert!(worker.run(2, |_| ()).is_ok());
        // Those with dead files of their own share what is not reserved.
        worker.stuck = (0..).take(MAX_STUCK - RESERVED).map(|namespace| (namespace, Stuck(Arc::downgrade(&life)))).collect();
        assert!(matches!(worker.run(1, |_| ()), Err(GivenUp::TooManyStuck)));
        assert!(worker.run(u64::MAX, |_| ()).is_ok());
    }

    #[test]
    fn a_namespace_that_keeps_the_others_waiting_is_left_alone_for_a_minute() {
        let mut worker = DeadlineWorker::default();
        let begin = BootTime(WINDOW_NANOS);
        worker.count_wait(1, MAX_WAIT_OF_ONE / 2, begin);
        assert!(worker.admit(1, begin).is_ok());
        worker.count_wait(1, MAX_WAIT_OF_ONE / 2, begin);
        assert!(matches!(worker.admit(1, begin), Err(GivenUp::TooSlow)));
        assert!(worker.admit(2, begin).is_ok());
        assert!(worker.admit(1, begin.plus_nanos(WINDOW_NANOS)).is_ok());
    }

    #[test]
    fn a_job_that_panics_costs_its_thread_only() {
        let mut worker = DeadlineWorker::default();
        assert!(matches!(worker.run(1, |_| panic!("on purpose")), Err(GivenUp::NoThread(_))));
        assert_eq!(worker.run(1, |_| 1).unwrap().0, 1);
    }
    #[test]
    fn a_job_that_was_given_up_reads_nothing_more() {
        let mut worker = DeadlineWorker::default();
        let (told, ended) = mpsc::sync_channel(1);
        // It reads a little now and then, for ever.
        #[expect(clippy::disallowed_methods, reason = "the job is what does not answer")]
        let job = move |progress: &Progress| {
            let source = vec![0_u8; 8];
            let metered = Metered::new(&source, progress, u64::MAX);
            while metered.read_exact_at(0, &mut [0; 8]).is_ok() {
                thread::sleep(STILL * 2);
            }
            told.send(metered.is_exhausted()).ok();
        };
        let Err(GivenUp::Stuck(stuck)) = worker.run(1, job) else { panic!("it cannot answer") };
        assert_eq!(ended.recv(), Ok(false));
        while !stuck.is_over() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_job_that_computes_is_not_taken_for_one_that_waits_for_a_file() {
        let mut worker = DeadlineWorker::default();
        #[expect(clippy::disallowed_methods, reason = "it is silent for longer than a file may be")]
        let silent = |progress: &Progress| progress.computing(|| thread::sleep(STILL + LOOK * 4));
        assert!(worker.run(1, silent).is_ok());
        // One read of it that waits is.
        let (release, gate) = mpsc::sync_channel::<()>(0);
        let waits = move |progress: &Progress| progress.computing(|| progress.waiting(|| gate.recv().is_ok()));
        assert!(matches!(worker.run(1, waits), Err(GivenUp::Stuck(_))));
        drop(release);
    }

    #[test]
    fn a_job_reads_no_more_bytes_than_it_may_however_small_its_reads() {
        let (source, progress) = (vec![7_u8; 4_096], Progress::default());
        let metered = Metered::new(&source, &progress, 10_000);
        let whole = (0..5).filter(|_| metered.read_exact_at(0, &mut [0; 4_096]).is_ok()).count();
        assert_eq!((whole, metered.is_exhausted(), progress.bytes()), (2, true, 8_192));
        let metered = Metered::new(&source, &progress, 10_000);
        let small = (0..10_000).filter(|_| metered.read_exact_at(0, &mut [0]).is_ok()).count();
        assert_eq!(small, 39);
    }
}
