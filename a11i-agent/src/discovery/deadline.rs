//! Runs what may never come back (a file on a dead server, the memory map of a stuck process) on a thread that can be given up.
//!
//! A thread in uninterruptible sleep cannot be ended. It is left alone, its answer is thrown away, and another one takes its place;
//! when its file system answers again it ends by itself, and [`Stuck`] tells so. The number of such threads is bounded.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::file::ByteSource;

/// One thread at work, some given up.
#[derive(Default)]
pub(super) struct DeadlineWorker {
    hand: Option<Hand>,
    stuck: Vec<Stuck>,
    given_up: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum GivenUp {
    #[error("no answer within {} s", STILL.as_secs())]
    Stuck(Stuck),
    #[error("too many file systems do not answer")]
    TooManyStuck,
    #[error("no thread: {0}")]
    NoThread(std::io::Error),
}

/// A thread that was given up.
#[derive(Clone, Debug)]
pub(super) struct Stuck(Weak<()>);

impl Stuck {
    /// It came back after all: what it waited for answers again.
    pub(super) fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// Bytes that a job has read. A job whose count rises is slow, not stuck.
pub(super) struct Progress(AtomicU64);

impl Progress {
    pub(super) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A source whose reads are counted.
pub(super) struct Metered<'a, S: ByteSource>(pub(super) &'a S, pub(super) &'a Progress);

impl<S: ByteSource> ByteSource for Metered<'_, S> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        let read = self.0.read_exact_at(offset, into);
        self.1.add(into.len() as u64);
        read
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
    /// The answer and how many bytes were read for it.
    pub(super) fn run<T: Send + 'static>(&mut self, job: impl FnOnce(&Progress) -> T + Send + 'static) -> Result<(T, u64), GivenUp> {
        let hand = match self.hand.take() {
            Some(hand) => hand,
            None => self.hire()?,
        };
        let before = hand.progress.bytes();
        let (answer, answered) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |progress| drop(answer.send(job(progress))));
        // Fails when the thread has ended, and then there is no answer either.
        if hand.jobs.send(job).is_ok() {
            match wait(&answered, &hand.progress) {
                Ok(given) => {
                    let bytes = hand.progress.bytes().saturating_sub(before);
                    self.hand = Some(hand);
                    return Ok((given, bytes));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(GivenUp::NoThread(std::io::ErrorKind::BrokenPipe.into())),
            }
        }
        let stuck = Stuck(hand.alive);
        self.given_up = self.given_up.saturating_add(1);
        self.stuck.push(stuck.clone());
        Err(GivenUp::Stuck(stuck))
    }

    /// Threads given up since the beginning.
    pub(super) const fn given_up(&self) -> u64 {
        self.given_up
    }

    fn hire(&mut self) -> Result<Hand, GivenUp> {
        self.stuck.retain(|stuck| !stuck.is_over());
        if self.stuck.len() >= MAX_STUCK {
            return Err(GivenUp::TooManyStuck);
        }
        let (jobs, inbox) = mpsc::sync_channel::<Job>(1);
        let progress = Arc::new(Progress(AtomicU64::new(0)));
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
}

fn wait<T>(answered: &mpsc::Receiver<T>, progress: &Progress) -> Result<T, mpsc::RecvTimeoutError> {
    let (mut seen, mut still) = (progress.bytes(), Duration::ZERO);
    let mut total = Duration::ZERO;
    loop {
        match answered.recv_timeout(LOOK) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            done => return done,
        }
        total = total.saturating_add(LOOK);
        still = still.saturating_add(LOOK);
        let now = progress.bytes();
        if now != seen {
            (seen, still) = (now, Duration::ZERO);
        }
        if still >= STILL || total >= TOTAL {
            return Err(mpsc::RecvTimeoutError::Timeout);
        }
    }
}

const LOOK: Duration = Duration::from_millis(250);
/// Without one read that ends: local disks take milliseconds for a window, network file systems on a bad day a second.
const STILL: Duration = Duration::from_secs(2);
/// In all, however steadily bytes trickle: the largest programs take a second, under emulation forty.
const TOTAL: Duration = Duration::from_mins(1);
/// Each is one file system (or process) that does not answer, with one megabyte of stack that is never touched.
const MAX_STUCK: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_does_not_answer_is_given_up_and_the_next_one_runs() {
        let mut worker = DeadlineWorker::default();
        let (release, gate) = mpsc::sync_channel::<()>(0);
        let Err(GivenUp::Stuck(stuck)) = worker.run(move |_| gate.recv().is_ok()) else { panic!("it cannot answer") };
        assert!(!stuck.is_over());
        assert_eq!(worker.run(|progress| (progress.add(7), 42).1).unwrap(), (42, 7));
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
        worker.stuck = vec![Stuck(Arc::downgrade(&life)); MAX_STUCK];
        assert!(matches!(worker.run(|_| ()), Err(GivenUp::TooManyStuck)));
        drop(life);
        assert!(worker.run(|_| ()).is_ok(), "they came back");
    }

    #[test]
    fn a_job_that_panics_costs_its_thread_only() {
        let mut worker = DeadlineWorker::default();
        assert!(matches!(worker.run(|_| panic!("on purpose")), Err(GivenUp::NoThread(_))));
        assert_eq!(worker.run(|_| 1).unwrap().0, 1);
    }
}
