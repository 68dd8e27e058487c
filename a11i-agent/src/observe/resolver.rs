//! Looks at other processes on a thread of its own, so that the event loop need not wait for them.
//!
//! Reading `/proc/PID/environ` waits for that process's memory, for as long as the page it lies on takes to come (a hung network file
//! system, a FUSE mount that never answers). It is given up after a while ([`crate::discovery::deadline`]), and the process goes without
//! what it states about itself: it keeps nobody else's owner from being found.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
    thread,
};

use a11i_common::identity::ProcessId;
use tokio::sync::mpsc;

use crate::{
    discovery::{
        deadline::{DeadlineWorker, GivenUp, Stuck},
        process::ProcFs,
    },
    owner::{Owner, process::OwnerResolver},
};

/// Questions waiting: an exec storm of a build machine for about a second. More of them are answered "unknown" at once.
const QUESTIONS: usize = 1024;

#[derive(Debug)]
pub(super) enum Question {
    WhoIs(ProcessId),
    /// Which of these have ended.
    Ended(HashSet<ProcessId>),
}

/// In the order of the questions.
#[derive(Debug)]
pub(super) enum Answer {
    Owner(ProcessId, Option<Arc<Owner>>),
    Ended(HashSet<ProcessId>),
}

pub(super) struct Resolver {
    questions: std_mpsc::SyncSender<Question>,
    unanswered: Arc<AtomicU64>,
}

impl Resolver {
    pub(super) fn spawn(resolver: OwnerResolver, proc: ProcFs) -> io::Result<(Self, mpsc::Receiver<Answer>)> {
        let (questions, inbox) = std_mpsc::sync_channel(QUESTIONS);
        let (outbox, answers) = mpsc::channel(QUESTIONS);
        let mut environments = Environments::default();
        let unanswered = Arc::clone(&environments.unanswered);
        thread::Builder::new().name("a11i-resolver".to_owned()).spawn(move || {
            for question in inbox {
                let answer = match question {
                    Question::WhoIs(process) => {
                        let namespace = proc.mount_namespace(process.pid).unwrap_or_default();
                        let reader = resolver.clone();
                        let environment = environments.read(process, namespace, move || reader.environment(process));
                        Answer::Owner(process, resolver.resolve(process, &environment).map(Arc::new))
                    }
                    Question::Ended(mut processes) => {
                        processes.retain(|process| !proc.is_same(*process));
                        Answer::Ended(processes)
                    }
                };
                if outbox.blocking_send(answer).is_err() {
                    break;
                }
            }
        })?;
        Ok((Self { questions, unanswered }, answers))
    }

    /// Processes described without what they state, since their memory did not answer.
    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// Never blocks. False: too many questions wait, or the thread has ended.
    pub(super) fn ask(&self, question: Question) -> bool {
        self.questions.try_send(question).is_ok()
    }
}

/// Reads what may never come back.
#[derive(Default)]
struct Environments {
    worker: DeadlineWorker,
    /// Processes whose memory does not answer, for as long as the thread that asked is stuck in it.
    hung: Vec<(ProcessId, Stuck)>,
    said: bool,
    unanswered: Arc<AtomicU64>,
}

impl Environments {
    /// Empty, and counted, when there is no answer.
    fn read(&mut self, process: ProcessId, namespace: u64, read: impl FnOnce() -> Vec<u8> + Send + 'static) -> Vec<u8> {
        self.hung.retain(|(_, stuck)| !stuck.is_over());
        let given_up = if self.hung.iter().any(|(hung, _)| *hung == process) {
            None
        } else {
            match self.worker.run(namespace, move |_| read()) {
                Ok((environment, _)) => return environment,
                Err(given_up) => Some(given_up),
            }
        };
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        if let Some(given_up) = given_up {
            if !std::mem::replace(&mut self.said, true) {
                tracing::warn!(
                    pid = process.pid.0,
                    error = %given_up,
                    "the environment of a process cannot be read: what it states about itself is not known; more of them are counted only"
                );
            }
            if let GivenUp::Stuck(stuck) = given_up {
                self.hung.push((process, stuck));
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::Pid;

    use super::*;

    #[test]
    fn a_process_that_lives_is_described_and_one_that_ended_is_named() {
        let proc = ProcFs::default();
        let own = proc.identify(Pid(std::process::id())).unwrap();
        let gone = ProcessId { pid: Pid(u32::MAX), start_ticks: 1 };
        let (resolver, mut answers) = Resolver::spawn(OwnerResolver::new(proc.clone(), 0), proc).unwrap();
        assert!(resolver.ask(Question::WhoIs(own)) && resolver.ask(Question::WhoIs(gone)));
        assert!(resolver.ask(Question::Ended([own, gone].into())));
        let Some(Answer::Owner(process, Some(owner))) = answers.blocking_recv() else { panic!("no owner") };
        assert_eq!((process, owner.process), (own, own));
        let Some(Answer::Owner(process, None)) = answers.blocking_recv() else { panic!("an owner of nobody") };
        assert_eq!(process, gone);
        let Some(Answer::Ended(ended)) = answers.blocking_recv() else { panic!("no answer") };
        assert_eq!(ended, HashSet::from([gone]));
        assert_eq!(resolver.unanswered(), 0);
        drop(resolver);
        assert!(answers.blocking_recv().is_none());
    }

    #[test]
    fn a_process_whose_memory_does_not_answer_is_waited_for_once_and_keeps_nobody_else_waiting() {
        let mut environments = Environments::default();
        let hostile = ProcessId { pid: Pid(7), start_ticks: 1 };
        let (release, gate) = std_mpsc::sync_channel::<()>(0);
        let never = move || gate.recv().map_or(Vec::new(), |()| b"late".to_vec());
        assert!(environments.read(hostile, 1, never).is_empty());
        let again = environments.read(hostile, 1, || panic!("it would hang again"));
        assert!(again.is_empty());
        let other = ProcessId { pid: Pid(8), start_ticks: 1 };
        assert_eq!(environments.read(other, 1, || b"A=b".to_vec()), b"A=b");
        assert_eq!(environments.unanswered.load(Ordering::Relaxed), 2);
        drop(release);
        while environments.read(hostile, 1, || b"A=b".to_vec()).is_empty() {
            thread::yield_now();
        }
    }
}
