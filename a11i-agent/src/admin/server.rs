//! The socket's listening end.

use std::{
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::net::sockopt::socket_peercred;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};

use super::{
    lock::HostLock,
    protocol::{REQUEST_BYTES, Reply, Request},
};

/// Connections at once that have asked nothing yet or wait for their answer: a person needs one or two.
const CONNECTIONS: usize = 64;

/// Processes hidden at once: each `exec` of the host holds a connection for as long as its command runs. Counted apart, so that any number
/// of them leaves the brake within reach.
const HIDERS: usize = 256;

/// How long a connection may take to ask, and to take one line of an answer.
const LINE_TIME: Duration = Duration::from_secs(5);

/// Requests under way to whoever answers.
const REQUESTS: usize = 64;

/// Lines of one answer under way; who sends progress drops it rather than wait.
const REPLIES: usize = 64;

/// After a failed accept (no descriptors left), so that it is not tried in a circle.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request and where its answer goes. Whoever takes it sends one final reply. Of [`Request::Hide`] the receiver's end says that the
/// connection is gone ([`mpsc::Sender::closed`]).
#[derive(Debug)]
pub struct Asked {
    pub request: Request,
    pub replies: mpsc::Sender<Reply>,
}

/// Pulls the emergency brake: called by the connection that is told to, whatever the event loop is busy with.
pub type PullBrake = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Serves until it is dropped, and removes its socket then.
#[derive(Debug)]
pub struct AdminServer {
    path: PathBuf,
    task: JoinHandle<()>,
    /// Device and inode of the socket that is ours.
    own: Option<(u64, u64)>,
}

impl AdminServer {
    /// Whoever holds the host's lock may replace a socket that a killed agent left: that is why it is asked for.
    ///
    /// # Errors
    /// Why there is no socket: then the agent cannot be asked, and observes all the same.
    pub fn start(lock: &HostLock, requests: mpsc::Sender<Asked>, brake: PullBrake) -> io::Result<Self> {
        Self::listen(&lock.place().socket(), requests, brake)
    }

    /// What is asked comes out of the receiver; the sender is for [`Self::start`], and for whoever asks from within.
    pub fn requests() -> (mpsc::Sender<Asked>, mpsc::Receiver<Asked>) {
        mpsc::channel(REQUESTS)
    }

    fn listen(path: &Path, requests: mpsc::Sender<Asked>, brake: PullBrake) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // The folder is closed to others; the mode says it once more.
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let own = identity(path);
        let task = tokio::spawn(accept(listener, requests, brake));
        Ok(Self { path: path.to_owned(), task, own })
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.task.abort();
        if self.own.is_some()
            && identity(&self.path) == self.own
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "the admin socket cannot be removed; the next agent does it");
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

async fn accept(listener: UnixListener, requests: mpsc::Sender<Asked>, brake: PullBrake) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let hiders = Arc::new(Semaphore::new(HIDERS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin socket cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!("more than {CONNECTIONS} connections to the admin socket: one more is closed");
            continue;
        };
        let door = Door { requests: requests.clone(), brake: Arc::clone(&brake), hiders: Arc::clone(&hiders) };
        tokio::spawn(async move {
            if let Err(error) = door.serve(stream, place).await {
                tracing::debug!(%error, "a connection to the admin socket ended early");
            }
        });
    }
}

/// What a connection leads to.
struct Door {
    requests: mpsc::Sender<Asked>,
    brake: PullBrake,
    hiders: Arc<Semaphore>,
}

impl Door {
    async fn serve(self, stream: UnixStream, place: OwnedSemaphorePermit) -> io::Result<()> {
        let peer = socket_peercred(&stream)?.uid.as_raw();
        let (from, mut to) = stream.into_split();
        if !is_allowed(peer, rustix::process::geteuid().as_raw()) {
            tracing::warn!(uid = peer, "somebody who is not root asked the agent for something");
            return say(&mut to, &Reply::refused("only root may ask the agent for anything")).await;
        }
        let (request, from) = match timeout(LINE_TIME, read_request(from)).await? {
            Ok((request, from)) => (request, from),
            Err(reason) => return say(&mut to, &Reply::Refused { reason }).await,
        };
        if request == Request::Detach
            && let Err(error) = (self.brake)()
        {
            tracing::error!(%error, "copying cannot be switched off by its switch; the probes are closed");
        }
        // A hider stays: it goes on to a place of another kind.
        let _place = if matches!(request, Request::Hide { .. }) {
            let Ok(own) = self.hiders.try_acquire_owned() else {
                tracing::warn!("more than {HIDERS} commands are observed by `exec`: the calls of one more are reported twice");
                return say(&mut to, &Reply::refused(&format!("{HIDERS} processes are hidden already"))).await;
            };
            drop(place);
            own
        } else {
            place
        };
        let (replies, mut answers) = mpsc::channel(REPLIES);
        if self.requests.send(Asked { request, replies }).await.is_err() {
            return say(&mut to, &Reply::refused("the agent is shutting down")).await;
        }
        // Who asked may go away: nobody need be told any more, and whoever answers sees it.
        let gone = ended(from);
        let mut gone = std::pin::pin!(gone);
        loop {
            tokio::select! {
                biased;
                reply = answers.recv() => {
                    let reply = reply.unwrap_or_else(|| Reply::refused("the agent gave no answer"));
                    say(&mut to, &reply).await?;
                    if reply.is_final() {
                        break;
                    }
                }
                () = &mut gone => return Ok(()),
            }
        }
        if matches!(request, Request::Hide { .. }) {
            gone.await;
        }
        Ok(())
    }
}

