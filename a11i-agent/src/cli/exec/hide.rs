//! Asks the agent of this host, if there is one, not to report the command too.

use std::{path::PathBuf, time::Duration};

use tokio::{task::JoinHandle, time::timeout};

use crate::admin::{
    Request,
    client::{AskError, Held, hold},
};

/// The command waits for the answer: an agent that is too busy for it reports twice, which is better than a command that does not run.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// How often an agent is looked for that was started after the command.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// In force until it is dropped.
pub(super) struct Hidden(JoinHandle<()>);

impl Hidden {
    /// Returns when the agent that runs has agreed, or there is none. One that starts later is asked, too.
    pub(super) async fn begin(folder: Option<PathBuf>, pid: u32) -> Self {
        let mut held = ask(folder.clone(), pid).await;
        Self(tokio::spawn(async move {
            loop {
                if let Some(held) = held {
                    held.ended().await;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
                held = ask(folder.clone(), pid).await;
            }
        }))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn ask(folder: Option<PathBuf>, pid: u32) -> Option<Held> {
    match timeout(ANSWER_TIME, hold(folder.as_deref(), Request::Hide { pid })).await {
        Ok(Ok(held)) => Some(held),
        Ok(Err(AskError::NoSocket(_))) => None,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the agent of this host was not told of the command");
            None
        }
        Err(_) => {
            tracing::warn!("the agent of this host does not answer: it may report the command's calls as well");
            None
        }
    }
}
