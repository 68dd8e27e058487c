//! Signals that reach a11i are meant for the command.

use std::{fs::File, task::Poll};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use tokio::{
    process::Child,
    signal::unix::{Signal as Arrivals, SignalKind, signal},
};

/// Every signal that is passed on, with whether the terminal itself sends it to its whole foreground group.
const PASSED_ON: [(Signal, SignalKind, bool); 7] = [
    (Signal::TERM, SignalKind::terminate(), false),
    (Signal::HUP, SignalKind::hangup(), false),
    (Signal::USR1, SignalKind::user_defined1(), false),
    (Signal::USR2, SignalKind::user_defined2(), false),
    (Signal::INT, SignalKind::interrupt(), true),
    (Signal::QUIT, SignalKind::quit(), true),
    (Signal::WINCH, SignalKind::window_change(), true),
];

/// Held from its making on: none of these ends this process any more.
pub(super) struct Signals(Vec<(Signal, bool, Arrivals)>);

impl Signals {
    pub(super) fn hold() -> Result<Self> {
        let held = PASSED_ON.into_iter().map(|(name, kind, by_terminal)| Ok((name, by_terminal, signal(kind)?)));
        held.collect::<std::io::Result<_>>().map(Self).context("cannot wait for signals")
    }

    /// The next signal that should end or reach the command.
    async fn next(&mut self) -> (Signal, bool) {
        std::future::poll_fn(|context| {
            for (name, by_terminal, arrivals) in &mut self.0 {
                if let Poll::Ready(Some(())) = arrivals.poll_recv(context) {
                    return Poll::Ready((*name, *by_terminal));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The next signal whose default action is to end a process; for the time before the command runs.
    pub(super) async fn next_ending(&mut self) -> Signal {
        loop {
            let (signal, _) = self.next().await;
            if signal != Signal::WINCH {
                return signal;
            }
        }
    }

    /// Passes signals on, for ever. What cannot be passed on (the command may run as somebody else) is said and is no error.
    pub(super) async fn pass_on(&mut self, child: Option<Pid>) {
        loop {
            let (signal, by_terminal) = self.next().await;
            if by_terminal && in_foreground() {
                continue; // the command has it already
            }
            if let Some(pid) = child
                && let Err(error) = kill_process(pid, signal)
            {
                tracing::warn!(?signal, %error, "the signal cannot be passed on to the command");
            }
        }
    }
}

/// Whether this process, and so the command, is of the group that the terminal's keys signal.
fn in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp()))
}

/// The child as the kernel's calls name it, while it has not been waited for.
pub(super) fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
}
