//! The bounded side branch for calls without usage: a tokenizer may take milliseconds, the event loop may not.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::Notify;

use crate::{
    call::LlmCall,
    pipeline::{FinishedCall, Pipeline, PipelineSettings},
    tokens::BytePairCounter,
};

/// Calls waiting to be counted or to be fetched. More of them go on without an estimate.
const WAITING: usize = 1024;

/// Counts on its own thread, which ends when this is dropped.
pub(super) struct Estimator {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queues: Mutex<Queues>,
    /// There is something to count, or nobody will ask any more.
    work: Condvar,
    /// There is something to fetch.
    done: Notify,
}

#[derive(Default)]
struct Queues {
    /// The first is being counted. It stays here until then, so that it can be taken back whole.
    waiting: VecDeque<(u64, Box<LlmCall>, PipelineSettings)>,
    finished: VecDeque<Box<FinishedCall>>,
    offered: u64,
    closed: bool,
}

impl Estimator {
    pub(super) fn spawn() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = Arc::clone(&shared);
        thread::Builder::new().name("a11i-estimator".to_owned()).spawn(move || {
            while let Some((number, call, settings)) = worker.next() {
                let done = Pipeline::finish(&settings, *call, Some(&BytePairCounter));
                worker.finish(number, done);
            }
        })?;
        Ok(Self { shared })
    }

    /// The call comes back if there is no room for it.
    pub(super) fn offer(&self, call: Box<LlmCall>, settings: &PipelineSettings) -> Result<(), Box<LlmCall>> {
        let mut queues = self.shared.lock();
        if queues.waiting.len().saturating_add(queues.finished.len()) >= WAITING {
            return Err(call);
        }
        queues.offered = queues.offered.wrapping_add(1);
        let number = queues.offered;
        queues.waiting.push_back((number, call, settings.clone()));
        self.shared.work.notify_one();
        Ok(())
    }

    /// The next call that is counted; waits for it. Nothing is lost when the wait is given up.
    pub(super) async fn finished(&self) -> Box<FinishedCall> {
        loop {
            if let Some(call) = self.shared.lock().finished.pop_front() {
                return call;
            }
            self.shared.done.notified().await;
        }
    }

    /// Nothing is counted or waits to be fetched.
    pub(super) fn is_idle(&self) -> bool {
        let queues = self.shared.lock();
        queues.waiting.is_empty() && queues.finished.is_empty()
    }

    /// Ends the work: calls that were not counted come back, the one that is being counted among them.
    #[expect(clippy::vec_box, reason = "calls are boxed on their whole way: moving the box is what is wanted")]
    pub(super) fn take_back(&self) -> Vec<Box<LlmCall>> {
        self.shared.lock().waiting.drain(..).map(|(_, call, _)| call).collect()
    }
}

impl Drop for Estimator {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    /// A copy of the first call that waits; `None` when nobody will ask any more.
    fn next(&self) -> Option<(u64, Box<LlmCall>, PipelineSettings)> {
        let mut queues = self.lock();
        loop {
            if queues.closed {
                return None;
            }
            if let Some(first) = queues.waiting.front() {
                return Some(first.clone());
            }
            queues = self.work.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, number: u64, done: FinishedCall) {
        let mut queues = self.lock();
        // Unless it was taken back meanwhile.
        if queues.waiting.front().is_some_and(|(first, ..)| *first == number) {
            queues.waiting.pop_front();
            queues.finished.push_back(Box::new(done));
            self.done.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Queues are whole between any two of their operations.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
