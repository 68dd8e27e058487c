//! The asking end.

use std::{io, path::Path, time::Duration};

use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    time::timeout,
};

use super::{Place, PlaceError, Reply, Request};

/// How long the agent may be silent: detaching by perf events takes 0.1 s per probe, with progress in between.
const SILENCE: Duration = Duration::from_mins(1);

/// A table of 65,536 processes fits.
const REPLY_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Debug, Error)]
pub enum AskError {
    #[error("no agent runs on this host, or it has no admin socket ({0}). Remedy: `sudo a11i run`")]
    NoSocket(#[from] PlaceError),
    #[error("the admin socket does not answer: {0}. Remedy: ask as root, while the agent runs")]
    Connection(#[from] io::Error),
    #[error("the agent said nothing for {SILENCE:?}")]
    Silence,
    #[error("the agent's answer is not understood: {0}. Remedy: ask with the agent's own version")]
    Answer(#[from] serde_json::Error),
}

/// Asks the agent of this host; `progress` sees what is not final.
///
/// # Errors
/// Why there is no answer.
pub async fn ask(folder: Option<&Path>, request: Request, progress: impl FnMut(&Reply)) -> Result<Reply, AskError> {
    ask_at(&Place::find(folder)?.socket(), request, progress).await
}

pub(super) async fn ask_at(path: &Path, request: Request, mut progress: impl FnMut(&Reply)) -> Result<Reply, AskError> {
    let mut answers = send(path, request).await?;
    loop {
        let reply = next(&mut answers).await?;
        if reply.is_final() {
            return Ok(reply);
        }
        progress(&reply);
    }
}

/// A connection that was answered. The agent sees when it is dropped, and it sees when the agent ends.
#[derive(Debug)]
pub struct Held(Answers);

impl Held {
    /// Until the agent has ended.
    pub async fn ended(mut self) {
        let mut ignored = [0; 64];
        while self.0.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
    }
}

/// Asks, and keeps the connection.
///
/// # Errors
/// Why there is no answer, or the refusal.
pub async fn hold(folder: Option<&Path>, request: Request) -> Result<Held, AskError> {
    hold_at(&Place::find(folder)?.socket(), request).await
}

pub(super) async fn hold_at(path: &Path, request: Request) -> Result<Held, AskError> {
    let mut answers = send(path, request).await?;
    match next(&mut answers).await? {
        Reply::Refused { reason } => Err(io::Error::other(reason).into()),
        Reply::Progress(_) | Reply::Done { .. } | Reply::Status(_) | Reply::Processes { .. } | Reply::Reloaded { .. } => Ok(Held(answers)),
    }
}

type Answers = tokio::io::Take<BufReader<UnixStream>>;

async fn send(path: &Path, request: Request) -> Result<Answers, AskError> {
    let mut stream = UnixStream::connect(path).await?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    // One that refuses before it has read everything has said why.
    stream.write_all(&line).await.ok();
    Ok(BufReader::new(stream).take(REPLY_BYTES))
}

async fn next(answers: &mut Answers) -> Result<Reply, AskError> {
    let mut line = Vec::new();
    match timeout(SILENCE, answers.read_until(b'\n', &mut line)).await {
        Ok(Ok(0)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        Ok(Ok(_)) => Ok(serde_json::from_slice(&line)?),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(AskError::Silence),
    }
}
