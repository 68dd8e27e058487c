//! Looks at other processes on a thread of its own: reading `/proc/PID/environ` waits for that process's memory, for as long as the page
//! it lies on takes to come (a hung network file system, a FUSE mount). The event loop does not wait with it.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, mpsc as std_mpsc},
    thread,
};

use a11i_common::identity::ProcessId;
use tokio::sync::mpsc;

use crate::{
    discovery::process::ProcFs,
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
}

impl Resolver {
    pub(super) fn spawn(resolver: OwnerResolver, proc: ProcFs) -> io::Result<(Self, mpsc::Receiver<Answer>)> {
        let (questions, inbox) = std_mpsc::sync_channel(QUESTIONS);
        let (outbox, answers) = mpsc::channel(QUESTIONS);
        thread::Builder::new().name("a11i-resolver".to_owned()).spawn(move || {
            for question in inbox {
                let answer = match question {
                    Question::WhoIs(process) => Answer::Owner(process, resolver.resolve(process).map(Arc::new)),
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
        Ok((Self { questions }, answers))
    }

    /// Never blocks. False: too many questions wait, or the thread has ended.
    pub(super) fn ask(&self, question: Question) -> bool {
        self.questions.try_send(question).is_ok()
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
        drop(resolver);
        assert!(answers.blocking_recv().is_none());
    }
}
