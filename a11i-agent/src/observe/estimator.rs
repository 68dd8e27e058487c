//! The bounded side branch for calls without usage: a tokenizer may take milliseconds, the event loop may not.

use std::{io, sync::mpsc as std_mpsc, thread};

use tokio::sync::mpsc;

use crate::{
    call::LlmCall,
    pipeline::{FinishedCall, Pipeline, PipelineSettings},
    tokens::BytePairCounter,
};

/// Calls waiting to be counted. More of them go on without an estimate.
const WAITING: usize = 1024;

/// Counts on its own thread.
pub(super) struct Estimator {
    calls: std_mpsc::SyncSender<(Box<LlmCall>, PipelineSettings)>,
}

impl Estimator {
    /// Finished calls come out of the receiver, which ends after the last one once the estimator is dropped.
    pub(super) fn spawn() -> io::Result<(Self, mpsc::Receiver<Box<FinishedCall>>)> {
        let (calls, inbox) = std_mpsc::sync_channel::<(Box<LlmCall>, PipelineSettings)>(WAITING);
        let (finished, outbox) = mpsc::channel(WAITING);
        thread::Builder::new().name("a11i-estimator".to_owned()).spawn(move || {
            for (call, settings) in inbox {
                let done = Pipeline::finish(&settings, *call, Some(&BytePairCounter));
                if finished.blocking_send(Box::new(done)).is_err() {
                    break;
                }
            }
        })?;
        Ok((Self { calls }, outbox))
    }

    /// The call comes back if there is no room for it.
    pub(super) fn offer(&self, call: Box<LlmCall>, settings: &PipelineSettings) -> Result<(), Box<LlmCall>> {
        self.calls.try_send((call, settings.clone())).map_err(|error| match error {
            std_mpsc::TrySendError::Full((call, _)) | std_mpsc::TrySendError::Disconnected((call, _)) => call,
        })
    }
}
