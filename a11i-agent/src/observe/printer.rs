//! Calls on standard output, on a thread of its own: whoever reads us may stop reading.

use std::{
    io::{self, Write as _},
    sync::mpsc,
    thread,
};

/// Lines waiting for a slow reader.
const LINES: usize = 4096;

pub(super) struct Printer {
    lines: Option<mpsc::SyncSender<String>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Printer {
    pub(super) fn spawn() -> io::Result<Self> {
        let (lines, inbox) = mpsc::sync_channel::<String>(LINES);
        let thread = thread::Builder::new().name("a11i-printer".to_owned()).spawn(move || {
            let mut out = io::stdout();
            for line in inbox {
                // A closed pipe is the reader's choice: what follows goes nowhere, observing goes on.
                if out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { lines: Some(lines), thread: Some(thread) })
    }

    /// False if the reader is too far behind and the line was dropped.
    pub(super) fn print(&self, line: String) -> bool {
        self.lines.as_ref().is_some_and(|lines| !matches!(lines.try_send(line), Err(mpsc::TrySendError::Full(_))))
    }

    /// Writes out what waits. A reader that stopped reading keeps the thread; it ends with the process.
    pub(super) fn finish(mut self, within: std::time::Duration) {
        drop(self.lines.take());
        let Some(thread) = self.thread.take() else { return };
        let step = std::time::Duration::from_millis(5);
        let mut waited = std::time::Duration::ZERO;
        while !thread.is_finished() && waited < within {
            thread::park_timeout(step);
            waited = waited.saturating_add(step);
        }
    }
}