/// Root, and whoever the agent runs as.
const fn is_allowed(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

/// One bounded line.
async fn read_request(from: OwnedReadHalf) -> Result<(Request, OwnedReadHalf), String> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(from.take(REQUEST_BYTES as u64));
    reader.read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
    if !line.ends_with(b"\n") {
        return Err(format!("a request is one line of at most {REQUEST_BYTES} bytes"));
    }
    let request = serde_json::from_slice(&line).map_err(|error| format!("not a request this version knows: {error}"))?;
    Ok((request, reader.into_inner().into_inner()))
}

/// Until the other end is closed. What it still says is not listened to.
async fn ended(mut from: OwnedReadHalf) {
    let mut ignored = [0; 256];
    while from.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}

async fn say(to: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    timeout(LINE_TIME, to.write_all(&line)).await?
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::admin::client;

    struct Served {
        server: AdminServer,
        asked: mpsc::Receiver<Asked>,
        pulled: Arc<AtomicUsize>,
        path: PathBuf,
    }

    fn served(name: &str) -> Served {
        let path = std::env::temp_dir().join(format!("a11i-admin-{name}-{}.sock", std::process::id()));
        let pulled = Arc::new(AtomicUsize::new(0));
        let brake = Arc::clone(&pulled);
        let pull: PullBrake = Arc::new(move || {
            brake.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        let (requests, asked) = AdminServer::requests();
        let server = AdminServer::listen(&path, requests, pull).unwrap();
        Served { server, asked, pulled, path }
    }

    async fn raw(path: &Path, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[test]
    fn only_root_and_its_own_user_may_ask() {
        assert!(is_allowed(0, 0) && is_allowed(0, 1000) && is_allowed(1000, 1000));
        assert!(!is_allowed(65_534, 0) && !is_allowed(1001, 1000));
    }

    #[tokio::test]
    async fn a_socket_that_a_killed_agent_left_is_replaced_and_ours_is_removed() {
        let path = std::env::temp_dir().join(format!("a11i-admin-left-{}.sock", std::process::id()));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let served = served("left");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(served.server);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused_with_the_reason() {
        let served = served("wrong");
        let endless = vec![b'x'; REQUEST_BYTES];
        for (bytes, word) in [(&b"rubbish\n"[..], "not a request"), (b"{\"request\":\"processes\"}", "one line"), (&endless, "one line")] {
            let answer = raw(&served.path, bytes).await;
            assert!(answer.contains("refused") && answer.contains(word), "{answer}");
        }
    }

    #[tokio::test]
    async fn the_brake_is_pulled_before_anybody_has_taken_the_request() {
        let mut served = served("brake");
        let path = served.path.clone();
        let asking = tokio::spawn(async move {
            let mut progress = 0;
            let reply = client::ask_at(&path, Request::Detach, |_| progress += 1).await;
            (reply, progress)
        });
        let asked = served.asked.recv().await.unwrap();
        assert_eq!(served.pulled.load(Ordering::Relaxed), 1);
        asked.replies.send(Reply::Progress(crate::observe::Progress { done: 1, of: 1, failed: 0 })).await.unwrap();
        asked.replies.send(Reply::done("off")).await.unwrap();
        let (reply, progress) = asking.await.unwrap();
        assert_eq!((reply.unwrap(), progress), (Reply::done("off"), 1));
    }

    #[tokio::test]
    async fn whoever_hides_a_process_is_known_to_be_there_until_it_is_gone() {
        let mut served = served("hide");
        let path = served.path.clone();
        let hiding = tokio::spawn(async move { client::hold_at(&path, Request::Hide { pid: 7 }).await });
        let asked = served.asked.recv().await.unwrap();
        assert_eq!(asked.request, Request::Hide { pid: 7 });
        asked.replies.send(Reply::done("hidden")).await.unwrap();
        let held = hiding.await.unwrap().unwrap();
        assert!(!asked.replies.is_closed());
        drop(held);
        asked.replies.closed().await;
    }

    #[tokio::test]
    async fn hiders_leave_the_brake_within_reach() {
        let Served { server: _server, mut asked, pulled, path } = served("hiders");
        let answering = tokio::spawn(async move {
            while let Some(Asked { replies, .. }) = asked.recv().await {
                replies.send(Reply::done("done")).await.unwrap();
            }
        });
        let mut held = Vec::new();
        for _ in 0..HIDERS {
            held.push(client::hold_at(&path, Request::Hide { pid: 7 }).await.unwrap());
        }
        let one_more = client::hold_at(&path, Request::Hide { pid: 7 }).await.unwrap_err();
        assert!(one_more.to_string().contains("hidden already"), "{one_more}");
        assert_eq!(client::ask_at(&path, Request::Detach, |_| {}).await.unwrap(), Reply::done("done"));
        assert_eq!(pulled.load(Ordering::Relaxed), 1);
        answering.abort();
    }
}
